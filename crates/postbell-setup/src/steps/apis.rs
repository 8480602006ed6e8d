//! The APIs that a project uses.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use crate::site::Site;
use crate::step::{Look, Step, StepId, Undone};
use crate::trouble::{Trouble, Wall};

/// What is needed: Gmail and Pub/Sub for mail, the other two for setting up.
const NEEDED: [&str; 4] = [
    "gmail.googleapis.com",
    "pubsub.googleapis.com",
    "iam.googleapis.com",
    "cloudresourcemanager.googleapis.com",
];

/// How often an operation is looked at; between the looks it is waited.
const LOOKS: u32 = 120;

pub(super) struct Apis;

#[async_trait]
impl Step for Apis {
    fn id(&self) -> StepId {
        StepId::Apis
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::Project]
    }

    async fn look(&self, site: &mut Site) -> Result<Look, Trouble> {
        let number = site.project()?.number;
        let disabled = site.services()?.disabled(&number, &NEEDED).await;
        let disabled = disabled.map_err(|error| site.trouble(error))?;
        Ok(if disabled.is_empty() {
            Look::Done(in_words(&NEEDED))
        } else {
            Look::ToDo(format!("enable {}", in_words(&disabled)))
        })
    }

    async fn apply(&self, site: &mut Site) -> Result<(), Trouble> {
        let number = site.project()?.number;
        let services = site.services()?;
        let disabled = services.disabled(&number, &NEEDED).await?;
        for service in &disabled {
            site.making(service)?;
        }
        let mut operation = services.enable(&number, &disabled).await?;
        let wait = pause(site);
        for look in 1..=LOOKS {
            if operation.is_done()? {
                return Ok(());
            }
            let doing = format!("enabling {} (look {look})", in_words(&disabled));
            site.working(StepId::Apis, &doing);
            sleep(wait).await;
            operation = services.look(&operation).await?;
        }
        Err(Trouble::new(Wall::Unavailable))
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        if site.wishes.delete_project && site.is_ours("project") {
            return Ok(Undone::Nothing);
        }
        let number = site.project()?.number;
        let services = site.services()?;
        let mut removed = Vec::new();
        let mut left = Vec::new();
        // What disables the others comes last.
        for service in NEEDED.into_iter().filter(|service| site.is_ours(service)) {
            match services.disable(&number, service).await {
                Ok(()) => removed.push(service),
                // Something else needs it by now.
                Err(error) if error.kind().is_some() => left.push(service),
                Err(error) => return Err(site.trouble(error)),
            }
        }
        for service in removed.iter().chain(&left) {
            site.not_ours(service)?;
        }
        Ok(match (removed.is_empty(), left.is_empty()) {
            (_, false) => Undone::Left(format!("{} is in use", in_words(&left))),
            (false, true) => Undone::Removed(format!("disabled {}", in_words(&removed))),
            (true, true) => Undone::Nothing,
        })
    }
}

/// How long it is waited between two looks at an operation.
pub(super) fn pause(site: &Site) -> Duration {
    site.tools.patience.first.min(Duration::from_secs(2))
}

fn in_words(services: &[&str]) -> String {
    let names = services.iter().map(|service| match *service {
        "gmail.googleapis.com" => "Gmail",
        "pubsub.googleapis.com" => "Pub/Sub",
        "iam.googleapis.com" => "IAM",
        "cloudresourcemanager.googleapis.com" => "Resource Manager",
        other => other,
    });
    names.collect::<Vec<_>>().join(", ")
}

//! The APIs that a project uses.

use async_trait::async_trait;
use postbell_google::{CloudError, RefusalKind, Services};

use crate::made::Made;
use crate::site::{KnownProject, Site};
use crate::step::{Look, Step, StepId, Undone};
use crate::trouble::Trouble;
use crate::waits::finish;

/// What is needed: Gmail and Pub/Sub for mail, the other two for setting up.
const NEEDED: [&str; 4] = [
    "gmail.googleapis.com",
    "pubsub.googleapis.com",
    "iam.googleapis.com",
    "cloudresourcemanager.googleapis.com",
];

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
        let KnownProject { id, number } = site.project()?;
        let services = site.services()?;
        let disabled = services.disabled(&number, &NEEDED).await?;
        let made = disabled.iter().map(|&name| Made::Service {
            project: id.clone(),
            number: number.clone(),
            name: name.to_owned(),
        });
        let fresh: Vec<_> = made.filter(|made| !site.is_ours(made)).collect();
        for made in &fresh {
            site.making(made)?;
        }
        let enabled = enable(site, &services, &number, &disabled).await;
        // All are enabled, or none; and whoever is out of reach may have enabled them all the same.
        if !matches!(enabled, Ok(()) | Err(CloudError::Unavailable(_))) {
            for made in &fresh {
                site.not_ours(made)?;
            }
        }
        enabled.map_err(|error| site.trouble(error))
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        let mut all = site.made_by(self.id());
        let stays = [StepId::Topic, StepId::Publisher];
        if !all.is_empty() && stays.iter().any(|step| !site.made_by(*step).is_empty()) {
            let why = "the topic that stays needs them".to_owned();
            return Ok(Undone::Left(why));
        }
        // What disables the others comes last.
        all.sort_by_key(|made| match made {
            Made::Service { name, .. } => NEEDED.iter().position(|needed| needed == name),
            _ => None,
        });
        let (mut removed, mut left) = (Vec::new(), Vec::new());
        for made in all {
            let services = site.services()?;
            let Made::Service {
                project,
                number,
                name,
            } = &made
            else {
                continue;
            };
            let of = Made::Project {
                id: project.clone(),
            };
            if site.wishes.delete_project && site.is_ours(&of) {
                // It goes with its project.
                continue;
            }
            match disable(site, &services, number, name).await {
                Ok(()) => removed.push(name.clone()),
                // Something else needs it by now.
                Err(error) if error.is(RefusalKind::Other) => {
                    left.push(name.clone());
                }
                Err(error) => return Err(site.trouble(error)),
            }
            site.not_ours(&made)?;
        }
        let told = |names: &[String], tell: fn(String) -> String| -> Vec<String> {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let names = Some(names).filter(|names| !names.is_empty());
            names
                .map(|names| tell(in_words(&names)))
                .into_iter()
                .collect()
        };
        Ok(Undone::of(
            &told(&removed, |names| format!("disabled {names}")),
            &told(&left, |names| format!("in use: {names}")),
        ))
    }
}

/// Enables APIs, and waits for it.
async fn enable(
    site: &Site,
    services: &Services,
    number: &str,
    disabled: &[&'static str],
) -> Result<(), CloudError> {
    let operation = services.enable(number, disabled).await?;
    let doing = format!("enabling {}", in_words(disabled));
    finish(site, StepId::Apis, &doing, operation).await
}

/// Disables an API, and waits for it.
async fn disable(
    site: &Site,
    services: &Services,
    number: &str,
    name: &str,
) -> Result<(), CloudError> {
    let operation = services.disable(number, name).await?;
    let doing = format!("disabling {}", in_words(&[name]));
    finish(site, StepId::Apis, &doing, operation).await
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

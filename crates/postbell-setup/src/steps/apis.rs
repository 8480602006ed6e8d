//! The APIs of the project.

use async_trait::async_trait;
use postbell_google::{CloudError, RefusalKind, Services};

use crate::context::{ProjectRef, SetupContext};
use crate::error::Result;
use crate::ledger::Resource;
use crate::plan::{Plan, Step, UndoOutcome};
use crate::report::StepId;
use crate::retry::wait_for_operation;

/// Gmail and Pub/Sub for delivery, the other two for setup. Undo disables them in this order.
const REQUIRED: [&str; 4] = [
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

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan> {
        let number = ctx.project()?.number;
        let services = ctx.admin()?.services();
        let disabled = services.disabled(&number, &REQUIRED).await;
        let disabled = disabled.map_err(|error| ctx.error(error))?;
        Ok(if disabled.is_empty() {
            Plan::UpToDate(display_names(&REQUIRED))
        } else {
            Plan::Change(format!("enable {}", display_names(&disabled)))
        })
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        let ProjectRef { id, number } = ctx.project()?;
        let services = ctx.admin()?.services();
        let disabled = services.disabled(&number, &REQUIRED).await?;
        let resources = disabled.iter().map(|&name| Resource::Service {
            project: id.clone(),
            number: number.clone(),
            name: name.to_owned(),
        });
        let is_new = |resource: &Resource| !ctx.progress.ledger.contains(resource);
        let new: Vec<_> = resources.filter(is_new).collect();
        for resource in &new {
            ctx.record(resource.clone())?;
        }
        let enabled = enable(ctx, &services, &number, &disabled).await;
        // Google enables all or none. A call without an answer may have enabled all.
        if !matches!(enabled, Ok(()) | Err(CloudError::Unavailable { .. })) {
            for resource in &new {
                ctx.disown(resource)?;
            }
        }
        enabled.map_err(|error| ctx.error(error))
    }

    async fn undo(&self, ctx: &mut SetupContext) -> Result<UndoOutcome> {
        if let Some(why) = ctx.kept.reason(self.id()) {
            return Ok(UndoOutcome::Kept(why));
        }
        let mut resources = ctx.progress.ledger.created_by(self.id());
        let is_kept = |step| !ctx.progress.ledger.created_by(step).is_empty();
        if !resources.is_empty() && (is_kept(StepId::Topic) || is_kept(StepId::Publisher)) {
            return Ok(UndoOutcome::Kept("the kept topic needs them".to_owned()));
        }
        resources.sort_by_key(|resource| match resource {
            Resource::Service { name, .. } => REQUIRED.iter().position(|required| required == name),
            _ => None,
        });
        let (mut removed, mut in_use) = (Vec::new(), Vec::new());
        for resource in resources {
            let Resource::Service {
                project,
                number,
                name,
            } = &resource
            else {
                continue;
            };
            if is_deleted_with_project(ctx, project) {
                continue;
            }
            let services = ctx.admin()?.services();
            match disable(ctx, &services, number, name).await {
                Ok(()) => removed.push(name.clone()),
                // Another API or application depends on it.
                Err(error) if error.is(RefusalKind::Other) => in_use.push(name.clone()),
                Err(error) => return Err(ctx.error(error)),
            }
            ctx.disown(&resource)?;
        }
        Ok(UndoOutcome::new(
            &summary("disabled", &removed),
            &summary("in use:", &in_use),
        ))
    }
}

/// Whether the undo of the project step will delete the project.
fn is_deleted_with_project(ctx: &SetupContext, project: &str) -> bool {
    let project = Resource::Project {
        id: project.to_owned(),
    };
    ctx.request.delete_project && ctx.progress.ledger.contains(&project)
}

fn summary(verb: &str, services: &[String]) -> Vec<String> {
    if services.is_empty() {
        return Vec::new();
    }
    let services: Vec<_> = services.iter().map(String::as_str).collect();
    vec![format!("{verb} {}", display_names(&services))]
}

async fn enable(
    ctx: &SetupContext,
    services: &Services,
    number: &str,
    disabled: &[&'static str],
) -> Result<(), CloudError> {
    let operation = services.enable(number, disabled).await?;
    let action = format!("enabling {}", display_names(disabled));
    let (ui, timeouts) = (&*ctx.deps.ui, ctx.deps.timeouts);
    wait_for_operation(ui, timeouts, StepId::Apis, &action, operation).await
}

async fn disable(
    ctx: &SetupContext,
    services: &Services,
    number: &str,
    name: &str,
) -> Result<(), CloudError> {
    let operation = services.disable(number, name).await?;
    let action = format!("disabling {}", display_names(&[name]));
    let (ui, timeouts) = (&*ctx.deps.ui, ctx.deps.timeouts);
    wait_for_operation(ui, timeouts, StepId::Apis, &action, operation).await
}

fn display_names(services: &[&str]) -> String {
    let names = services.iter().map(|service| match *service {
        "gmail.googleapis.com" => "Gmail",
        "pubsub.googleapis.com" => "Pub/Sub",
        "iam.googleapis.com" => "IAM",
        "cloudresourcemanager.googleapis.com" => "Resource Manager",
        other => other,
    });
    names.collect::<Vec<_>>().join(", ")
}

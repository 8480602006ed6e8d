//! The project: the OAuth client's, if the client came first; else one that the user chooses or
//! creates.

use async_trait::async_trait;
use postbell_google::{CloudError, Project as Found, Projects, RefusalKind};

use crate::context::{ProjectRef, SetupContext};
use crate::error::{Blocker, Result, SetupError};
use crate::ledger::Resource;
use crate::plan::{Plan, Removal, Step};
use crate::report::StepId;
use crate::retry::wait_for_operation;
use crate::ui::Question;

/// How often the user may enter an invalid id.
const ATTEMPTS: usize = 5;

pub(super) struct Project {
    /// Whether the mailbox's OAuth client determines the project.
    pub(super) own_client: bool,
}

#[async_trait]
impl Step for Project {
    fn id(&self) -> StepId {
        StepId::Project
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::SignIn]
    }

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan> {
        if self.own_client {
            return check_client_project(ctx).await;
        }
        let Some(id) = choose_project(ctx).await? else {
            return Ok(Plan::Change("choose or create a project".to_owned()));
        };
        match ctx.admin()?.projects().get(&id).await {
            Ok(found) => use_project(ctx, &found),
            // Google answers 403 for a missing project too.
            Err(error) if error.is(RefusalKind::PermissionDenied) && may_create(ctx, &id) => {
                Ok(Plan::Change(format!("create {id}")))
            }
            Err(error) => Err(ctx.error(error).in_project(Some(&id))),
        }
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        let Some(id) = choose_project(ctx).await? else {
            return Err(SetupError::new(Blocker::MissingInput("--project ID")));
        };
        let resource = Resource::Project { id: id.clone() };
        let was_ours = ctx.progress.ledger.contains(&resource);
        ctx.update_progress(|progress| {
            progress.project = Some(id.clone());
            progress.new_project = Some(id.clone());
            progress.ledger.record(resource.clone());
        })?;
        let projects = ctx.admin()?.projects();
        let Err(error) = create(ctx, &projects, &id).await else {
            return Ok(());
        };
        let is_taken = error.is(RefusalKind::AlreadyExists);
        if is_taken && was_ours {
            // An earlier run created it, and it is not visible yet.
            return Err(SetupError::new(Blocker::NotVisibleYet));
        }
        if !was_ours && !matches!(error, CloudError::Unavailable { .. }) {
            ctx.disown(&resource)?;
        }
        // Google will never accept this id, so the next run asks for another one.
        if is_taken || error.is(RefusalKind::Other) {
            ctx.update_progress(|progress| {
                progress.project = None;
                progress.new_project = None;
            })?;
        }
        Err(if is_taken {
            SetupError::new(Blocker::ProjectIdTaken)
        } else {
            ctx.error(error)
        })
    }

    async fn remove(&self, ctx: &mut SetupContext, resource: &Resource) -> Result<Removal> {
        let Resource::Project { id } = resource else {
            return Ok(Removal::Gone);
        };
        let projects = ctx.admin()?.projects();
        if let Err(error) = projects.get(id).await
            && error.is(RefusalKind::PermissionDenied)
        {
            // It was never created, or belongs to another account.
            return Ok(Removal::Gone);
        }
        if !ctx.request.delete_project {
            return Ok(Removal::Kept(format!(
                "other applications may use it; --delete-project deletes {id} with everything in it"
            )));
        }
        projects.delete(id).await?;
        ctx.update_progress(|progress| progress.ledger.disown_project(id))?;
        Ok(Removal::Removed(format!(
            "deleted {id}; it can be restored for 30 days"
        )))
    }
}

fn may_create(ctx: &SetupContext, id: &str) -> bool {
    let was_started = ctx.progress.new_project.as_deref() == Some(id);
    ctx.request.create_project || was_started
}

/// Uses the project of the OAuth client. The client file alone has to identify it if the Resource
/// Manager API is still disabled.
async fn check_client_project(ctx: &mut SetupContext) -> Result<Plan> {
    let client = ctx.oauth_client()?;
    let number = client.project_number().unwrap_or_default().to_owned();
    let found = ctx.admin()?.projects().get(&number).await;
    let id = match (found, client.project_id) {
        (Ok(found), _) => return use_project(ctx, &found),
        (Err(error), Some(id)) if error.is(RefusalKind::ServiceDisabled) => id,
        (Err(error), _) => return Err(ctx.error(error)),
    };
    let project = ProjectRef { id, number };
    let detail = format!("{} (the OAuth client's)", project.id);
    save_project(ctx, project)?;
    Ok(Plan::UpToDate(detail))
}

fn use_project(ctx: &mut SetupContext, found: &Found) -> Result<Plan> {
    if !found.is_active() {
        return Err(SetupError::new(Blocker::ProjectDeleted));
    }
    let project = ProjectRef {
        id: found.project_id.clone(),
        number: found.number().to_owned(),
    };
    let detail = format!("{} ({})", project.id, project.number);
    save_project(ctx, project)?;
    Ok(Plan::UpToDate(detail))
}

/// Saves the project, unless the user requested another one.
fn save_project(ctx: &mut SetupContext, project: ProjectRef) -> Result<()> {
    let requested = ctx.request.project.as_ref();
    if requested.is_some_and(|requested| ![&project.id, &project.number].contains(&requested)) {
        return Err(SetupError::new(Blocker::ClientInOtherProject {
            number: project.number,
        }));
    }
    let id = project.id.clone();
    ctx.discovered.project = Some(project);
    ctx.update_progress(|progress| {
        progress.project = Some(id);
        progress.new_project = None;
    })
}

/// The requested or saved project, else the user's choice.
async fn choose_project(ctx: &mut SetupContext) -> Result<Option<String>> {
    let requested = ctx.request.project.clone();
    let known = requested.or_else(|| ctx.progress.project.clone());
    if known.is_some() {
        return Ok(known);
    }
    let found = ctx.admin()?.projects().search().await?;
    let mut options: Vec<_> = found.iter().map(describe).collect();
    options.push("Create a new project".to_owned());
    let question = Question::new("Which Google Cloud project?", "--project ID");
    let chosen = ctx.deps.ui.choose(&question, &options).await?;
    let id = match found.get(chosen) {
        Some(project) => project.project_id.clone(),
        None => {
            ctx.request.create_project = true;
            ask_new_id(ctx).await?
        }
    };
    ctx.request.project = Some(id.clone());
    Ok(Some(id))
}

async fn ask_new_id(ctx: &SetupContext) -> Result<String> {
    let question = Question::new(
        "New project id: 6 to 30 lower-case letters, digits and hyphens, globally unique",
        "--project ID",
    );
    for _ in 0..ATTEMPTS {
        let answer = ctx.deps.ui.text(&question).await?;
        let id = answer.trim();
        if is_project_id(id) {
            return Ok(id.to_owned());
        }
        ctx.note("That is not a valid project id; please try again.");
    }
    Err(SetupError::new(Blocker::MissingInput(question.flag)))
}

/// Google's rules for project ids
/// (<https://cloud.google.com/resource-manager/docs/creating-managing-projects>).
fn is_project_id(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (6..=30).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(is_allowed)
}

fn describe(project: &Found) -> String {
    if project.display_name.is_empty() || project.display_name == project.project_id {
        project.project_id.clone()
    } else {
        format!("{} ({})", project.project_id, project.display_name)
    }
}

async fn create(ctx: &SetupContext, projects: &Projects, id: &str) -> Result<(), CloudError> {
    let operation = projects.create(id, "Postbell").await?;
    let action = format!("creating {id}");
    let (ui, timeouts) = (&*ctx.deps.ui, ctx.deps.timeouts);
    wait_for_operation(ui, timeouts, StepId::Project, &action, operation).await
}

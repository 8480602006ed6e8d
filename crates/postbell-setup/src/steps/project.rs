//! The project in Google Cloud: the OAuth client's, where that came first; or one that is chosen or
//! made.

use async_trait::async_trait;
use postbell_google::{CloudError, Project as Found, RefusalKind};

use crate::person::Question;
use crate::site::{KnownProject, Site};
use crate::step::{Look, Step, StepId, Undone};
use crate::trouble::{Trouble, Wall};

const MADE: &str = "project";

/// How often an operation is looked at; between the looks it is waited.
const LOOKS: u32 = 120;

/// How often somebody may name another id.
const TRIES: usize = 5;

pub(super) struct Project {
    /// Whether it is the project of the person's own OAuth client.
    pub(super) own: bool,
}

#[async_trait]
impl Step for Project {
    fn id(&self) -> StepId {
        StepId::Project
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::SignIn]
    }

    async fn look(&self, site: &mut Site) -> Result<Look, Trouble> {
        if self.own {
            return own_project(site).await;
        }
        let Some(id) = chosen(site).await? else {
            return Ok(Look::ToDo("choose one, or make one".to_owned()));
        };
        match site.projects()?.get(&id).await {
            Ok(found) => settle(site, &found),
            Err(error) if error.is(RefusalKind::PermissionDenied) && self.may_make(site, &id) => {
                Ok(Look::ToDo(format!("make {id}")))
            }
            Err(error) => Err(site.trouble(error).in_project(Some(&id))),
        }
    }

    async fn apply(&self, site: &mut Site) -> Result<(), Trouble> {
        let Some(id) = chosen(site).await? else {
            return Err(Trouble::new(Wall::Unattended("--project ID")));
        };
        site.remember(|progress| progress.project = Some(id.clone()))?;
        site.making(MADE)?;
        let Err(error) = make(site, &id).await else {
            return Ok(());
        };
        let is_taken = error.is(RefusalKind::AlreadyExists);
        // An id that Google will never take is not asked for again.
        if is_taken || error.is(RefusalKind::Other) {
            site.not_ours(MADE)?;
            site.remember(|progress| progress.project = None)?;
        }
        Err(if is_taken {
            Trouble::new(Wall::ProjectTaken)
        } else {
            site.trouble(error)
        })
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        let id = site.project()?.id;
        if !site.is_ours(MADE) {
            return Ok(Undone::Nothing);
        }
        if !site.wishes.delete_project {
            return Ok(Undone::Left(format!(
                "it was made from here, and others may use it by now: --delete-project deletes {id} \
                 with all that is in it"
            )));
        }
        site.projects()?.delete(&id).await?;
        site.not_ours(MADE)?;
        Ok(Undone::Removed(format!(
            "deleted {id}; it can be restored for 30 days"
        )))
    }
}

impl Project {
    /// Who may not see a project is told the same as where there is none.
    fn may_make(&self, site: &Site, id: &str) -> bool {
        let was_begun = site.is_ours(MADE) && site.progress.project.as_deref() == Some(id);
        site.wishes.create_project || was_begun
    }
}

/// The client's project. It is known from the client alone, because the API that could say more may
/// not be enabled in it yet.
async fn own_project(site: &mut Site) -> Result<Look, Trouble> {
    let client = site.oauth_client()?;
    let number = client.project_number().unwrap_or_default().to_owned();
    let found = site.projects()?.get(&number).await;
    let id = match (found, client.project_id) {
        (Ok(found), _) => return settle(site, &found),
        (Err(error), Some(id)) if error.is(RefusalKind::ServiceDisabled) => id,
        (Err(error), _) => return Err(site.trouble(error)),
    };
    let project = KnownProject { id, number };
    refuse_another(site, &project)?;
    let detail = format!("{} (the OAuth client's)", project.id);
    remember(site, project)?;
    Ok(Look::Done(detail))
}

fn settle(site: &mut Site, found: &Found) -> Result<Look, Trouble> {
    if !found.is_active() {
        return Err(Trouble::new(Wall::ProjectGone));
    }
    let project = KnownProject {
        id: found.project_id.clone(),
        number: found.number().to_owned(),
    };
    refuse_another(site, &project)?;
    let detail = format!("{} ({})", project.id, project.number);
    remember(site, project)?;
    Ok(Look::Done(detail))
}

/// Refuses a project that is not the one the person has named.
fn refuse_another(site: &Site, project: &KnownProject) -> Result<(), Trouble> {
    let wished = site.wishes.project.as_ref();
    if wished.is_none_or(|wished| [&project.id, &project.number].contains(&wished)) {
        return Ok(());
    }
    Err(Trouble::new(Wall::ClientElsewhere {
        number: project.number.clone(),
    }))
}

fn remember(site: &mut Site, project: KnownProject) -> Result<(), Trouble> {
    let id = project.id.clone();
    site.known.project = Some(project);
    site.remember(|progress| progress.project = Some(id))
}

/// The project that the person has chosen, or chooses now.
async fn chosen(site: &mut Site) -> Result<Option<String>, Trouble> {
    let known = site
        .wishes
        .project
        .clone()
        .or(site.progress.project.clone());
    if known.is_some() {
        return Ok(known);
    }
    let found = site.projects()?.search().await?;
    let mut options: Vec<_> = found.iter().map(in_words).collect();
    options.push("Make a new one".to_owned());
    let question = Question::new("Which project in Google Cloud?", "--project ID");
    let chosen = site.ask_choice(&question, &options).await?;
    let id = match found.get(chosen) {
        Some(project) => project.project_id.clone(),
        None => {
            site.wishes.create_project = true;
            ask_new_id(site).await?
        }
    };
    site.wishes.project = Some(id.clone());
    Ok(Some(id))
}

/// Asks how a new project is to be called.
async fn ask_new_id(site: &Site) -> Result<String, Trouble> {
    let question = Question::new(
        "Its id: 6 to 30 lower-case letters, digits and hyphens, unlike any other's",
        "--project ID",
    );
    for _ in 0..TRIES {
        let answer = site.ask_text(&question).await?;
        let id = answer.trim();
        if is_project_id(id) {
            return Ok(id.to_owned());
        }
        site.note("That cannot be a project's id; please try again.");
    }
    Err(Trouble::new(Wall::Unattended(question.flag)))
}

/// Whether Google takes such an id
/// (<https://cloud.google.com/resource-manager/docs/creating-managing-projects>).
fn is_project_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (6..=30).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(allowed)
}

fn in_words(project: &Found) -> String {
    if project.display_name.is_empty() || project.display_name == project.project_id {
        project.project_id.clone()
    } else {
        format!("{} ({})", project.project_id, project.display_name)
    }
}

/// Makes a project, and waits for it.
async fn make(site: &Site, id: &str) -> Result<(), CloudError> {
    let trouble = |_| CloudError::Unauthorized;
    let projects = site.projects().map_err(trouble)?;
    let mut operation = projects.create(id, "Postbell").await?;
    let wait = super::apis::pause(site);
    for look in 1..=LOOKS {
        if operation.is_done()? {
            return Ok(());
        }
        site.working(StepId::Project, &format!("making {id} (look {look})"));
        tokio::time::sleep(wait).await;
        operation = projects.look(&operation).await?;
    }
    Err(CloudError::Unavailable("the project takes too long".into()))
}

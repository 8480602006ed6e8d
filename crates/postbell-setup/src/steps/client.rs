//! The OAuth client for the mailbox. The user creates it, because Google has no API for it.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use postbell_google::OAuthClient;
use url::Url;

use crate::context::SetupContext;
use crate::error::{Blocker, Result, SetupError};
use crate::plan::{Plan, Step, UndoOutcome};
use crate::remedy::console_page;
use crate::report::StepId;
use crate::ui::Question;

/// How often the user may enter an invalid file.
pub(super) const ATTEMPTS: usize = 5;

const INSTRUCTIONS: &str = "Programs read Gmail through an OAuth client, which can only be created in the Google Cloud \
     console. On this page:\n\
     1. If it shows \"Get started\": enter any app name and your address, and choose the audience \
     External (or Internal, if your organization has Google Workspace).\n\
     2. Under Audience, choose \"Publish app\". While an app is in testing, its grants expire after \
     seven days. An app for your own use needs no verification.\n\
     3. Under Clients, create a client of the type \"Desktop app\" and download its JSON. If the browser is on another \
     computer, copy the file to this one, for example with scp.";

pub(super) struct Client {
    /// Whether the user also signs in with this client.
    pub(super) is_for_sign_in: bool,
}

#[async_trait]
impl Step for Client {
    fn id(&self) -> StepId {
        StepId::Client
    }

    fn needs(&self) -> &'static [StepId] {
        if self.is_for_sign_in {
            &[]
        } else {
            &[StepId::Project, StepId::Apis]
        }
    }

    fn is_prerequisite(&self) -> bool {
        self.is_for_sign_in
    }

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan> {
        let Some(file) = client_file(ctx) else {
            return Ok(Plan::Change("create it in the console".to_owned()));
        };
        let client = read_client(ctx, &file)?;
        let detail = format!("{} ({})", short_id(&client.id), file.display());
        ctx.discovered.client = Some(client);
        // The path is saved, the content is not.
        ctx.update_progress(|progress| progress.client_file = Some(file))?;
        Ok(Plan::UpToDate(detail))
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        show_instructions(ctx);
        let question = Question::new(
            "The downloaded file (client_secret_….json)",
            "--client FILE",
        );
        let mut attempt = 1;
        let mut found = ctx.request.home.as_deref().and_then(downloaded);
        loop {
            let file = match found.take() {
                Some(found) => take_found(ctx, found).await?,
                None => None,
            };
            let file = match file {
                Some(file) => file,
                None => {
                    let answer = ctx.deps.ui.text(&question).await?;
                    if answer.trim_start().starts_with('{') {
                        // Not repeated: it has the client's secret.
                        ctx.note(
                            "That is the content of the file. Copy the file itself to this computer, for example with scp, \
                             and enter its path.",
                        );
                        continue;
                    }
                    absolute(Path::new(answer.trim()))
                }
            };
            match read_client(ctx, &file) {
                Ok(_) => {
                    ctx.request.client_file = Some(file);
                    return Ok(());
                }
                Err(error) if attempt == ATTEMPTS => return Err(error),
                // The question follows: another path is enough.
                Err(error) if !file.exists() => ctx.note(&format!("{}.", error.problem())),
                Err(error) => ctx.note(&format!("{}. {}", error.problem(), error.remedy())),
            }
            attempt += 1;
        }
    }

    async fn undo(&self, ctx: &mut SetupContext) -> Result<UndoOutcome> {
        let Some(client) = &ctx.discovered.client else {
            return Ok(UndoOutcome::Nothing);
        };
        if let Some(why) = ctx.kept.reason_of_client() {
            return Ok(UndoOutcome::Kept(why));
        }
        Ok(UndoOutcome::Kept(format!(
            "you created it: delete {} at {}",
            short_id(&client.id),
            console_page("auth/clients", None)
        )))
    }
}

/// The newest client that the browser has saved, by the name that Google gives it.
fn downloaded(home: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(home.join("Downloads")).ok()?;
    let is_client = |file: &fs::DirEntry| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.starts_with("client_secret_") && name.ends_with(".json")
    };
    let clients = entries
        .filter_map(std::result::Result::ok)
        .filter(is_client);
    let dated =
        clients.filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file.path())));
    dated.max().map(|(_, file)| file)
}

/// Asks whether to take the file that was found. Without a user, it is not taken.
async fn take_found(ctx: &SetupContext, file: PathBuf) -> Result<Option<PathBuf>> {
    let question = Question::new("Which file is the OAuth client?", "--client FILE");
    let options = [file.display().to_string(), "Another file".to_owned()];
    Ok((ctx.deps.ui.choose(&question, &options).await? == 0).then_some(file))
}

/// The requested file, else the saved one if it still exists.
fn client_file(ctx: &SetupContext) -> Option<PathBuf> {
    let requested = ctx.request.client_file.as_deref().map(absolute);
    let saved = ctx.progress.client_file.clone();
    requested.or_else(|| saved.filter(|file| file.exists()))
}

/// The next run may have another current folder.
pub(crate) fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

/// Reads a client file. Refuses a client of another project.
fn read_client(ctx: &SetupContext, file: &Path) -> Result<OAuthClient> {
    let client = OAuthClient::from_file(file);
    let client = client.map_err(|error| {
        let cause = error.source().map(|cause| format!(": {cause}"));
        let problem = format!("{error}{}", cause.unwrap_or_default());
        SetupError::new(Blocker::InvalidClientFile(problem))
    })?;
    let number = client.project_number().unwrap_or_default();
    match &ctx.discovered.project {
        Some(project) if project.number != number => {
            Err(SetupError::new(Blocker::ClientInOtherProject {
                number: number.to_owned(),
            }))
        }
        _ => Ok(client),
    }
}

const OPERATOR_INSTRUCTIONS: &str = "Setup signs you in to Google Cloud through an OAuth client of the project, which can \
     only be created in the Google Cloud console. To do without one, stop here, and run setup again with POSTBELL_SETUP_ACCESS_TOKEN \
     as `gcloud auth print-access-token` prints it, and --project ID. On this page:\n\
     1. If it shows \"Get started\": enter the name that your users will see and your address.\n\
     2. Under Clients, create a client of the type \"Desktop app\" and download its JSON.";

fn show_instructions(ctx: &SetupContext) {
    let project = ctx.project_id().or(ctx.request.project.as_deref());
    let mut lines = String::new();
    if project.is_none() {
        lines.push_str("If you have no Google Cloud project yet, create one first: ");
        lines.push_str(&console_page("projectcreate", None));
        lines.push('\n');
    }
    lines.push_str(if ctx.request.is_for_operator {
        OPERATOR_INSTRUCTIONS
    } else {
        INSTRUCTIONS
    });
    ctx.note(&lines);
    if let Ok(page) = Url::parse(&console_page("auth/clients", project)) {
        ctx.open_page(&page);
    }
}

/// A client id without the suffix that all ids share.
pub(super) fn short_id(id: &str) -> &str {
    id.strip_suffix(".apps.googleusercontent.com").unwrap_or(id)
}

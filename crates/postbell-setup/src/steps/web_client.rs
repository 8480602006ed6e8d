//! The OAuth client with which a platform's users connect. The operator creates it, because Google has no API for it.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use postbell_google::OAuthClient;
use postbell_protocol::routes::CONNECT_CALLBACK;
use url::Url;

use super::client::{ATTEMPTS, absolute, short_id};
use crate::context::SetupContext;
use crate::error::{Blocker, Result, SetupError};
use crate::plan::{Plan, Step, UndoOutcome};
use crate::remedy::console_page;
use crate::report::StepId;
use crate::request::Destination;
use crate::ui::Question;

pub(super) struct WebClient;

#[async_trait]
impl Step for WebClient {
    fn id(&self) -> StepId {
        StepId::WebClient
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::Project, StepId::Apis]
    }

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan> {
        let requested = ctx.request.web_client_file.as_deref().map(absolute);
        let saved = ctx.progress.web_client_file.clone();
        let file = requested.or_else(|| saved.filter(|file| file.exists()));
        let Some(file) = file else {
            return Ok(Plan::Change("create it in the console".to_owned()));
        };
        let client = read(ctx, &file)?;
        let detail = format!("{} ({})", short_id(&client.id), file.display());
        ctx.discovered.web_client = Some(client);
        // The path is saved, the content is not.
        ctx.update_progress(|progress| progress.web_client_file = Some(file))?;
        Ok(Plan::UpToDate(detail))
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        show_instructions(ctx)?;
        let question = Question::new(
            "The downloaded file (client_secret_….json)",
            "--web-client FILE",
        );
        let mut attempt = 1;
        loop {
            let file = PathBuf::from(ctx.deps.ui.text(&question).await?.trim());
            match read(ctx, &file) {
                Ok(_) => {
                    ctx.request.web_client_file = Some(file);
                    return Ok(());
                }
                Err(error) if attempt == ATTEMPTS => return Err(error),
                Err(error) => {
                    let page = console_page("auth/clients", ctx.progress.project.as_deref());
                    ctx.note(&format!(
                        "{}. Correct the client at {page}, download its JSON again, and enter the file.",
                        error.problem()
                    ));
                }
            }
            attempt += 1;
        }
    }

    async fn undo(&self, ctx: &mut SetupContext) -> Result<UndoOutcome> {
        let project = ctx.progress.project.clone();
        Ok(match ctx.progress.web_client_file {
            None => UndoOutcome::Nothing,
            Some(_) => UndoOutcome::Kept(format!(
                "you created it: delete it at {}",
                console_page("auth/clients", project.as_deref())
            )),
        })
    }
}

/// The redirect URI of the pages.
fn redirect(ctx: &SetupContext) -> Result<Url> {
    let Some(Destination::Operator { pages, .. }) = &ctx.request.destination else {
        return Err(SetupError::new(Blocker::MissingInput("--pages URL")));
    };
    let joined = pages.join(CONNECT_CALLBACK);
    joined.map_err(|_| SetupError::new(Blocker::MissingInput("--pages URL")))
}

/// Reads a client file. Refuses a client of another project, or without the redirect URI.
fn read(ctx: &SetupContext, file: &Path) -> Result<OAuthClient> {
    let invalid = |problem: String| SetupError::new(Blocker::InvalidWebClient(problem));
    let client = OAuthClient::web_from_file(file, &redirect(ctx)?);
    let client = client.map_err(|error| ctx.error(invalid(error.to_string())))?;
    let number = client.project_number().unwrap_or_default();
    let project = ctx.project()?;
    if project.number != number {
        let file = file.display();
        return Err(ctx.error(invalid(format!(
            "{file} is of project number {number}, and Gmail publishes only to topics of the client's own project"
        ))));
    }
    Ok(client)
}

fn show_instructions(ctx: &SetupContext) -> Result<()> {
    let project = ctx.project()?.id;
    let page = |path: &str| console_page(path, Some(&project));
    let redirect = redirect(ctx)?;
    ctx.note(&format!(
        "Users connect through an OAuth client of yours, which can only be created in the Google Cloud console. In the \
         project {project}:\n\
         1. {} : if it shows \"Get started\", enter the name that your users will see and your address. Choose Internal if all \
         users are in your Google Workspace organization, otherwise External.\n\
         2. {} : add the scope https://www.googleapis.com/auth/gmail.readonly.\n\
         3. {} : while the app is in testing, list each user's address; each permission then ends after seven days. What \
         publishing and verification mean is in docs/operator.md.\n\
         4. {} : create a client of the type \"Web application\". Under \"Authorized redirect URIs\" add exactly\n   \
         {redirect}\n\
         5. Download its JSON.",
        page("auth/overview"),
        page("auth/scopes"),
        page("auth/audience"),
        page("auth/clients/create"),
    ));
    if let Ok(page) = Url::parse(&page("auth/clients/create")) {
        ctx.open_page(&page);
    }
    Ok(())
}

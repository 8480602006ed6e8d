//! The OAuth client whose grant opens the mailbox: made by hand, for Google has no API for it.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use postbell_google::OAuthClient;

use crate::person::Question;
use crate::site::Site;
use crate::step::{Look, Step, StepId, Undone};
use crate::trouble::{Trouble, Wall};

/// How often somebody may name another file.
const TRIES: usize = 5;

pub(super) struct Client {
    /// Whether it is what signs in, too.
    pub(super) is_first: bool,
}

#[async_trait]
impl Step for Client {
    fn id(&self) -> StepId {
        StepId::Client
    }

    fn needs(&self) -> &'static [StepId] {
        if self.is_first {
            &[]
        } else {
            &[StepId::Project, StepId::Apis]
        }
    }

    fn is_first(&self) -> bool {
        self.is_first
    }

    async fn look(&self, site: &mut Site) -> Result<Look, Trouble> {
        let file = given(site);
        let Some(file) = file else {
            return Ok(Look::ToDo("make it in the console, with help".to_owned()));
        };
        let client = read(site, &file)?;
        let detail = format!("{} ({})", short(&client.id), file.display());
        site.known.client = Some(client);
        // Where it is, and not what is in it.
        site.remember(|progress| progress.client_file = Some(file))?;
        Ok(Look::Done(detail))
    }

    async fn apply(&self, site: &mut Site) -> Result<(), Trouble> {
        explain(site);
        let question = Question::new(
            "File that the console has downloaded (client_secret_….json)",
            "--client FILE",
        );
        let mut tries = 0;
        loop {
            let answer = site.ask_text(&question).await?;
            let file = absolute(Path::new(answer.trim()));
            tries += 1;
            match read(site, &file) {
                Ok(_) => {
                    site.wishes.client_file = Some(file);
                    return Ok(());
                }
                Err(trouble) if tries == TRIES => return Err(trouble),
                Err(trouble) => site.note(&trouble.what()),
            }
        }
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        let Some(client) = &site.known.client else {
            return Ok(Undone::Nothing);
        };
        Ok(Undone::Left(format!(
            "it was made by hand: delete {} at https://console.cloud.google.com/auth/clients",
            short(&client.id)
        )))
    }
}

fn given(site: &Site) -> Option<PathBuf> {
    let named = site.wishes.client_file.as_deref().map(absolute);
    // A file that has moved is asked for again.
    let remembered = site.progress.client_file.clone();
    named.or_else(|| remembered.filter(|file| file.exists()))
}

/// The next run may be somewhere else.
fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

/// Reads a client's file, and refuses one of another project than is worked in.
fn read(site: &Site, file: &Path) -> Result<OAuthClient, Trouble> {
    let client = OAuthClient::from_file(file);
    let client = client.map_err(|error| Trouble::new(Wall::ClientFile(error.to_string())))?;
    let number = client.project_number().unwrap_or_default();
    match &site.known.project {
        Some(project) if project.number != number => Err(Trouble::new(Wall::ClientElsewhere {
            number: number.to_owned(),
        })),
        _ => Ok(client),
    }
}

/// Says how a client is made, and leads to the page.
fn explain(site: &Site) {
    let project = match (&site.known.project, &site.wishes.project) {
        (Some(project), _) => Some(project.id.clone()),
        (None, wished) => wished.clone(),
    };
    let mut lines = String::new();
    if project.is_none() {
        lines.push_str(
            "If you have no project in Google Cloud yet, make one first: \
             https://console.cloud.google.com/projectcreate\n",
        );
    }
    lines.push_str(
        "Google lets a program read your mail through an OAuth client, which is made on its own \
         pages and nowhere else. On the page below:\n\
         1. If it says \"Get started\": any app name, your address, audience External (or Internal, \
         where your organisation has Google Workspace).\n\
         2. Under Audience, choose \"Publish app\": in testing, everything ends after seven days. \
         Nothing has to be verified for yourself.\n\
         3. Under Clients, create a client of the type \"Desktop app\" and download its JSON.",
    );
    site.note(&lines);
    let mut page = "https://console.cloud.google.com/auth/clients".to_owned();
    if let Some(project) = project {
        page.push_str("?project=");
        page.push_str(&project);
    }
    super::lead_to(site, &page);
}

/// A client's id without what all of them end with.
fn short(id: &str) -> &str {
    id.strip_suffix(".apps.googleusercontent.com").unwrap_or(id)
}

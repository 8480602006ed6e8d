//! The file with the secret of the web client, which the configuration names.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use postbell_protocol::private_file::write_private;
use secrecy::ExposeSecret;

use crate::context::SetupContext;
use crate::error::{Blocker, Result, SetupError};
use crate::ledger::Resource;
use crate::plan::{Plan, Removal, Step};
use crate::report::StepId;

pub(super) struct ClientSecret;

#[async_trait]
impl Step for ClientSecret {
    fn id(&self) -> StepId {
        StepId::ClientSecret
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::WebClient]
    }

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan> {
        let (file, secret) = wanted(ctx)?;
        let resource = Resource::SecretFile { file: file.clone() };
        let shown = file.display();
        match read(&file)? {
            Some(content) if content.trim() == secret => Ok(Plan::UpToDate(shown.to_string())),
            Some(_) if !ctx.progress.ledger.contains(&resource) => {
                Err(SetupError::new(Blocker::File(format!(
                    "{shown} has other content: name another file with --secret-file"
                ))))
            }
            _ => Ok(Plan::Change(format!("write {shown}, readable only by you"))),
        }
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        let (file, secret) = wanted(ctx)?;
        ctx.record(Resource::SecretFile { file: file.clone() })?;
        write_private(&file, &secret).map_err(|error| failed(&file, &error))
    }

    async fn remove(&self, _: &mut SetupContext, resource: &Resource) -> Result<Removal> {
        let Resource::SecretFile { file } = resource else {
            return Ok(Removal::Gone);
        };
        match fs::remove_file(file) {
            Ok(()) => Ok(Removal::Removed(format!("deleted {}", file.display()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Removal::Gone),
            Err(error) => Err(failed(file, &error)),
        }
    }
}

fn wanted(ctx: &SetupContext) -> Result<(PathBuf, String)> {
    let client = ctx.discovered.web_client.as_ref();
    let client =
        client.ok_or_else(|| SetupError::new(Blocker::MissingInput("--web-client FILE")))?;
    let file = ctx.request.secret_file.clone();
    let file = file.ok_or_else(|| SetupError::new(Blocker::MissingInput("--secret-file FILE")))?;
    Ok((file, client.secret.expose_secret().to_owned()))
}

fn read(file: &Path) -> Result<Option<String>> {
    match fs::read_to_string(file) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(file, &error)),
    }
}

fn failed(file: &Path, error: &std::io::Error) -> SetupError {
    SetupError::new(Blocker::File(format!("{}: {error}", file.display())))
}

//! What opens the mailbox is where the watcher looks: in a local file, or sealed at the platform.

use async_trait::async_trait;
use postbell_google::AuthorizedUser;
use secrecy::ExposeSecret;

use super::LABELS;
use crate::platform::Connection;
use crate::seal::Envelope;
use crate::site::{KnownMailbox, Site};
use crate::step::{Look, Step, StepId, Undone};
use crate::tarball::Packed;
use crate::trouble::{Trouble, Wall};
use crate::wishes::{Destination, platform};

const MADE: &str = "credentials";

pub(super) struct Credentials {
    pub(super) is_local: bool,
}

#[async_trait]
impl Step for Credentials {
    fn id(&self) -> StepId {
        StepId::Credentials
    }

    fn needs(&self) -> &'static [StepId] {
        if self.is_local {
            &[StepId::Mailbox]
        } else {
            // What is sealed says where the watch stands; without one, it would be of no use.
            &[StepId::Mailbox, StepId::Watch, StepId::Account]
        }
    }

    async fn look(&self, site: &mut Site) -> Result<Look, Trouble> {
        let waits = site
            .known
            .mailbox
            .as_ref()
            .filter(|mailbox| !mailbox.is_stored);
        let waits = waits.is_some();
        match (site.wishes.destination.as_ref(), platform(site)) {
            (Some(Destination::Platform { platform: url, .. }), Some(platform)) => {
                let todo = Look::ToDo(format!("seal them for {url}"));
                if waits || !is_connected(site, &platform.connection().await?)? {
                    return Ok(todo);
                }
                Ok(Look::Done(format!("sealed, at {url}")))
            }
            (Some(destination), _) => {
                let file = destination.credentials();
                let file = file.map(|file| file.display().to_string());
                let file = file.unwrap_or_default();
                Ok(if waits {
                    Look::ToDo(format!("write {file}, for you alone"))
                } else {
                    Look::Done(file)
                })
            }
            (None, _) => Err(Trouble::new(Wall::Unattended(
                "--platform, --pull or --serve",
            ))),
        }
    }

    async fn apply(&self, site: &mut Site) -> Result<(), Trouble> {
        let mailbox = site.mailbox()?;
        site.making(MADE)?;
        if self.is_local {
            write(site, &mailbox.user)?;
        } else {
            send(site, &mailbox).await?;
        }
        if let Some(mailbox) = &mut site.known.mailbox {
            mailbox.is_stored = true;
        }
        Ok(())
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        if !site.is_ours(MADE) {
            return Ok(Undone::Nothing);
        }
        let removed = if let Some(platform) = platform(site) {
            platform.disconnect().await?;
            "the platform has forgotten the account".to_owned()
        } else {
            // Who takes the grant back needs it once more.
            let _ = super::mailbox::load(site);
            remove(site)?
        };
        site.not_ours(MADE)?;
        Ok(Undone::Removed(removed))
    }
}

/// Whether the platform has the account that is wanted, with our client and our push account.
pub(super) fn is_connected(site: &Site, connection: &Connection) -> Result<bool, Trouble> {
    let wanted = site.wishes.mailbox.as_ref().map(|address| address.as_str());
    let is = |has: Option<&str>, wanted: Option<&str>| match (has, wanted) {
        (Some(has), Some(wanted)) => has.eq_ignore_ascii_case(wanted),
        _ => false,
    };
    let client = site.known.client.as_ref().map(|client| client.id.as_str());
    let sent = site.progress.connected_client.as_deref();
    // Whoever has set it up elsewhere has done it with a client that we cannot know.
    let same_client = sent.is_none() || client.is_none() || sent == client;
    let push_account = site.account_email()?;
    Ok(connection.google_connected
        && is(connection.email.as_deref(), wanted)
        && is(
            connection.gmail_push_oidc_email.as_deref(),
            Some(&push_account),
        )
        && same_client)
}

fn write(site: &Site, user: &AuthorizedUser) -> Result<(), Trouble> {
    let file = site
        .wishes
        .destination
        .as_ref()
        .and_then(Destination::credentials);
    let Some(file) = file else {
        return Ok(());
    };
    user.write(file).map_err(|error| {
        let problem = format!("{} cannot be written: {error}", file.display());
        Trouble::new(Wall::File(problem))
    })
}

fn remove(site: &Site) -> Result<String, Trouble> {
    let file = site
        .wishes
        .destination
        .as_ref()
        .and_then(Destination::credentials);
    let Some(file) = file else {
        return Ok(String::new());
    };
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let problem = format!("{} cannot be removed: {error}", file.display());
            Err(Trouble::new(Wall::File(problem)))
        }
        _ => Ok(format!("deleted {}", file.display())),
    }
}

/// Seals what opens the mailbox for the platform, and sends it.
async fn send(site: &mut Site, mailbox: &KnownMailbox) -> Result<(), Trouble> {
    let Some(platform) = platform(site) else {
        return Ok(());
    };
    let topic = site.topic()?;
    let packed = Packed {
        mailbox: mailbox.address.as_str(),
        user: &mailbox.user,
        topic: &topic,
        labels: &LABELS,
        watch: site.known.watch,
        now: site.tools.clock.now(),
    };
    let random = &site.tools.random;
    let tarball = packed.tarball(random).map_err(|error| {
        Trouble::new(Wall::File(format!(
            "the credentials cannot be packed: {error}"
        )))
    })?;
    let public_key = platform.public_key().await?;
    let envelope = Envelope::seal(tarball.expose_secret().as_bytes(), &public_key, random)?;
    let push_account = site.account_email()?;
    let connection = platform
        .connect(&envelope, mailbox.address.as_str(), &push_account)
        .await?;
    if connection.restart_failed {
        site.note(
            "The platform has the credentials, but could not restart the machine with them: restart \
             it, or ask the operator to.",
        );
    }
    let client = mailbox.user.client_id.clone();
    site.remember(|progress| progress.connected_client = Some(client))
}

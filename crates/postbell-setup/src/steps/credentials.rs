//! What opens the mailbox is where the watcher looks: in a local file, or sealed at the platform.

use std::io;
use std::path::Path;

use async_trait::async_trait;
use postbell_google::{AuthorizedUser, Credentials as Stored, CredentialsError};
use postbell_protocol::api::ConnectionStatus;
use postbell_protocol::credential_envelope::CredentialEnvelope;
use postbell_protocol::gog_keyring::GogCredentials;
use postbell_protocol::tarball;
use postbell_protocol::watch_state::WatchState;
use secrecy::ExposeSecret;
use url::Url;

use super::LABELS;
use crate::made::Made;
use crate::platform::Platform;
use crate::progress::DestinationNote;
use crate::site::{KnownMailbox, Site};
use crate::step::{Look, Step, StepId, Undone};
use crate::trouble::{Trouble, Wall};
use crate::wishes::{Destination, platform, user_token};

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
        if self.is_local {
            write(site, &mailbox)?;
        } else {
            send(site, &mailbox).await?;
        }
        if let Some(mailbox) = &mut site.known.mailbox {
            mailbox.is_stored = true;
        }
        Ok(())
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        let (mut removed, mut left) = (Vec::new(), Vec::new());
        for made in site.made_by(self.id()) {
            match &made {
                Made::Credentials { file } => remove(file, &mut removed, &mut left)?,
                Made::Connection { platform, user } if self.has_token_of(site, platform, user) => {
                    let token = user_token(site).await?;
                    let client = site.tools.client.clone();
                    let at = Platform::new(client, platform.clone(), token);
                    at.disconnect().await?;
                    removed.push(format!("{platform} has forgotten the account"));
                }
                Made::Connection { platform, user } => left.push(format!(
                    "{platform} still has what was connected there for {user}, who alone can \
                     disconnect it"
                )),
                _ => continue,
            }
            site.not_ours(&made)?;
        }
        site.remember(|progress| progress.connected_client = None)?;
        Ok(Undone::of(&removed, &left))
    }
}

/// Whether the platform has the account that is wanted, with our client and our push account.
pub(super) fn is_connected(site: &Site, connection: &ConnectionStatus) -> Result<bool, Trouble> {
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

impl Credentials {
    /// Whether the user's token is for this user of this platform: it is for the one that is
    /// remembered, or for the only one there is.
    fn has_token_of(&self, site: &Site, platform: &Url, user: &str) -> bool {
        let is_it = |note: &DestinationNote| {
            matches!(note, DestinationNote::Platform { platform: at, user: who, .. }
                if at == platform && who == user)
        };
        let connections = site.made_by(self.id()).into_iter();
        let connections = connections.filter(|made| matches!(made, Made::Connection { .. }));
        connections.count() == 1 || site.progress.destination.as_ref().is_some_and(is_it)
    }
}

/// Writes the file that opens the mailbox. What it held before opens nothing any more.
fn write(site: &mut Site, mailbox: &KnownMailbox) -> Result<(), Trouble> {
    let key = site.key(&mailbox.address, &mailbox.user.client_id);
    let Some(file) = key.file.clone() else {
        return Ok(());
    };
    stored(&file, &key.mailbox)?;
    site.remember(|progress| {
        let made = std::mem::take(&mut progress.made).into_iter();
        progress.made = made.map(|made| made.after_writing(&file, &key)).collect();
        progress
            .made
            .insert(Made::Credentials { file: file.clone() });
    })?;
    mailbox.user.write(&file).map_err(|error| {
        let problem = format!("{} cannot be written: {error}", file.display());
        Trouble::new(Wall::File(problem))
    })
}

/// What a file says of a user's consent; nothing, where there is no file.
///
/// # Errors
///
/// [`Trouble`] where it holds something else: that is left alone.
pub(super) fn stored(file: &Path, mailbox: &str) -> Result<Option<AuthorizedUser>, Trouble> {
    let problem = match Stored::from_file(file, mailbox) {
        Ok(Stored::AuthorizedUser(user)) => return Ok(Some(user)),
        Err(CredentialsError::Unreadable { source, .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            return Ok(None);
        }
        Err(CredentialsError::Unreadable { source, .. }) => format!("cannot be read: {source}"),
        _ => {
            "holds something else than a user's consent, and is left alone: name another file with \
              --credentials"
                .to_owned()
        }
    };
    Err(Trouble::new(Wall::File(format!(
        "{} {problem}",
        file.display()
    ))))
}

fn remove(file: &Path, removed: &mut Vec<String>, left: &mut Vec<String>) -> Result<(), Trouble> {
    if stored(file, "").is_err() {
        left.push(format!("{} holds something else by now", file.display()));
        return Ok(());
    }
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let problem = format!("{} cannot be removed: {error}", file.display());
            Err(Trouble::new(Wall::File(problem)))
        }
        _ => {
            removed.push(format!("deleted {}", file.display()));
            Ok(())
        }
    }
}

/// Seals what opens the mailbox for the platform, and sends it.
async fn send(site: &mut Site, mailbox: &KnownMailbox) -> Result<(), Trouble> {
    let (
        Some(platform),
        Some(DestinationNote::Platform {
            platform: url,
            user,
            ..
        }),
    ) = (platform(site), site.progress.destination.clone())
    else {
        return Ok(());
    };
    let topic = site.topic()?;
    let AuthorizedUser {
        client_id,
        client_secret,
        refresh_token,
    } = mailbox.user.clone();
    let credentials = GogCredentials {
        client_id,
        client_secret,
        refresh_token,
    };
    let expires = site
        .known
        .watch
        .map_or(0, |watch| watch.expiration.as_millis());
    let state = WatchState {
        account: mailbox.address.as_str().to_owned(),
        topic,
        labels: LABELS.map(str::to_owned).to_vec(),
        history_id: site.known.watch.map(|watch| watch.history_id),
        expiration_ms: expires,
        provider_expiration_ms: expires,
        updated_at_ms: site.tools.clock.now().as_millis(),
        ..WatchState::default()
    };
    let random = &site.tools.random;
    let tarball = tarball::pack(&credentials, &state, random).map_err(|error| {
        Trouble::new(Wall::Bug(format!(
            "the credentials cannot be packed: {error}"
        )))
    })?;
    let public_key = platform.public_key().await?;
    let content = tarball.expose_secret().as_bytes();
    let envelope = CredentialEnvelope::seal(content, &public_key, random).map_err(|_| {
        let problem = "the platform's public key is none: expected RSA, as SPKI in PEM";
        Trouble::new(Wall::PlatformKey(problem))
    })?;
    let push_account = site.account_email()?;
    site.making(&Made::Connection {
        platform: url,
        user,
    })?;
    let connection = platform
        .connect(envelope, mailbox.address.as_str(), &push_account)
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

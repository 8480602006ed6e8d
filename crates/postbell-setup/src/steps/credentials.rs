//! The watcher's credentials: a local file, or an encrypted envelope for the platform.

use async_trait::async_trait;
use postbell_core::{EmailAddress, HistoryId};
use postbell_protocol::api::ConnectionStatus;
use postbell_protocol::credential_envelope::CredentialEnvelope;
use postbell_protocol::gog_keyring::GogCredentials;
use postbell_protocol::tarball;
use postbell_protocol::watch_state::WatchState;
use secrecy::ExposeSecret;
use url::Url;

use super::credentials_file;
use crate::ask::{require_token_of, user_token};
use crate::context::{MailboxAccess, SetupContext};
use crate::error::{Blocker, Result, SetupError};
use crate::ledger::Resource;
use crate::plan::{Plan, Removal, Step};
use crate::platform::PlatformClient;
use crate::progress::{Progress, SavedDestination};
use crate::report::StepId;
use crate::request::Destination;
use crate::watch_states::WATCH_LABELS;

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
            // The envelope contains the state of the watch.
            &[StepId::Mailbox, StepId::Watch, StepId::Account]
        }
    }

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan> {
        let mailbox = ctx.discovered.mailbox.as_ref();
        let has_new_grant = mailbox.is_some_and(|mailbox| !mailbox.is_stored);
        match (ctx.request.destination.as_ref(), ctx.platform()) {
            (Some(Destination::Platform { platform: url, .. }), Some(platform)) => {
                let change = Plan::Change(format!("encrypt them for {url}"));
                if has_new_grant || !is_connected(ctx, &platform.connection(&ctx.request).await?)? {
                    return Ok(change);
                }
                Ok(Plan::UpToDate(format!("encrypted, at {url}")))
            }
            (Some(_), _) => {
                let file = ctx.request.credentials_file();
                let file = file.map(|file| file.display().to_string());
                let file = file.unwrap_or_default();
                Ok(if has_new_grant {
                    Plan::Change(format!("write {file}, readable only by you"))
                } else {
                    Plan::UpToDate(file)
                })
            }
            (None, _) => Err(SetupError::new(Blocker::MissingInput(
                "--platform, --pull or --serve",
            ))),
        }
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        let mailbox = ctx.mailbox()?;
        if self.is_local {
            write_file(ctx, &mailbox)?;
        } else {
            send_to_platform(ctx, &mailbox).await?;
        }
        if let Some(mailbox) = &mut ctx.discovered.mailbox {
            mailbox.is_stored = true;
        }
        Ok(())
    }

    async fn remove(&self, ctx: &mut SetupContext, resource: &Resource) -> Result<Removal> {
        match resource {
            Resource::Credentials { file } if credentials_file::remove(file)? => {
                Ok(Removal::Removed(format!("deleted {}", file.display())))
            }
            Resource::Credentials { file } => Ok(Removal::Abandoned(format!(
                "{} has other content",
                file.display()
            ))),
            Resource::Connection {
                platform,
                user,
                mailbox,
                ..
            } if has_token_for(ctx, resource) => {
                disconnect(ctx, platform, user, mailbox.as_deref()).await
            }
            Resource::Connection { platform, user, .. } => Ok(Removal::Abandoned(format!(
                "{platform} keeps the credentials of {user}, who has to disconnect them there"
            ))),
            _ => Ok(Removal::Gone),
        }
    }

    fn forget(&self, progress: &mut Progress) {
        progress.connected_client = None;
    }
}

fn is_same_mailbox(wanted: Option<&EmailAddress>, actual: Option<&str>) -> bool {
    let both = wanted.zip(actual);
    both.is_some_and(|(wanted, actual)| wanted.is_same_mailbox(actual))
}

/// Whether the platform has the requested account, with this OAuth client and push account.
pub(super) fn is_connected(ctx: &SetupContext, connection: &ConnectionStatus) -> Result<bool> {
    let is_same = |actual: Option<&str>, wanted: &str| {
        !wanted.is_empty() && actual.is_some_and(|actual| actual.eq_ignore_ascii_case(wanted))
    };
    let client = ctx.discovered.client.as_ref();
    let client = client.map(|client| client.id.as_str());
    let sent = ctx.progress.connected_client.as_deref();
    // The client of a connection from another machine is unknown.
    let is_same_client = sent.is_none() || client.is_none() || sent == client;
    let push_account = ctx.push_account_email()?;
    Ok(connection.google_connected
        && is_same_mailbox(ctx.request.mailbox.as_ref(), connection.email.as_deref())
        && is_same(connection.gmail_push_oidc_email.as_deref(), &push_account)
        && is_same_client)
}

/// Whether the user token is for the user of this connection: the saved destination's, or the only user with
/// connections in the ledger.
fn has_token_for(ctx: &SetupContext, connection: &Resource) -> bool {
    let is_saved = matches!(
        (&ctx.progress.destination, connection),
        (
            Some(SavedDestination::Platform { platform: saved, user: saved_user, .. }),
            Resource::Connection { platform, user, .. },
        ) if saved == platform && saved_user == user
    );
    let resources = ctx.progress.ledger.iter();
    let mut connections =
        resources.filter(|resource| matches!(resource, Resource::Connection { .. }));
    is_saved || connections.all(|other| other.is_of_same_user(connection))
}

/// Disconnects the account of a mailbox. One that an earlier version connected may be that of any mailbox: only if undo
/// is about all of them, its address does not matter.
async fn disconnect(
    ctx: &SetupContext,
    platform: &Url,
    user: &str,
    mailbox: Option<&str>,
) -> Result<Removal> {
    let token = user_token(ctx).await?;
    if let Ok(user) = user.parse() {
        require_token_of(&user, &token)?;
    }
    let client = ctx.deps.google.client.clone();
    let client = PlatformClient::new(client, platform.clone(), token);
    let undone = ctx.request.mailbox.as_ref().map(EmailAddress::as_str);
    Ok(match (mailbox.or(undone), mailbox) {
        (of, _) if client.disconnect(of).await? => {
            Removal::Removed(format!("disconnected the account from {platform}"))
        }
        (Some(undone), None) if !ctx.kept.is_empty() => Removal::Kept(format!(
            "{undone} is not the account of {user} at {platform}"
        )),
        _ => Removal::Gone,
    })
}

/// Writes the credentials file. A grant that it contained before is lost.
fn write_file(ctx: &mut SetupContext, mailbox: &MailboxAccess) -> Result<()> {
    let key = ctx.credential_key(&mailbox.address, &mailbox.user.client_id);
    let Some(file) = key.file.clone() else {
        return Ok(());
    };
    credentials_file::read(&file, &key.mailbox)?;
    ctx.update_progress(|progress| progress.ledger.record_credentials(&file, &key))?;
    credentials_file::write(&file, &mailbox.user)
}

/// Encrypts the credentials for the platform and sends them.
async fn send_to_platform(ctx: &mut SetupContext, mailbox: &MailboxAccess) -> Result<()> {
    let (Some(client), Some(SavedDestination::Platform { platform, user, .. })) =
        (ctx.platform(), ctx.progress.destination.clone())
    else {
        return Ok(());
    };
    let envelope = encrypt(ctx, mailbox, &client).await?;
    let push_account = ctx.push_account_email()?;
    let is_further = ctx.request.is_further();
    let address = mailbox.address.as_str();
    let connected = Resource::Connection {
        platform,
        user,
        mailbox: Some(address.to_owned()),
        is_first: !is_further,
    };
    ctx.record(connected.clone())?;
    let connection = client
        .connect(envelope, address, &push_account, is_further)
        .await?;
    if connection.restart_failed {
        ctx.note(
            "The platform has stored the credentials, but could not restart the machine: restart it, \
             or ask the operator to do so.",
        );
    }
    let client = mailbox.user.client_id.clone();
    ctx.update_progress(|progress| {
        progress.connected_client = Some(client);
        if !is_further {
            progress.ledger.record_first_account(&connected);
        }
    })
}

/// Where delivery on a machine without a state begins: at the new watch or, if this mailbox was connected
/// before, at the platform's last delivery. The mails of the time without a grant are between the two.
fn first_position(
    connected: &ConnectionStatus,
    mailbox: &EmailAddress,
    watch: HistoryId,
) -> HistoryId {
    let is_same = is_same_mailbox(Some(mailbox), connected.email.as_deref());
    let delivered = connected.gmail_last_history_id.as_ref().filter(|_| is_same);
    let delivered = delivered.and_then(|id| id.as_ref()?.parse().ok());
    delivered.map_or(watch, |delivered: HistoryId| delivered.min(watch))
}

async fn encrypt(
    ctx: &SetupContext,
    mailbox: &MailboxAccess,
    platform: &PlatformClient,
) -> Result<CredentialEnvelope> {
    let user = mailbox.user.clone();
    let credentials = GogCredentials {
        client_id: user.client_id,
        client_secret: user.client_secret,
        refresh_token: user.refresh_token,
    };
    let watch = ctx.discovered.watch;
    let expires = watch.map_or(0, |watch| watch.expiration.as_millis());
    let connected = platform.connection(&ctx.request).await?;
    let begins = watch.map(|watch| first_position(&connected, &mailbox.address, watch.history_id));
    let state = WatchState {
        account: mailbox.address.as_str().to_owned(),
        topic: ctx.topic()?,
        labels: WATCH_LABELS.map(str::to_owned).to_vec(),
        history_id: begins,
        expiration_ms: expires,
        provider_expiration_ms: expires,
        updated_at_ms: ctx.deps.google.clock.now().as_millis(),
        ..WatchState::default()
    };
    let random = &ctx.deps.random;
    let tarball = tarball::pack(&credentials, &state, random).map_err(|error| {
        let problem = format!("the credentials cannot be packed: {error}");
        SetupError::new(Blocker::Internal(problem))
    })?;
    let public_key = platform.public_key().await?;
    let content = tarball.expose_secret().as_bytes();
    CredentialEnvelope::encrypt(content, &public_key, random).map_err(|_| {
        let problem = "the platform's public key is invalid: expected RSA, as SPKI in PEM";
        SetupError::new(Blocker::PlatformKey(problem))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_that_is_connected_again_begins_at_its_last_delivery() {
        let mailbox = "first.last@gmail.com".parse().unwrap();
        let begins = |email: Option<&str>, delivered: Option<Option<&str>>| {
            let connected = ConnectionStatus {
                email: email.map(str::to_owned),
                gmail_last_history_id: delivered.map(|id| id.map(str::to_owned)),
                ..ConnectionStatus::default()
            };
            first_position(&connected, &mailbox, HistoryId::new(1000)).get()
        };
        assert_eq!(begins(Some("firstlast@gmail.com"), Some(Some("900"))), 900);
        assert_eq!(
            begins(Some("first.last@gmail.com"), Some(Some("1001"))),
            1000
        );
        for delivered in [None, Some(None), Some(Some("?"))] {
            assert_eq!(begins(Some("first.last@gmail.com"), delivered), 1000);
        }
        assert_eq!(begins(Some("bob@gmail.com"), Some(Some("900"))), 1000);
        assert_eq!(begins(None, Some(Some("900"))), 1000);
    }
}

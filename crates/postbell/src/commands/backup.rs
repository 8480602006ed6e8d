//! `postbell backup` and `postbell restore`

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use postbell_core::{Clock, UserId, printable};
use postbell_store::{Backup, BackupError, NamedKey, Restored, fingerprint};
use serde_json::json;

use super::table;
use crate::cli::{BackupArgs, RestoreArgs, StoreArgs, StoreKey};
use crate::config::{BadSetting, Config, StoreUrl};
use crate::console::Console;

/// Writes a snapshot of the store to a file.
pub(crate) fn backup(
    args: &BackupArgs,
    console: &Console,
    config: &Config,
    clock: &dyn Clock,
) -> anyhow::Result<ExitCode> {
    let (key, url) = store(&args.store, config)?;
    let keys = named_keys(config);
    let made = postbell_store::backup(url.expose(), &args.file, &keys, clock.now());
    let made = match made {
        Err(BackupError::Postgres) => bail!(BadSetting::new(format!(
            "{key} is in PostgreSQL, so use its own program: pg_dump --format=custom --file={} {url} \
             (docs/operate.md)",
            args.file.display()
        ))),
        Err(error) if !is_of_store(&error) => return Err(error.into()),
        made => made.with_context(|| format!("{key} {url}"))?,
    };
    if !made.left_out.is_empty() {
        console.error(&format!(
            "warning: these triggers and views of the store are not Postbell's and not in the backup: {}",
            made.left_out.join(", ")
        ));
    }
    if args.store.json {
        console.data(&as_json(&made).to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    console.data(&format!(
        "Wrote {}: {} users, schema version {}, {} bytes.",
        args.file.display(),
        made.users,
        made.schema_version,
        made.bytes
    ))?;
    for storage_key in &made.storage_keys {
        console.data(&format!(
            "It contains secrets that are encrypted with {}, fingerprint {storage_key}. Keep that key elsewhere: \
             without it, restore refuses this file.",
            holder(storage_key, config)
        ))?;
    }
    for other in &made.others {
        console.data(&format!(
            "Made with {}, fingerprint {}.",
            other.name, other.fingerprint
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts a backup in the place of the store.
pub(crate) fn restore(
    args: &RestoreArgs,
    console: &Console,
    config: &Config,
    clock: &dyn Clock,
) -> anyhow::Result<ExitCode> {
    let (key, url) = store(&args.store, config)?;
    let ring = config.platform.key_ring().ok();
    let (file, now) = (&args.file, clock.now());
    let restored = postbell_store::restore(file, url.expose(), ring.as_ref(), args.replace, now);
    let restored = match restored {
        Err(BackupError::Postgres) => bail!(BadSetting::new(format!(
            "{key} is in PostgreSQL, so use its own program: pg_restore --dbname={url} FILE (docs/operate.md)"
        ))),
        Err(error @ BackupError::Exists(_)) if !args.replace => {
            bail!("{error}; --replace puts the backup in its place, and keeps what was there");
        }
        Err(error) if !is_of_store(&error) => return Err(error.into()),
        restored => restored.with_context(|| format!("{} to {key} {url}", args.file.display()))?,
    };
    let made = &restored.backup;
    let now = named_keys(config);
    let changed: Vec<_> = made
        .others
        .iter()
        .filter(|then| !now.contains(then))
        .collect();
    if args.store.json {
        let names: Vec<_> = changed.iter().map(|key| &key.name).collect();
        let mut shown = restored_as_json(&restored);
        shown["changedSecrets"] = json!(names);
        console.data(&shown.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    console.data(&format!(
        "Restored {url} as it was at {}: {} users, schema version {}.",
        table::time(made.made_at),
        made.users,
        made.schema_version
    ))?;
    if let Some(replaced) = &restored.replaced {
        console.data(&format!(
            "The store that was there is {} now.",
            replaced.display()
        ))?;
    }
    for NamedKey { name, fingerprint } in changed {
        console.error(&format!(
            "warning: {name} is not the one of the backup, which has the fingerprint {fingerprint}: {}",
            consequence(name)
        ));
    }
    if made.users > 0 || !restored.tokens.is_empty() {
        console
            .data("Every session has ended, and the sign-in links of the backup are dropped.")?;
        warn_of_access(&restored, console);
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether an error is about the store, and does not name the file that it is about.
const fn is_of_store(error: &BackupError) -> bool {
    !matches!(
        error,
        BackupError::Exists(_)
            | BackupError::NoFolder(_)
            | BackupError::LinkOfOther(_)
            | BackupError::BeingWritten(_)
            | BackupError::File(..)
    )
}

/// Names what is valid again although it was ended after the backup, or may have been.
fn warn_of_access(restored: &Restored, console: &Console) {
    let made_at = table::time(restored.backup.made_at);
    match &restored.ended {
        None => console.error(&format!(
            "warning: what ended access after {made_at} is not known: end again what must not have it (keys, sandbox ids, \
             users)"
        )),
        Some(ended) if ended.is_empty() => (),
        Some(ended) => {
            let ended = ended.iter().map(|entry| {
                let user = entry.user.as_ref().map(UserId::as_str).unwrap_or_default();
                let words = [&*entry.action, user, &entry.detail];
                let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
                format!("\n  {}  {}", table::time(entry.at), printable(&words.join(" ")))
            });
            console.error(&format!(
                "warning: the store that was there had these changes since the backup, which are undone. Repeat those \
                 that ended access:{}",
                ended.collect::<String>()
            ));
        }
    }
    if !restored.tokens.is_empty() {
        let tokens = restored.tokens.iter().map(|token| {
            let of = token.user.as_ref().map_or("key", |_| "token");
            format!("\n  {of} {} {}", token.id, printable(&token.name))
        });
        console.error(&format!(
            "warning: these API keys and tokens are valid in the restored store, also if they were revoked after the \
             backup (postbell keys revoke):{}",
            tokens.collect::<String>()
        ));
    }
}

fn restored_as_json(restored: &Restored) -> serde_json::Value {
    let mut shown = as_json(&restored.backup);
    let replaced = restored.replaced.as_deref().map(Path::display);
    shown["replaced"] = json!(replaced.map(|it| it.to_string()));
    let tokens = restored.tokens.iter();
    let tokens = tokens.map(|it| json!({ "id": it.id.as_str(), "name": it.name, "user": it.user }));
    shown["validTokens"] = json!(tokens.collect::<Vec<_>>());
    let ended = restored.ended.as_ref().map(|entries| {
        let entries = entries.iter().map(
            |it| json!({ "at": it.at, "action": it.action, "user": it.user, "detail": it.detail }),
        );
        entries.collect::<Vec<_>>()
    });
    shown["changesSince"] = json!(ended);
    shown
}

fn as_json(backup: &Backup) -> serde_json::Value {
    let others = backup.others.iter();
    let others = others.map(|key| json!({ "name": key.name, "fingerprint": key.fingerprint }));
    json!({
        "madeAt": backup.made_at,
        "schemaVersion": backup.schema_version,
        "bytes": backup.bytes,
        "users": backup.users,
        "storageKeys": backup.storage_keys,
        "secrets": others.collect::<Vec<_>>(),
    })
}

/// The store that the arguments mean.
fn store<'a>(args: &StoreArgs, config: &'a Config) -> anyhow::Result<(&'static str, &'a StoreUrl)> {
    let (inbox, users) = (&config.relay.inbox, &config.platform.store);
    let is_one = inbox == users;
    let has_relay = config.relay.audience.is_some() || config.directory.is_some();
    match args.store {
        Some(StoreKey::Inbox) => Ok(("relay.inbox", inbox)),
        Some(StoreKey::Platform) => Ok(("platform.store", users)),
        None if is_one || !config.platform.is_configured() => Ok(("relay.inbox", inbox)),
        None if !has_relay => Ok(("platform.store", users)),
        None => bail!(BadSetting::new(
            "expected --store relay.inbox or --store platform.store, which are two stores: back up both".to_owned()
        )),
    }
}

/// The secrets that a restored store needs beside its storage keys.
fn named_keys(config: &Config) -> Vec<NamedKey> {
    let secrets = [
        ("platform.gateway_secret", &config.platform.gateway_secret),
        ("platform.private_key", &config.platform.private_key),
        ("relay.url_token_secret", &config.relay.url_token_secret),
    ];
    let set = secrets.into_iter().filter_map(|(name, secret)| {
        Some(NamedKey {
            name: name.to_owned(),
            fingerprint: fingerprint(secret.as_ref()?),
        })
    });
    set.collect()
}

/// The configured secret with a fingerprint.
fn holder(id: &str, config: &Config) -> String {
    let keys = config.platform.storage_keys.iter();
    match keys.map(fingerprint).position(|other| other == id) {
        Some(place) => format!("key {} of platform.storage_keys", place + 1),
        None => match &config.platform.gateway_secret {
            Some(secret) if fingerprint(secret) == id => "platform.gateway_secret".to_owned(),
            _ => "a key that is not configured".to_owned(),
        },
    }
}

/// What follows if a secret is another one.
fn consequence(name: &str) -> &'static str {
    match name {
        "platform.gateway_secret" => "the machines' tokens are others, so deliveries are refused",
        "platform.private_key" => "setup that has fetched the old public key must run again",
        _ => "the push URLs of the users are others",
    }
}

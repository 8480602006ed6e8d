//! `postbell config init`: a configuration for `postbell serve`, with its secrets in files.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use postbell_protocol::credential_envelope::PlatformKey;
use secrecy::{ExposeSecret, SecretString};
use toml::Value;

use super::super::setup::random;
use crate::cli::InitArgs;
use crate::config::{Config, Env};
use crate::console::Console;

/// The configuration file, unless `--config` names another one.
const DEFAULT_FILE: &str = "postbell.toml";

/// The folder of the secrets, beside the configuration file. The units in `deploy/systemd` read them there.
const SECRETS_FOLDER: &str = "credentials";

/// The file of each secret is named like its variable, as credentials of the service manager are.
const API_KEY: &str = "POSTBELL_PLATFORM__API_KEY";
const GATEWAY_SECRET: &str = "POSTBELL_PLATFORM__GATEWAY_SECRET";
const PRIVATE_KEY: &str = "POSTBELL_PLATFORM__PRIVATE_KEY";

/// Where packages keep the configuration, and systemd its service's data.
const SYSTEM_FOLDER: &str = "/etc/postbell";
const SYSTEM_DATA: &str = "/var/lib/postbell";

/// Writes the configuration file and its secrets. Overwrites nothing.
pub(super) fn run(args: &InitArgs, console: &Console, env: &Env) -> anyhow::Result<()> {
    let file = env.named_file().unwrap_or(Path::new(DEFAULT_FILE));
    let file = std::path::absolute(file).context("cannot find the current folder")?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let data = match &args.data {
        Some(data) => std::path::absolute(data).context("--data")?,
        None if folder == Path::new(SYSTEM_FOLDER) => PathBuf::from(SYSTEM_DATA),
        None => folder.to_owned(),
    };
    let text = configuration(args, &data)?;
    let files = [
        (folder.join(SECRETS_FOLDER).join(API_KEY), random_secret()),
        (
            folder.join(SECRETS_FOLDER).join(GATEWAY_SECRET),
            random_secret(),
        ),
        (
            folder.join(SECRETS_FOLDER).join(PRIVATE_KEY),
            PlatformKey::generate()?,
        ),
    ];
    check(&text, &file, &files)?;
    create_folder(folder, 0o755)?;
    create_folder(&folder.join(SECRETS_FOLDER), 0o700)?;
    create_folder(&data, 0o700)?;
    // The configuration comes last: if it exists, its secrets do.
    for (path, secret) in &files {
        write_new(path, secret.expose_secret(), 0o600)?;
    }
    write_new(&file, &text, 0o644)?;
    for path in files.iter().map(|(path, _)| path).chain([&file]) {
        console.data(&path.display().to_string())?;
    }
    console.error(&format!(
        "Back up {}: the tokens of machines and users, and the stored credentials, depend on it.\n\
         Next: postbell serve --config {}",
        folder.join(SECRETS_FOLDER).display(),
        file.display()
    ));
    Ok(())
}

/// Refuses values that `postbell serve` would refuse, before anything is written.
fn check(text: &str, file: &Path, files: &[(PathBuf, SecretString)]) -> anyhow::Result<()> {
    for path in files.iter().map(|(path, _)| &**path).chain([file]) {
        anyhow::ensure!(
            !path
                .try_exists()
                .with_context(|| path.display().to_string())?,
            "{} exists: nothing was written. Use that configuration, or name a file in another folder with \
             --config: each has its secrets beside it",
            path.display()
        );
    }
    let read = |path: &Path| match files.iter().find(|(named, _)| named == path) {
        Some((_, secret)) => Ok(secret.expose_secret().to_owned()),
        None => Err("not a file of this configuration".to_owned()),
    };
    Config::parse(text, file, &[], &read)?.check()?;
    Ok(())
}

/// Returns 256 random bits as hex digits.
fn random_secret() -> SecretString {
    let mut bytes = [0; 32];
    random(&mut bytes);
    format!("{}\n", hex::encode(bytes)).into()
}

fn create_folder(folder: &Path, mode: u32) -> anyhow::Result<()> {
    let mut builder = DirBuilder::new();
    let created = builder.recursive(true).mode(mode).create(folder);
    created.with_context(|| format!("cannot create {}", folder.display()))
}

/// Creates a file with this content, on disk when it returns.
fn write_new(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    let write = |mut file: File| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    created
        .and_then(write)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Returns the configuration file: what `serve` needs, and what most people change.
fn configuration(args: &InitArgs, data: &Path) -> anyhow::Result<String> {
    let store = data.join("postbell.db");
    let store = store
        .to_str()
        .context("expected a folder in UTF-8 in --data")?;
    let store = quoted(&format!("sqlite:{store}"));
    let audience = quoted(args.audience.as_str().trim_end_matches('/'));
    let url = match &args.url {
        Some(url) => format!("url = {}", quoted(url.as_str().trim_end_matches('/'))),
        None => "# url = \"https://bell.example.com\"".to_owned(),
    };
    let secret = |name: &str| quoted(&format!("{SECRETS_FOLDER}/{name}"));
    let (api_key, gateway_secret, private_key) =
        (secret(API_KEY), secret(GATEWAY_SECRET), secret(PRIVATE_KEY));
    Ok(format!(
        r#"# Configuration for `postbell serve`. `postbell config example` prints every key with its default, and
# `postbell config check` reports errors. Paths of secrets are relative to this file.

[relay]
# Public base URL of the relay. Google pushes to it, over HTTPS: put a reverse proxy in front of `listen`.
audience = {audience}
listen = "127.0.0.1:8080"
# The database of the delivery queue.
inbox = {store}
# Hosts that deliveries may go to, such as "bot.example.com" and "*.fly.dev". Empty allows every host.
machine_hosts = []

[platform]
# Public base URL of the web pages. Default: http:// and the address in `listen`, if that is one of this machine
# with a port: it must be set for a unix socket, for systemd: and for all addresses.
{url}
listen = "127.0.0.1:8081"
# The database of the users.
store = {store}
# The API key of relays and other internal clients.
api_key_file = {api_key}
# The tokens of machines and users are derived from this secret, and it encrypts the stored credentials.
# Without it they cannot be read.
gateway_secret_file = {gateway_secret}
# The RSA key that decrypts the credentials that users send.
private_key_file = {private_key}
"#
    ))
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

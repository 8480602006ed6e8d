//! `postbell watch install` and `uninstall`: the watcher as a service of the user.

mod call;
mod given;
mod launchd;
mod systemd;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use postbell_core::Clock;
use postbell_protocol::watch_state::StateFile;

use self::call::Call;
use self::given::Given;
use super::account::{self, Account};
use super::mailboxes::{self, Planned};
use super::{delivery, pull, serve};
use crate::cli::{InstallCommand, UninstallArgs};
use crate::config::{BadSetting, Config, Env, WatchConfig};
use crate::console::Console;

/// The folder of the secrets of all watchers, below the user's configuration folder.
const SECRETS_FOLDER: &str = "postbell/watch";

/// The name of the service for the mailboxes of the `[[watch]]` tables, in place of an address.
const ALL: &str = "mailboxes";

/// A watcher as a service of the user, for the user's service manager.
struct Service {
    /// `postbell-watch-` and the address, in characters that file names and units allow, or [`ALL`].
    name: String,
    /// The folder of the credentials: files named like variables.
    secrets: PathBuf,
    home: PathBuf,
    /// The user's folder of configurations.
    config_home: PathBuf,
    /// The user id.
    uid: u32,
}

/// What the service's process gets.
struct Process {
    /// The program and its arguments.
    command: Vec<String>,
    variables: Vec<(&'static str, String)>,
}

/// Writes the service's file and its secrets, and starts it, again if it runs.
pub(crate) async fn run(
    command: &InstallCommand,
    command_line: &[std::ffi::OsString],
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let args = match command {
        InstallCommand::Pull(args) => &args.account,
        InstallCommand::Serve(args) => &args.account,
    };
    let config = env.load()?;
    let is_of_tables = !config.watch.is_empty();
    anyhow::ensure!(
        !is_of_tables || args.account.is_none(),
        BadSetting::new(
            "expected no --account, because the service would read the [[watch]] tables of the configuration: add a \
             table, or name another configuration with --config"
        )
    );
    let webhooks = if is_of_tables {
        account::webhooks(args, &config, env)?
    } else {
        vec![account::address(args, &config, env)?]
    };
    let address = webhooks.first().filter(|_| !is_of_tables);
    let service = Service::of(address.map_or(ALL, String::as_str), env)?;
    service.check_manager(env).await?;
    check(command, &config, env, &clock)?;
    for webhook in &webhooks {
        service.check_other_watcher(webhook, env)?;
    }
    let given = Given::read(command_line, address.map(String::as_str), env)?;
    service.write_secrets(&given)?;
    let file = service.file();
    write(
        &file,
        service.text(&service.process(&given, env)?).as_bytes(),
        0o644,
    )?;
    console.data(&file.display().to_string())?;
    console.data(&service.secrets.display().to_string())?;
    for call in service.start_calls() {
        call.run(env).await.with_context(|| service.start_hint())?;
    }
    console.error(&format!(
        "The watcher runs, and starts again {}.\n{}",
        STARTS,
        service.log_hint()
    ));
    if let Some(note) = service.linger_note(env) {
        console.error(&note);
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops the service and removes what [`run`] has written. The mailbox's state stays.
pub(crate) async fn uninstall(
    args: &UninstallArgs,
    console: &Console,
    env: &Env,
) -> anyhow::Result<ExitCode> {
    let service = to_uninstall(args, env)?;
    let file = service.file();
    let was_installed = file.exists();
    if was_installed {
        service.check_manager(env).await?;
        for call in service.stop_calls() {
            call.run(env).await.context("cannot stop the service")?;
        }
        fs::remove_file(&file).with_context(|| file.display().to_string())?;
        console.data(&file.display().to_string())?;
        for call in service.forget_calls() {
            call.run(env).await.context("cannot remove the service")?;
        }
    }
    match fs::remove_dir_all(&service.secrets) {
        Ok(()) => console.data(&service.secrets.display().to_string())?,
        Err(error) if error.kind() == ErrorKind::NotFound => (),
        Err(error) => return Err(error).context(service.secrets.display().to_string()),
    }
    if !was_installed {
        let file = file.display();
        console.error(&format!("No service was stopped: there is no {file}."));
        return Ok(ExitCode::FAILURE);
    }
    console.error(
        "Stopped the service, and removed it and its secrets. Gmail's watch continues: `postbell watch stop` ends it.",
    );
    Ok(ExitCode::SUCCESS)
}

/// The service that the same arguments install; without an address and tables, also that of tables which are gone.
fn to_uninstall(args: &UninstallArgs, env: &Env) -> anyhow::Result<Service> {
    let all = Service::of(ALL, env)?;
    // A configuration that can no longer be read keeps no service.
    let has_tables = env.load().is_ok_and(|config| !config.watch.is_empty());
    if args.account.is_none() && has_tables {
        return Ok(all);
    }
    let named = account::named_address(args.account.as_deref(), env);
    let named = named.and_then(|address| Service::of(&address, env));
    let is_installed = named.as_ref().is_ok_and(|service| service.file().exists());
    if args.account.is_none() && !is_installed && all.file().exists() {
        return Ok(all);
    }
    named
}

/// How to see the service of this account, if one is installed: its own, else that of the tables.
pub(super) fn installed(address: &str, env: &Env) -> Option<String> {
    let config = env.load().ok()?;
    let mut states = config.watch.iter().flat_map(WatchConfig::states);
    let has_table = states.any(|state| state.eq_ignore_ascii_case(address));
    let names = std::iter::once(address).chain(has_table.then_some(ALL));
    names.into_iter().find_map(|name| {
        let service = Service::of(name, env).ok()?;
        service.file().exists().then(|| service.status_command())
    })
}

/// Refuses what the service would refuse at its start.
fn check(
    command: &InstallCommand,
    config: &Config,
    env: &Env,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<()> {
    let planned = match command {
        InstallCommand::Pull(args) => {
            let subscription = args.subscription.as_deref();
            let planned = mailboxes::planned(&args.account, &args.delivery, subscription, config)?;
            pull::check_subscriptions(&planned)?;
            planned
        }
        InstallCommand::Serve(args) => {
            serve::check_push_auth(args, env)?;
            mailboxes::planned(&args.account, &args.delivery, None, config)?
        }
    };
    for plan in planned {
        let name = match &*plan.name {
            "" => String::new(),
            name => format!("mailbox {name}"),
        };
        let checked = check_webhook(&plan, env, Arc::clone(clock));
        if name.is_empty() {
            checked?;
        } else {
            checked.context(name)?;
        }
    }
    Ok(())
}

fn check_webhook(plan: &Planned, env: &Env, clock: Arc<dyn Clock>) -> anyhow::Result<()> {
    let account = Account::new(&plan.account, env, clock)?;
    account::started_watch(&account.state_folder, &account.mailbox)?;
    let state = StateFile::peek(&account.state_folder, &account.address)?;
    let saved = state.and_then(|state| state.hook);
    delivery::hook_or_saved(delivery::hook_options(&plan.delivery.hook, env)?, saved)?;
    Ok(())
}

#[cfg(target_os = "macos")]
const STARTS: &str = "when you log in";
#[cfg(not(target_os = "macos"))]
const STARTS: &str = "with the other services of your user";

impl Service {
    fn of(address: &str, env: &Env) -> anyhow::Result<Self> {
        let absolute = |name: &str| {
            let folder = env.variable(name).map(PathBuf::from);
            folder.filter(|folder| folder.is_absolute())
        };
        let home = absolute("HOME").context("expected your home folder in HOME")?;
        let config_home = absolute("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        let name = file_name(address);
        Ok(Self {
            secrets: config_home.join(SECRETS_FOLDER).join(&name),
            name: format!("postbell-watch-{name}"),
            home,
            config_home,
            uid: rustix::process::getuid().as_raw(),
        })
    }

    /// Refuses to install beside a watcher that is no service: two would fight for the state.
    fn check_other_watcher(&self, address: &str, env: &Env) -> anyhow::Result<()> {
        let folder = account::state_folder(address, env)?;
        anyhow::ensure!(
            self.file().exists() || !StateFile::is_in_use(&folder, address),
            "a watcher runs for this account that is not this service: stop it first"
        );
        Ok(())
    }

    fn process(&self, given: &Given, env: &Env) -> anyhow::Result<Process> {
        let running = std::env::current_exe().context("cannot find this program's file")?;
        let program = lasting(&running, env.variable("PATH").unwrap_or_default())?;
        let mut command = vec![text(program.as_os_str())?];
        command.extend_from_slice(&given.arguments);
        let mut variables = vec![("CREDENTIALS_DIRECTORY", text(self.secrets.as_os_str())?)];
        if let Some(folder) = env.variable("XDG_CONFIG_HOME") {
            variables.push(("XDG_CONFIG_HOME", folder.to_owned()));
        }
        Ok(Process { command, variables })
    }

    /// Writes each secret to a file of its own. One that is not given again stays.
    fn write_secrets(&self, given: &Given) -> anyhow::Result<()> {
        let mut builder = DirBuilder::new();
        let created = builder.recursive(true).mode(0o700).create(&self.secrets);
        created.with_context(|| self.secrets.display().to_string())?;
        for (name, value) in &given.secrets {
            write(&self.secrets.join(name), value.as_bytes(), 0o600)?;
        }
        Ok(())
    }

    fn file(&self) -> PathBuf {
        if cfg!(target_os = "macos") {
            launchd::file(self)
        } else {
            systemd::file(self)
        }
    }

    fn text(&self, process: &Process) -> String {
        if cfg!(target_os = "macos") {
            launchd::text(self, process)
        } else {
            systemd::text(process)
        }
    }

    fn start_calls(&self) -> Vec<Call> {
        if cfg!(target_os = "macos") {
            launchd::start_calls(self)
        } else {
            systemd::start_calls(self)
        }
    }

    fn stop_calls(&self) -> Vec<Call> {
        if cfg!(target_os = "macos") {
            launchd::stop_calls(self)
        } else {
            systemd::stop_calls(self)
        }
    }

    fn forget_calls(&self) -> Vec<Call> {
        if cfg!(target_os = "macos") {
            Vec::new()
        } else {
            systemd::forget_calls()
        }
    }

    /// Fails if the user has no service manager.
    async fn check_manager(&self, env: &Env) -> anyhow::Result<()> {
        if cfg!(target_os = "macos") {
            return Ok(());
        }
        let called = systemd::check_call().run(env).await;
        called.map_err(|error| {
            anyhow::anyhow!(
                "no systemd runs for this user ({error:#}), so nothing was changed. Run `postbell watch pull`, \
                 or `serve`, with the same options under another supervisor, as the command of a container, or as a system service \
                 (https://github.com/postbell/postbell/blob/main/docs/services.md)"
            )
        })
    }

    fn status_command(&self) -> String {
        if cfg!(target_os = "macos") {
            launchd::status_command(self)
        } else {
            systemd::status_command(self)
        }
    }

    fn log_hint(&self) -> String {
        if cfg!(target_os = "macos") {
            format!("Its log: {}", launchd::log(self).display())
        } else {
            systemd::log_hint(self)
        }
    }

    fn start_hint(&self) -> String {
        format!("the service does not start. {}", self.log_hint())
    }

    /// What to do so that the service survives the end of the session.
    fn linger_note(&self, env: &Env) -> Option<String> {
        let user = env.variable("USER").or_else(|| env.variable("LOGNAME"))?;
        let lingers = Path::new("/var/lib/systemd/linger").join(user).exists();
        let note = "Note: it stops when you log out. To keep it running, run this once: loginctl enable-linger";
        (!cfg!(target_os = "macos") && !lingers).then(|| note.to_owned())
    }
}

/// Returns the path of the running program that stays when it is upgraded: the one in `PATH`, if that is the
/// same file. Homebrew, for one, runs a file in a folder of the version, and an upgrade removes it.
fn lasting(running: &Path, path: &str) -> anyhow::Result<PathBuf> {
    let identity = |file: &Path| {
        let metadata = fs::metadata(file)?;
        Ok::<_, std::io::Error>((metadata.dev(), metadata.ino()))
    };
    let same = identity(running).with_context(|| {
        format!(
            "{}: this program was replaced while it ran: run it again",
            running.display()
        )
    })?;
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    let mut files = folders.map(|folder| folder.join("postbell"));
    let found = files.find(|file| identity(file).is_ok_and(|found| found == same));
    Ok(found.unwrap_or_else(|| running.to_owned()))
}

/// Returns the address as a part of a file name: letters, digits, `@`, `.` and `-` stay, and others become
/// `_` and their hexadecimal code.
fn file_name(address: &str) -> String {
    let stays = |byte: u8| byte.is_ascii_alphanumeric() || b"@.-".contains(&byte);
    let encode = |byte: u8| match byte {
        byte if stays(byte) => char::from(byte).to_string(),
        byte => format!("_{byte:02x}"),
    };
    address.to_ascii_lowercase().bytes().map(encode).collect()
}

fn text(value: &std::ffi::OsStr) -> anyhow::Result<String> {
    let text = value.to_str().map(str::to_owned);
    text.with_context(|| format!("expected text in UTF-8: {}", value.display()))
}

/// Replaces a file at once.
fn write(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let replace = || {
        fs::create_dir_all(folder)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let make = |path: &Path| options.open(path);
        let mut file = tempfile::Builder::new().make_in(folder, make)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok::<_, std::io::Error>(())
    };
    replace().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The service of an address with unusual characters, and its process.
    pub(super) fn service() -> (Service, Process) {
        let service = Service {
            name: format!("postbell-watch-{}", file_name("Ann+bot@example.com")),
            secrets: "/home/ann/.config/postbell/watch/ann_2bbot@example.com".into(),
            home: "/home/ann".into(),
            config_home: "/home/ann/.config".into(),
            uid: 1000,
        };
        let command = [
            "/opt/my bell/postbell",
            "watch",
            "pull",
            "--query=50% off & \"$1\"",
        ];
        let process = Process {
            command: command.map(str::to_owned).to_vec(),
            variables: vec![("CREDENTIALS_DIRECTORY", "/home/ann/50%".to_owned())],
        };
        (service, process)
    }

    #[test]
    fn an_address_becomes_one_file_name() {
        for (address, name) in [
            ("ann-lee@example.com", "ann-lee@example.com"),
            ("Ann+bot@example.com", "ann_2bbot@example.com"),
            ("a_2bb@example.com", "a_5f2bb@example.com"),
            ("../x y@example.com", ".._2fx_20y@example.com"),
        ] {
            assert_eq!(file_name(address), name);
        }
    }

    #[test]
    fn a_service_runs_the_path_that_an_upgrade_keeps() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["cellar", "bin", "other"] {
            fs::create_dir(at(name)).unwrap();
        }
        let running = at("cellar/postbell");
        fs::write(&running, "").unwrap();
        fs::write(at("other/postbell"), "").unwrap();
        std::os::unix::fs::symlink(&running, at("bin/postbell")).unwrap();
        let path = |names: &[&str]| {
            let folders = names.iter().map(|name| at(name));
            std::env::join_paths(folders)
                .unwrap()
                .into_string()
                .unwrap()
        };
        let linked = lasting(&running, &path(&["none", "other", "bin"])).unwrap();
        assert_eq!(linked, at("bin/postbell"));
        assert_eq!(lasting(&running, &path(&["other"])).unwrap(), running);
        assert!(lasting(&at("cellar/postbell (deleted)"), &path(&["bin"])).is_err());
    }
}

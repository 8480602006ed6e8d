//! The programs that run on the machine, and how they are called (contract, section 4).

use std::ffi::OsString;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use crate::Variables;
use crate::settings::{GmailSettings, Settings};
use crate::supervisor::ChildSpec;

/// Where the watcher takes pushes, and the bot takes hooks.
const PUSH_PATH: &str = "/gmail-pubsub";
const HOOK_PATH: &str = "/hooks/gmail";

/// How much of a mail's text the bot gets, in bytes.
const BODY_BYTES: &str = "20000";

/// Where the children listen, on 127.0.0.1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ports {
    /// The gateway; it must be told so in `KILOCLAW_GATEWAY_ARGS`, or listen there by itself.
    pub gateway: u16,
    /// The watcher.
    pub watcher: u16,
}

/// Which program watches the mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WatcherProgram {
    /// Postbell's own: this program, at this path.
    Postbell(PathBuf),
    /// `gog`, from `PATH`.
    Gog,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            gateway: 3001,
            watcher: 3002,
        }
    }
}

/// The bot's gateway.
pub(crate) fn gateway(settings: &Settings, variables: &Variables) -> ChildSpec {
    let given = settings.gateway_arguments.iter().map(OsString::from);
    ChildSpec {
        name: "gateway",
        program: "openclaw".into(),
        arguments: std::iter::once("gateway".into()).chain(given).collect(),
        variables: variables.clone(),
    }
}

/// The watcher of the mailbox. Postbell's own takes its secrets from variables, which no process list
/// shows; `gog` takes them as arguments alone.
pub(crate) fn watcher(
    program: &WatcherProgram,
    gmail: &GmailSettings,
    ports: Ports,
    secrets: &WatcherSecrets<'_>,
    variables: &Variables,
) -> ChildSpec {
    let WatcherSecrets {
        gateway_token,
        hooks_token,
    } = secrets;
    let (program, mut arguments, secrets) = match program {
        WatcherProgram::Postbell(path) => (path.into(), vec!["watch", "serve"], Vec::new()),
        WatcherProgram::Gog => {
            let [token, hook] = [gateway_token, hooks_token].map(|secret| secret.expose_secret());
            let secrets = vec!["--token", token, "--hook-token", hook];
            ("gog".into(), vec!["gmail", "watch", "serve"], secrets)
        }
    };
    let port = ports.watcher.to_string();
    let hook_url = format!("http://127.0.0.1:{}{HOOK_PATH}", ports.gateway);
    arguments.extend(["--account", &gmail.account]);
    arguments.extend(["--bind", "127.0.0.1", "--port", &port, "--path", PUSH_PATH]);
    arguments.extend(secrets);
    arguments.extend(["--hook-url", &hook_url]);
    arguments.extend(["--include-body", "--max-bytes", BODY_BYTES]);
    ChildSpec {
        name: "watcher",
        program,
        arguments: arguments.iter().map(OsString::from).collect(),
        variables: variables
            .clone()
            .with("POSTBELL_WATCH_TOKEN", gateway_token.expose_secret())
            .with("POSTBELL_WATCH_HOOK_TOKEN", hooks_token.expose_secret()),
    }
}

/// What the watcher must know.
pub(crate) struct WatcherSecrets<'a> {
    /// What pushes show.
    pub(crate) gateway_token: &'a SecretString,
    /// What hooks show.
    pub(crate) hooks_token: &'a SecretString,
}

/// Renews the watch, where the watcher does not do so by itself.
pub(crate) fn renewal(
    program: &WatcherProgram,
    gmail: &GmailSettings,
    variables: &Variables,
) -> Option<ChildSpec> {
    let arguments = ["gmail", "watch", "renew", "--account", &gmail.account];
    matches!(program, WatcherProgram::Gog).then(|| ChildSpec {
        name: "renewal",
        program: "gog".into(),
        arguments: arguments.iter().map(OsString::from).collect(),
        variables: variables.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gmail() -> GmailSettings {
        GmailSettings {
            account: "ann@example.com".to_owned(),
            tarball: "H4sI".into(),
            last_history_id: None,
            keyring_password: None,
        }
    }

    fn command(program: &WatcherProgram) -> (String, Variables) {
        let secrets = WatcherSecrets {
            gateway_token: &"of-pushes".into(),
            hooks_token: &"of-hooks".into(),
        };
        let variables = [("PATH", "/bin")].into_iter().collect();
        let spec = watcher(program, &gmail(), Ports::default(), &secrets, &variables);
        let words = std::iter::once(&spec.program).chain(&spec.arguments);
        let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
        (words.join(" "), spec.variables)
    }

    #[test]
    fn gog_is_called_as_the_contract_says() {
        let (command, _) = command(&WatcherProgram::Gog);
        assert_eq!(
            command,
            "gog gmail watch serve --account ann@example.com --bind 127.0.0.1 --port 3002 \
             --path /gmail-pubsub --token of-pushes --hook-token of-hooks \
             --hook-url http://127.0.0.1:3001/hooks/gmail --include-body --max-bytes 20000"
        );
    }

    #[test]
    fn postbells_own_is_called_with_the_same_and_without_secrets() {
        let (command, variables) = command(&WatcherProgram::Postbell("/bin/postbell".into()));
        assert_eq!(
            command,
            "/bin/postbell watch serve --account ann@example.com --bind 127.0.0.1 --port 3002 \
             --path /gmail-pubsub --hook-url http://127.0.0.1:3001/hooks/gmail --include-body \
             --max-bytes 20000"
        );
        assert_eq!(variables.text("POSTBELL_WATCH_TOKEN"), Some("of-pushes"));
        assert_eq!(
            variables.text("POSTBELL_WATCH_HOOK_TOKEN"),
            Some("of-hooks")
        );
        assert_eq!(variables.text("PATH"), Some("/bin"));
    }

    #[test]
    fn only_gog_is_renewed() {
        let variables = Variables::default();
        let renewal = |program| renewal(&program, &gmail(), &variables);
        assert!(renewal(WatcherProgram::Postbell("postbell".into())).is_none());
        let spec = renewal(WatcherProgram::Gog).unwrap();
        let expected = ["gmail", "watch", "renew", "--account", "ann@example.com"];
        assert_eq!(spec.arguments, expected);
    }
}

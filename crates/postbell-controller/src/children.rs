//! The programs that run on the machine, and how they are called (contract, section 4).

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use postbell_protocol::gateway_token::GatewayToken;
use secrecy::{ExposeSecret, SecretString};

use crate::Variables;
use crate::settings::{GmailSettings, Settings};
use crate::supervisor::ChildSpec;

/// Where the watcher takes pushes.
pub(crate) const PUSH_PATH: &str = postbell_protocol::routes::WATCHER_PUSH;

/// Where the bot takes hooks.
const HOOK_PATH: &str = postbell_protocol::routes::GATEWAY_WEBHOOK;

/// How much of a mail's text the bot gets, in bytes.
const BODY_BYTES: &str = "20000";

/// What the names of Postbell's own variables begin with.
const OUR_PREFIX: &[u8] = b"POSTBELL_";

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

/// The bot's gateway. Postbell's own variables are not for the bot: where a relay or a platform runs
/// beside it, there are secrets among them.
pub(crate) fn gateway(settings: &Settings, variables: &Variables) -> ChildSpec {
    let given = settings.gateway_arguments.iter().map(OsString::from);
    let is_ours = |name: &OsStr| name.as_encoded_bytes().starts_with(OUR_PREFIX);
    let variables = variables.iter().filter(|(name, _)| !is_ours(name));
    ChildSpec {
        name: "gateway",
        program: "openclaw".into(),
        arguments: std::iter::once("gateway".into()).chain(given).collect(),
        variables: variables.collect(),
    }
}

/// The watcher of the mailbox.
pub(crate) fn watcher(
    program: &WatcherProgram,
    gmail: &GmailSettings,
    ports: Ports,
    secrets: &WatcherSecrets<'_>,
    variables: &Variables,
) -> ChildSpec {
    let port = ports.watcher.to_string();
    let hook_url = format!("http://127.0.0.1:{}{HOOK_PATH}", ports.gateway);
    let whose = ["--account", &gmail.account];
    let place = ["--bind", "127.0.0.1", "--port", &port, "--path", PUSH_PATH];
    let hook = ["--hook-url", &hook_url];
    let body = ["--include-body", "--max-bytes", BODY_BYTES];
    let (pushes, hooks) = (
        secrets.gateway_token.expose(),
        secrets.hooks_token.expose_secret(),
    );
    match program {
        WatcherProgram::Postbell(path) => ChildSpec {
            name: "watcher",
            program: path.into(),
            arguments: words(&[&["watch", "serve"], &whose, &place, &hook, &body]),
            // No process list shows them.
            variables: variables
                .clone()
                .with("POSTBELL_WATCH_TOKEN", pushes)
                .with("POSTBELL_WATCH_HOOK_TOKEN", hooks),
        },
        WatcherProgram::Gog => {
            // It takes secrets as arguments alone.
            let tokens = ["--token", pushes, "--hook-token", hooks];
            let parts: [&[&str]; 6] = [
                &["gmail", "watch", "serve"],
                &whose,
                &place,
                &tokens,
                &hook,
                &body,
            ];
            ChildSpec {
                name: "watcher",
                program: "gog".into(),
                arguments: words(&parts),
                variables: variables.clone(),
            }
        }
    }
}

/// What the watcher must know.
pub(crate) struct WatcherSecrets<'a> {
    /// What pushes show.
    pub(crate) gateway_token: &'a GatewayToken,
    /// What hooks show.
    pub(crate) hooks_token: &'a SecretString,
}

/// Renews the watch, where the watcher does not do so by itself.
pub(crate) fn renewal(
    program: &WatcherProgram,
    gmail: &GmailSettings,
    variables: &Variables,
) -> Option<ChildSpec> {
    let whose = ["--account", &gmail.account];
    matches!(program, WatcherProgram::Gog).then(|| ChildSpec {
        name: "renewal",
        program: "gog".into(),
        arguments: words(&[&["gmail", "watch", "renew"], &whose]),
        variables: variables.clone(),
    })
}

fn words(parts: &[&[&str]]) -> Vec<OsString> {
    parts.concat().iter().map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports {
        gateway: 3001,
        watcher: 3002,
    };

    fn gmail() -> GmailSettings {
        GmailSettings {
            account: "ann@example.com".to_owned(),
            tarball: "H4sI".into(),
            last_history_id: Ok(None),
        }
    }

    fn command(program: &WatcherProgram) -> (String, Variables) {
        let secrets = WatcherSecrets {
            gateway_token: &"of-pushes".try_into().unwrap(),
            hooks_token: &"of-hooks".into(),
        };
        let variables = [("PATH", "/bin")].into_iter().collect();
        let spec = watcher(program, &gmail(), PORTS, &secrets, &variables);
        assert!(!format!("{spec:?}").contains("of-"), "{spec:?}");
        let words = std::iter::once(&spec.program).chain(&spec.arguments);
        let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
        (words.join(" "), spec.variables)
    }

    #[test]
    fn the_bot_sees_none_of_our_own_variables() {
        let variables: Variables = [
            ("OPENCLAW_GATEWAY_TOKEN", "of-pushes"),
            ("KILOCLAW_GATEWAY_ARGS", r#"["--port","3001"]"#),
            ("POSTBELL_PLATFORM__API_KEY", "hunter2"),
        ]
        .into_iter()
        .collect();
        let spec = gateway(&Settings::read(&variables).unwrap(), &variables);
        assert_eq!(spec.arguments, ["gateway", "--port", "3001"]);
        assert_eq!(spec.variables.get("POSTBELL_PLATFORM__API_KEY"), None);
        assert!(spec.variables.get("OPENCLAW_GATEWAY_TOKEN").is_some());
    }

    #[test]
    fn gog_is_called_as_the_contract_says() {
        let (command, variables) = command(&WatcherProgram::Gog);
        assert_eq!(
            command,
            "gog gmail watch serve --account ann@example.com --bind 127.0.0.1 --port 3002 \
             --path /gmail-pubsub --token of-pushes --hook-token of-hooks \
             --hook-url http://127.0.0.1:3001/hooks/gmail --include-body --max-bytes 20000"
        );
        assert_eq!(variables.iter().count(), 1);
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
        for (name, value) in [
            ("POSTBELL_WATCH_TOKEN", "of-pushes"),
            ("POSTBELL_WATCH_HOOK_TOKEN", "of-hooks"),
            ("PATH", "/bin"),
        ] {
            assert_eq!(variables.get(name).unwrap(), value);
        }
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

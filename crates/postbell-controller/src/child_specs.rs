//! The command lines of the child processes (protocol, section 4).

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use postbell_protocol::gateway_token::GatewayToken;
use postbell_protocol::routes::{GATEWAY_WEBHOOK, WATCHER_PUSH};
use secrecy::{ExposeSecret, SecretString};

use crate::Variables;
use crate::settings::{GmailSettings, Settings};
use crate::supervisor::ChildSpec;

/// The most bytes of a mail's text that the bot gets.
const BODY_BYTES: &str = "20000";

/// The prefix of Postbell's own environment variables.
const OUR_PREFIX: &[u8] = b"POSTBELL_";

/// Tells OpenClaw that it is supervised: it then restarts by exiting, not by starting a detached copy of
/// itself (<https://github.com/openclaw/openclaw>, pull request 109162).
const SUPERVISED: (&str, &str) = ("OPENCLAW_SUPERVISOR_MODE", "external");

/// The ports of the children on 127.0.0.1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ports {
    /// The gateway. `KILOCLAW_GATEWAY_ARGS` must set the same port, unless it is the gateway's default.
    pub gateway: u16,
    /// The watcher.
    pub watcher: u16,
}

/// The program that watches the mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WatcherProgram {
    /// `postbell watch serve`.
    Postbell {
        /// The path of this program.
        program: PathBuf,
        /// Further arguments, which the operator has chosen.
        arguments: Vec<String>,
    },
    /// `gog gmail watch serve`, found in `PATH`.
    Gog,
}

/// Returns the command line of the bot's gateway. The bot does not get Postbell's own variables: if a
/// relay or a platform runs on the same machine, they contain secrets.
pub(crate) fn gateway(settings: &Settings, port: u16, variables: &Variables) -> ChildSpec {
    let arguments = settings.gateway_arguments.iter().map(OsString::from);
    let is_ours = |name: &OsStr| name.as_encoded_bytes().starts_with(OUR_PREFIX);
    let variables = variables.iter().filter(|(name, _)| !is_ours(name));
    let mut variables: Variables = variables.collect();
    let (name, mode) = SUPERVISED;
    if variables.get(name).is_none() {
        variables.set(name, mode);
    }
    ChildSpec {
        name: "gateway",
        program: "openclaw".into(),
        arguments: std::iter::once("gateway".into()).chain(arguments).collect(),
        variables,
        port: Some(port),
    }
}

/// Returns the command line of the watcher.
pub(crate) fn watcher(
    program: &WatcherProgram,
    gmail: &GmailSettings,
    ports: Ports,
    secrets: &WatcherSecrets<'_>,
    variables: &Variables,
) -> ChildSpec {
    let port = ports.watcher.to_string();
    let hook_url = format!("http://127.0.0.1:{}{GATEWAY_WEBHOOK}", ports.gateway);
    let account = ["--account", &gmail.account];
    let listen = [
        "--bind",
        "127.0.0.1",
        "--port",
        &port,
        "--path",
        WATCHER_PUSH,
    ];
    let hook = ["--hook-url", &hook_url];
    let body = ["--include-body", "--max-bytes", BODY_BYTES];
    let (gateway_token, hooks_token) = (
        secrets.gateway_token.expose(),
        secrets.hooks_token.expose_secret(),
    );
    let (program, arguments, variables) = match program {
        WatcherProgram::Postbell {
            program,
            arguments: chosen,
        } => {
            let body = body_unless_chosen(&body, chosen);
            let chosen: Vec<_> = chosen.iter().map(String::as_str).collect();
            // Unlike arguments, variables are not in the process list.
            let variables = variables
                .clone()
                .with("POSTBELL_WATCH_TOKEN", gateway_token)
                .with("POSTBELL_WATCH_HOOK_TOKEN", hooks_token);
            // The controller logs each of its lines with the level and the time of the line.
            let call = ["--log-format", "json", "watch", "serve"];
            let parts: [&[&str]; 6] = [&call, &account, &listen, &hook, body, &chosen];
            (program.into(), arguments(&parts), variables)
        }
        WatcherProgram::Gog => {
            // `gog` accepts secrets only as arguments.
            let tokens = ["--token", gateway_token, "--hook-token", hooks_token];
            let call = ["gmail", "watch", "serve"];
            let parts: [&[&str]; 6] = [&call, &account, &listen, &tokens, &hook, &body];
            ("gog".into(), arguments(&parts), variables.clone())
        }
    };
    ChildSpec {
        name: "watcher",
        program,
        arguments,
        variables,
        port: Some(ports.watcher),
    }
}

/// The tokens that the watcher needs.
pub(crate) struct WatcherSecrets<'a> {
    /// The token of incoming pushes.
    pub(crate) gateway_token: &'a GatewayToken,
    /// The token of webhook requests.
    pub(crate) hooks_token: &'a SecretString,
}

/// Returns the command that renews the watch, or `None` if the watcher renews it itself.
pub(crate) fn renewal(
    program: &WatcherProgram,
    gmail: &GmailSettings,
    variables: &Variables,
) -> Option<ChildSpec> {
    let account = ["--account", &gmail.account];
    matches!(program, WatcherProgram::Gog).then(|| ChildSpec {
        name: "renewal",
        program: "gog".into(),
        arguments: arguments(&[&["gmail", "watch", "renew"], &account]),
        variables: variables.clone(),
        port: None,
    })
}

/// The arguments of the text, without its size if the operator has chosen one: a flag must not be given twice.
fn body_unless_chosen<'a>(body: &'a [&'a str; 3], chosen: &[String]) -> &'a [&'a str] {
    let is_size = |one: &String| one == body[1] || one.starts_with("--max-bytes=");
    if chosen.iter().any(is_size) {
        &body[..1]
    } else {
        body
    }
}

fn arguments(parts: &[&[&str]]) -> Vec<OsString> {
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

    fn postbell(arguments: &[&str]) -> WatcherProgram {
        WatcherProgram::Postbell {
            program: "/bin/postbell".into(),
            arguments: arguments.iter().map(|one| (*one).to_owned()).collect(),
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
        let line = std::iter::once(&spec.program).chain(&spec.arguments);
        let line: Vec<_> = line.map(|word| word.to_str().unwrap()).collect();
        (line.join(" "), spec.variables)
    }

    #[test]
    fn the_gateway_gets_none_of_postbells_variables() {
        let variables: Variables = [
            ("OPENCLAW_GATEWAY_TOKEN", "of-pushes"),
            ("KILOCLAW_GATEWAY_ARGS", r#"["--port","3001"]"#),
            ("POSTBELL_PLATFORM__API_KEY", "hunter2"),
        ]
        .into_iter()
        .collect();
        let spec = gateway(
            &Settings::read(&variables).unwrap(),
            PORTS.gateway,
            &variables,
        );
        assert_eq!(spec.arguments, ["gateway", "--port", "3001"]);
        assert_eq!(spec.variables.get("POSTBELL_PLATFORM__API_KEY"), None);
        assert!(spec.variables.get("OPENCLAW_GATEWAY_TOKEN").is_some());
    }

    #[test]
    fn the_gateway_is_told_that_it_is_supervised_unless_the_owner_decides() {
        let required: Variables = [
            ("OPENCLAW_GATEWAY_TOKEN", "of-pushes"),
            ("KILOCLAW_GATEWAY_ARGS", "[]"),
        ]
        .into_iter()
        .collect();
        let settings = Settings::read(&required).unwrap();
        let mode = |variables: &Variables| {
            let spec = gateway(&settings, PORTS.gateway, variables);
            spec.variables
                .get("OPENCLAW_SUPERVISOR_MODE")
                .unwrap()
                .to_owned()
        };
        assert_eq!(mode(&required), "external");
        for chosen in ["", "systemd"] {
            let variables = required.clone().with("OPENCLAW_SUPERVISOR_MODE", chosen);
            assert_eq!(mode(&variables), chosen);
        }
    }

    #[test]
    fn gog_is_called_with_the_protocols_arguments() {
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
    fn postbells_watcher_gets_secrets_only_in_variables() {
        let (command, variables) = command(&postbell(&[]));
        assert_eq!(
            command,
            "/bin/postbell --log-format json watch serve --account ann@example.com --bind 127.0.0.1 --port 3002 \
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
    fn the_operators_arguments_come_last_and_take_the_place_of_ours() {
        let ending = |arguments: &[&str]| {
            let (command, _) = command(&postbell(arguments));
            command.split_once("/hooks/gmail ").unwrap().1.to_owned()
        };
        assert_eq!(
            ending(&["--thread", "3"]),
            "--include-body --max-bytes 20000 --thread 3"
        );
        for size in [&["--max-bytes", "7"][..], &["--max-bytes=7"]] {
            assert_eq!(ending(size), format!("--include-body {}", size.join(" ")));
        }
    }

    #[test]
    fn only_gog_needs_a_renewal_command() {
        let variables = Variables::default();
        let renewal = |program| renewal(&program, &gmail(), &variables);
        assert!(renewal(postbell(&[])).is_none());
        let spec = renewal(WatcherProgram::Gog).unwrap();
        let expected = ["gmail", "watch", "renew", "--account", "ann@example.com"];
        assert_eq!(spec.arguments, expected);
    }
}

//! The command lines of the child processes (protocol, section 4).

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use postbell_protocol::gateway_token::GatewayToken;
use postbell_protocol::routes::{GATEWAY_WEBHOOK, WATCHER_PUSH};
use postbell_protocol::watched_accounts::WATCHED_ACCOUNTS_VARIABLE;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use url::Url;

use crate::mail_settings::MailSettings;
use crate::settings::GmailSettings;
use crate::supervisor::ChildSpec;
use crate::{Variables, credentials};

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
    /// The gateway. Its arguments must set the same port, unless it is the gateway's default.
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

/// Makes the command lines of the children.
pub(crate) struct ChildSpecs {
    /// The bot's gateway with its arguments.
    pub(crate) gateway: Vec<String>,
    /// The program that watches the mailbox.
    pub(crate) program: WatcherProgram,
    /// The mailboxes of the watcher's own configuration. If there are any, they are the machine's.
    pub(crate) tables: Vec<String>,
    /// Whether the accounts are those of a platform.
    pub(crate) is_fetched: bool,
    pub(crate) ports: Ports,
    /// Where mail is posted to, if not to the gateway.
    pub(crate) hook_url: Option<Url>,
    /// The token of incoming pushes.
    pub(crate) gateway_token: GatewayToken,
    /// The token of webhook requests.
    pub(crate) hooks_token: SecretString,
    /// The environment.
    pub(crate) variables: Variables,
}

impl ChildSpecs {
    /// Returns the command line of the bot's gateway, with the connected account. The bot does not get Postbell's
    /// own variables: if a relay or a platform runs on the same machine, they contain secrets.
    pub(crate) fn gateway(&self, gmail: Option<&GmailSettings>) -> ChildSpec {
        let mut words = self.gateway.iter().map(OsString::from);
        let is_ours = |name: &OsStr| name.as_encoded_bytes().starts_with(OUR_PREFIX);
        let variables = self.variables_for(gmail);
        let variables = variables.iter().filter(|(name, _)| !is_ours(name));
        let mut variables: Variables = variables.collect();
        let (name, mode) = SUPERVISED;
        if variables.get(name).is_none() {
            variables.set(name, mode);
        }
        ChildSpec {
            name: "gateway",
            program: words.next().unwrap_or_default(),
            arguments: words.collect(),
            variables,
            port: Some(self.ports.gateway),
        }
    }

    /// Whether the watcher gets its accounts in a variable and can change them while it runs. `gog` watches one account.
    pub(crate) fn is_of_accounts(&self) -> bool {
        self.is_fetched && matches!(self.program, WatcherProgram::Postbell { .. })
    }

    /// Returns the command line of the watcher of the mailboxes in its own configuration. Their webhook is the
    /// gateway's, unless a table names another.
    pub(crate) fn watcher_of_tables(&self, chosen: &[String]) -> ChildSpec {
        let program = match &self.program {
            WatcherProgram::Postbell { program, .. } => program.into(),
            WatcherProgram::Gog => "gog".into(),
        };
        let port = self.ports.watcher.to_string();
        let listen = [
            "--bind",
            "127.0.0.1",
            "--port",
            &port,
            "--path",
            WATCHER_PUSH,
        ];
        let chosen: Vec<_> = chosen.iter().map(String::as_str).collect();
        let variables = self
            .variables_for(None)
            .with("POSTBELL_WATCH_TOKEN", self.gateway_token.expose())
            .with(
                "POSTBELL_WATCH_HOOK_TOKEN",
                self.hooks_token.expose_secret(),
            )
            .with("POSTBELL_WATCH_HOOK_URL", self.hook_url());
        ChildSpec {
            name: "watcher",
            program,
            arguments: arguments(&[
                &["--log-format", "json", "watch", "serve"],
                &listen,
                &chosen,
            ]),
            variables,
            port: Some(self.ports.watcher),
        }
    }

    fn hook_url(&self) -> String {
        match &self.hook_url {
            Some(url) => url.to_string(),
            None => format!("http://127.0.0.1:{}{GATEWAY_WEBHOOK}", self.ports.gateway),
        }
    }

    /// Returns the command line of the watcher, without the accounts in `paused` for now.
    pub(crate) fn watcher(&self, settings: &MailSettings, paused: &[String]) -> ChildSpec {
        let chosen = &settings.watcher_arguments;
        let first = settings.gmail();
        if !self.is_of_accounts() {
            return first.map_or_else(
                || ChildSpec::unset("watcher", Some(self.ports.watcher)),
                |gmail| self.watcher_of(gmail, Some(gmail), chosen),
            );
        }
        let any = settings.watched().next().map(|account| &account.gmail);
        let Some(any) = first.or(any) else {
            return ChildSpec::unset("watcher", Some(self.ports.watcher));
        };
        let mut spec = self.watcher_of(any, None, chosen);
        let accounts = json!(settings.for_watcher(paused)).to_string();
        spec.variables.set(WATCHED_ACCOUNTS_VARIABLE, &accounts);
        spec
    }

    /// Returns the command line of the watcher, with the variables of an account.
    fn watcher_of(
        &self,
        gmail: &GmailSettings,
        named: Option<&GmailSettings>,
        chosen: &[String],
    ) -> ChildSpec {
        let port = self.ports.watcher.to_string();
        let hook_url = self.hook_url();
        let account = named.map(|gmail| ["--account", &*gmail.account]);
        let account = account.as_ref().map_or(&[][..], |account| account);
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
        let gateway_token = self.gateway_token.expose();
        let hooks_token = self.hooks_token.expose_secret();
        let variables = self.variables_for(Some(gmail));
        let (program, arguments, variables) = match &self.program {
            WatcherProgram::Postbell { program, .. } => {
                let body = body_unless_chosen(&body, chosen);
                let chosen: Vec<_> = chosen.iter().map(String::as_str).collect();
                // Unlike arguments, variables are not in the process list.
                let mut variables = variables
                    .with("POSTBELL_WATCH_TOKEN", gateway_token)
                    .with("POSTBELL_WATCH_HOOK_TOKEN", hooks_token);
                let hook: &[&str] = if self.hook_url.is_some() {
                    // It may contain a secret.
                    variables.set("POSTBELL_WATCH_HOOK_URL", &hook_url);
                    &[]
                } else {
                    &hook
                };
                // The controller logs each of its lines with the level and the time of the line.
                let call = ["--log-format", "json", "watch", "serve"];
                let parts: [&[&str]; 6] = [&call, account, &listen, hook, body, &chosen];
                (program.into(), arguments(&parts), variables)
            }
            WatcherProgram::Gog => {
                // `gog` accepts secrets only as arguments.
                let tokens = ["--token", gateway_token, "--hook-token", hooks_token];
                let call = ["gmail", "watch", "serve"];
                let parts: [&[&str]; 6] = [&call, account, &listen, &tokens, &hook, &body];
                ("gog".into(), arguments(&parts), variables)
            }
        };
        ChildSpec {
            name: "watcher",
            program,
            arguments,
            variables,
            port: Some(self.ports.watcher),
        }
    }

    /// Returns the command that renews the watch, or `None` if the watcher renews it itself.
    pub(crate) fn renewal(&self, gmail: &GmailSettings) -> Option<ChildSpec> {
        let account = ["--account", &gmail.account];
        matches!(self.program, WatcherProgram::Gog).then(|| ChildSpec {
            name: "renewal",
            program: "gog".into(),
            arguments: arguments(&[&["gmail", "watch", "renew"], &account]),
            variables: self.variables_for(Some(gmail)),
            port: None,
        })
    }

    /// The environment with which a child finds the credentials of an account.
    fn variables_for(&self, gmail: Option<&GmailSettings>) -> Variables {
        let variables = if self.tables.is_empty() {
            credentials::child_variables(self.variables.clone(), gmail)
        } else {
            // The tables may use a keyring that the variables open.
            let mut variables = self.variables.clone();
            variables.remove("KILOCLAW_GOG_CONFIG_TARBALL");
            variables
        };
        variables.with("KILOCLAW_HOOKS_TOKEN", self.hooks_token.expose_secret())
    }
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
    use crate::mail_settings::AccountSettings;

    fn gmail() -> GmailSettings {
        GmailSettings {
            account: "ann@example.com".to_owned(),
            tarball: Some("H4sI".into()),
            last_history_id: Ok(None),
        }
    }

    fn settings(chosen: &[&str]) -> MailSettings {
        let account = |name: &str, gmail| AccountSettings {
            name: name.to_owned(),
            gmail,
            is_on: true,
        };
        let bob = GmailSettings {
            account: "bob@example.com".to_owned(),
            ..gmail()
        };
        MailSettings {
            first: Some(account("1", gmail())),
            further: vec![account("2", bob)],
            has_all: true,
            watcher_arguments: chosen.iter().map(|one| (*one).to_owned()).collect(),
        }
    }

    fn specs(program: WatcherProgram, variables: &[(&str, &str)]) -> ChildSpecs {
        ChildSpecs {
            gateway: ["openclaw", "gateway", "--port", "3001"]
                .map(str::to_owned)
                .to_vec(),
            program,
            tables: Vec::new(),
            is_fetched: false,
            ports: Ports {
                gateway: 3001,
                watcher: 3002,
            },
            hook_url: None,
            gateway_token: "of-pushes".try_into().unwrap(),
            hooks_token: "of-hooks".into(),
            variables: variables.iter().copied().collect(),
        }
    }

    fn postbell() -> WatcherProgram {
        WatcherProgram::Postbell {
            program: "/bin/postbell".into(),
            arguments: Vec::new(),
        }
    }

    fn command(specs: &ChildSpecs, chosen: &[&str]) -> (String, Variables) {
        let spec = specs.watcher(&settings(chosen), &[]);
        assert!(!format!("{spec:?}").contains("of-"), "{spec:?}");
        let line = std::iter::once(&spec.program).chain(&spec.arguments);
        let line: Vec<_> = line.map(|word| word.to_str().unwrap()).collect();
        (line.join(" "), spec.variables)
    }

    #[test]
    fn the_gateway_gets_none_of_postbells_variables() {
        let variables = [
            ("OPENCLAW_GATEWAY_TOKEN", "of-pushes"),
            ("POSTBELL_PLATFORM__API_KEY", "hunter2"),
        ];
        let spec = specs(postbell(), &variables).gateway(None);
        assert_eq!(spec.program, "openclaw");
        assert_eq!(spec.arguments, ["gateway", "--port", "3001"]);
        assert_eq!(spec.variables.get("POSTBELL_PLATFORM__API_KEY"), None);
        assert!(spec.variables.get("OPENCLAW_GATEWAY_TOKEN").is_some());
    }

    #[test]
    fn the_gateway_is_told_that_it_is_supervised_unless_the_owner_decides() {
        let mode = |variables: &[(&str, &str)]| {
            let spec = specs(postbell(), variables).gateway(None);
            let mode = spec.variables.get("OPENCLAW_SUPERVISOR_MODE");
            mode.unwrap().to_owned()
        };
        assert_eq!(mode(&[]), "external");
        for chosen in ["", "systemd"] {
            assert_eq!(mode(&[("OPENCLAW_SUPERVISOR_MODE", chosen)]), chosen);
        }
    }

    #[test]
    fn gog_is_called_with_the_protocols_arguments() {
        let (command, variables) = command(&specs(WatcherProgram::Gog, &[]), &[]);
        assert_eq!(
            command,
            "gog gmail watch serve --account ann@example.com --bind 127.0.0.1 --port 3002 \
             --path /gmail-pubsub --token of-pushes --hook-token of-hooks \
             --hook-url http://127.0.0.1:3001/hooks/gmail --include-body --max-bytes 20000"
        );
        assert_eq!(variables.get("GOG_ACCOUNT").unwrap(), "ann@example.com");
        assert_eq!(variables.get("POSTBELL_WATCH_TOKEN"), None);
    }

    #[test]
    fn postbells_watcher_gets_secrets_only_in_variables() {
        let (command, variables) = command(&specs(postbell(), &[("PATH", "/bin")]), &[]);
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
    fn a_webhook_elsewhere_is_in_no_process_list() {
        let specs = ChildSpecs {
            hook_url: Some("http://127.0.0.1:9000/hunter2".parse().unwrap()),
            ..specs(postbell(), &[])
        };
        let (command, variables) = command(&specs, &[]);
        assert!(!command.contains("--hook-url"), "{command}");
        let url = variables.get("POSTBELL_WATCH_HOOK_URL").unwrap();
        assert_eq!(url, "http://127.0.0.1:9000/hunter2");
    }

    #[test]
    fn a_watcher_of_tables_names_no_mailbox_and_posts_to_the_gateway_by_default() {
        let specs = ChildSpecs {
            tables: vec!["ann@example.com".to_owned()],
            ..specs(postbell(), &[("GOG_KEYRING_PASSWORD", "p")])
        };
        let spec = specs.watcher_of_tables(&[]);
        let expected =
            "--log-format json watch serve --bind 127.0.0.1 --port 3002 --path /gmail-pubsub";
        assert_eq!(spec.arguments.join(OsStr::new(" ")), expected);
        for (name, value) in [
            ("POSTBELL_WATCH_TOKEN", "of-pushes"),
            ("POSTBELL_WATCH_HOOK_TOKEN", "of-hooks"),
            (
                "POSTBELL_WATCH_HOOK_URL",
                "http://127.0.0.1:3001/hooks/gmail",
            ),
            ("GOG_KEYRING_PASSWORD", "p"),
        ] {
            assert_eq!(spec.variables.get(name).unwrap(), value);
        }
    }

    #[test]
    fn the_operators_arguments_come_last_and_take_the_place_of_ours() {
        let ending = |arguments: &[&str]| {
            let (command, _) = command(&specs(postbell(), &[]), arguments);
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
    fn the_accounts_of_a_platform_are_in_a_variable_and_in_no_process_list() {
        let fetched = |program| ChildSpecs {
            is_fetched: true,
            ..specs(program, &[])
        };
        let (line, variables) = command(&fetched(postbell()), &[]);
        assert_eq!(
            line,
            "/bin/postbell --log-format json watch serve --bind 127.0.0.1 --port 3002 --path /gmail-pubsub \
             --hook-url http://127.0.0.1:3001/hooks/gmail --include-body --max-bytes 20000"
        );
        let accounts = variables.get("POSTBELL_WATCH_ACCOUNTS").unwrap();
        let expected = json!([
            {"email": "ann@example.com", "name": "1"}, {"email": "bob@example.com", "name": "2"},
        ]);
        assert_eq!(accounts.to_str().unwrap(), expected.to_string());
        let mut without_first = settings(&[]);
        without_first.first = None;
        let paused = ["bob@example.com".to_owned()];
        let spec = fetched(postbell()).watcher(&without_first, &paused);
        let expected = json!([{"email": "bob@example.com", "name": "2", "isPaused": true}]);
        let accounts = spec.variables.get("POSTBELL_WATCH_ACCOUNTS").unwrap();
        assert_eq!(accounts.to_str().unwrap(), expected.to_string());
        assert_eq!(
            spec.variables.get("GOG_KEYRING_PASSWORD").unwrap(),
            "kiloclaw"
        );
        let (line, variables) = command(&fetched(WatcherProgram::Gog), &[]);
        assert!(line.contains("--account ann@example.com"), "{line}");
        assert_eq!(variables.get("POSTBELL_WATCH_ACCOUNTS"), None);
    }

    #[test]
    fn only_gog_needs_a_renewal_command() {
        let renewal = |program| specs(program, &[]).renewal(&gmail());
        assert!(renewal(postbell()).is_none());
        let spec = renewal(WatcherProgram::Gog).unwrap();
        let expected = ["gmail", "watch", "renew", "--account", "ann@example.com"];
        assert_eq!(spec.arguments, expected);
    }
}

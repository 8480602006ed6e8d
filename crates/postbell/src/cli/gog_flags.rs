//! Flags of `gog gmail watch` (version 0.37) that Postbell has no use for. A script written for `gog` works
//! with those that change nothing here; the others are refused with the reason. docs/compatibility.md lists them.

use std::net::{IpAddr, Ipv4Addr};

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};

/// Flags of `gog` that have no field.
#[derive(Debug)]
pub(crate) struct GogFlags;

/// A flag of `gog`.
struct Flag {
    long: &'static str,
    short: Option<char>,
    aliases: &'static [&'static str],
    takes_value: bool,
    /// Why it is refused; `None` if it changes nothing here.
    refusal: Option<&'static str>,
}

const fn accepted(
    long: &'static str,
    short: Option<char>,
    aliases: &'static [&'static str],
) -> Flag {
    Flag {
        long,
        short,
        aliases,
        takes_value: false,
        refusal: None,
    }
}

const fn refused(
    long: &'static str,
    short: Option<char>,
    aliases: &'static [&'static str],
    refusal: &'static str,
) -> Flag {
    Flag {
        refusal: Some(refusal),
        ..accepted(long, short, aliases)
    }
}

const fn with_value(flag: Flag) -> Flag {
    Flag {
        takes_value: true,
        ..flag
    }
}

const NO_COMMAND_LIST: &str =
    "Postbell has no list of commands; let the bot call a script that runs one of them";
const NO_TIMEZONE: &str =
    "`date` is the mail's own header field; `internalDate` has the time in milliseconds since 1970";

const FLAGS: [Flag; 20] = [
    // Nothing is asked, and nothing is written or sent in the mailbox.
    accepted("force", Some('y'), &["yes", "assume-yes"]),
    accepted("no-input", None, &["non-interactive", "noninteractive"]),
    accepted("gmail-no-send", None, &[]),
    // The output has no colours and is for scripts; mail is posted as untrusted.
    accepted("plain", Some('p'), &["tsv"]),
    with_value(accepted("color", None, &[])),
    accepted("wrap-untrusted", None, &[]),
    // `serve` and `pull` print no result; the other commands have the flag.
    accepted("json", Some('j'), &["machine"]),
    refused(
        "dry-run",
        Some('n'),
        &["noop", "preview", "dryrun"],
        "Postbell has no dry run; `watch status` changes nothing",
    ),
    refused(
        "readonly",
        None,
        &[],
        "Postbell starts and renews Gmail's watch, which gog forbids then; it changes nothing else in the mailbox",
    ),
    refused(
        "verbose",
        Some('v'),
        &[],
        "set POSTBELL_LOG=debug, which logs more",
    ),
    with_value(refused(
        "home",
        None,
        &[],
        "set GOG_HOME, which Postbell reads, too",
    )),
    with_value(refused(
        "access-token",
        None,
        &[],
        "it expires within an hour; give --credentials, or use gog's keyring",
    )),
    with_value(refused("enable-commands", None, &[], NO_COMMAND_LIST)),
    with_value(refused("enable-commands-exact", None, &[], NO_COMMAND_LIST)),
    with_value(refused("disable-commands", None, &[], NO_COMMAND_LIST)),
    with_value(refused(
        "select",
        None,
        &["pick", "project"],
        "take the fields from the output of --json, for example with jq",
    )),
    refused(
        "results-only",
        None,
        &[],
        "take the field `watch` from the output of --json, for example with jq",
    ),
    refused(
        "show-secrets",
        None,
        &[],
        "Postbell prints no secrets; the webhook's token is in the state file, or where you gave it",
    ),
    with_value(refused("timezone", Some('z'), &[], NO_TIMEZONE)),
    refused("local", None, &[], NO_TIMEZONE),
];

/// Parses an address to listen on. gog takes the name, too.
pub(super) fn bind_address(text: &str) -> Result<IpAddr, &'static str> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    text.parse()
        .map_err(|_| "expected an IP address, or localhost")
}

impl Flag {
    fn arg(&self) -> Arg {
        let arg = Arg::new(self.long)
            .long(self.long)
            .aliases(self.aliases)
            .action(ArgAction::Set)
            .hide(true);
        let arg = match self.short {
            Some(short) => arg.short(short),
            None => arg,
        };
        if self.takes_value {
            return arg;
        }
        // gog takes `--flag=false`, too.
        arg.num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(value_parser!(bool))
    }

    fn is_set(&self, matches: &ArgMatches) -> bool {
        if self.takes_value {
            matches.contains_id(self.long)
        } else {
            matches.try_get_one(self.long).ok().flatten() == Some(&true)
        }
    }
}

impl Args for GogFlags {
    fn augment_args(command: Command) -> Command {
        let mut command = command.mut_arg("account", |arg| arg.short_alias('a').alias("acct"));
        for flag in &FLAGS {
            let has_own = |arg: &Arg| arg.get_long() == Some(flag.long);
            command = if command.get_arguments().any(has_own) {
                command.mut_arg(flag.long, |arg| {
                    arg.short_aliases(flag.short).aliases(flag.aliases)
                })
            } else {
                command.arg(flag.arg())
            };
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for GogFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let refusals = FLAGS.iter().filter_map(|flag| Some((flag, flag.refusal?)));
        for (flag, refusal) in refusals {
            if flag.is_set(matches) {
                let text = format!("--{}: {refusal}\n", flag.long);
                return Err(Error::raw(ErrorKind::UnknownArgument, text));
            }
        }
        Ok(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command as CliCommand, WatchCommand};

    /// The command of OpenClaw 2026.9.6, but for the words `gog gmail`.
    const SERVE: &str = "watch serve --account a@example.com --bind 127.0.0.1 --port 8788 --path / \
        --token t --hook-url http://127.0.0.1:18789/hooks/gmail --hook-token h --fetch-delay 3 \
        --include-body --max-bytes 20000 --exclude-labels SPAM,TRASH";

    fn parse(line: &str) -> Result<Cli, Error> {
        Cli::try_parse_from(["postbell"].into_iter().chain(line.split_whitespace()))
    }

    #[test]
    fn each_flag_of_gog_is_accepted_or_refused_with_the_reason() {
        let topic = "--topic projects/p/topics/t";
        let subscription = "--subscription projects/p/subscriptions/s";
        let commands = [
            format!("watch start {topic}"),
            "watch status".to_owned(),
            "watch renew".to_owned(),
            "watch stop".to_owned(),
            SERVE.replace("--account a@example.com", ""),
            format!("watch pull {subscription}"),
        ];
        for command in &commands {
            for flag in &FLAGS {
                let value = if flag.takes_value { " x" } else { "" };
                let short = flag.short.map(|short| format!("-{short}"));
                let names = std::iter::once(&flag.long).chain(flag.aliases);
                let names = names.map(|name| format!("--{name}"));
                for name in names.chain(short) {
                    let line = format!("{command} {name}{value}");
                    let parsed = parse(&line).map(drop);
                    match (parsed, flag.refusal) {
                        (Ok(()), None) => {}
                        (Err(error), Some(refusal)) => {
                            let shown = error.to_string();
                            assert!(shown.contains(refusal), "{line}: {shown}");
                        }
                        (parsed, _) => panic!("{line}: {parsed:?}"),
                    }
                }
            }
            for account in ["-a x@example.com", "--acct x@example.com"] {
                parse(&format!("{command} {account}")).unwrap();
            }
            parse(&format!("{command} --no-input=false --dry-run=false")).unwrap();
        }
    }

    #[test]
    fn the_words_of_gog_are_understood() {
        for line in [
            "gmail watch status",
            "mail watch ls",
            "watch begin --topic projects/p/topics/t --label ,INBOX",
            "watch update",
            "watch rm --force",
            "watch delete -y",
            &SERVE.replace("127.0.0.1 --port", "localhost --port"),
            &format!("{SERVE} --history-types messagesAdded"),
            &format!("gmail {SERVE}"),
        ] {
            parse(line).unwrap();
        }
    }

    #[test]
    fn openclaws_own_call_is_the_same_with_and_without_gmail() {
        let path = |line: &str| {
            let line = ["postbell"].into_iter().chain(line.split_whitespace());
            let cli = Cli::read(line.map(Into::into).collect()).unwrap();
            match cli.command {
                CliCommand::Watch(command) => match *command {
                    WatchCommand::Serve(args) => args.path,
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(path(SERVE), "/");
        assert_eq!(path(&format!("gmail {SERVE}")), "/");
    }

    #[test]
    fn the_flags_are_in_the_documentation() {
        let page = include_str!("../../../../docs/compatibility.md");
        for flag in &FLAGS {
            assert!(
                page.contains(&format!("`--{}`", flag.long)),
                "{}",
                flag.long
            );
        }
    }
}

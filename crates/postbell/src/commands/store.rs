//! `postbell store`

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use postbell_store::{Copied, CopyProgress, ReplacedTexts};
use serde_json::json;

use super::table;
use crate::cli::{CopyArgs, StoreCommand};
use crate::config::{BadSetting, StoreUrl, open_secret};
use crate::console::Console;

/// How often a line says how far a copy is.
const PROGRESS: Duration = Duration::from_secs(2);

pub(crate) async fn run(command: &StoreCommand, console: &Console) -> anyhow::Result<ExitCode> {
    match command {
        StoreCommand::Copy(args) => copy(args, console).await,
    }
}

/// Copies a store, and says what has to be stopped during the copy.
async fn copy(args: &CopyArgs, console: &Console) -> anyhow::Result<ExitCode> {
    let (from, to) = (url(&args.from, "FROM")?, url(&args.to, "TO")?);
    for (argument, url) in [(&args.from, &from), (&args.to, &to)] {
        let file = argument.strip_prefix("file:").map(Path::new);
        let open = file.filter(|_| has_password(url.expose()));
        if let Some(warning) = open.and_then(open_secret) {
            console.error(&format!("warning: {warning}"));
        }
    }
    console.error(&format!(
        "Copying {from} to {to}. Until it is done, every relay and platform that uses {from} must be stopped: \
         pushes are not lost, because Google repeats them for seven days. {from} is not changed. If this is \
         interrupted, run the same command again."
    ));
    let mut last = Instant::now();
    let mut progress = |CopyProgress {
                            table,
                            is_verified,
                            rows,
                        }: CopyProgress| {
        if last.elapsed() >= PROGRESS {
            last = Instant::now();
            let done = if is_verified { "compared" } else { "copied" };
            console.error(&format!("{table}: {rows} rows {done}"));
        }
    };
    let Copied {
        tables: copied,
        was_complete,
        replaced,
    } = postbell_store::copy(from.expose(), to.expose(), &mut progress).await?;
    if args.json {
        let tables = copied
            .iter()
            .map(|one| json!({ "table": one.table, "rows": one.rows, "checksum": one.checksum }));
        console.data(&tables.collect::<serde_json::Value>().to_string())?;
    } else {
        let head = ["table", "rows", "checksum"].map(str::to_owned).to_vec();
        let rows = copied
            .into_iter()
            .map(|one| vec![one.table.to_owned(), one.rows.to_string(), one.checksum]);
        console.data(&table::lay_out(
            &std::iter::once(head).chain(rows).collect::<Vec<_>>(),
            console.columns(),
        ))?;
    }
    replaced
        .iter()
        .for_each(|texts| note_replaced(texts, console));
    let copied = if was_complete {
        "This copy was complete before: every table has the same rows."
    } else {
        "Copied, and every table has the same rows."
    };
    console.error(&format!(
        "{copied} Now set relay.inbox and platform.store to {}, and start relays and platforms.",
        absolute(&to)
    ));
    Ok(ExitCode::SUCCESS)
}

/// A store's URL for configurations: a service may have another current folder.
fn absolute(url: &StoreUrl) -> String {
    let file = url.expose().strip_prefix("sqlite:");
    let file = file.and_then(|file| std::path::absolute(file).ok());
    file.map_or_else(
        || url.to_string(),
        |file| format!("sqlite:{}", file.display()),
    )
}

fn note_replaced(texts: &ReplacedTexts, console: &Console) {
    let ReplacedTexts {
        table,
        column,
        rows,
        first,
    } = texts;
    console.error(&format!(
        "note: PostgreSQL cannot hold the NUL character: U+FFFD replaces it in {table}.{column} of {rows} rows, the first of \
         which is {first}"
    ));
}

/// Returns a store's URL, which may be in a file. Other users of the machine see arguments, so a URL with a
/// password is refused.
fn url(argument: &str, name: &'static str) -> anyhow::Result<StoreUrl> {
    if let Some(file) = argument.strip_prefix("file:") {
        let text = std::fs::read_to_string(Path::new(file));
        let text = text.with_context(|| format!("{name}: cannot read {file}"))?;
        let url = StoreUrl::from(text.trim().to_owned());
        return checked(url, name);
    }
    if !argument.contains(':') {
        let meant = if Path::new(argument).exists() {
            format!("; did you mean sqlite:{argument}?")
        } else {
            String::new()
        };
        bail!(BadSetting::new(format!(
            "{name}: expected sqlite:PATH, postgres://USER@HOST/DATABASE, or file:PATH, a file with a URL{meant}"
        )));
    }
    let url = StoreUrl::from(argument.to_owned());
    if has_password(argument) {
        bail!(BadSetting::new(format!(
            "{name}: other users of this machine can read a password in an argument: write the URL to a file, and \
             name it as file:PATH"
        )));
    }
    checked(url, name)
}

fn checked(url: StoreUrl, name: &'static str) -> anyhow::Result<StoreUrl> {
    let checked = postbell_store::check(url.expose());
    checked.map_err(|error| BadSetting::from_error(anyhow::Error::from(error).context(name)))?;
    Ok(url)
}

fn has_password(url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let credentials = authority.rsplit_once('@').map_or("", |(user, _)| user);
    credentials.contains(':') || url.contains("password=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_told_what_was_expected_and_a_configuration_gets_the_whole_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("postbell.db");
        std::fs::write(&file, "").unwrap();
        let name = file.to_str().unwrap();
        let refused = url(name, "FROM").unwrap_err().to_string();
        assert!(
            refused.starts_with("FROM: expected sqlite:PATH"),
            "{refused}"
        );
        assert!(
            refused.ends_with(&format!("did you mean sqlite:{name}?")),
            "{refused}"
        );
        let relative = absolute(&StoreUrl::from("sqlite:copy.db".to_owned()));
        assert!(relative.starts_with("sqlite:/") && relative.ends_with("/copy.db"));
        let remote = StoreUrl::from("postgres://ann@h/db".to_owned());
        assert_eq!(absolute(&remote), "postgres://h:5432/db");
    }

    #[test]
    fn a_password_is_refused_as_an_argument_and_read_from_a_file() {
        for argument in [
            "postgres://ann:hunter2@h/db",
            "postgres://h/db?user=ann&password=hunter2",
        ] {
            let error = format!("{:#}", url(argument, "TO").unwrap_err());
            assert!(
                error.contains("file:PATH") && !error.contains("hunter2"),
                "{error}"
            );
        }
        url("postgres://ann@h/db", "TO").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        std::fs::write(&file, "postgres://ann:hunter2@h/db\n").unwrap();
        let read = url(&format!("file:{}", file.display()), "TO").unwrap();
        assert_eq!(read.expose(), "postgres://ann:hunter2@h/db");
    }
}

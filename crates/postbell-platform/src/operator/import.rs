//! Users from CSV.

use std::collections::HashSet;

use async_trait::async_trait;
use csv::{ReaderBuilder, StringRecord, Trim};
use postbell_core::{Actor, NewUser, Users, UsersError};
use postbell_protocol::api::operator::{
    AddUser, ImportOutcome, ImportReport, ImportUsers, ImportedLine, MachineFields,
};

use super::users::new_user;
use super::{Operator, OperatorError, Perform};

/// How many users are added in one transaction.
const BATCH: usize = 200;

/// How many users a file may have, and how many bytes.
const MOST_LINES: usize = 20_000;
const MOST_BYTES: usize = 2 * 1024 * 1024;

const COLUMNS: [&str; 7] = [
    "user",
    "sandbox_id",
    "app",
    "machine",
    "url",
    "status",
    "wake_on_mail",
];

/// A line of the file.
struct Line {
    line: u64,
    user: String,
    parsed: Result<NewUser, String>,
}

#[async_trait]
impl Perform<ImportUsers> for Operator {
    /// Adds the users in batches: if it fails half-way, repeating it adds the others.
    async fn perform(
        &self,
        request: ImportUsers,
        by: &Actor,
    ) -> Result<ImportReport, OperatorError> {
        let mut lines = parse(&request.csv)?;
        refuse_repeats(&mut lines);
        let users = self.ports.users(by);
        let mut outcomes = Vec::with_capacity(lines.len());
        for batch in lines.chunks(BATCH) {
            let new = batch.iter().filter_map(|line| line.parsed.clone().ok());
            let mut new: Vec<_> = new.collect();
            for new in &mut new {
                self.avoid_former_machine(new).await?;
            }
            let added = if request.dry_run {
                examine(&*users, &new).await?
            } else {
                let added = users.add_all(new, self.clock.now()).await?;
                added.into_iter().map(|added| added.map(drop)).collect()
            };
            let mut added = added.into_iter();
            outcomes.extend(batch.iter().map(|line| match &line.parsed {
                Err(problem) => (ImportOutcome::Refused, Some(problem.clone())),
                Ok(_) => outcome(added.next().unwrap_or(Ok(()))),
            }));
        }
        Ok(report(lines, outcomes))
    }
}

fn outcome(added: Result<(), UsersError>) -> (ImportOutcome, Option<String>) {
    match added {
        Ok(()) => (ImportOutcome::Added, None),
        Err(UsersError::AlreadyExists { .. }) => (ImportOutcome::Existing, None),
        Err(error) => (ImportOutcome::Refused, Some(error.to_string())),
    }
}

fn report(lines: Vec<Line>, outcomes: Vec<(ImportOutcome, Option<String>)>) -> ImportReport {
    let count = |wanted| outcomes.iter().filter(|(it, _)| *it == wanted).count();
    ImportReport {
        added: count(ImportOutcome::Added),
        existing: count(ImportOutcome::Existing),
        refused: count(ImportOutcome::Refused),
        lines: lines
            .into_iter()
            .zip(outcomes.iter().cloned())
            .map(|(line, (outcome, problem))| ImportedLine {
                line: line.line,
                user_id: line.user,
                outcome,
                problem,
            })
            .collect(),
    }
}

/// Returns what adding users would do.
async fn examine(
    users: &dyn Users,
    new: &[NewUser],
) -> Result<Vec<Result<(), UsersError>>, OperatorError> {
    let mut results = Vec::with_capacity(new.len());
    for NewUser {
        user, sandbox_id, ..
    } in new
    {
        results.push(if users.get(user).await?.is_some() {
            Err(UsersError::AlreadyExists { user: user.clone() })
        } else if users.user_by_sandbox(sandbox_id).await?.is_some() {
            Err(UsersError::SandboxTaken)
        } else {
            Ok(())
        });
    }
    Ok(results)
}

/// Refuses a user, or a sandbox id, that an earlier line has.
fn refuse_repeats(lines: &mut [Line]) {
    let (mut users, mut sandboxes) = (HashSet::new(), HashSet::new());
    for line in lines {
        if let Ok(new) = &line.parsed {
            if !users.insert(new.user.clone()) {
                line.parsed = Err("an earlier line has the same user".to_owned());
            } else if !sandboxes.insert(new.sandbox_id.clone()) {
                line.parsed = Err("an earlier line has the same sandbox id".to_owned());
            }
        }
    }
}

fn parse(csv: &str) -> Result<Vec<Line>, OperatorError> {
    let invalid = |text: String| OperatorError::Invalid(text);
    if csv.len() > MOST_BYTES {
        return Err(invalid("the file has more than 2 MiB: split it".to_owned()));
    }
    // A spreadsheet may begin its file with a byte order mark.
    let csv = csv.strip_prefix('\u{feff}').unwrap_or(csv);
    // With both characters at the ends of lines, the reader counts each line one too late.
    let csv = csv.replace("\r\n", "\n");
    let mut reader = ReaderBuilder::new()
        .trim(Trim::All)
        .flexible(true)
        .from_reader(csv.as_bytes());
    let header = reader
        .headers()
        .map_err(|error| invalid(error.to_string()))?;
    let header = header.clone();
    let unknown = header.iter().find(|name| !COLUMNS.contains(name));
    if let Some(unknown) = unknown {
        let columns = COLUMNS.join(", ");
        return Err(invalid(format!(
            "line 1: there is no column {unknown:?}; expected a header of: {columns}"
        )));
    }
    if !header.iter().any(|name| name == "user") {
        return Err(invalid(
            "line 1: expected a header with the column user".to_owned(),
        ));
    }
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| invalid(error.to_string()))?;
        if lines.len() == MOST_LINES {
            return Err(invalid(format!(
                "the file has more than {MOST_LINES} users: split it"
            )));
        }
        lines.push(line(&header, &record));
    }
    Ok(lines)
}

fn line(header: &StringRecord, record: &StringRecord) -> Line {
    let position = record.position();
    let value = |column: &str| {
        let at = header.iter().position(|name| name == column)?;
        record.get(at).filter(|value| !value.is_empty())
    };
    let parsed = if record.len() > header.len() {
        Err("the line has more values than the header".to_owned())
    } else {
        request(&value).and_then(|request| new_user(request).map_err(|error| error.to_string()))
    };
    Line {
        line: position.map_or(0, csv::Position::line),
        user: value("user").unwrap_or_default().to_owned(),
        parsed,
    }
}

fn request<'a>(value: &impl Fn(&str) -> Option<&'a str>) -> Result<AddUser, String> {
    let user = value("user").ok_or("user: expected an id")?;
    let parse_error = |column: &str, error: &dyn std::fmt::Display| format!("{column}: {error}");
    let sandbox_id = value("sandbox_id").map(str::parse).transpose();
    let status = value("status").map(str::parse).transpose();
    let url = value("url").map(str::parse).transpose();
    let wake_on_mail = match value("wake_on_mail") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err("wake_on_mail: expected true or false".to_owned()),
    };
    Ok(AddUser {
        user_id: user.parse().map_err(|error| parse_error("user", &error))?,
        sandbox_id: sandbox_id.map_err(|error| parse_error("sandbox_id", &error))?,
        machine: MachineFields {
            fly_app_name: value("app").map(str::to_owned),
            fly_machine_id: value("machine").map(str::to_owned),
            url: url.map_err(|_| "url: expected a base URL such as https://bot.example.com")?,
            status: status.map_err(|error| parse_error("status", &error))?,
        },
        wake_on_mail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(csv: &str) -> Vec<(u64, String, Option<String>)> {
        let mut lines = parse(csv).unwrap();
        refuse_repeats(&mut lines);
        let lines = lines.into_iter();
        lines
            .map(|it| (it.line, it.user, it.parsed.err()))
            .collect()
    }

    #[test]
    fn each_line_is_judged_alone() {
        let csv = "\u{feff}user, url ,wake_on_mail,sandbox_id\r\n\
                   ann,https://ann.example.com,true,\r\n\
                   b b,,,\r\n\
                   cid,ftp://x,,\r\n\
                   dan,,maybe,\r\n\
                   ann,,,other\r\n\
                   eve,,,ann\r\n\
                   \"fay\"\r\n\
                   gus,,,,more\r\n\
                   ,,,\r\n";
        let expected = [
            (2, "ann", None),
            (3, "b b", Some("user: expected")),
            (4, "cid", Some("url: expected a base URL")),
            (5, "dan", Some("wake_on_mail: expected true or false")),
            (6, "ann", Some("an earlier line has the same user")),
            (7, "eve", Some("an earlier line has the same sandbox id")),
            (8, "fay", None),
            (9, "gus", Some("more values than the header")),
            (10, "", Some("user: expected an id")),
        ];
        let verdicts = verdicts(csv);
        assert_eq!(verdicts.len(), expected.len());
        for ((line, user, problem), expected) in verdicts.iter().zip(expected) {
            assert_eq!((*line, &**user), (expected.0, expected.1));
            match (problem, expected.2) {
                (None, None) => (),
                (Some(problem), Some(expected)) => assert!(problem.contains(expected), "{problem}"),
                (problem, expected) => panic!("{user}: {problem:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn a_file_without_a_usable_header_is_refused() {
        for (csv, expected) in [
            ("", "a header with the column user"),
            (
                "url\nhttps://a.example.com\n",
                "a header with the column user",
            ),
            (
                "user,e-mail\nann,a@example.com\n",
                "there is no column \"e-mail\"",
            ),
        ] {
            let error = parse(csv).map(|lines| lines.len()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let long = format!("user\n{}", "ann\n".repeat(MOST_LINES + 1));
        assert!(parse(&long).is_err());
    }
}

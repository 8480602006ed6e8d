//! Users from CSV.

use std::collections::HashSet;

use async_trait::async_trait;
use csv::{Position, ReaderBuilder, StringRecord, Trim};
use postbell_core::{Actor, NewUser, UserId, Users, UsersError};
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

/// A user in a CSV file.
pub struct CsvUser {
    /// The line of the file; the header is line 1.
    pub line: u64,
    /// The user's id, as it stands there.
    pub user: String,
    /// The user, or why the line is refused.
    pub request: Result<AddUser, String>,
}

/// A line of the file.
struct Line {
    line: u64,
    user: String,
    parsed: Result<(AddUser, NewUser), String>,
}

/// What became of a line, and why it was refused.
type Outcome = (ImportOutcome, Option<String>);

/// Reads the users of a CSV file, which has the columns of an import.
///
/// # Errors
///
/// [`OperatorError::Invalid`] if the file has no usable header, or is too long.
pub fn users_of_csv(csv: &str) -> Result<Vec<CsvUser>, OperatorError> {
    let mut lines = parse(csv)?;
    refuse_repeats(&mut lines);
    let users = lines.into_iter().map(|line| CsvUser {
        line: line.line,
        user: line.user,
        request: line.parsed.map(|(request, _)| request),
    });
    Ok(users.collect())
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
        for line in &mut lines {
            if let Ok((request, new)) = &mut line.parsed
                && request.sandbox_id.is_none()
            {
                self.avoid_former_machine(new).await?;
            }
        }
        refuse_repeats(&mut lines);
        let users = self.ports.users(by);
        let mut added = Vec::new();
        let outcomes = if request.dry_run {
            examine_lines(&*users, &lines).await
        } else {
            let outcomes = self.add_lines(&*users, &lines, &mut added).await;
            self.users_changed(&added).await;
            outcomes
        };
        Ok(report(lines, outcomes?))
    }
}

impl Operator {
    /// Adds the users of the lines, and puts those that are stored into `added`, also if it fails half-way.
    async fn add_lines(
        &self,
        users: &dyn Users,
        lines: &[Line],
        added: &mut Vec<UserId>,
    ) -> Result<Vec<Outcome>, OperatorError> {
        let mut outcomes = Vec::with_capacity(lines.len());
        for batch in lines.chunks(BATCH) {
            let results = users.add_all(new_users(batch), self.clock.now()).await?;
            let stored = results.iter().flatten();
            added.extend(stored.map(|record| record.user.clone()));
            let results = results.into_iter().map(|added| added.map(drop));
            outcomes.extend(outcomes_of(batch, results));
        }
        Ok(outcomes)
    }
}

/// What adding the users of the lines would do.
async fn examine_lines(users: &dyn Users, lines: &[Line]) -> Result<Vec<Outcome>, OperatorError> {
    let results = examine(users, &new_users(lines)).await?;
    Ok(outcomes_of(lines, results.into_iter()).collect())
}

/// The users of the lines that are not refused.
fn new_users(lines: &[Line]) -> Vec<NewUser> {
    let parsed = lines.iter().filter_map(|line| line.parsed.as_ref().ok());
    parsed.map(|(_, new)| new.clone()).collect()
}

/// The outcome of each line, of which those that are not refused have a result.
fn outcomes_of(
    lines: &[Line],
    mut results: impl Iterator<Item = Result<(), UsersError>>,
) -> impl Iterator<Item = Outcome> {
    lines.iter().map(move |line| match &line.parsed {
        Err(problem) => (ImportOutcome::Refused, Some(problem.clone())),
        Ok(_) => outcome(results.next().unwrap_or(Ok(()))),
    })
}

fn outcome(added: Result<(), UsersError>) -> Outcome {
    match added {
        Ok(()) => (ImportOutcome::Added, None),
        Err(UsersError::AlreadyExists { .. }) => (ImportOutcome::Existing, None),
        Err(error) => (ImportOutcome::Refused, Some(error.to_string())),
    }
}

fn report(lines: Vec<Line>, outcomes: Vec<Outcome>) -> ImportReport {
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
        if let Ok((_, new)) = &line.parsed {
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
    let mut numbers = LineNumbers::of(csv);
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| invalid(error.to_string()))?;
        let number = numbers.at(record.position());
        if record.len() == 1 && record[0].is_empty() {
            // A line with nothing but spaces.
            continue;
        }
        if lines.len() == MOST_LINES {
            return Err(invalid(format!(
                "the file has more than {MOST_LINES} users: split it"
            )));
        }
        lines.push(line(number, &header, &record));
    }
    Ok(lines)
}

/// Counts the lines of a text. The reader's own numbers are those at which it began to look for a record, which blank
/// lines shift, as do ends of lines of two characters.
struct LineNumbers<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl<'a> LineNumbers<'a> {
    const fn of(text: &'a str) -> Self {
        Self {
            text: text.as_bytes(),
            at: 0,
            line: 1,
        }
    }

    /// The line of a record that the reader has found from a position on. Later records follow.
    fn at(&mut self, position: Option<&Position>) -> u64 {
        let byte = position.map_or(0, Position::byte);
        let start = usize::try_from(byte)
            .unwrap_or(usize::MAX)
            .min(self.text.len());
        let blank = self.text[start..].iter();
        let blank = blank
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        let begins = start + blank;
        let between = &self.text[self.at.min(begins)..begins];
        let feeds = between.iter().filter(|&&byte| byte == b'\n').count();
        let returns = between
            .windows(2)
            .filter(|pair| pair[0] == b'\r' && pair[1] != b'\n');
        let last = between.last().is_some_and(|&byte| byte == b'\r');
        self.line += (feeds + returns.count() + usize::from(last)) as u64;
        self.at = begins;
        self.line
    }
}

fn line(number: u64, header: &StringRecord, record: &StringRecord) -> Line {
    let value = |column: &str| {
        let at = header.iter().position(|name| name == column)?;
        record.get(at).filter(|value| !value.is_empty())
    };
    let parsed = if record.len() > header.len() {
        Err("the line has more values than the header".to_owned())
    } else {
        request(&value).and_then(|request| {
            let new = new_user(request.clone()).map_err(|error| error.to_string())?;
            Ok((request, new))
        })
    };
    Line {
        line: number,
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
                   ,,,\r\n\
                   /push/gmail,,,\r\n\
                   hal,https://joe:pw@hal.example.com,,\r\n";
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
            (11, "/push/gmail", Some("does not begin with /")),
            (12, "hal", Some("without user and password")),
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
    fn lines_are_counted_as_an_editor_does() {
        for (csv, numbers) in [
            ("user\nann\nbob\n", &[2, 3][..]),
            ("user\n\n\nann\n\nbob", &[4, 6]),
            ("\n\nuser\nann\n", &[4]),
            ("user\r\n\r\nann\r\n\r\n\r\nbob\r\n\r\n", &[3, 6]),
            ("user\rann\r\rbob\r", &[2, 4]),
            ("user,url\n\"a\nb\",\n\nbob\n", &[2, 5]),
            ("user\n   \nann\n", &[3]),
            ("\u{feff}user\n\nann", &[3]),
            ("user\n\n\n", &[]),
        ] {
            let found: Vec<_> = verdicts(csv).into_iter().map(|(line, ..)| line).collect();
            assert_eq!(found, numbers, "{csv:?}");
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

//! `postbell users invite-all`

use std::process::ExitCode;

use anyhow::Context as _;
use csv::WriterBuilder;
use postbell_core::{Timestamp, printable};
use postbell_platform::{CsvUser, users_of_csv};
use postbell_protocol::api::operator::{Invitation, Invite};
use secrecy::ExposeSecret;

use super::{Context, import};
use crate::cli::InviteAllArgs;
use crate::commands::operator::{Access, Target, is_about_request};
use crate::commands::table;

/// Invites the users of a CSV file, one after the other, and prints each link at once: what was printed before an
/// interruption can be used. Fails if a line is refused, and stops if the platform or the store fails.
pub(super) async fn run(args: &InviteAllArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let console = context.console;
    let users = users_of_csv(&import::read(&args.file)?)?;
    context.check_url()?;
    let target = context.open(Access::Create)?;
    console.data(&csv_line(["user", "link", "ends"])?)?;
    let (mut invited, mut added, mut refused) = (0_usize, 0_usize, 0_usize);
    for CsvUser {
        line,
        user,
        request,
    } in users
    {
        let invitation = match request {
            Ok(user) => invite(&target, user, args).await,
            Err(problem) => Err(RefusedLine(problem).into()),
        };
        match invitation {
            Ok(invitation) => {
                invited += 1;
                added += usize::from(invitation.added);
                console.data(&row(&invitation)?)?;
            }
            Err(error) if !is_of_line(&error) => {
                return Err(error.context(format!(
                    "stopped at line {line}, after {invited} invitations: repeat it with the lines from there on"
                )));
            }
            Err(error) => {
                refused += 1;
                let (user, error) = (printable(&user), printable(&format!("{error:#}")));
                console.error(&format!("line {line}: {user}: {error}"));
            }
        }
    }
    console.error(&format!(
        "{invited} invited, {added} of whom were added; {refused} refused. Each link works once and is a secret."
    ));
    Ok(if refused == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A line that is no user.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct RefusedLine(String);

/// Whether the next line may be accepted.
fn is_of_line(error: &anyhow::Error) -> bool {
    error.is::<RefusedLine>() || is_about_request(error)
}

async fn invite(
    target: &Target,
    user: postbell_protocol::api::operator::AddUser,
    args: &InviteAllArgs,
) -> anyhow::Result<Invitation> {
    let request = Invite {
        user,
        valid_for_seconds: Some(args.valid_for.as_secs()),
    };
    target.perform(request).await
}

fn row(invitation: &Invitation) -> anyhow::Result<String> {
    let ends = table::time(Timestamp::from_millis(invitation.expires_at));
    csv_line([&*invitation.user_id, invitation.url.expose_secret(), &*ends])
}

/// A line of CSV without its end.
fn csv_line(values: [&str; 3]) -> anyhow::Result<String> {
    let mut writer = WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(values)?;
    let line = writer.into_inner().context("CSV")?;
    Ok(String::from_utf8(line)?.trim_end().to_owned())
}

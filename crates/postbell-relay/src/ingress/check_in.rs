//! `POST /api/controller/checkin`: a machine reports that it is running (protocol, section 2).

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use postbell_core::{MachineReport, MailProblem, ProblemCode, UserId};
use postbell_http::{constant_time_eq, read_body, shown_tokens};
use postbell_protocol::api::CheckInRequest;
use postbell_protocol::routes;
use secrecy::{ExposeSecret, SecretString};
use tracing::{debug, info, warn};

use super::{ApiError, Ingress};

/// The largest body: a sandbox id, and for each account an address, a time and a problem.
const BODY_LIMIT: usize = 16 * 1024;

const EXPECTED_ID: ApiError =
    ApiError::InvalidBody("expected a JSON object with sandboxId, the machine's own");
const EXPECTED_TOKEN: ApiError =
    ApiError::Unauthenticated("expected the bearer token of a machine that is known");
const NOT_REPORTED: ApiError = ApiError::Unavailable("the user directory cannot be reached");

/// Makes the machine's mailboxes due at once, so that their notifications do not wait for the retry
/// schedule. A parked mailbox is due only once the problem that stops its deliveries is over.
pub(super) async fn check_in(
    State(ingress): State<Ingress>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let tokens = shown_tokens(&headers, routes::MACHINE_TOKEN);
    if tokens.is_empty() {
        return Err(EXPECTED_TOKEN);
    }
    let body = read_body(body, BODY_LIMIT).await?;
    let check_in: CheckInRequest = serde_json::from_slice(&body).map_err(|_| EXPECTED_ID)?;
    let report: MachineReport = check_in.mailbox.into();
    let accounts = check_in.accounts;
    let accounts = accounts.map(|them| them.into_iter().map(Into::into).collect::<Vec<_>>());
    let sandbox_id = check_in.sandbox_id.ok_or(EXPECTED_ID)?;
    let user = authenticate(&ingress, &sandbox_id, &tokens).await?;

    let parts = ingress.parts();
    // Reported first, because the delivery that becomes due reads the machine's status.
    let directory = &parts.directory;
    let reported = directory.report_running(&user, report, accounts.as_deref());
    let reported = reported.await;
    if let Err(error) = &reported {
        warn!(
            user.id = %user.masked(), error = error as &dyn std::error::Error,
            "Could not report to the directory that the machine of {} is running", user.masked()
        );
    }
    // The cached answers are from before the machine started.
    parts.directory.forget(&user);
    let blocking = report.problem.and_then(MailProblem::blocking_code);
    let now = parts.clock.now();
    let pending = parts.queue.make_due(&user, blocking, now).await?;
    make_further_due(&ingress, &sandbox_id, &user).await?;
    parts.arrivals.notify_one();
    let problem = report.problem.map(|problem| problem.code);
    info!(
        user.id = %user.masked(), pending, problem = problem.map(ProblemCode::as_str),
        "The machine of {} checked in", user.masked()
    );
    // The machine repeats a check-in that fails. Else the directory would keep its last report for an hour.
    reported.map_err(|_| NOT_REPORTED)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes the mailboxes of the user's further accounts due. Which there are, and what stops their deliveries, the directory
/// knows since the report.
async fn make_further_due(
    ingress: &Ingress,
    sandbox_id: &str,
    user: &UserId,
) -> Result<(), ApiError> {
    let parts = ingress.parts();
    let directory = &parts.directory;
    let users = match directory.users_by_sandbox(sandbox_id).await {
        Ok(users) => users,
        // They become due by the retry schedule.
        Err(error) => {
            let (user, error) = (user.masked(), &error as &dyn std::error::Error);
            debug!(user.id = %user, error, "Could not ask for the accounts of {user}");
            return Ok(());
        }
    };
    for account in users.iter().filter(|account| *account != user) {
        directory.forget(account);
        let Ok(found) = directory.latest_user(account).await else {
            continue;
        };
        let problem = found.and_then(|found| found.instance.problem);
        let blocking = problem.and_then(MailProblem::blocking_code);
        let now = parts.clock.now();
        parts.queue.make_due(account, blocking, now).await?;
    }
    Ok(())
}

/// Returns the user whose machine this is. An unknown machine and a wrong token get the same answer.
async fn authenticate(
    ingress: &Ingress,
    sandbox_id: &str,
    tokens: &[SecretString],
) -> Result<UserId, ApiError> {
    let directory = &ingress.parts().directory;
    if let Some(user) = directory.cached_user_by_sandbox(sandbox_id)
        && is_token_of(ingress, &user, tokens).await?
    {
        return Ok(user);
    }
    // The machine may be unknown, belong to another user since, or have another token.
    ingress.check_unknown_machine_rate()?;
    let users = directory.users_by_sandbox(sandbox_id).await?;
    let user = users.into_iter().next().ok_or(EXPECTED_TOKEN)?;
    directory.forget_token(&user);
    if is_token_of(ingress, &user, tokens).await? {
        Ok(user)
    } else {
        Err(EXPECTED_TOKEN)
    }
}

async fn is_token_of(
    ingress: &Ingress,
    user: &UserId,
    shown: &[SecretString],
) -> Result<bool, ApiError> {
    let token = ingress.parts().directory.gateway_token(user).await?;
    Ok(token.is_some_and(|token| {
        let token = token.expose_secret();
        shown
            .iter()
            .any(|shown| constant_time_eq(token, shown.expose_secret()))
    }))
}

//! A machine reports in (contract, section 2).

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use postbell_core::UserId;
use postbell_http::{bearer_token, constant_time_eq, read_body};
use postbell_protocol::api::CheckInRequest;
use secrecy::ExposeSecret;
use tracing::{debug, info};

use super::caller::EXPECTED_BEARER;
use super::{Edge, Refusal};

/// The longest body: a sandbox id, and a time.
const BODY_LIMIT: usize = 1024;

const EXPECTED_ID: Refusal =
    Refusal::Unreadable("expected a JSON object with sandboxId, the machine's own");
const EXPECTED_TOKEN: Refusal =
    Refusal::Unauthenticated("expected the bearer token of a machine that is known");

/// Makes what waits for a machine due: nobody waits half an hour for one that is back.
pub(super) async fn check_in(
    State(edge): State<Edge>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let bearer = bearer_token(&headers).ok_or(EXPECTED_BEARER)?;
    let body = read_body(body, BODY_LIMIT).await?;
    let check_in: CheckInRequest = serde_json::from_slice(&body).map_err(|_| EXPECTED_ID)?;
    let sandbox_id = check_in.sandbox_id.ok_or(EXPECTED_ID)?;
    let user = authenticated(&edge, &sandbox_id, bearer.token()).await?;

    let parts = edge.parts();
    // Before the delivery is due, which asks how the machine is.
    let reported = parts
        .recall
        .report_running(&user, check_in.watch_expires_at);
    if let Err(error) = reported.await {
        debug!(
            user.id = %user.masked(), error = &error as &dyn std::error::Error,
            "Could not tell the directory that the machine of {} is up", user.masked()
        );
    }
    // What is known of the machine is from before it was away.
    parts.recall.forget(&user);
    let waits = parts.inbox.wake(&user, parts.clock.now()).await?;
    parts.arrivals.notify_one();
    info!(user.id = %user.masked(), waits, "The machine of {} has reported in", user.masked());
    Ok(StatusCode::NO_CONTENT)
}

/// The user whose machine this is. An unknown machine and a wrong token are answered alike.
async fn authenticated(edge: &Edge, sandbox_id: &str, token: &str) -> Result<UserId, Refusal> {
    let recall = &edge.parts().recall;
    let user = match recall.known_user_of_sandbox(sandbox_id) {
        Some(user) => user,
        None => {
            let wait = |seconds| Refusal::TooFast { seconds };
            edge.0.strangers.count(&()).map_err(wait)?;
            let user = recall.user_by_sandbox(sandbox_id).await?;
            user.ok_or(EXPECTED_TOKEN)?
        }
    };
    if is_token_of(edge, &user, token).await? {
        return Ok(user);
    }
    // It may have been changed since we were told.
    let wait = |seconds| Refusal::TooFast { seconds };
    edge.0.strangers.count(&()).map_err(wait)?;
    recall.forget_token(&user);
    if is_token_of(edge, &user, token).await? {
        Ok(user)
    } else {
        Err(EXPECTED_TOKEN)
    }
}

async fn is_token_of(edge: &Edge, user: &UserId, shown: &str) -> Result<bool, Refusal> {
    let Some(token) = edge.parts().recall.gateway_token(user).await? else {
        return Ok(false);
    };
    Ok(constant_time_eq(token.expose_secret(), shown))
}

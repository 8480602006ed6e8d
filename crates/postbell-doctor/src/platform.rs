//! Asks a remote platform with the user's token (protocol, section 2).

use postbell_core::{EmailAddress, Timestamp, UserId};
use postbell_protocol::api::{ConnectionStatus, PublicKey};
use postbell_protocol::routes::{ADMIN_GOOGLE_CREDENTIALS, ADMIN_PUBLIC_KEY};
use postbell_protocol::user_token::user_named_in;
use reqwest::RequestBuilder;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::Url;

use crate::checker::Deps;
use crate::facts::Account;
use crate::probe::send;
use crate::report::CheckResult;

/// Asks the platform about the user, or about a further account with an address.
///
/// # Errors
///
/// Why the account is not known.
pub(crate) async fn account(
    deps: &Deps,
    token: Option<&SecretString>,
    platform: &Url,
    user: &UserId,
    further: Option<&EmailAddress>,
) -> Result<Account, CheckResult> {
    let Some(token) = token else {
        return Err(CheckResult::unknown_with_hint(
            "the platform is remote, and no token for it is set",
            format!(
                "Set POSTBELL_USER_TOKEN to the output of the operator's `postbell users token {user}`."
            ),
        ));
    };
    // The platform would answer with the state of that user.
    if let Some(actual) = user_named_in(token.expose_secret()).filter(|actual| actual != user) {
        return Err(CheckResult::failed(
            format!("the user token is for {actual}, and setup was run for {user}"),
            format!(
                "Run `postbell setup --user {actual}`, or set POSTBELL_USER_TOKEN to a token of {user}."
            ),
        ));
    }
    let connection: ConnectionStatus =
        get(deps, platform, ADMIN_GOOGLE_CREDENTIALS, Some(token)).await?;
    let machine = Err(CheckResult::unknown_with_hint(
        "only the platform's operator can see the machine",
        format!("Ask the operator to run `postbell doctor {user}`."),
    ));
    let first = Account {
        owner: None,
        google_connected: connection.google_connected,
        notifications_enabled: connection.gmail_notifications_enabled,
        email: connection.email,
        push_account: connection.gmail_push_oidc_email,
        watch_ends_at: None,
        problem: None,
        machine,
    };
    let Some(further) = further else {
        return Ok(first);
    };
    let is_its = |email: Option<&str>| email.is_some_and(|email| further.is_same_mailbox(email));
    let mut accounts = connection.further_accounts.into_iter();
    let found = accounts.find(|account| is_its(account.google_account_email.as_deref()));
    Ok(match found {
        Some(account) => Account {
            owner: Some(user.clone()),
            google_connected: true,
            notifications_enabled: account.gmail_notifications_enabled,
            email: account.google_account_email,
            push_account: account.gmail_push_oidc_email,
            watch_ends_at: account.watch_expires_at.map(Timestamp::from_millis),
            problem: account.problem,
            ..first
        },
        // Setup connects an account again where it is.
        None if is_its(first.email.as_deref()) => first,
        None => Account {
            owner: Some(user.clone()),
            google_connected: false,
            email: Some(further.as_str().to_owned()),
            ..first
        },
    })
}

/// Checks that the platform publishes a key to encrypt credentials with.
pub(crate) async fn public_key(
    deps: &Deps,
    token: Option<&SecretString>,
    platform: &Url,
) -> CheckResult {
    match get::<PublicKey>(deps, platform, ADMIN_PUBLIC_KEY, token).await {
        Ok(_) => CheckResult::ok("the platform has a key to encrypt credentials with"),
        Err(result) => result,
    }
}

async fn get<T: DeserializeOwned>(
    deps: &Deps,
    platform: &Url,
    path: &str,
    token: Option<&SecretString>,
) -> Result<T, CheckResult> {
    let base = platform.as_str().trim_end_matches('/');
    let request = deps.client.get(format!("{base}{path}"));
    let token = token.map_or("", |token| token.expose_secret());
    let answer = timeout(deps.time_limit, read(request.bearer_auth(token), path));
    let in_time = answer.await;
    in_time.unwrap_or_else(|_| {
        Err(CheckResult::unknown(
            "the platform does not answer within the time limit",
        ))
    })
}

async fn read<T: DeserializeOwned>(request: RequestBuilder, path: &str) -> Result<T, CheckResult> {
    let answer = send(request).await.map_err(|_| unreachable())?;
    match answer.status {
        200..=299 => {
            let answer = answer.json().await.ok_or_else(no_platform)?;
            serde_json::from_value(answer).map_err(|_| no_platform())
        }
        401 | 403 => Err(CheckResult::failed(
            "the platform rejects the token: it is wrong or has expired",
            "Ask the operator for a new token (`postbell users token USER`).",
        )),
        404 => Err(CheckResult::failed(
            "the platform does not know the user, or is not a platform",
            "Check --platform and --user of `postbell setup`, and that the operator has added the \
             user (`postbell users add USER`).",
        )),
        503 if path == ADMIN_PUBLIC_KEY => Err(CheckResult::failed(
            "the platform has no key to encrypt credentials with",
            "Ask the operator to give the platform an RSA key (platform.private_key_file).",
        )),
        500.. => Err(unreachable()),
        status => Err(CheckResult::failed(
            format!("the platform answered {status}"),
            "Check --platform of `postbell setup`, and show this to the operator.",
        )),
    }
}

fn no_platform() -> CheckResult {
    CheckResult::failed(
        "the server at the platform's URL is not a platform",
        "Check --platform of `postbell setup`.",
    )
}

fn unreachable() -> CheckResult {
    CheckResult::unknown_with_hint(
        "the platform is unreachable",
        "Check its URL (--platform), and that it runs.",
    )
}

//! The grant to read mail: it must still be valid, and for this mailbox.

use std::sync::Arc;

use postbell_core::EmailAddress;
use postbell_google::{
    Api, CloudError, Credentials, Mailbox, RefusalKind, TokenError, TokenSource,
};

use crate::checker::Checker;
use crate::google_error::explain;
use crate::report::{CheckResult, HopId};
use crate::times::day;

const CONSENT: &str = "Run `postbell setup`: it asks for consent again.";

/// For a user of a platform with an OAuth client of its own.
const CONNECT_AGAIN: &str = "The user clicks *Connect again* on My bot; an account with a project of the user's own is connected again by \
                             `postbell setup`.";

const fn consent(checker: &Checker<'_>) -> &'static str {
    match checker.facts.operator {
        Some(_) => CONNECT_AGAIN,
        None => CONSENT,
    }
}

pub(crate) async fn check(checker: &Checker<'_>) -> CheckResult {
    match (checker.mailbox_credentials(), &checker.facts.mailbox) {
        (Some((address, credentials)), _) => {
            checker
                .within(use_grant(checker, &address, &credentials))
                .await
        }
        (None, Err(result)) if !checker.is_local() => result.clone(),
        (None, _) => CheckResult::requires(HopId::Keys),
    }
}

/// Gets an access token with the grant and reads the profile of the mailbox.
async fn use_grant(
    checker: &Checker<'_>,
    address: &EmailAddress,
    credentials: &Credentials,
) -> CheckResult {
    let deps = checker.deps;
    let tokens = TokenSource::new(
        deps.client.clone(),
        deps.google.token.clone(),
        credentials.clone(),
        Arc::clone(&deps.clock),
    );
    let url = deps.google.gmail.clone();
    let mailbox = Mailbox::new(Api::new(deps.client.clone(), url, Arc::new(tokens)));
    match mailbox.profile().await {
        Ok(profile) if !address.is_same_mailbox(&profile.email_address) => {
            let detail = format!("it is for another mailbox than {}", address.as_str());
            CheckResult::failed(detail, consent(checker))
        }
        Ok(_) => valid(checker, address),
        Err(CloudError::Token(TokenError::GrantRevoked)) => {
            CheckResult::failed(revoked(checker), consent(checker))
        }
        Err(error) if error.is(RefusalKind::ScopeMissing) => {
            let detail = "it does not cover reading mail: the box was not ticked on Google's page";
            CheckResult::failed(detail, consent(checker))
        }
        Err(error) => explain(error, None),
    }
}

fn valid(checker: &Checker<'_>, address: &EmailAddress) -> CheckResult {
    let address = address.as_str();
    match checker.setup.grant_ends_at {
        None => CheckResult::ok(format!("valid for {address}")),
        Some(ends) => CheckResult::warning(
            format!(
                "valid for {address}, and expires on {}: the consent screen is in testing, where \
                 every grant expires after 7 days",
                day(ends.as_millis())
            ),
            "Publish the app at https://console.cloud.google.com/auth/audience, then run `postbell \
             setup`: it asks for consent again.",
        ),
    }
}

/// Explains Google's `invalid_grant`.
fn revoked(checker: &Checker<'_>) -> String {
    match checker.setup.grant_ends_at {
        Some(ends) if ends <= checker.now() => format!(
            "Google rejects it (invalid_grant): it expired on {}, because the consent screen is in \
             testing, where every grant expires after 7 days",
            day(ends.as_millis())
        ),
        _ => "Google rejects it (invalid_grant): its owner revoked it or changed the password, or \
              the consent screen is in testing, where every grant expires after 7 days"
            .to_owned(),
    }
}

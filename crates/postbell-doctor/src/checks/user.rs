//! The platform's user: connected, with a known push account, and with notifications turned on.

use crate::checker::Checker;
use crate::facts::Account;
use crate::report::{CheckResult, Status};

pub(crate) fn check(checker: &Checker<'_>) -> CheckResult {
    if checker.is_local() {
        return CheckResult::not_on_path("the mailbox is watched from this machine");
    }
    match checker.account {
        Some(Ok(account)) => judge(checker, account),
        Some(Err(result)) => result.clone(),
        None => not_known(&checker.facts.configuration),
    }
}

/// Why nothing is known about a user. That none is named is no failure: a service may have any number of them.
pub(super) fn not_known(configuration: &CheckResult) -> CheckResult {
    if configuration.status == Status::Failed {
        return CheckResult::requires(crate::report::HopId::Configuration);
    }
    not_named()
}

/// A check of a user's path if no user is named.
pub(super) fn not_named() -> CheckResult {
    CheckResult::unknown_with_hint(
        "no user is named",
        "Name the user: `postbell doctor USER`; on the platform's machine, `postbell users list` lists \
         them.",
    )
}

fn judge(checker: &Checker<'_>, account: &Account) -> CheckResult {
    let user = checker.user_name();
    if !account.google_connected {
        return CheckResult::failed(
            format!("{user} has no Google account connected"),
            if checker.facts.operator.is_some() {
                format!(
                    "Send the user the output of `postbell users invite {user}`: they connect it on the page \
                     that opens."
                )
            } else {
                format!(
                    "Run `postbell setup --platform URL --user {user}`, with POSTBELL_USER_TOKEN set to \
                     the output of `postbell users token {user}`."
                )
            },
        );
    }
    let email = account
        .email
        .as_deref()
        .unwrap_or("an account without an address");
    if account.push_account.is_none() {
        return CheckResult::failed(
            format!("{user} is connected as {email}, but the signer of the pushes is not known"),
            "Run `postbell setup`: it sends it to the platform.",
        );
    }
    if !account.notifications_enabled {
        return CheckResult::failed(
            format!("{user} is connected as {email}, but notifications are turned off"),
            if account.owner.is_some() {
                "The user turns them on on their page: My bot.".to_owned()
            } else {
                format!("Turn them on: `postbell users change {user} --notifications true`.")
            },
        );
    }
    CheckResult::ok(format!("{user}, connected as {email}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_whose_user_is_not_named_has_not_failed() {
        let result = not_known(&CheckResult::ok("valid"));
        assert_eq!(result.status, Status::Unknown);
        assert_eq!(result.detail, "no user is named");
        let result = not_known(&CheckResult::failed("wrong", "Correct it."));
        assert_ne!(result, not_named());
    }
}

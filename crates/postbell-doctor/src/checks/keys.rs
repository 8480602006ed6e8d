//! Credentials: the local file must be readable, or the platform's keys must decrypt them.

use postbell_google::Credentials;

use crate::checker::Checker;
use crate::facts::Destination;
use crate::platform;
use crate::report::CheckResult;

pub(crate) async fn check(checker: &Checker<'_>) -> CheckResult {
    if let Some(result) = &checker.facts.keys {
        return result.clone();
    }
    let destination = checker.setup.destination.as_ref();
    if let Some(file) = destination.and_then(Destination::credentials) {
        return match Credentials::from_file(file, "") {
            Ok(_) => CheckResult::ok(format!("{} holds credentials", file.display())),
            Err(error) => CheckResult::failed(
                error.to_string(),
                "Run `postbell setup`: it asks for consent again, and writes the file.",
            ),
        };
    }
    match destination {
        Some(Destination::Platform { platform, .. }) if checker.facts.account.is_none() => {
            platform::public_key(checker.deps, checker.facts.user_token.as_ref(), platform).await
        }
        _ => CheckResult::unknown("this machine has neither credentials nor a platform's keys"),
    }
}

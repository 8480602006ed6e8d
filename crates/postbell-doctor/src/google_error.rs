//! Explains errors of Google's APIs.

use postbell_google::{CloudError, RefusalKind, TokenError};

use crate::report::CheckResult;

/// Hint for what `postbell setup` repairs.
pub(crate) const RUN_SETUP: &str = "Run `postbell setup`: it repairs the difference.";

const CONSOLE: &str = "https://console.cloud.google.com";

/// Explains an error of a read-only call, and says how to repair it. The hop is `unknown` if only the
/// reading is not possible.
pub(crate) fn explain(error: CloudError, project: Option<&str>) -> CheckResult {
    match error {
        CloudError::Token(error) => explain_token(error, project),
        CloudError::Unauthorized => CheckResult::unknown_with_hint(
            "Google rejects the access token: it is wrong or has expired",
            "Get a new one with `gcloud auth print-access-token`, or use `postbell doctor --sign-in`.",
        ),
        CloudError::Unavailable { .. } => unavailable(),
        CloudError::Refused(refusal) => {
            let with_quote = |text: &str| format!("{text} (Google said: {})", refusal.said);
            match refusal.kind {
                RefusalKind::PermissionDenied => CheckResult::unknown_with_hint(
                    with_quote("the account that signed in lacks the permission"),
                    format!(
                        "Ask an owner of the project for the role Viewer, at {}.",
                        page("iam-admin/iam", project)
                    ),
                ),
                RefusalKind::ScopeMissing => CheckResult::unknown_with_hint(
                    with_quote("the grant does not cover this"),
                    "Run `postbell doctor --sign-in` again, and consent once more.",
                ),
                RefusalKind::ServiceDisabled => CheckResult::failed(
                    with_quote("a required API is not enabled"),
                    format!(
                        "Enable it at {}, or run `postbell setup`.",
                        page("apis/dashboard", project)
                    ),
                ),
                RefusalKind::NotFound => CheckResult::failed(
                    with_quote("Google does not find it"),
                    "Run `postbell setup`: it creates what is missing.",
                ),
                _ => CheckResult::failed(
                    with_quote("Google refuses the request"),
                    "Repair what Google names, and run `postbell doctor` again.",
                ),
            }
        }
    }
}

fn explain_token(error: TokenError, project: Option<&str>) -> CheckResult {
    match error {
        TokenError::Unavailable { .. } => unavailable(),
        TokenError::GrantRevoked => CheckResult::failed(
            "the grant was revoked or has expired",
            "Run `postbell setup`: it asks for consent again.",
        ),
        error @ TokenError::NotDelegated => CheckResult::failed(
            error.to_string(),
            "Delegate it at https://admin.google.com/ac/owl/domainwidedelegation, and run `postbell \
             doctor` again.",
        ),
        TokenError::Refused { reason } => CheckResult::failed(
            format!("Google refuses the OAuth client ({reason})"),
            format!(
                "Check at {} that the client still exists; a new secret can be created there.",
                page("auth/clients", project)
            ),
        ),
    }
}

fn unavailable() -> CheckResult {
    CheckResult::unknown_with_hint(
        "Google is busy or unreachable",
        "Run `postbell doctor` again in a few minutes.",
    )
}

fn page(path: &str, project: Option<&str>) -> String {
    match project {
        Some(project) => format!("{CONSOLE}/{path}?project={project}"),
        None => format!("{CONSOLE}/{path}"),
    }
}

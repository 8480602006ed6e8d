//! The subscription: it must push to the relay, signed by the account that the platform expects, or
//! keep messages for pulling.

use postbell_google::{Delivery, PubSubAdmin, PushSubscription, RefusalKind, Subscription};
use postbell_http::redacted_text;

use crate::checker::{Checker, Project};
use crate::google_error::{RUN_SETUP, explain};
use crate::report::{CheckResult, Status};

/// Settings without which notifications are lost or late: the field, what is wrong, and the flag that corrects it.
const SETTINGS: [(&str, &str, &str); 3] = [
    (
        "expirationPolicy",
        "Google deletes it after a period of inactivity",
        " --expiration-period=never",
    ),
    (
        "ackDeadlineSeconds",
        "its ack deadline is not 30 s",
        " --ack-deadline=30",
    ),
    (
        "retryPolicy",
        "its retry policy differs",
        " --min-retry-delay=10s --max-retry-delay=600s",
    ),
];

pub(super) async fn check(
    checker: &Checker<'_>,
    project: &Project,
    topic: String,
    pubsub: &PubSubAdmin,
) -> CheckResult {
    let name = checker.subscription(project);
    match pubsub.subscription(&name).await {
        Ok(Some(found)) => {
            let wanted = expected(checker, project, topic);
            let compared = compare(&name, &found, &wanted);
            // Setup would make another one.
            let is_own = checker.is_standalone() && compared.status == Status::Warning;
            CheckResult {
                hint: if is_own {
                    Some(update_command(&name, &found.differing(&wanted)))
                } else {
                    compared.hint
                },
                ..compared
            }
        }
        Ok(None) => CheckResult::failed(
            format!("{name} does not exist"),
            "Run `postbell setup`: it creates the subscription.",
        ),
        // Pulling needs fewer rights than reading the settings.
        Err(error) if checker.is_pulled() && error.is(RefusalKind::PermissionDenied) => {
            permission(project, &name, pubsub).await
        }
        Err(error) => explain(error, Some(&project.id)),
    }
}

async fn permission(project: &Project, name: &str, pubsub: &PubSubAdmin) -> CheckResult {
    match pubsub.may_pull(name).await {
        Ok(true) => CheckResult::ok(format!(
            "{name}, as far as the credentials show: they may pull, but not read its settings"
        )),
        Ok(false) => CheckResult::failed(
            format!("{name} does not exist, or the mailbox's credentials may not pull from it"),
            RUN_SETUP,
        ),
        Err(error) => explain(error, Some(&project.id)),
    }
}

fn expected(checker: &Checker<'_>, project: &Project, topic: String) -> Delivery {
    let account = checker.account.and_then(|account| account.as_ref().ok());
    let push_account = account.and_then(|account| account.push_account.clone());
    match checker.endpoint() {
        None => Delivery::Pull { topic },
        Some(endpoint) => Delivery::Push(PushSubscription {
            topic,
            audience: endpoint.clone(),
            endpoint,
            service_account: push_account.unwrap_or_else(|| checker.push_account(project)),
        }),
    }
}

fn compare(name: &str, found: &Subscription, wanted: &Delivery) -> CheckResult {
    let differing = found.differing(wanted);
    let problem = match wanted {
        _ if found.topic() != wanted.topic() => Some(topic_problem(found)),
        Delivery::Push(push) => push_problem(found, push, differing.contains(&"pushConfig")),
        Delivery::Pull { .. } => (!found.endpoint().is_empty()).then(|| {
            let endpoint = redacted_text(found.endpoint());
            format!("it pushes to {endpoint}, but should be pulled from")
        }),
    };
    if let Some(problem) = problem {
        return CheckResult::failed(format!("{name}: {problem}"), RUN_SETUP);
    }
    let others = SETTINGS
        .iter()
        .filter(|(field, _, _)| differing.contains(field));
    let others: Vec<_> = others.map(|(_, words, _)| *words).collect();
    if others.is_empty() {
        let to = match wanted {
            Delivery::Push(push) => format!(" to {}", redacted_text(&push.endpoint)),
            Delivery::Pull { .. } => String::new(),
        };
        return CheckResult::ok(format!("{name}{to}"));
    }
    CheckResult::warning(format!("{name}: {}", others.join("; ")), RUN_SETUP)
}

/// The command that corrects these settings of a subscription that a person made.
fn update_command(name: &str, differing: &[&str]) -> String {
    let flags = SETTINGS
        .iter()
        .filter(|(field, _, _)| differing.contains(field));
    let flags: String = flags.map(|(_, _, flag)| *flag).collect();
    format!("Correct it: `gcloud pubsub subscriptions update {name}{flags}`.")
}

fn topic_problem(found: &Subscription) -> String {
    if found.has_lost_its_topic() {
        "its topic was deleted, and it receives nothing".to_owned()
    } else {
        format!("it belongs to another topic, {}", found.topic())
    }
}

fn push_problem(found: &Subscription, wanted: &PushSubscription, differs: bool) -> Option<String> {
    if found.endpoint() != wanted.endpoint {
        let (is, should) = (found.endpoint(), &wanted.endpoint);
        let (is, should) = (redacted_text(is), redacted_text(should));
        return Some(format!("its endpoint is {is}, and should be {should}"));
    }
    if found.service_account().is_empty() {
        return Some("its pushes are not signed".to_owned());
    }
    if found.audience() != wanted.audience {
        let (is, should) = (found.audience(), &wanted.audience);
        let (is, should) = (redacted_text(is), redacted_text(should));
        return Some(format!("its audience is {is}, and should be {should}"));
    }
    if found.service_account() != wanted.service_account {
        let (is, should) = (found.service_account(), &wanted.service_account);
        return Some(format!(
            "its service account is {is}, but only pushes of {should} are accepted"
        ));
    }
    differs.then(|| "it pushes unwrapped messages".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_that_differ_are_corrected_by_one_command() {
        let name = "projects/p/subscriptions/s";
        let command = update_command(name, &["ackDeadlineSeconds", "expirationPolicy"]);
        assert_eq!(
            command,
            "Correct it: `gcloud pubsub subscriptions update projects/p/subscriptions/s --expiration-period=never \
             --ack-deadline=30`."
        );
    }
}

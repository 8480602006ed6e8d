//! The subscription: it must push to the relay, signed by the account that the platform expects, or
//! keep messages for pulling.

use postbell_google::{Delivery, PubSubAdmin, PushSubscription, RefusalKind, Subscription};

use crate::checker::{Checker, Project};
use crate::google_error::{RUN_SETUP, explain};
use crate::redacted::redacted_text;
use crate::report::CheckResult;

pub(super) async fn check(
    checker: &Checker<'_>,
    project: &Project,
    topic: String,
    pubsub: &PubSubAdmin,
) -> CheckResult {
    let name = checker.subscription(project);
    match pubsub.subscription(&name).await {
        Ok(Some(found)) => compare(&name, &found, &expected(checker, project, topic)),
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
    let others = [
        (
            "expirationPolicy",
            "Google deletes it after a period of inactivity",
        ),
        ("ackDeadlineSeconds", "its ack deadline is not 30 s"),
        ("retryPolicy", "its retry policy differs"),
    ];
    let others = others.iter().filter(|(field, _)| differing.contains(field));
    let others: Vec<_> = others.map(|(_, words)| *words).collect();
    if others.is_empty() {
        let to = match wanted {
            Delivery::Push(push) => format!(" to {}", redacted_text(&push.endpoint)),
            Delivery::Pull { .. } => String::new(),
        };
        return CheckResult::ok(format!("{name}{to}"));
    }
    CheckResult::warning(format!("{name}: {}", others.join("; ")), RUN_SETUP)
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

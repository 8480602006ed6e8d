//! What Google has: topic, roles and subscription. Only who administers the project may look.

use postbell_google::{Delivery, PushSubscription, Subscription};

use super::endpoint::masked;
use super::{Account, Exam, Finding, HopId};
use crate::trouble::Trouble;

/// What mends most of it.
const SET_UP: &str = "Run `postbell setup`: it mends what differs.";

pub(super) async fn look(
    exam: &Exam<'_>,
    account: Option<&Result<Account, Finding>>,
) -> [(HopId, Finding); 4] {
    let [topic, publisher, subscription, signer] = match hindrance(exam) {
        Some(hindrance) => [(); 4].map(|()| hindrance.clone()),
        None => {
            let account = account.and_then(|account| account.as_ref().ok());
            let push_account = account.and_then(|account| account.push_account.as_deref());
            let ((topic, publisher), subscription, signer) = tokio::join!(
                topic_and_publisher(exam),
                exam.within(subscription(exam, push_account)),
                exam.within(signer(exam)),
            );
            [topic, publisher, subscription, signer]
        }
    };
    let signer = if exam.is_pulled() {
        Finding::elsewhere("notifications are fetched, and not signed")
    } else {
        signer
    };
    [
        (HopId::Topic, topic),
        (HopId::Publisher, publisher),
        (HopId::Subscription, subscription),
        (HopId::Signer, signer),
    ]
}

/// Why it cannot be looked at.
fn hindrance(exam: &Exam<'_>) -> Option<Finding> {
    if exam.site.known.project.is_none() {
        return Some(Finding::unless(
            "the project is not known here: setup has run elsewhere, or not yet",
            "Run `postbell setup`, or name its file with --state.",
        ));
    }
    exam.site.known.admin.is_none().then(|| {
        Finding::unless(
            "only who administers the project may look, and nobody has signed in",
            "Run `postbell doctor --sign-in`, or put what `gcloud auth print-access-token` prints \
             into POSTBELL_SETUP_ACCESS_TOKEN.",
        )
    })
}

async fn topic_and_publisher(exam: &Exam<'_>) -> (Finding, Finding) {
    let topic = exam.within(async { topic(exam).await.unwrap_or_else(Finding::from) });
    let topic = topic.await;
    if !topic.is_passable() {
        return (topic, Finding::needs(HopId::Topic));
    }
    let publisher = exam.within(async { publisher(exam).await.unwrap_or_else(Finding::from) });
    (topic, publisher.await)
}

async fn topic(exam: &Exam<'_>) -> Result<Finding, Trouble> {
    let site = exam.site;
    let topic = site.topic()?;
    let is_there = site.pubsub()?.has_topic(&topic).await;
    Ok(if is_there.map_err(|error| site.trouble(error))? {
        Finding::ok(topic)
    } else {
        let next = "Run `postbell setup`: it makes the topic, and has Gmail tell it again.";
        Finding::failed(format!("there is no {topic}"), next)
    })
}

async fn publisher(exam: &Exam<'_>) -> Result<Finding, Trouble> {
    const GMAIL: &str = "gmail-api-push@system.gserviceaccount.com";
    let site = exam.site;
    let may = site.pubsub()?.lets_gmail_publish(&site.topic()?).await;
    Ok(if may.map_err(|error| site.trouble(error))? {
        Finding::ok(GMAIL)
    } else {
        let detail = format!("{GMAIL} may not publish there: it lacks roles/pubsub.publisher");
        Finding::failed(detail, SET_UP)
    })
}

async fn signer(exam: &Exam<'_>) -> Finding {
    let look = async {
        let site = exam.site;
        let (project, email) = (site.project()?, site.account_email()?);
        if project.number.is_empty() {
            return Ok(Finding::unknown("the project's number does not show"));
        }
        let accounts = site.accounts()?;
        let may = accounts.lets_pubsub_sign(&project.id, &project.number, &email);
        Ok(if may.await.map_err(|error| site.trouble(error))? {
            Finding::ok(format!("Pub/Sub signs as {email}"))
        } else {
            let detail = format!(
                "Pub/Sub may not sign as {email}: it lacks roles/iam.serviceAccountTokenCreator there"
            );
            Finding::failed(detail, SET_UP)
        })
    };
    look.await.unwrap_or_else(|trouble: Trouble| trouble.into())
}

async fn subscription(exam: &Exam<'_>, push_account: Option<&str>) -> Finding {
    let look = async {
        let site = exam.site;
        let name = site.subscription()?;
        let delivery = delivery(exam, push_account)?;
        let found = site.pubsub()?.subscription(&name).await;
        let found = found.map_err(|error| site.trouble(error))?;
        Ok(match found {
            Some(found) => compare(&name, &found, &delivery),
            None => Finding::failed(
                format!("there is no {name}"),
                "Run `postbell setup`: it makes the subscription.",
            ),
        })
    };
    look.await.unwrap_or_else(|trouble: Trouble| trouble.into())
}

/// How it should hand out: signed by the account that the platform takes for the user's, for the
/// address that the relay expects.
fn delivery(exam: &Exam<'_>, push_account: Option<&str>) -> Result<Delivery, Trouble> {
    let topic = exam.site.topic()?;
    Ok(match exam.endpoint() {
        None => Delivery::Pull { topic },
        Some(endpoint) => Delivery::Push(PushSubscription {
            topic,
            audience: endpoint.clone(),
            endpoint,
            service_account: match push_account {
                Some(account) => account.to_owned(),
                None => exam.site.account_email()?,
            },
        }),
    })
}

fn compare(name: &str, found: &Subscription, wanted: &Delivery) -> Finding {
    let differing = found.differing(wanted);
    let push = match wanted {
        _ if found.topic() != wanted.topic() => Some(of_topic(found)),
        Delivery::Push(push) => of_push(found, push, differing.contains(&"pushConfig")),
        Delivery::Pull { .. } => (!found.endpoint().is_empty()).then(|| {
            let endpoint = masked(found.endpoint());
            format!("it pushes to {endpoint}, and should keep what is fetched")
        }),
    };
    if let Some(problem) = push {
        return Finding::failed(format!("{name}: {problem}"), SET_UP);
    }
    let others = [
        (
            "expirationPolicy",
            "Google deletes it once it was idle for a while",
        ),
        ("ackDeadlineSeconds", "its ack deadline is not 30 s"),
        ("retryPolicy", "its retry policy is another"),
    ];
    let others = others.iter().filter(|(field, _)| differing.contains(field));
    let others: Vec<_> = others.map(|(_, words)| *words).collect();
    if others.is_empty() {
        let to = match wanted {
            Delivery::Push(push) => format!(" to {}", masked(&push.endpoint)),
            Delivery::Pull { .. } => String::new(),
        };
        return Finding::ok(format!("{name}{to}"));
    }
    Finding::warning(format!("{name}: {}", others.join("; ")), SET_UP)
}

fn of_topic(found: &Subscription) -> String {
    if found.has_lost_its_topic() {
        "its topic was deleted, and it gets nothing any more".to_owned()
    } else {
        format!("it is of another topic, {}", found.topic())
    }
}

fn of_push(found: &Subscription, wanted: &PushSubscription, differs: bool) -> Option<String> {
    if found.endpoint() != wanted.endpoint {
        let (is, should) = (masked(found.endpoint()), masked(&wanted.endpoint));
        return Some(format!("its endpoint is {is}, and should be {should}"));
    }
    if found.service_account().is_empty() {
        return Some("its pushes are not signed".to_owned());
    }
    if found.audience() != wanted.audience {
        let (is, should) = (masked(found.audience()), masked(&wanted.audience));
        return Some(format!("its audience is {is}, and should be {should}"));
    }
    if found.service_account() != wanted.service_account {
        let (is, should) = (found.service_account(), &wanted.service_account);
        return Some(format!(
            "its service account is {is}, and pushes are taken from {should} alone"
        ));
    }
    differs.then(|| "it pushes messages unwrapped".to_owned())
}

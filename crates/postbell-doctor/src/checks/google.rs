//! Topic, roles and subscription. Only an administrator of the project can read them.

use std::sync::Arc;

use postbell_google::{Api, PubSubAdmin, ServiceAccounts, TokenSource};

use super::subscription;
use crate::checker::{Checker, PUSHED, Project};
use crate::google_error::{RUN_SETUP, explain};
use crate::report::{CheckResult, HopId};

/// Google Cloud as an administrator of the project.
struct Admin<'a> {
    checker: &'a Checker<'a>,
    project: &'a Project,
    topic: String,
    tokens: Arc<TokenSource>,
}

pub(crate) async fn check(checker: &Checker<'_>) -> [(HopId, CheckResult); 4] {
    let [topic, publisher, subscription, signer] = match Admin::new(checker) {
        Err(result) => {
            let [topic, publisher, signer] = [(); 3].map(|()| result.clone());
            let subscription = as_puller(checker).await.unwrap_or(result);
            [topic, publisher, subscription, signer]
        }
        Ok(admin) => {
            let ((topic, publisher), subscription, signer) = tokio::join!(
                admin.topic_and_publisher(),
                checker.within(admin.subscription()),
                checker.within(admin.signer()),
            );
            [topic, publisher, subscription, signer]
        }
    };
    let signer = if checker.is_pulled() {
        CheckResult::not_on_path("notifications are pulled, and not signed")
    } else {
        signer
    };
    let [subscription, signer] = if checker.is_push_unknown() {
        [(); 2].map(|()| CheckResult::unknown(PUSHED))
    } else {
        [subscription, signer]
    };
    [
        (HopId::Topic, topic),
        (HopId::Publisher, publisher),
        (HopId::Subscription, subscription),
        (HopId::Signer, signer),
    ]
}

/// Checks the subscription with the mailbox's credentials, which pull from it. `None` if notifications
/// are not pulled, or the credentials cannot be read.
async fn as_puller(checker: &Checker<'_>) -> Option<CheckResult> {
    if !checker.is_pulled() {
        return None;
    }
    let deps = checker.deps;
    let (project, topic) = checker.project.as_ref().zip(checker.topic())?;
    let (_, credentials) = checker.mailbox_credentials()?;
    let (client, clock) = (deps.client.clone(), Arc::clone(&deps.clock));
    let tokens = TokenSource::new(client, deps.google.token.clone(), credentials, clock);
    let tokens = Arc::new(tokens);
    let url = deps.google.pubsub.clone();
    let pubsub = PubSubAdmin::new(deps.client.clone(), url, Arc::clone(&tokens));
    let check = async {
        if tokens.access_token().await.is_err() {
            return CheckResult::requires(HopId::Grant);
        }
        subscription::check(checker, project, topic, &pubsub).await
    };
    Some(checker.within(check).await)
}

impl<'a> Admin<'a> {
    fn new(checker: &'a Checker<'a>) -> Result<Self, CheckResult> {
        let Some((project, topic)) = checker.project.as_ref().zip(checker.topic()) else {
            return Err(CheckResult::unknown_with_hint(
                "the project is not known: `postbell setup` has not run on this machine",
                "Run `postbell setup`, or name its state file with --state.",
            ));
        };
        let tokens = checker.deps.admin.clone().ok_or_else(|| {
            CheckResult::unknown_with_hint(
                "only an administrator of the project can read this, and nobody has signed in",
                "Run `postbell doctor --sign-in`, or set POSTBELL_SETUP_ACCESS_TOKEN to the output of \
                 `gcloud auth print-access-token`.",
            )
        })?;
        Ok(Self {
            checker,
            project,
            topic,
            tokens,
        })
    }

    fn pubsub(&self) -> PubSubAdmin {
        let deps = self.checker.deps;
        let url = deps.google.pubsub.clone();
        PubSubAdmin::new(deps.client.clone(), url, Arc::clone(&self.tokens))
    }

    async fn topic_and_publisher(&self) -> (CheckResult, CheckResult) {
        let topic = self.checker.within(self.topic()).await;
        if !topic.is_passable() {
            return (topic, CheckResult::requires(HopId::Topic));
        }
        (topic, self.checker.within(self.publisher()).await)
    }

    async fn topic(&self) -> CheckResult {
        match self.pubsub().has_topic(&self.topic).await {
            Ok(true) => CheckResult::ok(&self.topic),
            Ok(false) => CheckResult::failed(
                format!("{} does not exist", self.topic),
                "Run `postbell setup`: it creates the topic and renews the Gmail watch.",
            ),
            Err(error) => explain(error, Some(&self.project.id)),
        }
    }

    async fn publisher(&self) -> CheckResult {
        const GMAIL: &str = "gmail-api-push@system.gserviceaccount.com";
        match self.pubsub().lets_gmail_publish(&self.topic).await {
            Ok(true) => CheckResult::ok(GMAIL),
            Ok(false) => CheckResult::failed(
                format!("{GMAIL} lacks roles/pubsub.publisher on the topic"),
                RUN_SETUP,
            ),
            Err(error) => explain(error, Some(&self.project.id)),
        }
    }

    async fn subscription(&self) -> CheckResult {
        let (checker, topic) = (self.checker, self.topic.clone());
        subscription::check(checker, self.project, topic, &self.pubsub()).await
    }

    async fn signer(&self) -> CheckResult {
        let Project { id, number } = self.project;
        if number.is_empty() {
            return CheckResult::unknown("the number of the project cannot be read");
        }
        let deps = self.checker.deps;
        let (client, url) = (deps.client.clone(), deps.google.iam.clone());
        let accounts = ServiceAccounts::new(Api::new(client, url, Arc::clone(&self.tokens)));
        let email = self.checker.push_account(self.project);
        match accounts.lets_pubsub_sign(id, number, &email).await {
            Ok(true) => CheckResult::ok(format!("Pub/Sub signs as {email}")),
            Ok(false) => CheckResult::failed(
                format!("Pub/Sub lacks roles/iam.serviceAccountTokenCreator on {email}"),
                RUN_SETUP,
            ),
            Err(error) => explain(error, Some(id)),
        }
    }
}

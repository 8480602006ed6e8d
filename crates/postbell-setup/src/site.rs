//! Where setup works: the ways to Google and to the person, what they want, and what is known by now.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, EmailAddress, HistoryId};
use postbell_google::{
    Api, AuthorizedUser, CloudError, DEFAULT_PUSH_ACCOUNT, DEFAULT_TOPIC, GoogleUrls, Grant,
    Mailbox, OAuthClient, Projects, PubSubAdmin, ServiceAccounts, Services, TokenSource,
    WatchStarted,
};
use reqwest::Client;
use secrecy::SecretString;
use tokio::time::sleep;
use url::Url;

use crate::made::{Key, Made};
use crate::memory::WatchMemory;
use crate::person::{Event, NoAnswer, Person, Question};
use crate::progress::{Progress, ProgressFile};
use crate::run::Mode;
use crate::step::StepId;
use crate::trouble::{Trouble, Wall};
use crate::waits::Wait;
use crate::wishes::Wishes;

/// How long it is waited for what only time mends.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The first wait; each next one is half as long again.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// All waits of a step together.
    pub total: Duration,
    /// How long a person may take to consent.
    pub consent: Duration,
    /// How long a notification may take to arrive.
    pub arrival: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            longest: Duration::from_secs(30),
            total: Duration::from_secs(10 * 60),
            consent: Duration::from_secs(15 * 60),
            arrival: Duration::from_secs(3 * 60),
        }
    }
}

/// What setup is given.
pub struct Tools {
    /// Reaches Google, the platform and the bot. Must not follow redirects.
    pub client: Client,
    /// Where Google is.
    pub google: GoogleUrls,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Fills bytes that nobody can guess.
    pub random: fn(&mut [u8]),
    /// The person.
    pub person: Arc<dyn Person>,
    /// What the watcher on this machine remembers.
    pub memory: Arc<dyn WatchMemory>,
    /// How long it is waited.
    pub patience: Patience,
    /// What is remembered between runs.
    pub progress_file: ProgressFile,
}

/// Where setup works.
pub struct Site {
    /// What it is given.
    pub tools: Tools,
    /// What the person wants.
    pub wishes: Wishes,
    /// What is remembered.
    pub(crate) progress: Progress,
    /// Whether what is remembered is written down.
    pub(crate) mode: Mode,
    /// What is known by now.
    pub(crate) known: Known,
}

/// What is known by now, in memory alone.
#[derive(Default)]
pub(crate) struct Known {
    /// The OAuth client whose grant opens the mailbox.
    pub(crate) client: Option<OAuthClient>,
    /// Calls Google Cloud.
    pub(crate) admin: Option<Arc<TokenSource>>,
    /// The project.
    pub(crate) project: Option<KnownProject>,
    /// What opens the mailbox, once it is there.
    pub(crate) mailbox: Option<KnownMailbox>,
    /// The watch that was begun in this run.
    pub(crate) watch: Option<WatchStarted>,
    /// How far the platform had delivered before Gmail was asked for a notification.
    pub(crate) delivered_before: Option<HistoryId>,
    /// The ids of notifications that waited to be fetched before Gmail was asked for another one.
    pub(crate) waited_before: BTreeSet<String>,
    /// What was tried again in this run, where the person wants that.
    pub(crate) tried_again: BTreeSet<StepId>,
}

#[derive(Clone)]
pub(crate) struct KnownProject {
    pub(crate) id: String,
    pub(crate) number: String,
}

#[derive(Clone)]
pub(crate) struct KnownMailbox {
    pub(crate) address: EmailAddress,
    pub(crate) tokens: Arc<TokenSource>,
    pub(crate) user: AuthorizedUser,
    /// Whether the grant is where the watcher looks.
    pub(crate) is_stored: bool,
}

impl Site {
    /// A place to work at, where nothing is known yet but what is remembered.
    ///
    /// # Errors
    ///
    /// [`Trouble`] where what is remembered cannot be read.
    pub fn new(tools: Tools, wishes: Wishes) -> Result<Self, Trouble> {
        let progress = tools.progress_file.read()?;
        Ok(Self {
            tools,
            wishes,
            progress,
            mode: Mode::Apply,
            known: Known::default(),
        })
    }

    /// What is remembered.
    #[must_use]
    pub fn remembered(&self) -> &Progress {
        &self.progress
    }

    /// Whether a step that was done before is to be tried again.
    pub(crate) fn is_wanted_again(&self, step: StepId) -> bool {
        self.wishes.again && !self.known.tried_again.contains(&step)
    }

    /// Remembers something, at once; for this run alone, where nothing is to be done in it.
    pub(crate) fn remember(&mut self, change: impl FnOnce(&mut Progress)) -> Result<(), Trouble> {
        let mut changed = self.progress.clone();
        change(&mut changed);
        if changed != self.progress {
            if self.mode == Mode::Apply {
                self.tools.progress_file.write(&changed)?;
            }
            self.progress = changed;
        }
        Ok(())
    }

    /// Makes something, and remembers before that it may be ours to take back; and after, that it is
    /// not, where it was there already or certainly is not.
    pub(crate) async fn make(
        &mut self,
        what: Made,
        make: impl Future<Output = Result<bool, CloudError>>,
    ) -> Result<(), Trouble> {
        let was_ours = self.is_ours(&what);
        self.making(&what)?;
        let made = make.await;
        // Whoever is out of reach may have made it all the same.
        let may_be_ours = matches!(made, Ok(true) | Err(CloudError::Unavailable(_)));
        if !may_be_ours && !was_ours {
            self.not_ours(&what)?;
        }
        made.map(drop).map_err(|error| self.trouble(error))
    }

    /// Remembers that something is about to be made here: it may be taken back.
    pub(crate) fn making(&mut self, what: &Made) -> Result<(), Trouble> {
        let what = what.clone();
        self.remember(|progress| _ = progress.made.insert(what))
    }

    /// Remembers that something was there before, or is gone.
    pub(crate) fn not_ours(&mut self, what: &Made) -> Result<(), Trouble> {
        self.remember(|progress| _ = progress.made.remove(what))
    }

    /// Whether something was made here.
    pub(crate) fn is_ours(&self, what: &Made) -> bool {
        self.progress.made.contains(what)
    }

    /// What a step has made here.
    pub(crate) fn made_by(&self, step: StepId) -> Vec<Made> {
        let made = self.progress.made.iter();
        made.filter(|made| made.step() == step).cloned().collect()
    }

    /// Why a topic has to stay, if it does: subscriptions get its messages that were not made here.
    pub(crate) async fn keeps_topic(&self, topic: &str) -> Result<Option<String>, Trouble> {
        let all = self.pubsub()?.subscriptions_of(topic).await?;
        let is_other = |name: &String| !self.is_ours(&Made::Subscription { name: name.clone() });
        let others: Vec<_> = all.into_iter().filter(is_other).collect();
        Ok((!others.is_empty()).then(|| {
            let others = others.join(", ");
            format!(
                "{topic} stays as it is: {others} gets its messages, and was not made from here"
            )
        }))
    }

    /// Forgets what was made in a project that is gone, and the project itself.
    pub(crate) fn project_is_gone(&mut self, id: &str) -> Result<(), Trouble> {
        self.remember(|progress| progress.made.retain(|made| made.project() != Some(id)))
    }

    /// What opens a mailbox with the tokens of this client, where it is meant to be kept.
    pub(crate) fn key(&self, mailbox: &EmailAddress, client: &str) -> Key {
        let destination = self.wishes.destination.as_ref();
        Key {
            mailbox: mailbox.as_str().to_owned(),
            client: client.to_owned(),
            file: destination.and_then(|to| to.credentials().cloned()),
        }
    }

    pub(crate) fn project(&self) -> Result<KnownProject, Trouble> {
        let project = self.known.project.clone();
        project.ok_or_else(|| Trouble::new(Wall::NotSeen))
    }

    pub(crate) fn mailbox(&self) -> Result<KnownMailbox, Trouble> {
        let mailbox = self.known.mailbox.clone();
        mailbox.ok_or_else(|| Trouble::new(Wall::GrantRevoked))
    }

    pub(crate) fn oauth_client(&self) -> Result<OAuthClient, Trouble> {
        let client = self.known.client.clone();
        client.ok_or_else(|| Trouble::new(Wall::Unattended("--client FILE")))
    }

    /// The trouble that an error is, about the project that is worked in.
    pub(crate) fn trouble(&self, error: impl Into<Trouble>) -> Trouble {
        let project = self.known.project.as_ref();
        let trouble: Trouble = error.into();
        trouble.in_project(project.map(|project| project.id.as_str()))
    }

    fn admin_api(&self, url: &Url) -> Result<Api, Trouble> {
        let client = self.tools.client.clone();
        Ok(Api::new(client, url.clone(), self.admin()?))
    }

    /// Access tokens of whoever has signed in.
    pub(crate) fn admin(&self) -> Result<Arc<TokenSource>, Trouble> {
        let admin = self.known.admin.clone();
        admin.ok_or_else(|| Trouble::new(Wall::TokenRefused))
    }

    pub(crate) fn projects(&self) -> Result<Projects, Trouble> {
        Ok(Projects::new(
            self.admin_api(&self.tools.google.resource_manager)?,
        ))
    }

    pub(crate) fn services(&self) -> Result<Services, Trouble> {
        Ok(Services::new(
            self.admin_api(&self.tools.google.service_usage)?,
        ))
    }

    pub(crate) fn accounts(&self) -> Result<ServiceAccounts, Trouble> {
        Ok(ServiceAccounts::new(
            self.admin_api(&self.tools.google.iam)?,
        ))
    }

    pub(crate) fn pubsub(&self) -> Result<PubSubAdmin, Trouble> {
        Ok(self.pubsub_of(self.admin()?))
    }

    /// Pub/Sub, for whoever these tokens speak for.
    pub(crate) fn pubsub_of(&self, tokens: Arc<TokenSource>) -> PubSubAdmin {
        let url = self.tools.google.pubsub.clone();
        PubSubAdmin::new(self.tools.client.clone(), url, tokens)
    }

    /// Gmail, for whoever these tokens speak for.
    pub(crate) fn gmail(&self, tokens: Arc<TokenSource>) -> Mailbox {
        let url = self.tools.google.gmail.clone();
        Mailbox::new(Api::new(self.tools.client.clone(), url, tokens))
    }

    /// Access tokens from a grant that is in memory.
    pub(crate) fn tokens_of(
        &self,
        user: &AuthorizedUser,
        grant: Option<&Grant>,
    ) -> Arc<TokenSource> {
        let tokens = TokenSource::new(
            self.tools.client.clone(),
            self.tools.google.token.clone(),
            user.clone(),
            Arc::clone(&self.tools.clock),
        );
        Arc::new(match grant {
            Some(grant) => tokens.with_token(grant.access_token.clone(), grant.expires_in),
            None => tokens,
        })
    }

    /// The topic, as `projects/P/topics/T`.
    pub(crate) fn topic(&self) -> Result<String, Trouble> {
        let project = self.project()?.id;
        Ok(format!("projects/{project}/topics/{}", self.topic_id()))
    }

    fn topic_id(&self) -> &str {
        self.progress
            .names
            .topic
            .as_deref()
            .unwrap_or(DEFAULT_TOPIC)
    }

    /// The subscription, as `projects/P/subscriptions/S`.
    pub(crate) fn subscription(&self) -> Result<String, Trouble> {
        let project = self.project()?.id;
        let name = match &self.progress.names.subscription {
            Some(name) => name.clone(),
            None => self.wishes.usual_subscription(),
        };
        Ok(format!("projects/{project}/subscriptions/{name}"))
    }

    /// The id of the service account that pushes are signed as.
    pub(crate) fn account_id(&self) -> &str {
        self.progress
            .names
            .account
            .as_deref()
            .unwrap_or(DEFAULT_PUSH_ACCOUNT)
    }

    /// The address of that account.
    pub(crate) fn account_email(&self) -> Result<String, Trouble> {
        let project = self.project()?.id;
        Ok(postbell_google::push_account_email(
            self.account_id(),
            &project,
        ))
    }

    pub(crate) fn show(&self, event: Event<'_>) {
        self.tools.person.show(event);
    }

    pub(crate) fn note(&self, text: &str) {
        self.show(Event::Note(text));
    }

    pub(crate) fn working(&self, step: StepId, doing: &str) {
        self.show(Event::Working { step, doing });
    }

    /// Waits where only time helps, with a countdown.
    pub(crate) async fn wait(&self, step: StepId, reason: &str, wait: Wait) {
        const TICK: Duration = Duration::from_secs(1);
        let mut remaining = wait.pause;
        while !remaining.is_zero() {
            self.show(Event::Waiting {
                step,
                reason,
                remaining,
                left: wait.left + remaining,
            });
            let tick = remaining.min(TICK);
            sleep(tick).await;
            remaining -= tick;
        }
    }

    pub(crate) async fn ask_text(&self, question: &Question) -> Result<String, Trouble> {
        let answer = self.tools.person.text(question).await;
        answer.map_err(|no_answer| unanswered(no_answer, question))
    }

    pub(crate) async fn ask_secret(&self, question: &Question) -> Result<SecretString, Trouble> {
        let answer = self.tools.person.secret(question).await;
        answer.map_err(|no_answer| unanswered(no_answer, question))
    }

    pub(crate) async fn ask_choice(
        &self,
        question: &Question,
        options: &[String],
    ) -> Result<usize, Trouble> {
        let answer = self.tools.person.choose(question, options).await;
        answer.map_err(|no_answer| unanswered(no_answer, question))
    }

    pub(crate) async fn ask_whether(&self, question: &Question) -> Result<bool, Trouble> {
        let answer = self.tools.person.confirm(question).await;
        answer.map_err(|no_answer| unanswered(no_answer, question))
    }
}

fn unanswered(no_answer: NoAnswer, question: &Question) -> Trouble {
    Trouble::new(match no_answer {
        NoAnswer::Unattended => Wall::Unattended(question.flag),
        NoAnswer::Stopped => Wall::Stopped,
    })
}

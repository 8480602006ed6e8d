use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use postbell_setup::{Event, NoAnswer, Question, StepId, StepState, Ui};
use reqwest::Client;
use reqwest::redirect::Policy;
use secrecy::SecretString;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use url::Url;

/// A user whose answers a test defines, with a browser that consents at the sandbox.
pub(crate) struct FakeUser {
    pub(crate) behaviour: Mutex<Behaviour>,
    /// Every text that was shown.
    pub(crate) shown: Mutex<Vec<String>>,
    /// The step states, in the order in which they were shown.
    pub(crate) steps: Mutex<Vec<(StepId, StepState)>>,
    /// Notified when a step is done.
    pub(crate) done: Notify,
    pub(crate) opened: Mutex<Vec<Url>>,
    browsing: Mutex<JoinSet<()>>,
    client: Client,
}

#[derive(Clone)]
pub(crate) struct Behaviour {
    /// Answers by the flag of the question.
    pub(crate) answers: HashMap<&'static str, String>,
    /// Part of the option to choose, whatever the question.
    pub(crate) chooses: Option<&'static str>,
    /// Part of the question to answer with no. The user confirms all others.
    pub(crate) declines: Option<&'static str>,
    /// The consenting account, unless it is the requested one.
    pub(crate) account: Option<&'static str>,
    /// The scopes that the user does not grant.
    pub(crate) unticked: &'static [&'static str],
    pub(crate) consents: bool,
    /// Called before each consent with its number.
    pub(crate) before_consent: Option<Arc<dyn Fn(usize) + Send + Sync>>,
    consents_so_far: usize,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            answers: HashMap::new(),
            chooses: None,
            declines: None,
            account: None,
            unticked: &[],
            consents: true,
            before_consent: None,
            consents_so_far: 0,
        }
    }
}

impl FakeUser {
    pub(crate) fn new() -> Self {
        Self {
            behaviour: Mutex::default(),
            shown: Mutex::default(),
            steps: Mutex::default(),
            done: Notify::new(),
            opened: Mutex::default(),
            browsing: Mutex::default(),
            client: Client::builder().redirect(Policy::none()).build().unwrap(),
        }
    }

    pub(crate) fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock());
    }

    pub(crate) fn answer(&self, flag: &'static str, answer: &str) {
        self.behave(|behaviour| {
            behaviour.answers.insert(flag, answer.to_owned());
        });
    }

    /// Every text that was shown.
    pub(crate) fn transcript(&self) -> String {
        self.shown.lock().join("\n")
    }

    /// The number of consents, granted or refused.
    pub(crate) fn consents(&self) -> usize {
        self.behaviour.lock().consents_so_far
    }

    fn answer_to(&self, question: &Question) -> Result<String, NoAnswer> {
        let shown = format!("? {}", question.text);
        self.shown.lock().push(shown);
        let behaviour = self.behaviour.lock();
        let answer = behaviour.answers.get(question.flag).cloned();
        answer
            .or_else(|| question.default.clone())
            .ok_or(NoAnswer::NonInteractive(question.flag))
    }

    /// Consents at the page, and returns the address of the redirect.
    pub(crate) async fn consent(&self, page: Url) -> Option<Url> {
        let behaviour = {
            let mut behaviour = self.behaviour.lock();
            behaviour.consents_so_far += 1;
            behaviour.clone()
        };
        if let Some(before) = &behaviour.before_consent {
            before(behaviour.consents_so_far);
        }
        let value = |name: &str| {
            let mut pairs = page.query_pairs();
            pairs.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
        };
        let scopes = value("scope").unwrap();
        let account = behaviour.account.map(str::to_owned).or(value("login_hint"));
        let mut form = vec![
            ("granular", "yes".to_owned()),
            ("account", account.unwrap_or("owner@example.com".to_owned())),
            (
                "allow",
                if behaviour.consents { "yes" } else { "no" }.to_owned(),
            ),
        ];
        let ticked = scopes
            .split(' ')
            .filter(|scope| !behaviour.unticked.contains(scope));
        form.extend(ticked.map(|scope| ("scope", scope.to_owned())));
        let answer = self
            .client
            .post(page.clone())
            .form(&form)
            .send()
            .await
            .unwrap();
        let back = answer.headers().get("location")?.to_str().unwrap();
        Some(Url::parse(back).unwrap())
    }
}

/// Lets the browser run while setup waits.
pub(crate) struct FakeUi(pub(crate) Arc<FakeUser>);

#[async_trait]
impl Ui for FakeUi {
    fn show(&self, event: Event<'_>) {
        let mut shown = self.0.shown.lock();
        match event {
            Event::Note(text) => shown.push(text.to_owned()),
            Event::Page(page) => shown.push(page.to_string()),
            Event::Waiting { reason, .. } => shown.push(format!("waiting: {reason}")),
            Event::Working { step, action } => shown.push(format!("{step}: {action}")),
            Event::Step { step, state } => {
                shown.push(format!("{step}: {state:?}"));
                self.0.steps.lock().push((step, state.clone()));
                if state.is_done() {
                    self.0.done.notify_one();
                }
            }
            Event::Plan(report) => shown.push(format!("plan: {report:?}")),
            Event::Summary(report) => shown.push(format!("summary: {report:?}")),
        }
    }

    async fn choose(&self, question: &Question, options: &[String]) -> Result<usize, NoAnswer> {
        let chooses = self.0.behaviour.lock().chooses;
        let answer = match chooses {
            Some(part) => part.to_owned(),
            None => self.0.answer_to(question)?,
        };
        Ok(options
            .iter()
            .position(|option| option.contains(&answer))
            .unwrap())
    }

    async fn text(&self, question: &Question) -> Result<String, NoAnswer> {
        self.0.answer_to(question)
    }

    async fn secret(&self, question: &Question) -> Result<SecretString, NoAnswer> {
        if question.flag == "a browser" {
            // The last address that was shown is the consent page.
            let page = self
                .0
                .shown
                .lock()
                .iter()
                .rev()
                .find_map(|line| Url::parse(line).ok());
            let back = self.0.consent(page.unwrap()).await;
            return Ok(back.unwrap().to_string().into());
        }
        self.0.answer_to(question).map(SecretString::from)
    }

    async fn confirm(&self, question: &Question) -> Result<bool, NoAnswer> {
        self.0.shown.lock().push(format!("? {}", question.text));
        let declines = self.0.behaviour.lock().declines;
        Ok(!declines.is_some_and(|part| question.text.contains(part)))
    }

    fn open(&self, page: &Url) {
        self.0.opened.lock().push(page.clone());
        if page.host_str() == Some("127.0.0.1") {
            let (user, page) = (Arc::clone(&self.0), page.clone());
            let browse = async move {
                if let Some(back) = user.consent(page).await {
                    // A browser asks for more than it was shown to.
                    let icon = back.join("/favicon.ico").unwrap();
                    let _ = user.client.get(icon).send().await;
                    let _ = user.client.get(back).send().await;
                }
            };
            self.0.browsing.lock().spawn(browse);
        }
    }
}

//! What a step may use: dependencies, the request, the progress, and what this run has discovered.

use std::collections::BTreeSet;
use std::sync::Arc;

use postbell_core::{EmailAddress, HistoryId};
use postbell_google::{
    AuthorizedUser, CloudError, DEFAULT_OPERATOR_NAME, DEFAULT_PUSH_ACCOUNT, OAuthClient,
    TokenSource, WatchStarted,
};
use url::Url;

use crate::error::{Blocker, Result, SetupError};
use crate::google_apis::{AdminApis, GoogleApis};
use crate::ledger::{CredentialKey, Resource};
use crate::platform::PlatformClient;
use crate::progress::Progress;
use crate::progress_file::ProgressFile;
use crate::report::{Mode, StepId};
use crate::request::{Browser, Destination, SetupRequest};
use crate::retry::Timeouts;
use crate::ui::{Event, Ui};
use crate::undo::KeptResources;
use crate::watch_states::WatchStates;

/// The dependencies of setup.
pub struct Deps {
    /// Reaches Google, and with its HTTP client the platform and the bot.
    pub google: GoogleApis,
    /// Fills a buffer with random bytes from a cryptographic source.
    pub random: fn(&mut [u8]),
    /// The user interface.
    pub ui: Arc<dyn Ui>,
    /// The watcher's state files on this machine.
    pub watch_states: WatchStates,
    /// How long setup waits.
    pub timeouts: Timeouts,
    /// Keeps the progress between runs.
    pub progress_file: ProgressFile,
}

/// What a step may use.
pub struct SetupContext {
    /// The dependencies.
    pub deps: Deps,
    /// The options of this run.
    pub request: SetupRequest,
    /// The progress of all runs.
    pub(crate) progress: Progress,
    /// What this run has discovered.
    pub(crate) discovered: Discovered,
    /// What an undo of one mailbox keeps.
    pub(crate) kept: KeptResources,
    mode: Mode,
}

/// What this run has discovered. Kept in memory only.
#[derive(Default)]
pub(crate) struct Discovered {
    /// The OAuth client for the mailbox.
    pub(crate) client: Option<OAuthClient>,
    /// The OAuth client with which a platform's users connect.
    pub(crate) web_client: Option<OAuthClient>,
    /// Access tokens for Google Cloud.
    pub(crate) admin: Option<Arc<TokenSource>>,
    /// The project.
    pub(crate) project: Option<ProjectRef>,
    /// Access to the mailbox.
    pub(crate) mailbox: Option<MailboxAccess>,
    /// The watch that this run started.
    pub(crate) watch: Option<WatchStarted>,
    /// The platform's last history id before the test notification.
    pub(crate) delivered_before: Option<HistoryId>,
    /// The ids of the notifications in the subscription before the test notification.
    pub(crate) pulled_before: BTreeSet<String>,
    /// The tests that this run has repeated.
    pub(crate) repeated_tests: BTreeSet<StepId>,
}

/// A project.
#[derive(Clone, Debug)]
pub(crate) struct ProjectRef {
    /// Project id.
    pub(crate) id: String,
    /// Project number.
    pub(crate) number: String,
}

/// Access to a mailbox.
#[derive(Clone)]
pub(crate) struct MailboxAccess {
    /// The mailbox's address.
    pub(crate) address: EmailAddress,
    /// Access tokens for Gmail.
    pub(crate) tokens: Arc<TokenSource>,
    /// The grant.
    pub(crate) user: AuthorizedUser,
    /// Whether the watcher has the grant.
    pub(crate) is_stored: bool,
}

impl SetupContext {
    /// Creates a context with the saved progress.
    ///
    /// # Errors
    ///
    /// If the progress file cannot be read.
    pub fn new(deps: Deps, request: SetupRequest, mode: Mode) -> Result<Self> {
        let progress = deps.progress_file.read()?;
        Ok(Self {
            deps,
            request,
            progress,
            discovered: Discovered::default(),
            kept: KeptResources::default(),
            mode,
        })
    }

    /// Whether this run may make changes.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether a test that passed before has to be repeated.
    pub(crate) fn must_repeat(&self, step: StepId) -> bool {
        self.request.repeat_tests && !self.discovered.repeated_tests.contains(&step)
    }

    /// Changes the progress, and writes it to disk unless this run only plans.
    pub(crate) fn update_progress(&mut self, change: impl FnOnce(&mut Progress)) -> Result<()> {
        let mut changed = self.progress.clone();
        change(&mut changed);
        if changed != self.progress {
            if self.mode == Mode::Apply {
                self.deps.progress_file.write(&changed)?;
            }
            self.progress = changed;
        }
        Ok(())
    }

    /// Creates a resource with a call that returns whether the resource is new. Records the resource
    /// before the call, and disowns it if the resource existed before or was certainly not created.
    pub(crate) async fn create(
        &mut self,
        resource: Resource,
        call: impl Future<Output = Result<bool, CloudError>>,
    ) -> Result<()> {
        let was_ours = self.progress.ledger.contains(&resource);
        self.record(resource.clone())?;
        let created = call.await;
        // A call without an answer may have succeeded.
        let may_be_ours = matches!(created, Ok(true) | Err(CloudError::Unavailable { .. }));
        if !may_be_ours && !was_ours {
            self.disown(&resource)?;
        }
        created.map(drop).map_err(|error| self.error(error))
    }

    /// Records a resource before it is created.
    pub(crate) fn record(&mut self, resource: Resource) -> Result<()> {
        self.update_progress(|progress| progress.ledger.record(resource))
    }

    /// The resources of a step that an undo removes.
    pub(crate) fn to_remove(&self, step: StepId) -> Vec<Resource> {
        let mut resources = self.progress.ledger.created_by(step);
        resources.retain(|resource| !self.kept.contains(resource));
        resources
    }

    /// Whether an undo is about the mailbox of the last run, of which the progress has more than resources.
    pub(crate) fn undoes_last(&self) -> bool {
        let last = self.progress.mailbox.as_deref();
        self.kept.is_empty() || !last.is_some_and(|last| self.kept.has_mailbox(last))
    }

    /// Removes a resource from the ledger.
    pub(crate) fn disown(&mut self, resource: &Resource) -> Result<()> {
        self.update_progress(|progress| progress.ledger.disown(resource))
    }

    /// Identifies the credentials that this run stores for a mailbox.
    pub(crate) fn credential_key(&self, mailbox: &EmailAddress, client: &str) -> CredentialKey {
        CredentialKey {
            mailbox: mailbox.as_str().to_owned(),
            client: client.to_owned(),
            file: self.request.credentials_file().cloned(),
        }
    }

    /// The project.
    pub(crate) fn project(&self) -> Result<ProjectRef> {
        let project = self.discovered.project.clone();
        project.ok_or_else(|| SetupError::new(Blocker::NotVisibleYet))
    }

    pub(crate) fn project_id(&self) -> Option<&str> {
        let project = self.discovered.project.as_ref();
        project.map(|project| project.id.as_str())
    }

    pub(crate) fn mailbox(&self) -> Result<MailboxAccess> {
        let mailbox = self.discovered.mailbox.clone();
        mailbox.ok_or_else(|| SetupError::new(Blocker::GrantRevoked))
    }

    pub(crate) fn oauth_client(&self) -> Result<OAuthClient> {
        let client = self.discovered.client.clone();
        client.ok_or_else(|| SetupError::new(Blocker::MissingInput("--client FILE")))
    }

    /// Converts an error, with links to the console for this project.
    pub(crate) fn error(&self, error: impl Into<SetupError>) -> SetupError {
        error.into().in_project(self.project_id())
    }

    /// Google Cloud's administration APIs.
    pub(crate) fn admin(&self) -> Result<AdminApis<'_>> {
        Ok(self.deps.google.admin(self.admin_tokens()?))
    }

    /// Access tokens for Google Cloud.
    pub(crate) fn admin_tokens(&self) -> Result<Arc<TokenSource>> {
        let tokens = self.discovered.admin.clone();
        tokens.ok_or_else(|| SetupError::new(Blocker::TokenRejected))
    }

    /// The platform of the destination, if there is one.
    pub(crate) fn platform(&self) -> Option<PlatformClient> {
        let Some(Destination::Platform {
            platform, token, ..
        }) = &self.request.destination
        else {
            return None;
        };
        let client = self.deps.google.client.clone();
        let token = token.clone().unwrap_or_default();
        Some(PlatformClient::new(client, platform.clone(), token))
    }

    /// The topic, as `projects/P/topics/T`.
    pub(crate) fn topic(&self) -> Result<String> {
        let project = self.project()?.id;
        let name = match &self.progress.names.topic {
            Some(name) => name.clone(),
            None => self.request.default_topic(),
        };
        Ok(format!("projects/{project}/topics/{name}"))
    }

    /// The subscription, as `projects/P/subscriptions/S`.
    pub(crate) fn subscription(&self) -> Result<String> {
        let project = self.project()?.id;
        let name = match &self.progress.names.subscription {
            Some(name) => name.clone(),
            None => self.request.default_subscription(),
        };
        Ok(format!("projects/{project}/subscriptions/{name}"))
    }

    /// The id of the service account that signs pushes.
    pub(crate) fn push_account_id(&self) -> &str {
        let name = self.progress.names.account.as_deref();
        name.unwrap_or(if self.request.is_for_operator {
            DEFAULT_OPERATOR_NAME
        } else {
            DEFAULT_PUSH_ACCOUNT
        })
    }

    /// The email address of the service account that signs pushes.
    pub(crate) fn push_account_email(&self) -> Result<String> {
        let project = self.project()?.id;
        let id = self.push_account_id();
        Ok(postbell_google::push_account_email(id, &project))
    }

    pub(crate) fn note(&self, text: &str) {
        self.deps.ui.show(Event::Note(text));
    }

    pub(crate) fn working(&self, step: StepId, action: &str) {
        self.deps.ui.show(Event::Working { step, action });
    }

    /// Shows an address, and opens it if the browser is on this machine.
    pub(crate) fn open_page(&self, page: &Url) {
        self.deps.ui.show(Event::Page(page));
        if self.request.browser == Browser::Local {
            self.deps.ui.open(page);
        }
    }
}

//! Clients of Google's APIs.

use std::sync::Arc;

use postbell_core::Clock;
use postbell_google::{
    Api, AuthorizedUser, Credentials, GoogleUrls, Grant, Mailbox, Projects, PubSubAdmin,
    ServiceAccounts, Services, TokenSource,
};
use reqwest::Client;
use url::Url;

/// Creates clients of Google's APIs.
#[derive(Clone)]
pub struct GoogleApis {
    /// The HTTP client. Must not follow redirects.
    pub client: Client,
    /// Where the APIs are.
    pub urls: GoogleUrls,
    /// The clock that access tokens expire by.
    pub clock: Arc<dyn Clock>,
}

impl GoogleApis {
    /// Gmail, with the access of `tokens`.
    pub(crate) fn gmail(&self, tokens: Arc<TokenSource>) -> Mailbox {
        Mailbox::new(self.api(&self.urls.gmail, tokens))
    }

    /// Pub/Sub, with the access of `tokens`.
    pub(crate) fn pubsub(&self, tokens: Arc<TokenSource>) -> PubSubAdmin {
        PubSubAdmin::new(self.client.clone(), self.urls.pubsub.clone(), tokens)
    }

    /// Access tokens from credentials.
    pub(crate) fn tokens(&self, credentials: impl Into<Credentials>) -> TokenSource {
        TokenSource::new(
            self.client.clone(),
            self.urls.token.clone(),
            credentials,
            Arc::clone(&self.clock),
        )
    }

    /// Access tokens of a user who has just consented.
    pub(crate) fn tokens_of_grant(&self, user: &AuthorizedUser, grant: &Grant) -> TokenSource {
        let tokens = self.tokens(user.clone());
        tokens.with_token(grant.access_token.clone(), grant.expires_in)
    }

    pub(crate) fn admin(&self, tokens: Arc<TokenSource>) -> AdminApis<'_> {
        AdminApis { apis: self, tokens }
    }

    fn api(&self, url: &Url, tokens: Arc<TokenSource>) -> Api {
        Api::new(self.client.clone(), url.clone(), tokens)
    }
}

/// Clients of Google Cloud's administration APIs, with the access of one user.
pub(crate) struct AdminApis<'a> {
    apis: &'a GoogleApis,
    tokens: Arc<TokenSource>,
}

impl AdminApis<'_> {
    /// Resource Manager.
    pub(crate) fn projects(&self) -> Projects {
        let url = &self.apis.urls.resource_manager;
        Projects::new(self.apis.api(url, Arc::clone(&self.tokens)))
    }

    /// Service Usage.
    pub(crate) fn services(&self) -> Services {
        let url = &self.apis.urls.service_usage;
        Services::new(self.apis.api(url, Arc::clone(&self.tokens)))
    }

    /// Service accounts of IAM.
    pub(crate) fn accounts(&self) -> ServiceAccounts {
        let url = &self.apis.urls.iam;
        ServiceAccounts::new(self.apis.api(url, Arc::clone(&self.tokens)))
    }

    /// Pub/Sub.
    pub(crate) fn pubsub(&self) -> PubSubAdmin {
        self.apis.pubsub(Arc::clone(&self.tokens))
    }
}

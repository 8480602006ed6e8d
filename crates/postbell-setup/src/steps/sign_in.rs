//! The administrator's sign-in to Google Cloud. Its tokens are kept in memory only.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postbell_google::{AuthorizedUser, Credentials, OAuthClient};

use crate::consent::{ConsentPrompt, request_consent};
use crate::context::SetupContext;
use crate::error::{Blocker, Result, SetupError};
use crate::plan::{Plan, Step};
use crate::report::StepId;
use crate::request::ADMINISTER;

pub(super) struct SignIn {
    /// Whether the user signs in with the mailbox's OAuth client.
    pub(super) own_client: bool,
}

#[async_trait]
impl Step for SignIn {
    fn id(&self) -> StepId {
        StepId::SignIn
    }

    fn needs(&self) -> &'static [StepId] {
        if self.own_client {
            &[StepId::Client]
        } else {
            &[]
        }
    }

    fn is_prerequisite(&self) -> bool {
        true
    }

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan> {
        if ctx.discovered.admin.is_some() {
            let detail = "for this run only; nothing is stored";
            return Ok(Plan::UpToDate(detail.to_owned()));
        }
        let Some(token) = ctx.request.access_token.clone() else {
            return Ok(Plan::Change("sign in with your browser".to_owned()));
        };
        let tokens = ctx.deps.google.tokens(Credentials::AccessToken(token));
        ctx.discovered.admin = Some(Arc::new(tokens));
        Ok(Plan::UpToDate(
            "with POSTBELL_SETUP_ACCESS_TOKEN".to_owned(),
        ))
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        let client = self.client(ctx)?;
        let prompt = ConsentPrompt {
            step: self.id(),
            explanation: self.explanation(),
            client: client.clone(),
            scopes: &[ADMINISTER],
            account: None,
        };
        let grant = request_consent(ctx, prompt).await?;
        let google = &ctx.deps.google;
        let tokens = match grant.refresh_token.clone() {
            Some(refresh_token) => {
                let user = AuthorizedUser {
                    client_id: client.id,
                    client_secret: client.secret,
                    refresh_token,
                };
                google.tokens_of_grant(&user, &grant)
            }
            None => google
                .tokens(Credentials::AccessToken(grant.access_token.clone()))
                .with_token(
                    grant.access_token,
                    grant.expires_in.max(Duration::from_secs(1)),
                ),
        };
        ctx.discovered.admin = Some(Arc::new(tokens));
        Ok(())
    }
}

impl SignIn {
    fn explanation(&self) -> &'static str {
        if self.own_client {
            "Sign in with the account that owns the Google Cloud project. Google warns that the app is \
             not verified, because it is your own: choose Advanced and continue. The permission to \
             administer Google Cloud is used for this run only and is not stored."
        } else {
            "Sign in with the account that owns the Google Cloud project, or will own it. The \
             permission to administer Google Cloud is used for this run only and is not stored."
        }
    }

    fn client(&self, ctx: &SetupContext) -> Result<OAuthClient> {
        if self.own_client {
            return ctx.oauth_client();
        }
        let file = ctx.request.sign_in_client_file.as_deref();
        let missing = Blocker::MissingInput("--sign-in-client FILE");
        let file = file.ok_or_else(|| SetupError::new(missing))?;
        OAuthClient::from_file(file)
            .map_err(|error| SetupError::new(Blocker::InvalidClientFile(error.to_string())))
    }
}

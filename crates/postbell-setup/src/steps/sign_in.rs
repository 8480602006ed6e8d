//! Signs a person in for Google Cloud's administration. The token stays in memory, and so does what
//! gets another one after an hour: nothing of it is stored.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postbell_google::{AuthorizedUser, Credentials, OAuthClient, TokenSource};

use crate::consent::{self, Asked};
use crate::site::Site;
use crate::step::{Look, Step, StepId, Undone};
use crate::trouble::{Trouble, Wall};
use crate::wishes::ADMINISTER;

pub(super) struct SignIn {
    /// Whether it is the person's own OAuth client that signs in.
    pub(super) own: bool,
}

#[async_trait]
impl Step for SignIn {
    fn id(&self) -> StepId {
        StepId::SignIn
    }

    fn needs(&self) -> &'static [StepId] {
        if self.own { &[StepId::Client] } else { &[] }
    }

    fn is_first(&self) -> bool {
        true
    }

    async fn look(&self, site: &mut Site) -> Result<Look, Trouble> {
        if site.known.admin.is_some() {
            return Ok(Look::Done(
                "for this run; nothing of it is stored".to_owned(),
            ));
        }
        let Some(token) = site.wishes.access_token.clone() else {
            return Ok(Look::ToDo("in your browser".to_owned()));
        };
        let tokens = TokenSource::new(
            site.tools.client.clone(),
            site.tools.google.token.clone(),
            Credentials::AccessToken(token),
            Arc::clone(&site.tools.clock),
        );
        site.known.admin = Some(Arc::new(tokens));
        Ok(Look::Done("by POSTBELL_SETUP_ACCESS_TOKEN".to_owned()))
    }

    async fn apply(&self, site: &mut Site) -> Result<(), Trouble> {
        let client = self.client(site)?;
        let asked = Asked {
            step: StepId::SignIn,
            why: self.why(),
            client: client.clone(),
            scopes: &[ADMINISTER],
            account: None,
        };
        let grant = consent::ask(site, asked).await?;
        let expires_in = grant.expires_in.max(Duration::from_secs(1));
        let tokens = match grant.refresh_token.clone() {
            Some(refresh_token) => {
                let user = AuthorizedUser {
                    client_id: client.id,
                    client_secret: client.secret,
                    refresh_token,
                };
                site.tokens_of(&user, Some(&grant))
            }
            None => Arc::new(
                TokenSource::new(
                    site.tools.client.clone(),
                    site.tools.google.token.clone(),
                    Credentials::AccessToken(grant.access_token.clone()),
                    Arc::clone(&site.tools.clock),
                )
                .with_token(grant.access_token, expires_in),
            ),
        };
        site.known.admin = Some(tokens);
        Ok(())
    }

    async fn undo(&self, _: &mut Site) -> Result<Undone, Trouble> {
        Ok(Undone::Nothing)
    }
}

impl SignIn {
    fn why(&self) -> &'static str {
        if self.own {
            "Sign in with the account that owns the project in Google Cloud. Google warns that the app \
             is not verified, for it is your own: choose Advanced, and go on. The leave to administer \
             Google Cloud is for this run alone, and is not stored."
        } else {
            "Sign in with the account that owns the project in Google Cloud, or is to own it. The leave \
             to administer Google Cloud is for this run alone, and is not stored."
        }
    }

    fn client(&self, site: &Site) -> Result<OAuthClient, Trouble> {
        if self.own {
            return site.oauth_client();
        }
        let file = site.wishes.sign_in_client_file.as_deref();
        let file = file.ok_or_else(|| Trouble::new(Wall::Unattended("--sign-in-client FILE")))?;
        OAuthClient::from_file(file)
            .map_err(|error| Trouble::new(Wall::ClientFile(error.to_string())))
    }
}

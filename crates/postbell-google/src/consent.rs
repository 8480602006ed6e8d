//! A user's consent by the authorization code flow with PKCE, of desktop apps and of web applications
//! (<https://developers.google.com/identity/protocols/oauth2/native-app>,
//! <https://developers.google.com/identity/protocols/oauth2/web-server>; RFC 7636).

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use postbell_core::Timestamp;
use postbell_http::constant_time_eq;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use crate::oauth::{TokenError, judge};
use crate::oauth_client::OAuthClient;

/// The timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A request for consent, and the values that bind the answer to it.
pub struct ConsentRequest {
    client: OAuthClient,
    redirect: Url,
    scopes: Vec<String>,
    login_hint: Option<String>,
    is_another: bool,
    secrets: ConsentSecrets,
}

/// What binds the answer to a request. A web server keeps it between both, where only the browser's owner has it.
#[derive(Clone, Debug)]
pub struct ConsentSecrets {
    /// Google returns it in the redirect.
    pub state: String,
    /// The verifier of PKCE, which proves to Google who sent the request.
    pub verifier: SecretString,
}

impl ConsentSecrets {
    /// Creates the values of a new request. `random` must fill its argument from a cryptographically
    /// secure source.
    pub fn new(random: &dyn Fn(&mut [u8])) -> Self {
        let secret = || {
            let mut bytes = [0; 32];
            random(&mut bytes);
            BASE64_URL_SAFE_NO_PAD.encode(bytes)
        };
        Self {
            state: secret(),
            verifier: secret().into(),
        }
    }
}

/// The result in the redirected browser's URL.
pub enum Redirected {
    /// The user consented; the code can be exchanged once, by this program.
    Code(SecretString),
    /// The user or Google refused: OAuth's error code.
    Refused(String),
    /// The URL is not an answer to this request.
    Stranger,
}

/// A grant.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The access token, valid for an hour.
    pub access_token: SecretString,
    /// The access token's lifetime.
    pub expires_in: Duration,
    /// The refresh token. Google issues one each time that the user is asked.
    pub refresh_token: Option<SecretString>,
    /// The granted scopes: the user can deselect each of them.
    pub scopes: Vec<String>,
    /// When the grant expires, if it does: after seven days while the consent screen is in testing,
    /// or at a time that the user chose.
    pub ends_in: Option<Duration>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: SecretString,
    expires_in: u64,
    refresh_token: Option<SecretString>,
    #[serde(default)]
    scope: String,
    refresh_token_expires_in: Option<u64>,
}

impl ConsentRequest {
    /// Requests `scopes` with the redirect URI `redirect`.
    #[must_use]
    pub fn new(
        client: OAuthClient,
        redirect: Url,
        scopes: &[impl AsRef<str>],
        login_hint: Option<String>,
        secrets: ConsentSecrets,
    ) -> Self {
        Self {
            client,
            redirect,
            scopes: scopes
                .iter()
                .map(|scope| scope.as_ref().to_owned())
                .collect(),
            login_hint,
            is_another: false,
            secrets,
        }
    }

    /// Has Google let the user choose an account, also if they are signed in to one.
    #[must_use]
    pub fn for_another_account(self) -> Self {
        Self {
            is_another: true,
            ..self
        }
    }

    const fn prompt(&self) -> &'static str {
        if self.is_another {
            "select_account consent"
        } else {
            "consent"
        }
    }

    /// The URL of the consent page at the endpoint `auth_url`. It contains no secret.
    #[must_use]
    pub fn url(&self, auth_url: &Url) -> Url {
        let challenge = digest(&SHA256, self.secrets.verifier.expose_secret().as_bytes());
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(challenge);
        let mut url = auth_url.clone();
        let mut query = url.query_pairs_mut();
        query
            .append_pair("client_id", &self.client.id)
            .append_pair("redirect_uri", self.redirect.as_str())
            .append_pair("response_type", "code")
            .append_pair("scope", &self.scopes.join(" "))
            .append_pair("state", &self.secrets.state)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            // A repeated grant has no refresh token unless the user is asked again.
            .append_pair("access_type", "offline")
            .append_pair("prompt", self.prompt());
        if let Some(hint) = &self.login_hint {
            query.append_pair("login_hint", hint);
        }
        drop(query);
        url
    }

    /// Reads the redirected browser's URL.
    #[must_use]
    pub fn read(&self, redirected: &Url) -> Redirected {
        let value = |wanted: &str| {
            let mut pairs = redirected.query_pairs();
            pairs.find_map(|(name, value)| (name == wanted).then(|| value.into_owned()))
        };
        let state = value("state").unwrap_or_default();
        if !constant_time_eq(&self.secrets.state, &state) {
            return Redirected::Stranger;
        }
        match (value("code"), value("error")) {
            (_, Some(error)) => Redirected::Refused(plain_word(&error)),
            (Some(code), None) => Redirected::Code(code.into()),
            (None, None) => Redirected::Stranger,
        }
    }

    /// Exchanges a code for a grant at the endpoint `token_url`.
    ///
    /// # Errors
    ///
    /// [`TokenError`]
    pub async fn exchange(
        &self,
        client: &Client,
        token_url: &Url,
        code: &SecretString,
        now: Timestamp,
    ) -> Result<Grant, TokenError> {
        let request = client.post(token_url.clone()).timeout(TIMEOUT).form(&[
            ("grant_type", "authorization_code"),
            ("code", code.expose_secret()),
            ("client_id", &self.client.id),
            ("client_secret", self.client.secret.expose_secret()),
            ("redirect_uri", self.redirect.as_str()),
            ("code_verifier", self.secrets.verifier.expose_secret()),
        ]);
        let answer: Answer = judge(request, now).await?;
        Ok(Grant {
            access_token: answer.access_token,
            expires_in: Duration::from_secs(answer.expires_in),
            refresh_token: answer.refresh_token,
            scopes: answer.scope.split_whitespace().map(str::to_owned).collect(),
            ends_in: answer.refresh_token_expires_in.map(Duration::from_secs),
        })
    }
}

impl Grant {
    /// The scopes of these that were not granted.
    #[must_use]
    pub fn lacking<'a, S: AsRef<str>>(&self, wanted: &'a [S]) -> Vec<&'a S> {
        let lacks = |scope: &&S| !self.scopes.iter().any(|granted| granted == scope.as_ref());
        wanted.iter().filter(lacks).collect()
    }
}

/// Returns an OAuth error code, which consists of lower-case letters; any other text is replaced.
fn plain_word(error: &str) -> String {
    let is_word = error.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if is_word { error } else { "refused" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ConsentRequest {
        let client = OAuthClient {
            id: "1-x.apps.googleusercontent.com".to_owned(),
            secret: "s".into(),
            project_id: None,
        };
        let redirect = Url::parse("http://127.0.0.1:9/").unwrap();
        let hint = Some("ann@example.com".to_owned());
        let secrets = ConsentSecrets::new(&|bytes| bytes.fill(7));
        ConsentRequest::new(client, redirect, &["a", "b"], hint, secrets)
    }

    fn read(query: &str) -> Redirected {
        request().read(&Url::parse(&format!("http://127.0.0.1:9/?{query}")).unwrap())
    }

    #[test]
    fn the_consent_url_has_a_challenge_and_no_secret() {
        let request = request();
        let url = request.url(&Url::parse("https://accounts.example.com/auth").unwrap());
        let url = url.as_str();
        for expected in [
            "code_challenge_method=S256",
            "redirect_uri=http%3A%2F%2F127.0.0.1%3A9%2F",
            "scope=a+b",
            "login_hint=ann%40example.com",
            "prompt=consent",
        ] {
            assert!(url.contains(expected), "{url}");
        }
        assert!(!url.contains(&format!(
            "challenge={}",
            request.secrets.verifier.expose_secret()
        )));
    }

    #[test]
    fn an_answer_with_another_state_is_refused() {
        let state = request().secrets.state;
        let code = read(&format!("state={state}&code=4/abc"));
        assert!(matches!(code, Redirected::Code(code) if code.expose_secret() == "4/abc"));
        let refused = read(&format!("state={state}&error=access_denied"));
        assert!(matches!(refused, Redirected::Refused(word) if word == "access_denied"));
        for stranger in [
            "code=4/abc",
            "state=x&code=4/abc",
            &format!("state={state}"),
        ] {
            assert!(matches!(read(stranger), Redirected::Stranger), "{stranger}");
        }
    }

    #[test]
    fn a_deselected_scope_is_reported_missing() {
        let grant = Grant {
            access_token: "t".into(),
            expires_in: Duration::ZERO,
            refresh_token: None,
            scopes: vec!["a".to_owned()],
            ends_in: None,
        };
        assert_eq!(grant.lacking(&["a", "b"]), [&"b"]);
    }
}

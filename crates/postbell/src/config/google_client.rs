//! The `[google.client]` table.

use postbell_core::EmailAddress;
use postbell_google::OAuthClient;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{ConfigError, Mistakes};

/// The operator's OAuth client, with which users connect their accounts on *My bot*, and what was set up for it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GoogleClientConfig {
    /// Id of the OAuth client, of type web application. Without it, users connect with projects of their own.
    pub client_id: Option<String>,

    /// Secret of the OAuth client.
    pub client_secret: Option<SecretString>,

    /// Topic in the client's project, as `projects/P/topics/T`.
    pub topic: Option<String>,

    /// Service account that signs the pushes of the one subscription to `/push/gmail`.
    pub push_account: Option<EmailAddress>,

    /// Scopes beside `gmail.readonly` that the bots need.
    pub scopes: Vec<String>,
}

/// A complete `[google.client]`.
#[derive(Debug)]
pub struct GoogleClient {
    /// The OAuth client.
    pub client: OAuthClient,
    /// The topic.
    pub topic: String,
    /// The service account that signs pushes.
    pub push_account: EmailAddress,
    /// Scopes beside `gmail.readonly`.
    pub scopes: Vec<String>,
}

impl GoogleClientConfig {
    /// Returns the OAuth client with its topic and account, if one is configured.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a value is missing or malformed.
    pub fn client(&self) -> Result<Option<GoogleClient>, ConfigError> {
        let id = self.client_id.as_deref().unwrap_or_default();
        let secret = self.client_secret.as_ref();
        let secret = secret.filter(|secret| !secret.expose_secret().is_empty());
        if id.is_empty() && secret.is_none() && self.topic.is_none() && self.push_account.is_none()
        {
            return Ok(None);
        }
        let mut mistakes = Mistakes::default();
        mistakes.refuse_if(
            !id.ends_with(".apps.googleusercontent.com"),
            "google.client.client_id",
            "the id of an OAuth client of type web application, which ends with .apps.googleusercontent.com",
        );
        mistakes.refuse_if(
            secret.is_none(),
            "google.client.client_secret",
            "the secret of the OAuth client",
        );
        let topic = self.topic.as_deref().unwrap_or_default();
        mistakes.refuse_if(
            !is_topic(topic),
            "google.client.topic",
            "the topic in the client's project, such as projects/my-project/topics/postbell-gmail",
        );
        mistakes.refuse_if(
            self.push_account.is_none(),
            "google.client.push_account",
            "the address of the service account that signs the pushes to /push/gmail",
        );
        let is_scope = |scope: &String| {
            scope.starts_with("https://") && scope.bytes().all(|byte| byte.is_ascii_graphic())
        };
        mistakes.refuse_if(
            !self.scopes.iter().all(is_scope),
            "google.client.scopes",
            "Google's scopes, such as https://www.googleapis.com/auth/gmail.send",
        );
        mistakes.into_result()?;
        Ok(secret
            .zip(self.push_account.as_ref())
            .map(|(secret, account)| GoogleClient {
                client: OAuthClient {
                    id: id.to_owned(),
                    secret: secret.clone(),
                    project_id: None,
                },
                topic: topic.to_owned(),
                push_account: account.clone(),
                scopes: self.scopes.clone(),
            }))
    }
}

/// Whether a text has the form `projects/P/topics/T`.
fn is_topic(text: &str) -> bool {
    let parts: Vec<_> = text.split('/').collect();
    let is_plain = |part: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+%:".contains(&byte);
        !part.is_empty() && part.bytes().all(is_allowed)
    };
    matches!(&parts[..], ["projects", project, "topics", topic] if is_plain(project) && is_plain(topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> GoogleClientConfig {
        GoogleClientConfig {
            client_id: Some("1-x.apps.googleusercontent.com".to_owned()),
            client_secret: Some("hunter2".into()),
            topic: Some("projects/p/topics/postbell-gmail".to_owned()),
            push_account: Some("push@p.iam.gserviceaccount.com".parse().unwrap()),
            scopes: vec!["https://www.googleapis.com/auth/gmail.send".to_owned()],
        }
    }

    type Spoil = fn(&mut GoogleClientConfig);

    #[test]
    fn a_client_is_complete_or_absent() {
        assert!(GoogleClientConfig::default().client().unwrap().is_none());
        assert!(complete().client().unwrap().is_some());
        let spoilt: [(&str, Spoil); 6] = [
            ("google.client.client_id", |it| it.client_id = None),
            ("google.client.client_id", |it| {
                it.client_id = Some("x".to_owned())
            }),
            ("google.client.client_secret", |it| {
                it.client_secret = Some("".into())
            }),
            ("google.client.topic", |it| {
                it.topic = Some("postbell-gmail".to_owned())
            }),
            ("google.client.push_account", |it| it.push_account = None),
            ("google.client.scopes", |it| {
                it.scopes = vec!["gmail.send".to_owned()]
            }),
        ];
        for (key, spoil) in spoilt {
            let mut config = complete();
            spoil(&mut config);
            let message = config.client().unwrap_err().to_string();
            assert!(
                message.contains(key) && !message.contains("hunter2"),
                "{message}"
            );
        }
    }
}

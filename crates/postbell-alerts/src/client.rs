//! Sends events to targets.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, Timestamp};
use postbell_http::{ClientError, is_public, public_client, read_response, retry_after};
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use tokio::time::timeout;
use url::{Host, Url};

use crate::mail::MailServer;
use crate::message::Message;
use crate::request::request;
use crate::target::Service;
use crate::{AlertEvent, AlertTarget, SendError};

/// How long sending one alert may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How much of an answer is read.
const ANSWER_BYTES: usize = 16 * 1024;

/// The longest wait that a service may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(6 * 3600);

/// Where a client connects to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// Any address: for targets from the configuration or the command line.
    Anywhere,
    /// Public addresses only: for targets that a platform's users enter. Private, loopback,
    /// link-local and other special addresses are refused at the time of the connection, so that
    /// no user reaches the operator's own network.
    PublicOnly,
}

/// Sends events to targets. Follows no redirects; bounded in time and size.
#[derive(Clone)]
pub struct AlertClient {
    http: Client,
    clock: Arc<dyn Clock>,
    reach: Reach,
    mail_server: Option<Arc<MailServer>>,
}

impl AlertClient {
    /// Creates a client.
    ///
    /// # Errors
    ///
    /// Fails if the system's root certificates cannot be read.
    pub fn new(reach: Reach, clock: Arc<dyn Clock>) -> Result<Self, ClientError> {
        let http = match reach {
            Reach::Anywhere => postbell_http::client()?,
            Reach::PublicOnly => public_client()?,
        };
        Ok(Self {
            http,
            clock,
            reach,
            mail_server: None,
        })
    }

    /// Sends mail to targets that are an address alone by this server, wherever it is.
    #[must_use]
    pub fn with_mail_server(self, server: Option<MailServer>) -> Self {
        Self {
            mail_server: server.map(Arc::new),
            ..self
        }
    }

    /// Whether it sends to targets that are an address alone.
    #[must_use]
    pub const fn has_mail_server(&self) -> bool {
        self.mail_server.is_some()
    }

    /// Checks without a connection whether events may be sent to a target.
    ///
    /// # Errors
    ///
    /// [`SendError::NotPublic`] if its host is an address to which this client does not send;
    /// [`SendError::NoMailServer`] if it is an address alone and this client has no mail server.
    pub fn check(&self, target: &AlertTarget) -> Result<(), SendError> {
        if target.needs_mail_server() && !self.has_mail_server() {
            return Err(SendError::NoMailServer);
        }
        let is_special = match &target.service {
            Service::Mail(mail) => mail.is_in_private_network() || !mail.is_to_public_domains(),
            service => service.url().is_some_and(has_special_address),
        };
        if self.reach == Reach::PublicOnly && is_special {
            return Err(SendError::NotPublic);
        }
        Ok(())
    }

    /// Sends an event once.
    ///
    /// # Errors
    ///
    /// Fails unless the service accepted it. The error's text may be shown to the target's owner.
    pub async fn send(&self, target: &AlertTarget, event: &AlertEvent) -> Result<(), SendError> {
        self.check(target)?;
        let sending = self.send_to(&target.service, event);
        let sent = timeout(TIMEOUT, sending).await;
        sent.unwrap_or_else(|_| Err(SendError::failed("the service did not answer in time")))
    }

    async fn send_to(&self, service: &Service, event: &AlertEvent) -> Result<(), SendError> {
        let now = self.clock.now();
        if let Service::Mail(mail) = service {
            let message = Message::of(event);
            let own = self.mail_server.as_deref();
            return mail.send(own, &message, &event.id, now, self.reach).await;
        }
        let Some(request) = request(&self.http, service, event, now)? else {
            return Ok(());
        };
        let answer = request.send().await.map_err(|error| {
            if postbell_http::is_not_public(&error) {
                SendError::NotPublic
            } else {
                SendError::failed("the service cannot be reached")
            }
        })?;
        accepted(answer, now).await
    }
}

/// Whether the host is an address, which no resolver checks, and not a public one.
fn has_special_address(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => !is_public(address.into()),
        Some(Host::Ipv6(address)) => !is_public(address.into()),
        Some(Host::Domain(_)) | None => false,
    }
}

async fn accepted(answer: Response, now: Timestamp) -> Result<(), SendError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    if status == StatusCode::GONE {
        return Err(SendError::Gone);
    }
    let wait = match retry_after(answer.headers(), now) {
        Some(wait) => Some(wait),
        None if status == StatusCode::TOO_MANY_REQUESTS => asked_in_body(answer).await,
        None => None,
    };
    let hint = match status.as_u16() {
        401 | 403 => ": it does not accept the token or password",
        404 => ": it does not know this target",
        429 => ": too many messages",
        300..=399 => ": redirects are not followed",
        _ => "",
    };
    Err(SendError::Failed {
        detail: format!("the service answered {}{hint}", status.as_u16()),
        retry_after: wait.map(|wait| wait.min(LONGEST_RETRY_AFTER)),
    })
}

/// The wait in the body of a 429: Telegram's `parameters.retry_after`
/// (<https://core.telegram.org/bots/api#responseparameters>), and Discord's `retry_after`
/// (<https://discord.com/developers/docs/topics/rate-limits#exceeding-a-rate-limit>).
async fn asked_in_body(answer: Response) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Body {
        retry_after: Option<f64>,
        parameters: Option<Parameters>,
    }
    #[derive(Deserialize)]
    struct Parameters {
        retry_after: Option<f64>,
    }
    let body = read_response(answer, ANSWER_BYTES).await.ok()?;
    let body: Body = serde_json::from_slice(&body).ok()?;
    let nested = body.parameters.and_then(|it| it.retry_after);
    Duration::try_from_secs_f64(body.retry_after.or(nested)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2015-10-21 07:28:00 UTC.
    const NOW: Timestamp = Timestamp::from_millis(1_445_412_480_000);

    async fn wait_of(header: &str, body: &'static str) -> Option<u64> {
        let answer = http::Response::builder()
            .status(429)
            .header("retry-after", header)
            .body(body)
            .unwrap();
        let error = accepted(answer.into(), NOW).await.unwrap_err();
        error.retry_after().map(|wait| wait.as_secs())
    }

    #[tokio::test]
    async fn a_wait_is_seconds_or_a_date_or_in_the_body() {
        let body = r#"{"retry_after": 3.5}"#;
        assert_eq!(wait_of("7", body).await, Some(7));
        assert_eq!(
            wait_of("Wed, 21 Oct 2015 07:30:00 GMT", body).await,
            Some(120)
        );
        assert_eq!(wait_of("soon", body).await, Some(3));
        assert_eq!(wait_of("soon", "").await, None);
    }
}

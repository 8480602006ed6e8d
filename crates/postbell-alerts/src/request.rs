//! An event as the request that each service expects.

use postbell_core::Timestamp;
use postbell_protocol::routes::IDEMPOTENCY_KEY;
use postbell_protocol::webhook::SigningKeys;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use url::Url;

use crate::message::{Message, advice, rfc3339};
use crate::target::{NtfyAuth, Service};
use crate::{AlertEvent, AlertKind, SendError};

/// Returns the request, or `None` if the service is not reached over HTTP.
pub(crate) fn request(
    client: &Client,
    service: &Service,
    event: &AlertEvent,
    now: Timestamp,
) -> Result<Option<RequestBuilder>, SendError> {
    let message = Message::of(event);
    let whole = || message.whole();
    Ok(Some(match service {
        Service::Webhook { url, signing } => {
            let key = signing.as_deref();
            webhook(client, url, key, event, now)?
        }
        // Fields: https://docs.ntfy.sh/publish/#publish-as-json
        Service::Ntfy { url, topic, auth } => {
            let body = json!({
                "topic": topic,
                "title": message.title,
                "message": message.text,
                "priority": priority(event.kind),
                "tags": [event.kind.as_str()],
            });
            let request = post_json(client, url, &body)?;
            match auth {
                None => request,
                Some(NtfyAuth::Token(token)) => request.bearer_auth(token.expose_secret()),
                Some(NtfyAuth::Basic(user, password)) => {
                    request.basic_auth(user, Some(password.expose_secret()))
                }
            }
        }
        // https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and
        // https://developers.mattermost.com/integrate/webhooks/incoming/
        Service::Slack { url, .. } => {
            let text = slack_escaped(&whole());
            post_json(client, url, &json!({ "text": text }))?
        }
        // https://discord.com/developers/docs/resources/webhook#execute-webhook. No text of an alert
        // mentions a person.
        Service::Discord { url } => {
            let body = json!({ "content": whole(), "allowed_mentions": { "parse": [] } });
            post_json(client, url, &body)?
        }
        // https://core.telegram.org/bots/api#sendmessage
        Service::Telegram { url, chat } => {
            let body = json!({ "chat_id": chat, "text": whole() });
            post_json(client, url, &body)?
        }
        Service::Mail(_) => return Ok(None),
    }))
}

/// Type, timestamp and data, as Standard Webhooks recommends
/// (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
fn webhook(
    client: &Client,
    url: &Url,
    signing: Option<&SigningKeys>,
    event: &AlertEvent,
    now: Timestamp,
) -> Result<RequestBuilder, SendError> {
    let body = json!({
        "type": event.kind,
        "timestamp": rfc3339(event.at),
        "data": {
            "account": event.account,
            "user": event.user,
            "problem": event.problem,
            "detail": event.detail,
            "advice": advice(event),
            "count": event.count,
        },
    });
    let body = serde_json::to_vec(&body).map_err(unwritable)?;
    let id = event.id.as_str();
    let mut request = client
        .post(url.clone())
        .header(CONTENT_TYPE, "application/json")
        .header(IDEMPOTENCY_KEY, id);
    for (name, value) in signing
        .into_iter()
        .flat_map(|it| it.headers(id, now, &body))
    {
        request = request.header(name, value);
    }
    Ok(request.body(body))
}

fn post_json(client: &Client, url: &Url, body: &Value) -> Result<RequestBuilder, SendError> {
    let body = serde_json::to_vec(body).map_err(unwritable)?;
    let request = client.post(url.clone());
    Ok(request.header(CONTENT_TYPE, "application/json").body(body))
}

fn unwritable(_: serde_json::Error) -> SendError {
    SendError::failed("the alert cannot be written")
}

/// From 1 to 5; 3 is the default (<https://docs.ntfy.sh/publish/#message-priority>).
const fn priority(kind: AlertKind) -> u8 {
    match kind {
        AlertKind::Recovered | AlertKind::Test => 3,
        _ => 4,
    }
}

/// The three characters that control Slack's formatting
/// (<https://docs.slack.dev/messaging/formatting-message-text#escaping>).
fn slack_escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

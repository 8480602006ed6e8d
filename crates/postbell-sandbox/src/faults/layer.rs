//! A middleware that applies faults to the sandbox's routes.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::sleep;

use super::{Kind, Place};
use crate::errors::api_error;
use crate::server::Connection;
use crate::{Sandbox, fly};

/// Answers a request, or applies a fault.
pub(crate) async fn inject(
    State(sandbox): State<Sandbox>,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let fly = Place::of_fly(method, path);
    let found = fly.or_else(|| place(path));
    let Some(place) = found.or_else(|| Place::of_cloud(method, path)) else {
        return next.run(request).await;
    };
    let connection = request.extensions().get::<Connection>().cloned();
    match (sandbox.faults().take(place), connection) {
        (Some(Kind::Delay { millis }), _) => {
            sleep(Duration::from_millis(millis)).await;
            next.run(request).await
        }
        (
            Some(Kind::Refuse {
                status,
                retry_after,
            }),
            _,
        ) => {
            let text = "The sandbox was told to refuse this.";
            let mut answer = match fly {
                Some(_) => fly::error(status, text),
                None => api_error(status, text),
            };
            if let Some(seconds) = retry_after {
                answer
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            answer
        }
        (Some(Kind::Wall { wall }), _) => wall.answer(place),
        (Some(Kind::DropBefore), Some(connection)) => connection.close().await,
        (Some(Kind::DropAfter), Some(connection)) => {
            next.run(request).await;
            connection.close().await
        }
        _ => next.run(request).await,
    }
}

/// The fault's place for a path.
fn place(path: &str) -> Option<Place> {
    if path.starts_with("/api/platform/") {
        return Some(Place::Platform);
    }
    match path {
        "/token" => return Some(Place::OAuthToken),
        "/revoke" => return Some(Place::OAuthRevoke),
        "/oauth2/v3/certs" | "/oauth2/v1/certs" => return Some(Place::OAuthCerts),
        "/google.pubsub.v1.Subscriber/StreamingPull" => return Some(Place::Pull),
        "/bot/hooks/gmail" => return Some(Place::Hook),
        _ => (),
    }
    let (_, call) = path.strip_prefix("/gmail/v1/users/")?.split_once('/')?;
    match call.split('/').collect::<Vec<_>>()[..] {
        ["profile"] => Some(Place::GmailProfile),
        ["watch"] => Some(Place::GmailWatch),
        ["history"] => Some(Place::GmailHistory),
        ["messages"] => Some(Place::GmailMessages),
        ["messages", _] => Some(Place::GmailMessage),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;

    #[test]
    fn each_call_is_a_place() {
        for (path, expected) in [
            ("/gmail/v1/users/me/history", Some(Place::GmailHistory)),
            (
                "/gmail/v1/users/a@b/messages/18c",
                Some(Place::GmailMessage),
            ),
            ("/gmail/v1/users/me/labels", None),
            ("/api/platform/status", Some(Place::Platform)),
            ("/sandbox/faults", None),
        ] {
            assert_eq!(place(path), expected, "{path}");
        }
        for (method, path, expected) in [
            (Method::GET, "/v1/apps/a/machines/m", Some(Place::FlyGet)),
            (
                Method::POST,
                "/v1/apps/a/machines/m",
                Some(Place::FlyUpdate),
            ),
            (
                Method::POST,
                "/v1/apps/a/machines/m/start",
                Some(Place::FlyStart),
            ),
            (Method::GET, "/v1/projects/p/topics", None),
        ] {
            assert_eq!(Place::of_fly(&method, path), expected, "{path}");
        }
    }

    #[test]
    fn each_call_of_google_cloud_is_a_place() {
        for (method, path, expected) in [
            (Method::POST, "/v3/projects", Some(Place::ProjectCreate)),
            (
                Method::GET,
                "/v3/projects:search",
                Some(Place::ProjectSearch),
            ),
            (Method::GET, "/v3/projects/p", Some(Place::ProjectGet)),
            (
                Method::POST,
                "/v1/projects/p/services:batchEnable",
                Some(Place::ServicesEnable),
            ),
            (
                Method::POST,
                "/v1/projects/p/serviceAccounts/a@b:setIamPolicy",
                Some(Place::AccountSetPolicy),
            ),
            (
                Method::PUT,
                "/v1/projects/p/topics/t",
                Some(Place::TopicCreate),
            ),
            (Method::POST, "/v1/projects/p/topics/t:publish", None),
        ] {
            assert_eq!(Place::of_cloud(&method, path), expected, "{path}");
        }
    }
}

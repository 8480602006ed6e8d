//! A middleware that applies faults to the sandbox's routes.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::sleep;

use super::{Kind, answers};
use crate::Sandbox;
use crate::fault_point::FaultPoint;
use crate::server::Connection;

/// Answers a request, or applies a fault.
pub(crate) async fn inject(
    State(sandbox): State<Sandbox>,
    request: Request,
    next: Next,
) -> Response {
    let Some(point) = fault_point(&request) else {
        return next.run(request).await;
    };
    let connection = request.extensions().get::<Connection>().cloned();
    let Some(fault) = sandbox.faults().take(point, request.uri().path()) else {
        return next.run(request).await;
    };
    match (fault, connection) {
        (Kind::Delay { millis }, _) => {
            sleep(Duration::from_millis(millis)).await;
            next.run(request).await
        }
        (
            Kind::Refuse {
                status,
                retry_after,
            },
            _,
        ) => {
            let text = "The sandbox was configured to refuse this.";
            let mut answer = answers::refusal(point, status, text);
            if let Some(seconds) = retry_after {
                let seconds = HeaderValue::from(seconds);
                answer.headers_mut().insert(header::RETRY_AFTER, seconds);
            }
            answer
        }
        (
            Kind::RefuseUntil {
                status,
                seconds,
                named,
            },
            _,
        ) => {
            let millis = i64::try_from(seconds)
                .unwrap_or(i64::MAX)
                .saturating_mul(1000);
            let until = sandbox.clock().now_millis().saturating_add(millis);
            answers::refusal_until(point, status, until, named)
        }
        (Kind::RefuseFor { status, reason }, _) => answers::refusal_for(status, reason),
        (Kind::Unreadable, _) => answers::unreadable(),
        (Kind::Endless { status }, _) => answers::endless(status),
        (Kind::RepeatPage, _) => answers::page(request, next, true).await,
        (Kind::EndlessPages, _) => answers::page(request, next, false).await,
        (Kind::Blocked { blocker }, _) => blocker.answer(point),
        (Kind::DropBefore, Some(connection)) => connection.close().await,
        (Kind::DropAfter, Some(connection)) => {
            next.run(request).await;
            connection.close().await
        }
        (Kind::DropBefore | Kind::DropAfter | Kind::Duplicate | Kind::Reorder, _) => {
            next.run(request).await
        }
    }
}

/// The fault's point for a request.
fn fault_point(request: &Request) -> Option<FaultPoint> {
    let (method, path) = (request.method(), request.uri().path());
    let query = request.uri().query().unwrap_or_default();
    let found = FaultPoint::of_fly(method, path).or_else(|| google_or_bot(path));
    match found.or_else(|| FaultPoint::of_cloud(method, path)) {
        Some(FaultPoint::GmailMessage) if query.contains("format=raw") => {
            Some(FaultPoint::GmailRaw)
        }
        point => point,
    }
}

/// The fault's point for a path of Google's mail and token APIs, the bot, or the directory.
fn google_or_bot(path: &str) -> Option<FaultPoint> {
    if path.starts_with("/api/platform/") {
        return Some(FaultPoint::Platform);
    }
    match path {
        "/token" => return Some(FaultPoint::OAuthToken),
        "/revoke" => return Some(FaultPoint::OAuthRevoke),
        "/oauth2/v3/certs" | "/oauth2/v1/certs" => return Some(FaultPoint::OAuthCerts),
        "/google.pubsub.v1.Subscriber/StreamingPull" => return Some(FaultPoint::Pull),
        "/bot/hooks/gmail" => return Some(FaultPoint::Hook),
        _ => (),
    }
    let (_, call) = path.strip_prefix("/gmail/v1/users/")?.split_once('/')?;
    match call.split('/').collect::<Vec<_>>()[..] {
        ["profile"] => Some(FaultPoint::GmailProfile),
        ["watch"] => Some(FaultPoint::GmailWatch),
        ["history"] => Some(FaultPoint::GmailHistory),
        ["messages"] => Some(FaultPoint::GmailMessages),
        ["messages", _] => Some(FaultPoint::GmailMessage),
        ["messages", _, "attachments", _] => Some(FaultPoint::GmailAttachment),
        ["threads", _] => Some(FaultPoint::GmailThread),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;

    #[test]
    fn each_call_is_a_fault_point() {
        for (path, expected) in [
            ("/gmail/v1/users/me/history", Some(FaultPoint::GmailHistory)),
            (
                "/gmail/v1/users/a@b/messages/18c",
                Some(FaultPoint::GmailMessage),
            ),
            (
                "/gmail/v1/users/me/messages/18c/attachments/ANGj",
                Some(FaultPoint::GmailAttachment),
            ),
            (
                "/gmail/v1/users/me/threads/18c",
                Some(FaultPoint::GmailThread),
            ),
            ("/gmail/v1/users/me/labels", None),
            ("/api/platform/status", Some(FaultPoint::Platform)),
            ("/sandbox/faults", None),
        ] {
            assert_eq!(google_or_bot(path), expected, "{path}");
        }
        for (method, path, expected) in [
            (
                Method::GET,
                "/v1/apps/a/machines/m",
                Some(FaultPoint::FlyGet),
            ),
            (
                Method::POST,
                "/v1/apps/a/machines/m",
                Some(FaultPoint::FlyUpdate),
            ),
            (
                Method::POST,
                "/v1/apps/a/machines/m/start",
                Some(FaultPoint::FlyStart),
            ),
            (Method::GET, "/v1/projects/p/topics", None),
        ] {
            assert_eq!(FaultPoint::of_fly(&method, path), expected, "{path}");
        }
    }

    #[test]
    fn each_call_of_google_cloud_is_a_fault_point() {
        for (method, path, expected) in [
            (
                Method::POST,
                "/v3/projects",
                Some(FaultPoint::ProjectCreate),
            ),
            (
                Method::GET,
                "/v3/projects:search",
                Some(FaultPoint::ProjectSearch),
            ),
            (Method::GET, "/v3/projects/p", Some(FaultPoint::ProjectGet)),
            (
                Method::POST,
                "/v1/projects/p/services:batchEnable",
                Some(FaultPoint::ServicesEnable),
            ),
            (
                Method::POST,
                "/v1/projects/p/serviceAccounts/a@b:setIamPolicy",
                Some(FaultPoint::AccountSetPolicy),
            ),
            (
                Method::PUT,
                "/v1/projects/p/topics/t",
                Some(FaultPoint::TopicCreate),
            ),
            (Method::POST, "/v1/projects/p/topics/t:publish", None),
        ] {
            assert_eq!(FaultPoint::of_cloud(&method, path), expected, "{path}");
        }
    }
}

//! The relay's service: pushes of users' own subscriptions without a router, everything else through it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use postbell_core::UserId;
use tower::{Service, ServiceExt};

use super::auth::OwnSubscription;
use super::{Ingress, middleware, push};

/// Answers the requests to an [`Ingress`].
///
/// Nearly all of them are pushes of users' own subscriptions. Finding their route, and taking the user id out
/// of it, costs the router a tenth of the push.
#[derive(Clone)]
pub struct IngressService {
    pub(super) ingress: Ingress,
    pub(super) others: Router,
}

impl Service<Request> for IngressService {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Self { ingress, others } = self.clone();
        Box::pin(async move {
            let answer = |request| answer(&ingress, others, request);
            Ok(middleware::observe(&ingress, request, answer).await)
        })
    }
}

async fn answer(ingress: &Ingress, others: Router, request: Request) -> Response {
    match own_user(&request) {
        Some(user) => receive(ingress, user, request).await,
        // Boxed, so that the future of a push is small.
        None => Box::pin(others.oneshot(request)).await.into_response(),
    }
}

/// The user of a push of an own subscription, unless the router has to decode the id.
fn own_user(request: &Request) -> Option<UserId> {
    let user = request.uri().path().strip_prefix("/push/user/")?;
    let is_plain = request.method() == Method::POST && !user.contains('/');
    is_plain.then(|| UserId::try_from(user.to_owned()).ok())?
}

async fn receive(ingress: &Ingress, user: UserId, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let received = async {
        let sender = OwnSubscription::authenticate(ingress, user, &parts.headers).await?;
        push::take(ingress, sender.into(), &parts.headers, body).await
    };
    received.await.into_response()
}

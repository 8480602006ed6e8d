//! The relay's service: pushes of users' own subscriptions without a router, everything else through it.

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Method, Request};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Router};
use postbell_core::UserId;
use postbell_http::{App, ClientAddress};
use tower::ServiceExt;

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

impl App for IngressService {
    fn answer<B>(
        self,
        request: Request<B>,
        client: ClientAddress,
    ) -> impl Future<Output = Response> + Send
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        // Boxed, so that it is not moved until it is done.
        Box::pin(self.respond(request, Some(client)))
    }
}

impl IngressService {
    /// Answers a request; `client` is added to its extensions if it goes to the router.
    pub(super) async fn respond<B>(
        self,
        request: Request<B>,
        client: Option<ClientAddress>,
    ) -> Response
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let Self { ingress, others } = self;
        let answer = async |request| match own_user(&request) {
            Some(user) => receive(&ingress, user, request).await,
            // Boxed, so that the future of a push is small.
            None => Box::pin(route(others, request, client)).await,
        };
        middleware::observe(&ingress, request, answer).await
    }
}

async fn route<B>(router: Router, request: Request<B>, client: Option<ClientAddress>) -> Response
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let mut request = request.map(Body::new);
    if let Some(client) = client {
        request.extensions_mut().insert(client);
    }
    router.oneshot(request).await.into_response()
}

/// The user of a push of an own subscription, unless the router has to decode the id.
fn own_user<B>(request: &Request<B>) -> Option<UserId> {
    let user = request.uri().path().strip_prefix("/push/user/")?;
    let is_plain = request.method() == Method::POST && !user.contains('/');
    is_plain.then(|| UserId::try_from(user.to_owned()).ok())?
}

async fn receive<B>(ingress: &Ingress, user: UserId, request: Request<B>) -> Response
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    let (parts, body) = request.into_parts();
    let received = async {
        let sender = OwnSubscription::authenticate(ingress, user, &parts.headers).await?;
        push::take(ingress, sender.into(), &parts.headers, body).await
    };
    received.await.into_response()
}

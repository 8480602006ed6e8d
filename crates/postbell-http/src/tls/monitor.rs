//! What monitoring sees of the certificate: part of `/ready` and `/metrics` of a server with TLS.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http_body_util::BodyExt;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use serde_json::json;
use tower::ServiceExt;
use tracing::warn;

use super::Tls;
use crate::response::error_response;
use crate::server::{App, ClientAddress};

/// How metrics end (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
const END: &str = "# EOF\n";

impl Tls {
    /// Adds the certificate to `/ready` and `/metrics` of a server's routes, as far as it has them.
    pub(crate) fn monitored(&self, app: impl App) -> Router {
        let answer = move |Extension(client): Extension<ClientAddress>, request: Request| {
            app.clone().answer(request, client)
        };
        let router = Router::new().fallback(answer);
        Router::new()
            .route("/ready", get(ready))
            .route("/metrics", get(metrics))
            .with_state((self.clone(), router.clone()))
            .fallback_service(router)
    }

    /// Returns the code of what keeps clients from connecting.
    fn problem(&self) -> Option<&'static str> {
        match &*self.0.state.certificate.load() {
            None => Some("no_certificate"),
            Some(it) if it.not_after <= self.0.clock.now() => Some("certificate_expired"),
            Some(_) => None,
        }
    }

    fn metrics(&self) -> Result<String, std::fmt::Error> {
        let state = &self.0.state;
        let mut registry = Registry::with_prefix("postbell_tls");
        if let Some(certificate) = &*state.certificate.load() {
            let ends = Gauge::<i64>::default();
            ends.set(certificate.not_after.as_secs());
            let help = "When the certificate that clients see expires, since 1970";
            registry.register_with_unit("certificate_expiry_timestamp", help, Unit::Seconds, ends);
        }
        let failing = Gauge::<i64>::default();
        failing.set(state.problem.load().is_some().into());
        let help = "Whether the last attempt to load or renew the certificate failed";
        registry.register("certificate_failing", help, failing);
        let help = "Attempts to load or renew the certificate that failed";
        registry.register("certificate_failures", help, state.failures.clone());
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

async fn ready(State((tls, router)): State<(Tls, Router)>, request: Request) -> Response {
    match tls.problem() {
        None => answer(router, request).await,
        Some(code) => {
            let body = json!({ "status": "problem", "code": code });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

async fn metrics(State((tls, router)): State<(Tls, Router)>, request: Request) -> Response {
    let answer = answer(router, request).await;
    let Ok(ours) = tls.metrics() else {
        return answer;
    };
    if !answer.status().is_success() {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    // Of this process.
    let theirs = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            warn!(%error, "Could not collect the metrics");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            return error_response(status, "the metrics could not be collected");
        }
    };
    let theirs = String::from_utf8_lossy(&theirs);
    head.headers.remove(CONTENT_LENGTH);
    let text = format!("{}{ours}", theirs.trim_end_matches(END));
    Response::from_parts(head, Body::from(text))
}

async fn answer(router: Router, request: Request) -> Response {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use futures_util::stream;
    use postbell_core::SystemClock;

    use super::*;
    use crate::tls::AcmeSettings;

    #[tokio::test]
    async fn metrics_that_cannot_be_collected_are_an_error_and_not_none() {
        let folder = tempfile::tempdir().unwrap();
        let settings = AcmeSettings {
            names: vec!["push.example.com".to_owned()],
            directory: "https://acme.example.com/directory".to_owned(),
            email: None,
            root: None,
            store: folder.path().to_owned(),
            random: || 0.5,
        };
        let tls = Tls::with_acme(settings, Arc::new(SystemClock::new())).unwrap();
        let cut = async || {
            let failure = io::Error::other("cut off");
            Body::from_stream(stream::iter([Ok("x 1\n"), Err(failure)]))
        };
        let router = tls.monitored(Router::new().route("/metrics", get(cut)));
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let answered = router.oneshot(request).await.unwrap();
        assert_eq!(answered.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}

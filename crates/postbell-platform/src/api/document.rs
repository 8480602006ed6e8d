//! The OpenAPI document.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use bytes::Bytes;
use postbell_protocol::routes;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, RefOr};

/// The document without its paths.
pub(super) fn head() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Postbell platform")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Users, the status of their machines, and their notification settings.",
        ));
    let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
        routes::INTERNAL_API_KEY,
        "The key of relays: platform.api_key.",
    )));
    let bearer = |description| {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        SecurityScheme::Http(scheme.description(Some(description)).build())
    };
    let components = ComponentsBuilder::new()
        .security_scheme("internalKey", key)
        .security_scheme("userToken", bearer("A token from `postbell users token`."))
        .security_scheme("gatewayToken", bearer("The token of the user's machine."))
        .security_scheme(
            "operatorKey",
            bearer("An API key from `postbell keys create`."),
        );
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components.build()))
        .build()
}

/// The document as a JSON response. Responses share its text: a client that reads none of its many answers must not
/// cost memory for each.
pub(super) fn as_json(mut document: OpenApi) -> ([(HeaderName, &'static str); 1], Bytes) {
    describe_responses(&mut document);
    #[expect(clippy::expect_used, reason = "a test serializes this very value")]
    let text = document.to_pretty_json().expect("the document is JSON");
    ([(CONTENT_TYPE, "application/json")], text.into())
}

/// Describes each response without a description by its status: OpenAPI requires one.
fn describe_responses(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            for (status, response) in &mut operation.responses.responses {
                let RefOr::T(response) = response else {
                    continue;
                };
                let status = status
                    .parse()
                    .ok()
                    .and_then(|it| StatusCode::from_u16(it).ok());
                let reason = status.and_then(|status| status.canonical_reason());
                if response.description.is_empty() {
                    reason
                        .unwrap_or_default()
                        .clone_into(&mut response.description);
                }
            }
        }
    }
}

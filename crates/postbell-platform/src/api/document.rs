//! The description of the API.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use postbell_protocol::routes;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, RefOr};

/// What the description begins with.
pub(super) fn head() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Postbell platform")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Who the users are, where their machines stand, and whether they want to be told of \
             new mail.",
        ));
    let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
        routes::INTERNAL_API_KEY,
        "What relays show: platform.api_key.",
    )));
    let bearer = |description| {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        SecurityScheme::Http(scheme.description(Some(description)).build())
    };
    let components = ComponentsBuilder::new()
        .security_scheme("internalKey", key)
        .security_scheme("userToken", bearer("What `postbell users token` prints."))
        .security_scheme("gatewayToken", bearer("The token of the user's machine."));
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components.build()))
        .build()
}

/// The description as it is sent.
pub(super) fn as_json(mut document: OpenApi) -> ([(HeaderName, &'static str); 1], String) {
    describe_answers(&mut document);
    #[expect(clippy::expect_used, reason = "a test serializes this very value")]
    let text = document.to_pretty_json().expect("a description is JSON");
    ([(CONTENT_TYPE, "application/json")], text)
}

/// Gives each answer that has no words of its own those of its status: OpenAPI wants some.
fn describe_answers(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            for (status, answer) in &mut operation.responses.responses {
                let RefOr::T(answer) = answer else { continue };
                let status = status
                    .parse()
                    .ok()
                    .and_then(|it| StatusCode::from_u16(it).ok());
                let words = status.and_then(|status| status.canonical_reason());
                if answer.description.is_empty() {
                    words
                        .unwrap_or_default()
                        .clone_into(&mut answer.description);
                }
            }
        }
    }
}

//! Which headers pass the controller.

use axum::http::header::{
    self, CONNECTION, EXPECT, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Request};

/// Shows the controller that the caller may have the gateway; the gateway never sees it.
pub(super) const PROXY_TOKEN: &str = postbell_protocol::routes::PROXY_TOKEN;

/// What is meant for the next connection alone (RFC 9110, section 7.6.1), besides `Connection` and
/// what that names.
const OF_ONE_CONNECTION: [HeaderName; 5] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What `Connection` must never take away from a message: what it is, who is asked, and who asks.
const NOT_OF_ONE_CONNECTION: [HeaderName; 5] = [
    HOST,
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
];

/// Whether a header says where a request came from before it came here. OpenClaw's gateway takes a
/// WebSocket without any of them for one of this machine, and lets it pair
/// (<https://github.com/Kilo-Org/cloud>, `services/kiloclaw/controller/src/proxy.ts`).
fn says_where_from(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "forwarded" | "x-real-ip") || name.starts_with("x-forwarded")
}

/// Whether a request asks for a WebSocket (RFC 6455, section 4.1).
pub(super) fn asks_for_websocket<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let upgrade = headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    let is_websocket = upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"));
    request.method() == Method::GET
        && is_websocket
        && connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"))
}

/// What body a request has (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BodyOf {
    Nothing,
    KnownLength,
    UnknownLength,
}

/// What body comes with these headers.
pub(super) fn body_of(headers: &HeaderMap) -> BodyOf {
    match headers.get(header::CONTENT_LENGTH) {
        _ if headers.contains_key(TRANSFER_ENCODING) => BodyOf::UnknownLength,
        Some(length) if length != "0" => BodyOf::KnownLength,
        _ => BodyOf::Nothing,
    }
}

/// Says that a body of unknown length follows, which a client does not say by itself of a GET.
pub(super) fn mark_as_chunked(headers: &mut HeaderMap) {
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
}

/// Makes the headers of a request those of one to the gateway.
pub(super) fn for_the_gateway(headers: &mut HeaderMap, host: &Authority) {
    leave_out_those_of_one_connection(headers);
    headers.remove(PROXY_TOKEN);
    // The controller has answered it, by asking for the body.
    headers.remove(EXPECT);
    if let Ok(host) = HeaderValue::from_str(host.as_str()) {
        headers.insert(HOST, host);
    }
}

/// The same for a WebSocket's handshake, which has no body.
pub(super) fn for_the_gateways_websocket(headers: &mut HeaderMap, host: &Authority) {
    for_the_gateway(headers, host);
    // The gateway would take the next request on this connection for the body.
    headers.remove(header::CONTENT_LENGTH);
    let where_from: Vec<_> = headers
        .keys()
        .filter(|name| says_where_from(name))
        .cloned()
        .collect();
    for name in where_from {
        headers.remove(name);
    }
    mark_as_upgrade(headers);
}

/// Makes the headers with which the gateway has taken a WebSocket's handshake those for the caller.
pub(super) fn for_the_callers_websocket(headers: &mut HeaderMap) {
    leave_out_those_of_one_connection(headers);
    mark_as_upgrade(headers);
}

fn mark_as_upgrade(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Leaves out what was meant for the connection that the message came on.
pub(super) fn leave_out_those_of_one_connection(headers: &mut HeaderMap) {
    let named: Vec<_> = connection_options(headers)
        .filter_map(|option| option.parse::<HeaderName>().ok())
        .filter(|name| !NOT_OF_ONE_CONNECTION.contains(name) && !says_where_from(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
    if headers.contains_key(TRANSFER_ENCODING) {
        // It is the other that says where the body ends (RFC 9112, section 6.3).
        headers.remove(header::CONTENT_LENGTH);
    }
    for name in OF_ONE_CONNECTION {
        headers.remove(name);
    }
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let parsed = pairs.iter().map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        });
        parsed.collect()
    }

    fn passed(pairs: &[(&str, &str)], pass: impl FnOnce(&mut HeaderMap)) -> Vec<(String, String)> {
        let mut headers = headers(pairs);
        pass(&mut headers);
        let shown = headers.iter().map(|(name, value)| {
            let value = value.to_str().unwrap().to_owned();
            (name.as_str().to_owned(), value)
        });
        let mut shown: Vec<_> = shown.collect();
        shown.sort();
        shown
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    const GATEWAY: Authority = Authority::from_static("127.0.0.1:3001");

    #[test]
    fn a_request_goes_on_without_what_was_for_the_controller() {
        let given = [
            ("host", "bot.fly.dev"),
            ("x-kiloclaw-proxy-token", "hunter2"),
            ("connection", "close, x-secret-hop"),
            ("x-secret-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("authorization", "Bearer of the gateway"),
            ("x-forwarded-for", "203.0.113.7"),
        ];
        let expected = [
            ("authorization", "Bearer of the gateway"),
            ("host", "127.0.0.1:3001"),
            ("x-forwarded-for", "203.0.113.7"),
        ];
        let passed = passed(&given, |headers| for_the_gateway(headers, &GATEWAY));
        assert_eq!(passed, pairs(&expected));
    }

    #[test]
    fn a_websocket_goes_on_as_one_of_this_machine() {
        let given = [
            ("host", "bot.fly.dev"),
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("origin", "https://bot.fly.dev"),
            ("forwarded", "for=203.0.113.7"),
            ("x-forwarded", "for=203.0.113.7"),
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-host", "bot.fly.dev"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-ssl", "on"),
            ("x-real-ip", "203.0.113.7"),
            ("content-length", "5"),
        ];
        let expected = [
            ("connection", "Upgrade"),
            ("host", "127.0.0.1:3001"),
            ("origin", "https://bot.fly.dev"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("upgrade", "websocket"),
        ];
        let passed = passed(&given, |headers| {
            for_the_gateways_websocket(headers, &GATEWAY);
        });
        assert_eq!(passed, pairs(&expected));
    }

    #[test]
    fn connection_takes_nothing_away_that_makes_the_message() {
        let given = [
            (
                "connection",
                "host, content-length, content-type, authorization, x-forwarded-for",
            ),
            ("authorization", "Bearer of the gateway"),
            ("content-length", "5"),
            ("content-type", "text/plain"),
            ("x-forwarded-for", "203.0.113.7"),
        ];
        let expected = [
            ("authorization", "Bearer of the gateway"),
            ("content-length", "5"),
            ("content-type", "text/plain"),
            ("host", "127.0.0.1:3001"),
            ("x-forwarded-for", "203.0.113.7"),
        ];
        let passed = passed(&given, |headers| for_the_gateway(headers, &GATEWAY));
        assert_eq!(passed, pairs(&expected));
    }

    #[test]
    fn an_answer_in_chunks_has_no_length_beside_them() {
        let given = [("transfer-encoding", "chunked"), ("content-length", "3")];
        assert_eq!(
            passed(&given, leave_out_those_of_one_connection),
            pairs(&[])
        );
    }

    #[test]
    fn only_a_websocket_is_an_upgrade() {
        let asks = |method: &str, pairs: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).body(()).unwrap();
            *request.headers_mut() = headers(pairs);
            asks_for_websocket(&request)
        };
        let upgrade = ("connection", "Upgrade");
        assert!(asks("GET", &[upgrade, ("upgrade", "WebSocket")]));
        assert!(asks(
            "GET",
            &[
                ("connection", "keep-alive"),
                upgrade,
                ("upgrade", "websocket")
            ]
        ));
        assert!(!asks("GET", &[upgrade, ("upgrade", "h2c")]));
        assert!(!asks("POST", &[upgrade, ("upgrade", "websocket")]));
        assert!(!asks("GET", &[("upgrade", "websocket")]));
        assert!(!asks("GET", &[upgrade]));
    }

    proptest! {
        #[test]
        fn whatever_comes_the_token_stays_here(
            names in proptest::collection::vec("[a-z-]{1,12}", 0..6),
            connection in "[a-zA-Z, -]{0,40}",
        ) {
            let mut given: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
            given.push(("connection", connection.trim()));
            given.push((PROXY_TOKEN, "hunter2"));
            let mut headers = headers(&given);
            for_the_gateway(&mut headers, &GATEWAY);
            prop_assert!(!headers.contains_key(PROXY_TOKEN));
            prop_assert!(!headers.contains_key(CONNECTION));
            prop_assert_eq!(&headers[HOST], "127.0.0.1:3001");
        }
    }
}

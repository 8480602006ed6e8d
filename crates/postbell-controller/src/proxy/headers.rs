//! Which headers pass the controller.

use axum::http::header::{
    self, CONNECTION, EXPECT, FORWARDED, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Request};

/// Shows the controller that the caller may have the gateway; the gateway never sees it.
pub(super) const PROXY_TOKEN: &str = "x-kiloclaw-proxy-token";

/// What is meant for the next connection alone (RFC 9110, section 7.6.1), besides `Connection` and
/// what that names.
const OF_ONE_CONNECTION: [HeaderName; 5] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Says where a request came from before it came here. OpenClaw's gateway takes a WebSocket without
/// them for one of this machine, and lets it pair
/// (<https://github.com/Kilo-Org/cloud>, `services/kiloclaw/controller/src/proxy.ts`).
const FORWARDED_BY_OTHERS: [HeaderName; 6] = [
    FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

/// What `Connection` must never take away from a message: what it is, and who is asked.
const NOT_OF_ONE_CONNECTION: [HeaderName; 3] = [HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE];

/// Whether a request asks for a WebSocket (RFC 6455, section 4.1).
pub(super) fn asks_for_websocket<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let upgrade = headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    let is_websocket = upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"));
    request.method() == Method::GET
        && is_websocket
        && connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"))
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

/// The same for a WebSocket's handshake.
pub(super) fn for_the_gateways_websocket(headers: &mut HeaderMap, host: &Authority) {
    for_the_gateway(headers, host);
    for name in FORWARDED_BY_OTHERS {
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
        .filter(|name| !NOT_OF_ONE_CONNECTION.contains(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
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
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-host", "bot.fly.dev"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "203.0.113.7"),
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
            ("connection", "host, content-length, content-type"),
            ("content-length", "5"),
            ("content-type", "text/plain"),
        ];
        let expected = [
            ("content-length", "5"),
            ("content-type", "text/plain"),
            ("host", "127.0.0.1:3001"),
        ];
        let passed = passed(&given, |headers| for_the_gateway(headers, &GATEWAY));
        assert_eq!(passed, pairs(&expected));
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

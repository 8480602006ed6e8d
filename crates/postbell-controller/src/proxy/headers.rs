//! Rewrites headers for the gateway and for the caller.

use axum::http::header::{
    self, CONNECTION, EXPECT, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Request, StatusCode, Version};
use postbell_protocol::routes::PROXY_TOKEN;

/// Hop-by-hop headers (RFC 9110, section 7.6.1), besides `Connection` and those that it names.
const HOP_BY_HOP: [HeaderName; 5] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Headers that are kept even if `Connection` names them.
const END_TO_END: [HeaderName; 5] = [
    HOST,
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
];

/// Headers in which proxies say where a request came from: RFC 7239 and RFC 9110, section 7.6.3, and those
/// of nginx, Envoy, Fly (<https://fly.io/docs/networking/request-headers/>), Cloudflare
/// (<https://developers.cloudflare.com/fundamentals/reference/http-headers/>), Akamai, Fastly, Azure
/// and App Engine.
const FORWARDING: [&str; 21] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-ipcountry",
    "cf-pseudo-ipv4",
    "cf-visitor",
    "client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "fly-region",
    "forwarded",
    "true-client-ip",
    "via",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-original-forwarded-for",
    "x-original-host",
    "x-real-ip",
];

/// Prefixes of more such headers. Tailscale names the user
/// (<https://tailscale.com/kb/1312/serve#identity-headers>).
const FORWARDING_PREFIXES: [&str; 3] = ["fly-forwarded-", "tailscale-", "x-forwarded"];

/// Returns whether a header says where a request came from. The gateway gets none of them
/// (docs/adr/0023-no-forwarding-headers.md).
fn is_forwarding_header(name: &HeaderName) -> bool {
    let name = name.as_str();
    let begins = |prefix: &&str| name.starts_with(*prefix);
    FORWARDING.contains(&name) || FORWARDING_PREFIXES.iter().any(begins)
}

/// Returns whether a request is a WebSocket handshake (RFC 6455, section 4.1).
pub(super) fn is_websocket_request<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let upgrade = headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    let is_websocket = upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"));
    request.method() == Method::GET
        && is_websocket
        && connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"))
}

/// The kind of a request's body (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BodyKind {
    Absent,
    Sized,
    Chunked,
}

/// Returns the kind of the body that follows these headers.
pub(super) fn body_kind(headers: &HeaderMap) -> BodyKind {
    match headers.get(header::CONTENT_LENGTH) {
        _ if headers.contains_key(TRANSFER_ENCODING) => BodyKind::Chunked,
        Some(length) if length != "0" => BodyKind::Sized,
        _ => BodyKind::Absent,
    }
}

/// Checks what a server must refuse, and the gateway cannot see.
///
/// # Errors
///
/// The status and what was expected: 400 for an HTTP/1.1 request with another number of hosts than one (RFC 9112, section
/// 3.2), and 501 for a transfer coding that is not decoded (section 6.1).
pub(super) fn check<B>(request: &Request<B>) -> Result<(), (StatusCode, &'static str)> {
    let headers = request.headers();
    let hosts = headers.get_all(HOST).iter().count();
    let is_right = match request.version() {
        Version::HTTP_11 => hosts == 1,
        _ => hosts <= 1,
    };
    if !is_right {
        return Err((StatusCode::BAD_REQUEST, "expected one Host header"));
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        let expected = "expected no transfer coding but chunked";
        return Err((StatusCode::NOT_IMPLEMENTED, expected));
    }
    Ok(())
}

/// Announces a body of unknown length. The HTTP client does not do so for GET.
pub(super) fn set_chunked(headers: &mut HeaderMap) {
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
}

/// Rewrites a request's headers for the gateway.
pub(super) fn prepare_for_gateway(headers: &mut HeaderMap, host: &Authority) {
    remove_hop_by_hop(headers);
    // The gateway must not see the token.
    headers.remove(PROXY_TOKEN);
    // The controller has answered it by reading the body.
    headers.remove(EXPECT);
    remove_forwarding(headers);
    if let Ok(host) = HeaderValue::from_str(host.as_str()) {
        headers.insert(HOST, host);
    }
}

/// Rewrites a WebSocket handshake's headers for the gateway.
pub(super) fn prepare_handshake_for_gateway(headers: &mut HeaderMap, host: &Authority) {
    prepare_for_gateway(headers, host);
    // A handshake has no body; with a length, the gateway would read the WebSocket's data as one.
    headers.remove(header::CONTENT_LENGTH);
    set_upgrade(headers);
}

fn remove_forwarding(headers: &mut HeaderMap) {
    let forwarding: Vec<_> = headers
        .keys()
        .filter(|name| is_forwarding_header(name))
        .cloned()
        .collect();
    for name in forwarding {
        headers.remove(name);
    }
}

/// Rewrites the headers of the gateway's handshake response for the caller.
pub(super) fn prepare_handshake_for_caller(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    set_upgrade(headers);
}

fn set_upgrade(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Removes the hop-by-hop headers.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<_> = connection_options(headers)
        .filter_map(|option| option.parse::<HeaderName>().ok())
        .filter(|name| !END_TO_END.contains(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
    if headers.contains_key(TRANSFER_ENCODING) {
        // Transfer-Encoding overrides it (RFC 9112, section 6.3).
        headers.remove(header::CONTENT_LENGTH);
    }
    for name in HOP_BY_HOP {
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

    fn rewritten(
        pairs: &[(&str, &str)],
        rewrite: impl FnOnce(&mut HeaderMap),
    ) -> Vec<(String, String)> {
        let mut headers = headers(pairs);
        rewrite(&mut headers);
        let shown = headers.iter().map(|(name, value)| {
            let value = value.to_str().unwrap().to_owned();
            (name.as_str().to_owned(), value)
        });
        let mut shown: Vec<_> = shown.collect();
        shown.sort();
        shown
    }

    #[test]
    fn a_request_without_its_host_or_with_an_unknown_coding_is_refused() {
        let host = ("host", "bot.fly.dev");
        let coding = "transfer-encoding";
        for (version, given, expected) in [
            (Version::HTTP_11, &[host][..], None),
            (Version::HTTP_11, &[], Some(400)),
            (Version::HTTP_11, &[host, host], Some(400)),
            (Version::HTTP_10, &[], None),
            (Version::HTTP_10, &[host, host], Some(400)),
            (Version::HTTP_11, &[host, (coding, "Chunked")], None),
            (
                Version::HTTP_11,
                &[host, (coding, "gzip, chunked")],
                Some(501),
            ),
            (
                Version::HTTP_11,
                &[host, (coding, "gzip"), (coding, "chunked")],
                Some(501),
            ),
        ] {
            let mut request = Request::builder().version(version);
            for (name, value) in given {
                request = request.header(*name, *value);
            }
            let refused = check(&request.body(()).unwrap()).err();
            let status = refused.map(|(status, _)| status.as_u16());
            assert_eq!(status, expected, "{version:?} {given:?}");
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    const GATEWAY: Authority = Authority::from_static("127.0.0.1:3001");

    #[test]
    fn headers_for_the_controller_are_removed() {
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
        ];
        let expected = [
            ("authorization", "Bearer of the gateway"),
            ("host", "127.0.0.1:3001"),
        ];
        let headers = rewritten(&given, |headers| prepare_for_gateway(headers, &GATEWAY));
        assert_eq!(headers, pairs(&expected));
    }

    /// The headers that say where a request came from, with those of a request's own.
    fn forwarded(own: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        let given = FORWARDING.into_iter().chain([
            "fly-forwarded-port",
            "fly-forwarded-proto",
            "fly-forwarded-ssl",
            "tailscale-user-login",
            "x-forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-proto",
            "x-forwarded-ssl",
        ]);
        given
            .map(|name| (name, "203.0.113.7"))
            .chain(own.iter().copied())
            .collect()
    }

    #[test]
    fn requests_look_local_to_the_gateway() {
        let given = forwarded(&[
            ("host", "bot.fly.dev"),
            ("connection", "x-forwarded-for"),
            ("fly-request-id", "01J"),
            ("cf-ray", "8c1"),
            ("x-forward-me", "1"),
        ]);
        let expected = [
            ("cf-ray", "8c1"),
            ("fly-request-id", "01J"),
            ("host", "127.0.0.1:3001"),
            ("x-forward-me", "1"),
        ];
        let headers = rewritten(&given, |headers| prepare_for_gateway(headers, &GATEWAY));
        assert_eq!(headers, pairs(&expected));
    }

    #[test]
    fn websocket_requests_look_local_to_the_gateway() {
        let given = forwarded(&[
            ("host", "bot.fly.dev"),
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("origin", "https://bot.fly.dev"),
            ("content-length", "5"),
        ]);
        let expected = [
            ("connection", "Upgrade"),
            ("host", "127.0.0.1:3001"),
            ("origin", "https://bot.fly.dev"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("upgrade", "websocket"),
        ];
        let headers = rewritten(&given, |headers| {
            prepare_handshake_for_gateway(headers, &GATEWAY);
        });
        assert_eq!(headers, pairs(&expected));
    }

    #[test]
    fn connection_cannot_remove_end_to_end_headers() {
        let given = [
            (
                "connection",
                "host, content-length, content-type, authorization",
            ),
            ("authorization", "Bearer of the gateway"),
            ("content-length", "5"),
            ("content-type", "text/plain"),
        ];
        let expected = [
            ("authorization", "Bearer of the gateway"),
            ("content-length", "5"),
            ("content-type", "text/plain"),
            ("host", "127.0.0.1:3001"),
        ];
        let headers = rewritten(&given, |headers| prepare_for_gateway(headers, &GATEWAY));
        assert_eq!(headers, pairs(&expected));
    }

    #[test]
    fn a_chunked_response_has_no_content_length() {
        let given = [("transfer-encoding", "chunked"), ("content-length", "3")];
        assert_eq!(rewritten(&given, remove_hop_by_hop), pairs(&[]));
    }

    #[test]
    fn only_websocket_handshakes_are_upgrades() {
        let asks = |method: &str, pairs: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).body(()).unwrap();
            *request.headers_mut() = headers(pairs);
            is_websocket_request(&request)
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
        fn the_proxy_token_is_never_forwarded(
            names in proptest::collection::vec("[a-z-]{1,12}", 0..6),
            connection in "[a-zA-Z, -]{0,40}",
        ) {
            let mut given: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
            given.push(("connection", connection.trim()));
            given.push((PROXY_TOKEN, "hunter2"));
            let mut headers = headers(&given);
            prepare_for_gateway(&mut headers, &GATEWAY);
            prop_assert!(!headers.contains_key(PROXY_TOKEN));
            prop_assert!(!headers.contains_key(CONNECTION));
            prop_assert_eq!(&headers[HOST], "127.0.0.1:3001");
        }
    }
}

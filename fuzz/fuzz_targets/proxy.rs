//! The gateway never sees the controller's token or hop-by-hop headers, is addressed by its own host, and is
//! not reachable without the token.
#![no_main]

use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method};
use axum::{Router, serve};
use libfuzzer_sys::fuzz_target;
use postbell_controller::{Endpoint, Proxy, ProxyToken, TunnelLimits};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tower::ServiceExt;

const TOKEN: &str = "hunter2";

/// Headers that the proxy removes from every request.
const NEVER_SEEN: [&str; 6] = [
    "x-kiloclaw-proxy-token",
    "keep-alive",
    "proxy-connection",
    "te",
    "expect",
    "x-named-by-connection",
];

struct World {
    runtime: Runtime,
    router: Router,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let router = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let gateway = Router::new().fallback(move |request: Request| async move {
            let headers = request.headers();
            assert_eq!(
                headers["host"].to_str().unwrap(),
                format!("127.0.0.1:{port}")
            );
            for name in NEVER_SEEN {
                assert!(!headers.contains_key(name), "{name}");
            }
            "seen"
        });
        #[expect(clippy::disallowed_methods, reason = "it ends with the process")]
        tokio::spawn(async move { serve(listener, gateway).await.unwrap() });
        let token = TOKEN.try_into().unwrap();
        let (limits, gateway) = (TunnelLimits::default(), Endpoint::always_ready(port));
        Proxy::new(token, ProxyToken::Required, limits, gateway).router()
    });
    World { runtime, router }
});

type Input<'a> = (bool, &'a [u8], &'a str, Vec<(&'a [u8], &'a [u8])>, &'a [u8]);

fuzz_target!(|input: Input<'_>| {
    let (shows_token, method, uri, headers, body) = input;
    let mut request = Request::new(Body::from(body.to_vec()));
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method), uri.parse()) else {
        return;
    };
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    for (name, value) in headers.into_iter().take(64) {
        let name = HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            request.headers_mut().append(name, value);
        }
    }
    let headers = request.headers_mut();
    headers.remove("x-kiloclaw-proxy-token");
    headers.append("x-named-by-connection", HeaderValue::from_static("1"));
    headers.append(
        "connection",
        HeaderValue::from_static("x-named-by-connection"),
    );
    if shows_token {
        headers.insert("x-kiloclaw-proxy-token", HeaderValue::from_static(TOKEN));
    }
    let answer = WORLD.router.clone().oneshot(request);
    let status = WORLD.runtime.block_on(answer).unwrap().status().as_u16();
    assert!(shows_token || status == 401, "a stranger got {status}");
});

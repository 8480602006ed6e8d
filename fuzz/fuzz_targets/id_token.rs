//! A token that Google did not sign is refused, and verifying never panics.
//!
//! The input is used as a whole token, and as the header and the claims of a token.
#![no_main]

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use postbell_core::{SystemClock, Timestamp};
use postbell_google::{IdTokenVerifier, SigningKeys};
use postbell_sandbox::Sandbox;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

struct World {
    runtime: Runtime,
    verifier: IdTokenVerifier,
    _sandbox: Sandbox,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let (verifier, sandbox) = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sandbox = Sandbox::start(listener).await.unwrap();
        let url = format!("{}/oauth2/v3/certs", sandbox.url())
            .parse()
            .unwrap();
        let clock = Arc::new(SystemClock::new());
        let keys = SigningKeys::of_google(reqwest::Client::new(), url, clock);
        (IdTokenVerifier::new(Arc::new(keys)), sandbox)
    });
    World {
        runtime,
        verifier,
        _sandbox: sandbox,
    }
});

fn assert_rejected(token: &str) {
    let now = Timestamp::from_millis(1_700_000_000_000);
    let verified = WORLD
        .verifier
        .verify(token, "https://push.example.com", now);
    assert!(WORLD.runtime.block_on(verified).is_err());
}

fuzz_target!(|input: (&str, &str, &[u8])| {
    let (header, claims, signature) = input;
    assert_rejected(header);
    let part = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
    let header = part(header.as_bytes());
    let claims = part(claims.as_bytes());
    assert_rejected(&format!("{header}.{claims}.{}", part(signature)));
});

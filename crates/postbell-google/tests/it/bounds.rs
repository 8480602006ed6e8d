//! Answers without an end.

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::Timestamp;
use postbell_google::{
    CloudError, GmailError, IdTokenError, IdTokenVerifier, Projects, SigningKeys, TokenError,
};
use postbell_sandbox::{FaultPoint, IdTokenClaims, Kind};
use tokio::time::timeout;

use crate::world::{World, base, client};

/// Longer than an endless answer may be read, and shorter than the clients' timeouts.
const LIMIT: Duration = Duration::from_secs(4);

#[tokio::test]
async fn an_endless_error_is_read_only_at_its_start() {
    let world = World::new().await;
    for (status, times) in [(500, 3), (400, 1), (403, 1), (429, 3)] {
        world.fault(FaultPoint::GmailProfile, Kind::Endless { status }, times);
        let called = timeout(LIMIT, world.gmail.profile()).await.unwrap();
        let error = called.unwrap_err();
        let is_right = match status {
            500 => matches!(error, GmailError::Failed { .. }),
            429 => matches!(error, GmailError::Quota { .. }),
            _ => matches!(error, GmailError::Refused { .. }),
        };
        assert!(is_right, "{status}: {error:?}");
    }
    for status in [503, 400] {
        world.fault(FaultPoint::ProjectGet, Kind::Endless { status }, 1);
        let projects = Projects::new(world.api());
        let called = timeout(LIMIT, projects.get("p")).await.unwrap();
        let error = called.unwrap_err();
        let is_outage = matches!(error, CloudError::Unavailable { .. });
        assert_eq!(is_outage, status == 503, "{error:?}");
    }
    world.sandbox.stop().await;
}

#[tokio::test]
async fn an_endless_answer_of_the_token_endpoint_is_an_outage() {
    for status in [200, 500] {
        let world = World::new().await;
        world.fault(FaultPoint::OAuthToken, Kind::Endless { status }, 1);
        let token = timeout(LIMIT, world.tokens.access_token()).await.unwrap();
        let error = token.unwrap_err();
        assert!(
            matches!(error, TokenError::Unavailable { .. }),
            "{status}: {error:?}"
        );
        world.tokens.access_token().await.unwrap();
        world.sandbox.stop().await;
    }
}

#[tokio::test]
async fn the_token_endpoint_is_not_asked_within_the_pause_that_it_names() {
    let world = World::new().await;
    let kind = Kind::Refuse {
        status: 429,
        retry_after: Some(30),
    };
    world.fault(FaultPoint::OAuthToken, kind, 2);
    world.tokens.access_token().await.unwrap_err();
    world.tokens.access_token().await.unwrap_err();
    let faults = world.sandbox.faults();
    assert_eq!(faults.occurred(FaultPoint::OAuthToken), 1);
    faults.clear();
    world.clock.advance(Duration::from_secs(30));
    world.tokens.access_token().await.unwrap();
    world.sandbox.stop().await;
}

#[tokio::test]
async fn endless_keys_are_no_keys() {
    let world = World::new().await;
    let url = base(&world.sandbox).join("/oauth2/v3/certs").unwrap();
    let keys = SigningKeys::of_google(client(), url, Arc::clone(&world.clock) as _);
    let verifier = IdTokenVerifier::new(Arc::new(keys));
    let claims = IdTokenClaims::of("push@p.iam.gserviceaccount.com", "aud", 1_900_000_000);
    let token = world.sandbox.oauth().id_token(&claims);
    world.fault(FaultPoint::OAuthCerts, Kind::Endless { status: 200 }, 1);
    let now = Timestamp::from_millis(1_900_000_000_000);
    let verified = timeout(LIMIT, verifier.verify(&token, "aud", now));
    let error = verified.await.unwrap().unwrap_err();
    assert!(
        matches!(error, IdTokenError::KeysUnavailable(_)),
        "{error:?}"
    );
    assert!(error.to_string().contains("the keys of Google"), "{error}");
    assert!(verifier.lacks_keys());
    world.clock.advance(Duration::from_secs(2));
    let mut verifying = pin!(verifier.verify(&token, "aud", now));
    tokio::select! {
        biased;
        _ = &mut verifying => panic!("nothing was fetched"),
        () = ready(()) => assert!(verifier.lacks_keys(), "also during a fetch"),
    }
    verifying.await.unwrap();
    assert!(!verifier.lacks_keys());
    world.sandbox.stop().await;
}

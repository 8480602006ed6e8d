//! Whose a grant of the operator's client is, and when it ends.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use futures_util::stream::once;
use postbell_core::{
    Clock, InstanceStatus, MachineLocation, NewUser, PendingRevocations, SandboxId, SystemClock,
    Timestamp, UserId, UserRecord, Users,
};
use postbell_platform::Perform;
use postbell_protocol::api::operator::RemoveUser;
use postbell_sandbox::{FaultPoint, Frequency, Kind, Sandbox};
use serde_json::json;
use tokio::time::sleep;

use crate::accounts::{TEAM, connect_another, team};
use crate::connect::{
    URL, assert_connected, assert_shows, come_back, connect, decide, pages, put_topic,
};
use crate::mailbox_users::connect as claim;
use crate::test_browser::{Browser, SignInWays, TestPages};
use crate::test_platform::{Operator, TestPlatform, google_credentials, olga, sandbox};

const ANN: &str = "ann@example.com";

async fn disconnect(browser: &Browser) -> String {
    let sent = browser.submit("/bot", "/bot/disconnect", &[]).await;
    assert_eq!(sent.status, 303, "{}", sent.body);
    browser.get("/bot").await.body
}

/// Delays the next answer, so that something else can happen.
fn delay(sandbox: &Sandbox, at: FaultPoint) {
    let kind = Kind::Delay { millis: 500 };
    sandbox.faults().add(at, kind, Frequency::Times(1));
}

/// Waits until the request that is delayed is under way.
pub(crate) async fn under_way(sandbox: &Sandbox, at: FaultPoint) {
    while sandbox.faults().occurred(at) == 0 {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until Google has revoked all grants of an account.
pub(crate) async fn revoked(sandbox: &Sandbox, email: &str) {
    for _ in 0..200 {
        if sandbox.oauth().grants(email) == 0 {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("the permission was not revoked");
}

#[tokio::test]
async fn who_only_names_a_mailbox_does_not_keep_its_permission() {
    let sandbox = sandbox().await;
    let (pages, ann) = pages(&sandbox).await;
    for name in ["eve", "mallory"] {
        pages.world.add_another(name).await;
    }
    assert_connected(&connect(&ann, ANN).await);
    // Credentials that are none, and those of another mailbox, with the same client.
    assert_eq!(pages.world.connect("mallory").await.0, 200);
    let claimed = claim(&pages.world, &sandbox, "eve", "eve@example.com").await;
    assert_eq!(claimed, 200);
    let page = disconnect(&ann).await;
    assert!(
        page.contains("Google has taken the permission back."),
        "{page}"
    );
    assert_eq!(sandbox.oauth().grants(ANN), 0);
    // Nor is a permission that they have for another mailbox gone.
    assert_eq!(pages.world.record("eve").await.problem, None);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_grant_that_is_given_while_an_older_one_is_revoked_is_not_stored_dead() {
    let sandbox = sandbox().await;
    let (pages, ann) = pages(&sandbox).await;
    pages.world.add_another("bob").await;
    let bob = pages.signed_in(Some("bob"), false).await;
    assert_connected(&connect(&ann, ANN).await);
    let back = decide(&bob, &[("allow", "yes"), ("account", ANN)]).await;
    delay(&sandbox, FaultPoint::OAuthRevoke);
    let (_, answer) = tokio::join!(disconnect(&ann), async {
        under_way(&sandbox, FaultPoint::OAuthRevoke).await;
        come_back(&bob, &back).await
    });
    if answer.status == 303 {
        assert!(sandbox.oauth().grants(ANN) > 0);
    } else {
        assert_shows(&answer, 403, "Google no longer accepts this attempt");
        assert!(pages.world.record("bob").await.google.is_none());
    }
    assert_connected(&connect(&bob, ANN).await);
    sandbox.stop().await;
}

/// A browser that goes away takes its request with it.
#[tokio::test]
async fn the_permission_is_revoked_although_the_browser_goes_away() {
    let sandbox = sandbox().await;
    let (pages, ann) = pages(&sandbox).await;
    assert_connected(&connect(&ann, ANN).await);
    delay(&sandbox, FaultPoint::OAuthRevoke);
    let gone = async {
        while pages.world.record("ann").await.google.is_some() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        _ = disconnect(&ann) => panic!("the browser did not wait"),
        () = gone => (),
    }
    revoked(&sandbox, ANN).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_permission_that_google_could_not_revoke_is_revoked_later() {
    let sandbox = sandbox().await;
    let (_pages, ann) = pages(&sandbox).await;
    assert_connected(&connect(&ann, ANN).await);
    let kind = Kind::refuse(503);
    let faults = sandbox.faults();
    faults.add(FaultPoint::OAuthRevoke, kind, Frequency::Times(1));
    let page = disconnect(&ann).await;
    assert!(page.contains("Postbell tries again"), "{page}");
    revoked(&sandbox, ANN).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_restart_forgets_no_permission_that_google_has_not_revoked() {
    let sandbox = sandbox().await;
    put_topic(&sandbox);
    let operator = Operator::of(&sandbox);
    let world = TestPlatform::with_operator(&operator).await;
    let pages = TestPages::at(URL, world, SignInWays::default());
    let ann = pages.signed_in(Some("ann"), false).await;
    assert_connected(&connect(&ann, ANN).await);
    let faults = sandbox.faults();
    faults.add(
        FaultPoint::OAuthRevoke,
        Kind::refuse(503),
        Frequency::Always,
    );
    let page = disconnect(&ann).await;
    assert!(page.contains("Postbell tries again"), "{page}");
    let olga = pages.signed_in(None, true).await;
    let page = olga.get("/operator").await.body;
    assert!(page.contains("Google has yet to revoke"), "{page}");
    pages.world.stop().await;
    faults.clear();
    // It is due before the next process begins.
    let later = SystemClock::new().now() + Duration::from_secs(24 * 60 * 60);
    let revocations = &operator.revocations;
    let due = revocations.claim_revocations(later, Timestamp::default(), 9);
    assert_eq!(due.await.unwrap().len(), 1);

    let again = TestPlatform::with_operator(&operator).await;
    revoked(&sandbox, ANN).await;
    while revocations.count_revocations().await.unwrap() > 0 {
        sleep(Duration::from_millis(5)).await;
    }
    again.stop().await;
    sandbox.stop().await;
}

/// A process may be killed as soon as the credentials are deleted. The relay, which is notified then, does not answer.
#[tokio::test]
async fn a_permission_is_kept_before_its_credentials_are_deleted() {
    let sandbox = sandbox().await;
    put_topic(&sandbox);
    let operator = Operator::of(&sandbox);
    let world = TestPlatform::with_operator(&operator).await;
    let pages = TestPages::at(URL, world, SignInWays::default());
    let ann = pages.signed_in(Some("ann"), false).await;
    let kept = async || operator.revocations.count_revocations().await.unwrap();
    for _ in 0..2 {
        assert_connected(&connect(&ann, ANN).await);
        assert_eq!(kept().await, 0, "the account stays connected");
    }
    assert_connected(&connect_another(&ann, TEAM).await);
    let id = team(&pages.world).await.user.to_string();
    for account in [&*id, "ann"] {
        let gate = pages.world.relays.1.lock().await;
        let form = [("account", account)];
        let disconnected = ann.submit("/bot", "/bot/disconnect", &form);
        let seen = async {
            loop {
                let record = pages.world.store.get(&account.parse().unwrap()).await;
                if record.unwrap().is_none_or(|it| it.google.is_none()) {
                    break;
                }
                sleep(Duration::from_millis(5)).await;
            }
            let count = kept().await;
            drop(gate);
            count
        };
        let (sent, count) = tokio::join!(disconnected, seen);
        assert_eq!((sent.status, count), (303, 1), "{account}: {}", sent.body);
        assert_eq!(kept().await, 0, "Google has revoked it");
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn an_account_that_replaces_another_in_setup_ends_the_permission_of_that() {
    let sandbox = sandbox().await;
    let (pages, ann) = pages(&sandbox).await;
    assert_connected(&connect(&ann, "other@example.com").await);
    // By setup, with a project of her own.
    assert_eq!(pages.world.connect("ann").await.0, 200);
    assert_eq!(sandbox.oauth().grants("other@example.com"), 0);
    sandbox.stop().await;
}

async fn replace_user(pages: &TestPages, name: &str) {
    pages.world.remove(name).await;
    pages.world.add_later(name).await;
}

#[tokio::test]
async fn a_connection_that_began_for_a_former_user_is_given_back() {
    let sandbox = sandbox().await;
    let (pages, ann) = pages(&sandbox).await;
    let back = decide(&ann, &[("allow", "yes"), ("account", ANN)]).await;
    delay(&sandbox, FaultPoint::GmailProfile);
    let (answer, ()) = tokio::join!(come_back(&ann, &back), async {
        under_way(&sandbox, FaultPoint::GmailProfile).await;
        replace_user(&pages, "ann").await;
    });
    assert_eq!(answer.leads_to(), "/sign-in", "{}", answer.body);
    assert!(pages.world.record("ann").await.google.is_none());
    assert_eq!(sandbox.oauth().grants(ANN), 0);
    sandbox.stop().await;
}

/// The removal has read the record before, with another account.
#[tokio::test]
async fn an_account_that_is_connected_while_its_user_is_removed_leaves_no_permission() {
    let sandbox = sandbox().await;
    let (pages, ann) = pages(&sandbox).await;
    assert_connected(&connect(&ann, "other@example.com").await);
    let back = decide(&ann, &[("allow", "yes"), ("account", ANN)]).await;
    delay(&sandbox, FaultPoint::OAuthRevoke);
    let by = olga();
    let user_id = "ann".parse().unwrap();
    let removal = pages.world.operator.perform(RemoveUser { user_id }, &by);
    let (removed, _) = tokio::join!(removal, async {
        under_way(&sandbox, FaultPoint::OAuthRevoke).await;
        pages.world.change("ann", UserRecord::disconnect).await;
        come_back(&ann, &back).await
    });
    assert!(removed.unwrap().removed);
    assert_eq!(pages.world.store.count().await.unwrap(), 0);
    revoked(&sandbox, ANN).await;
    revoked(&sandbox, "other@example.com").await;
    sandbox.stop().await;
}

/// The token is checked before the body is read.
#[tokio::test]
async fn credentials_that_were_sent_for_a_former_user_are_not_stored() {
    let world = TestPlatform::new().await;
    let token = world.user_token("ann", Duration::from_secs(60)).await;
    let (store, later) = (world.store.clone(), world.now() + Duration::from_secs(60));
    let body = Body::from_stream(once(async move {
        let ann: UserId = "ann".parse().unwrap();
        let record = store.get(&ann).await.unwrap().unwrap();
        store.remove(&record).await.unwrap();
        let new = NewUser {
            sandbox_id: SandboxId::from(&ann),
            user: ann,
            status: InstanceStatus::Running,
            location: MachineLocation::Unknown,
            wake_on_mail: false,
        };
        store.add(new, later).await.unwrap();
        let offer = json!({ "googleCredentials": google_credentials() });
        Ok::<_, Infallible>(offer.to_string())
    }));
    let path = "/api/admin/google-credentials";
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer)];
    let sent = world.send(Method::POST, path, &headers, body).await;
    assert_eq!(sent.0, 404);
    assert!(world.record("ann").await.google.is_none());
}

#[tokio::test]
async fn a_slow_connection_does_not_replace_what_was_connected_meanwhile() {
    let sandbox = sandbox().await;
    let (pages, ann) = pages(&sandbox).await;
    let phone = pages.signed_in(Some("ann"), false).await;
    let late = decide(&ann, &[("allow", "yes"), ("account", "late@example.com")]).await;
    let soon = decide(&phone, &[("allow", "yes"), ("account", ANN)]).await;
    delay(&sandbox, FaultPoint::GmailProfile);
    let (answer, ()) = tokio::join!(come_back(&ann, &late), async {
        under_way(&sandbox, FaultPoint::GmailProfile).await;
        assert_connected(&come_back(&phone, &soon).await);
    });
    assert_shows(&answer, 409, "Another account was connected");
    let google = pages.world.record("ann").await.google.unwrap();
    assert_eq!(google.email.unwrap().as_str(), ANN);
    assert_eq!(sandbox.oauth().grants("late@example.com"), 0);
    assert_eq!(sandbox.oauth().grants(ANN), 1);
    sandbox.stop().await;
}

#[tokio::test]
async fn an_account_that_was_chosen_by_mistake_keeps_no_permission() {
    let sandbox = sandbox().await;
    let (_pages, ann) = pages(&sandbox).await;
    assert_connected(&connect(&ann, ANN).await);
    let answer = connect(&ann, "other@example.com").await;
    assert_shows(&answer, 409, ANN);
    assert_eq!(sandbox.oauth().grants("other@example.com"), 0);
    assert_eq!(sandbox.oauth().grants(ANN), 1);
    sandbox.stop().await;
}

#[tokio::test]
async fn an_old_or_forged_redirect_does_not_end_the_attempt_that_runs() {
    let sandbox = sandbox().await;
    let (_pages, ann) = pages(&sandbox).await;
    let yes = [("allow", "yes"), ("account", ANN)];
    let first = decide(&ann, &yes).await;
    let second = decide(&ann, &yes).await;
    assert_shows(&come_back(&ann, &first).await, 403, "has expired");
    let mut forged = second.clone();
    forged.set_query(Some("state=x&code=y"));
    assert_shows(&come_back(&ann, &forged).await, 403, "has expired");
    assert_connected(&come_back(&ann, &second).await);
    assert_shows(&come_back(&ann, &second).await, 403, "has expired");
    sandbox.stop().await;
}

/// Its refresh token would be lost, so that nobody could end it.
#[tokio::test]
async fn a_permission_is_revoked_whose_browser_goes_away_while_the_code_is_redeemed() {
    for at in [
        FaultPoint::OAuthToken,
        FaultPoint::GmailProfile,
        FaultPoint::GmailWatch,
    ] {
        let sandbox = sandbox().await;
        let (_pages, ann) = pages(&sandbox).await;
        // Google revokes all that an account has granted. One from before shows that it has, whenever the code is redeemed.
        sandbox.oauth().grant(ANN);
        let back = decide(&ann, &[("allow", "yes"), ("account", ANN)]).await;
        delay(&sandbox, at);
        tokio::select! {
            _ = come_back(&ann, &back) => panic!("the browser did not wait"),
            () = under_way(&sandbox, at) => (),
        }
        revoked(&sandbox, ANN).await;
        sandbox.stop().await;
    }
}

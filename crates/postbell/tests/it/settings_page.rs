//! The pages in a real browser, served by `postbell serve`.

mod browser;
pub(crate) mod connect;

use std::path::{Path, PathBuf};
use std::time::Duration;

use postbell_core::{
    Clock, DeadLetterReason, Failure, HistoryId, Notification, RelayId, Settlement, SystemClock,
};
use postbell_sandbox::{FaultPoint, Frequency, Kind};
use postbell_store::{Store, StoreOptions};
use serde_json::json;

use self::browser::{Browser, Look};
use crate::platform::OurPlatform;
use crate::support::send;

const TAB: char = '\u{e004}';
const SPACE: char = ' ';
const ENTER: char = '\u{e007}';

/// The page has an event stream.
const IS_LIVE: &str = "document.querySelector('#main')?.dataset.live";

/// The lifetime of Gmail's watch, minus a margin for slow tests.
const WATCH: Duration = Duration::from_secs(7 * 24 * 60 * 60 - 60);

/// A small phone.
const PHONE: u32 = 360;
const DESKTOP: u32 = 1280;

const PHONE_BY_DAY: Look = Look {
    width: PHONE,
    dark: false,
};

async fn sign_in(ours: &OurPlatform, browser: &Browser, arguments: &[&str]) {
    let link = ours
        .command(&[&["users", "link"], arguments].concat())
        .await;
    browser.open(link.trim()).await;
    browser.click("main button").await;
    browser.until(IS_LIVE).await;
}

/// The axe script, which `scripts/test tools` installs.
fn axe() -> String {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = here.join("../../.venv/node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(file).expect("axe is missing: scripts/test tools installs it")
}

/// Saves a screenshot in the target folder.
fn keep(name: &str, look: Look, picture: &[u8]) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(&folder).unwrap();
    let tone = if look.dark { "dark" } else { "light" };
    let file = folder.join(format!("{name}-{}-{tone}.png", look.width));
    std::fs::write(file, picture).unwrap();
}

/// Checks and photographs a page at phone and desktop width, in light and dark mode.
async fn look_at(browser: &Browser, name: &str) {
    let axe = axe();
    browser.be_patient().await;
    for width in [PHONE, DESKTOP] {
        for dark in [false, true] {
            let look = Look { width, dark };
            keep(name, look, &browser.picture(look).await);
            let barriers = browser.barriers(&axe).await;
            assert!(barriers.is_empty(), "{name} {look:?}: {barriers:#?}");
            // A phone's browser would scale a page down that is too wide.
            let sideways = format!("return document.documentElement.scrollWidth > {width}");
            let sideways = browser.run(&sideways, json!([])).await;
            assert_eq!(sideways, false, "{name} {look:?} is too wide");
        }
    }
}

/// Adds ada with a machine on Fly, and returns a browser with a session of hers.
async fn ada_on_fly(ours: &OurPlatform) -> Browser {
    ours.world.sandbox.fly().put("bot", "d8910", "started", &[]);
    let on_fly = ["--app", "bot", "--machine", "d8910"];
    ours.add_ada(&[&on_fly[..], &["--machine-status", "running"]].concat())
        .await;
    let browser = Browser::start().await;
    sign_in(ours, &browser, &["ada"]).await;
    browser
}

#[tokio::test]
async fn a_user_sees_mail_arrive() {
    let ours = OurPlatform::new().await;
    let world = &ours.world;
    let service = ours.serve().await;
    let browser = ada_on_fly(&ours).await;
    browser.sees("No Google account is connected").await;
    browser.sees("Signed in as ada").await;
    look_at(&browser, "unconnected").await;
    browser.click("#connection button").await;
    browser.sees("POSTBELL_USER_TOKEN=").await;
    look_at(&browser, "connect").await;
    browser.open(&ours.page("/bot")).await;
    browser.until(IS_LIVE).await;

    // Changes by other processes are shown, and so are deliveries.
    ours.connect().await;
    browser.sees("Ready for the first mail").await;
    world.begin().await.unwrap();
    send(world, 1);
    browser.sees("Notifications reach your bot").await;
    let rows = "document.querySelectorAll('#deliveries .row').length";
    browser.until(&format!("{rows} > 0")).await;
    // The machine has just renewed Gmail's watch.
    let expires_at = SystemClock::new().now() + WATCH;
    let body = json!({ "sandboxId": "ada", "watchExpiresAt": expires_at });
    ours.check_in_with(body).await;
    browser.sees("expires").await;
    look_at(&browser, "my-bot").await;
    let before = browser.run(&format!("return {rows}"), json!([])).await;
    browser.click("#send-test").await;
    browser.sees_toast("The test is sent").await;
    browser.until(&format!("{rows} > {before}")).await;
    browser.close().await;
    assert_eq!(service.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}

#[tokio::test]
async fn the_result_of_each_switch_is_shown() {
    let ours = OurPlatform::new().await;
    let sandbox = &ours.world.sandbox;
    let service = ours.serve().await;
    let browser = ada_on_fly(&ours).await;
    ours.connect().await;
    browser.sees("Ready for the first mail").await;
    browser.click("#switch-notifications").await;
    browser
        .sees_toast("Gmail notifications are off. Your machine restarts")
        .await;
    browser
        .until("document.querySelector('#switch-notifications').ariaChecked === 'false'")
        .await;
    browser
        .until("document.activeElement.id === 'switch-notifications'")
        .await;
    let env = sandbox.fly().env("bot", "d8910");
    assert_eq!(env["GMAIL_NOTIFICATIONS_ENABLED"], "false");

    let refuse = Kind::Refuse {
        status: 500,
        retry_after: None,
    };
    sandbox
        .faults()
        .add(FaultPoint::FlyUpdate, refuse, Frequency::Times(1));
    browser.look(PHONE_BY_DAY, 700).await;
    browser.click("#switch-notifications").await;
    browser
        .sees_toast("The change is saved, but your machine could not be updated")
        .await;
    look_at(&browser, "restart-failed").await;
    assert_eq!(ours.ada().await["gmailNotificationsEnabled"], true);

    browser.click("#disconnecting summary").await;
    look_at(&browser, "disconnecting").await;
    browser.click("#disconnect").await;
    browser
        .sees_toast("Your Google account is disconnected.")
        .await;
    assert_eq!(ours.ada().await["googleConnected"], false);
    browser.click(".sign-out button").await;
    browser.until("location.pathname === '/sign-out'").await;
    browser.click("button.danger").await;
    browser.until("location.pathname === '/sign-in'").await;
    browser.open(&ours.page("/bot")).await;
    assert_eq!(browser.path().await, "/sign-in");
    look_at(&browser, "sign-in").await;
    browser.close().await;
    assert_eq!(service.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}

/// Ada's mailbox after some deliveries, the last three of which became dead letters.
async fn fill(ours: &OurPlatform) {
    let queue = Store::open(
        ours.world.config.relay.inbox.expose(),
        StoreOptions::service(),
    )
    .unwrap()
    .queue();
    let now = SystemClock::new().now();
    for number in 0..14_u64 {
        let notification = Notification {
            trace: None,
            user: "ada".parse().unwrap(),
            address: None,
            message_id: format!("m{number}").parse().unwrap(),
            published_at: None,
            history_id: HistoryId::new(number),
            body: bytes::Bytes::from_static(b"{}"),
        };
        queue.accept(notification, now).await.unwrap();
        let claims = queue
            .claim(RelayId::new(1), now, Duration::from_secs(9), 1)
            .await
            .unwrap()
            .claims;
        let settlement = if number < 11 {
            Settlement::Delivered
        } else {
            Settlement::DeadLetter {
                reason: DeadLetterReason::Refused,
                failure: Failure::status(422),
                cooldown: Duration::ZERO,
            }
        };
        let settled = queue.settle(&claims[0], settlement, now);
        settled.await.unwrap();
    }
}

#[tokio::test]
async fn dead_letters_are_deleted_or_replayed() {
    let ours = OurPlatform::new().await;
    fill(&ours).await;
    let service = ours.serve().await;
    let browser = ada_on_fly(&ours).await;
    ours.connect().await;
    browser.sees("3 notifications could not be delivered").await;
    for summary in ["#earlier summary", ".delete summary", "#delete-all summary"] {
        browser.click(summary).await;
    }
    look_at(&browser, "dead-letters").await;
    browser.look(PHONE_BY_DAY, 700).await;
    browser.click(".delete[open] button").await;
    browser.sees_toast("The dead letter is deleted.").await;
    browser.sees("2 notifications could not be delivered").await;
    browser.click("form[action$='/replay'] button").await;
    browser.sees_toast("The notification is queued again").await;
    browser.click("#toast a").await;
    browser.until("!document.querySelector('#toast')").await;
    browser.close().await;
    assert_eq!(service.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}

#[tokio::test]
async fn the_pages_work_with_a_keyboard() {
    let ours = OurPlatform::new().await;
    let service = ours.serve().await;
    ours.add_ada(&[]).await;
    ours.connect().await;
    let browser = Browser::start().await;
    let link = ours.command(&["users", "link", "ada"]).await;
    browser.open(link.trim()).await;
    browser
        .until("document.activeElement.tagName === 'BUTTON'")
        .await;
    browser.press(&[ENTER]).await;
    browser.until(IS_LIVE).await;
    // Each focused element is visible, and the first one skips the bar.
    browser.press(&[TAB]).await;
    browser
        .until("document.activeElement.className === 'skip'")
        .await;
    browser.press(&[ENTER, TAB]).await;
    let switch = "document.activeElement.id === 'switch-notifications'";
    browser.press_until(TAB, switch).await;
    browser.press(&[SPACE]).await;
    browser.sees_toast("Gmail notifications are off.").await;
    assert_eq!(ours.ada().await["gmailNotificationsEnabled"], false);
    let disconnect = "document.activeElement.closest('details')?.id === 'disconnecting'";
    browser.press_until(TAB, disconnect).await;
    browser.press(&[ENTER, TAB, ENTER]).await;
    browser
        .sees_toast("Your Google account is disconnected.")
        .await;
    browser.close().await;
    assert_eq!(service.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}

#[tokio::test]
async fn an_operator_pages_searches_and_sees_failing_deliveries() {
    let ours = OurPlatform::new().await;
    let world = &ours.world;
    let service = ours.serve().await;
    ours.add_ada(&["--machine-status", "stopped"]).await;
    for number in 0..30 {
        let user = format!("user-{number:02}");
        ours.command(&["users", "add", &user, "--url", "http://127.0.0.1:9"])
            .await;
    }
    let browser = Browser::start().await;
    sign_in(&ours, &browser, &["--operator"]).await;
    browser.sees("user-23").await;
    ours.connect().await;
    // Gmail sends a notification when a watch starts; the machine is stopped then.
    world.begin().await.unwrap();
    browser.sees("1 failure").await;
    look_at(&browser, "operator").await;
    browser.click("a[rel=next]").await;
    browser.sees("user-29").await;
    browser.type_into("#search-text", "user-1").await;
    browser.click(".search button").await;
    browser.sees("user-19").await;
    browser
        .until("!document.querySelector('[aria-label=Users]').innerText.includes('user-29')")
        .await;
    ours.check_in().await;
    browser.sees("No deliveries are failing.").await;
    browser.close().await;
    assert_eq!(service.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}

#[tokio::test]
async fn a_problem_is_shown_and_alert_targets_are_managed() {
    let ours = OurPlatform::new().await;
    let service = ours.serve().await;
    let browser = ada_on_fly(&ours).await;
    ours.connect().await;
    browser.sees("Ready for the first mail").await;
    let since = SystemClock::new().now();
    let problem = json!({ "code": "grant_revoked", "since": since });
    ours.check_in_with(json!({ "sandboxId": "ada", "problem": problem }))
        .await;
    browser
        .sees("Google no longer accepts the account's grant")
        .await;
    browser
        .until("document.querySelector('#announcement').textContent.includes('grant')")
        .await;

    // By keyboard: the field, then its button.
    browser
        .type_into("#alert-target", "https://localhost:9/hunter2")
        .await;
    browser.press(&[ENTER]).await;
    browser.sees_toast("The alert target is added.").await;
    browser.sees("webhook at localhost").await;
    browser.type_into("#alert-target", "ann@example.com").await;
    browser.press(&[ENTER]).await;
    browser
        .until(
            "document.querySelector('#mail-target[open] [name=to]')?.value === 'ann@example.com'",
        )
        .await;
    look_at(&browser, "problem").await;
    browser.look(PHONE_BY_DAY, 700).await;
    browser.click("form[action$='/test'] button").await;
    browser
        .sees_toast("the target's host is not a public address")
        .await;
    browser.click("#alert-targets summary").await;
    browser.click("form[action$='/remove'] button").await;
    browser.sees_toast("The alert target is removed.").await;
    browser.sees("No alert target yet.").await;

    sign_in(&ours, &browser, &["--operator"]).await;
    browser.sees("grant_revoked").await;
    look_at(&browser, "operator-problem").await;
    browser.close().await;
    assert_eq!(service.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}

use std::time::Duration;

use axum::http::Method;
use postbell_core::Sessions;

use crate::test_browser::{SignInWays, TestPages, form};
use crate::test_platform::TestPlatform;

#[tokio::test]
async fn a_link_signs_in_once_and_a_preview_does_not_redeem_it() {
    let pages = TestPages::new().await;
    let link = pages.link(Some("ann"), false).await;
    let preview = pages.browser();
    for _ in 0..3 {
        assert_eq!(preview.get(&link).await.status, 200);
        let head = preview.send(Method::HEAD, &link, &[], String::new()).await;
        assert_eq!(head.status, 200);
    }
    assert!(preview.cookies().is_empty());
    let browser = pages.browser();
    assert_eq!(browser.get("/bot").await.leads_to(), "/sign-in");
    let opened = browser.post(&link, &[]).await;
    assert_eq!((opened.status, opened.leads_to()), (303, "/bot"));
    assert_eq!(browser.get("/bot").await.status, 200);
    assert_eq!(browser.get("/").await.leads_to(), "/bot");

    let thief = pages.browser();
    assert_eq!(thief.post(&link, &[]).await.status, 410);
    assert_eq!(thief.post("/sign-in/link/x", &[]).await.status, 410);
    assert!(thief.cookies().is_empty());
    assert_eq!(thief.get(&link).await.status, 410, "before the button");
    let again = browser.get(&link).await;
    assert_eq!(again.status, 200);
    assert!(
        again.body.contains("signed in as <strong>ann</strong>"),
        "it may be all that she has kept: {}",
        again.body
    );
}

#[tokio::test]
async fn a_user_who_was_added_by_a_clock_that_was_ahead_signs_in_and_has_no_part_in_sessions_before()
 {
    let pages = TestPages::new().await;
    pages.world.add_later("eve").await;
    let eve = pages.signed_in(Some("eve"), false).await;
    assert_eq!(eve.get("/bot").await.status, 200);
    pages.world.remove("eve").await;
    pages.world.add_another("eve").await;
    assert_eq!(eve.get("/bot").await.leads_to(), "/sign-in");
}

#[tokio::test]
async fn a_link_cannot_be_redeemed_from_another_site() {
    let pages = TestPages::new().await;
    let link = pages.link(Some("ann"), false).await;
    let browser = pages.browser();
    for headers in [
        &[][..],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("origin", "https://evil.example.com")],
        &[("origin", "null")],
        &[
            ("origin", "http://evil.example.com"),
            ("host", "bell.example.com"),
        ],
    ] {
        let answer = browser
            .send(Method::POST, &link, headers, String::new())
            .await;
        assert_eq!(answer.status, 403, "{headers:?}");
    }
    // Without HTTPS, browsers send only the origin.
    let ours = [("origin", "http://bell.example.com")];
    let answer = browser
        .send(Method::POST, &link, &ours, String::new())
        .await;
    assert_eq!(answer.status, 303);
}

#[tokio::test]
async fn signing_out_ends_every_session_of_the_user() {
    let pages = TestPages::new().await;
    let browser = pages.signed_in(Some("ann"), false).await;
    let other = pages.signed_in(Some("ann"), false).await;
    pages.world.add_another("bob").await;
    let of_bob = pages.signed_in(Some("bob"), false).await;
    let stolen = browser.cookies();
    let page = browser.get("/bot").await.body;
    assert!(page.contains("Signed in as <strong>ann</strong>"), "{page}");
    let operator = pages
        .signed_in(None, true)
        .await
        .get("/operator")
        .await
        .body;
    assert!(operator.contains("<strong>operator</strong>"), "{operator}");

    let asked = browser.get("/sign-out").await.body;
    assert!(
        asked.contains("on every device. You can sign in again only with"),
        "{asked}"
    );
    assert_eq!(browser.get("/bot").await.status, 200);
    let out = browser.submit("/sign-out", "/sign-out", &[]).await;
    assert_eq!((out.status, out.leads_to()), (303, "/sign-in"));
    assert_eq!(browser.get("/bot").await.status, 303);
    browser.with_cookies(stolen);
    assert_eq!(browser.get("/bot").await.leads_to(), "/sign-in");
    assert_eq!(other.get("/bot").await.leads_to(), "/sign-in", "everywhere");
    assert_eq!(of_bob.get("/bot").await.status, 200);
    let again = pages.signed_in(Some("ann"), false).await;
    assert_eq!(again.get("/bot").await.status, 200);
}

#[tokio::test]
async fn a_session_ends_with_its_user_even_if_the_id_is_reused() {
    let pages = TestPages::new().await;
    let browser = pages.signed_in(Some("ann"), false).await;
    pages.world.remove("ann").await;
    assert_eq!(browser.get("/bot").await.leads_to(), "/sign-in");
    assert_eq!(
        browser.get("/sign-in").await.status,
        200,
        "no way in circles"
    );
    pages.world.add_later("ann").await;
    assert_eq!(browser.get("/bot").await.leads_to(), "/sign-in");
}

#[tokio::test]
async fn an_operator_whose_user_was_removed_stays_an_operator() {
    let pages = TestPages::new().await;
    let link = pages.link(Some("ann"), false).await;
    let browser = pages.signed_in(Some("ann"), true).await;
    assert_eq!(browser.get("/").await.leads_to(), "/bot");
    pages.world.remove("ann").await;
    for path in ["/", "/sign-in"] {
        assert_eq!(browser.get(path).await.leads_to(), "/operator", "{path}");
    }
    assert_eq!(pages.browser().post(&link, &[]).await.status, 410);
}

#[tokio::test]
async fn signing_out_all_operators_keeps_user_sessions() {
    let pages = TestPages::new().await;
    let user = pages.signed_in(Some("ann"), false).await;
    let operators = [
        pages.signed_in(Some("ann"), true).await,
        pages.signed_in(None, true).await,
    ];
    pages.sessions.revoke_operators().await.unwrap();
    for operator in operators {
        assert_eq!(operator.get("/operator").await.leads_to(), "/sign-in");
    }
    assert_eq!(user.get("/bot").await.status, 200);
    let again = pages.signed_in(None, true).await;
    assert_eq!(again.get("/operator").await.status, 200);
}

#[tokio::test]
async fn unknown_paths_have_a_page_and_json_below_api() {
    let pages = TestPages::new().await;
    let browser = pages.signed_in(Some("ann"), true).await;
    for (path, status) in [
        ("/nope", 404),
        ("/bot/", 404),
        ("/assets/x", 404),
        ("/operator?list=a&list=b", 400),
        ("/sign-in/google/back?state=1&state=2", 400),
        ("/bot/test", 405),
    ] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.body.contains("Home page"), "{path}: {}", answer.body);
    }
    for path in ["/bot", "/operator"] {
        let path = format!("{path}/dead-letters/abc/replay");
        let answer = browser.submit("/bot", &path, &[]).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.body.contains("Home page"), "{}", answer.body);
    }
    for path in ["/api", "/api/nope", "/api/platform/status"] {
        let answer = browser.get(path).await;
        assert!(answer.body.starts_with("{\"error\""), "{}", answer.body);
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
}

#[tokio::test]
async fn sessions_and_links_expire() {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    let pages = TestPages::new().await;
    let user = pages.signed_in(Some("ann"), false).await;
    let operator = pages.signed_in(Some("ann"), true).await;
    let late = pages.link(Some("ann"), false).await;
    pages.world.pass(HOUR * 12);
    assert_eq!(operator.get("/bot").await.leads_to(), "/sign-in");
    assert_eq!(pages.browser().post(&late, &[]).await.status, 410);
    pages.world.pass(HOUR * 24 * 29);
    assert_eq!(user.get("/bot").await.status, 200);
    pages.world.pass(HOUR * 12);
    assert_eq!(user.get("/bot").await.leads_to(), "/sign-in");
}

#[tokio::test]
async fn a_cookie_that_was_not_encrypted_by_us_signs_nobody_in() {
    let pages = TestPages::new().await;
    let browser = pages.signed_in(Some("ann"), false).await;
    let mut cookies = browser.cookies();
    let encrypted = cookies["postbell-session"].clone();
    assert!(!encrypted.contains("ann"));
    for wrong in [
        "",
        "x",
        &encrypted[1..],
        &encrypted.replace(&encrypted[..2], "AA"),
        &format!("{encrypted}AAAA"),
    ] {
        cookies.insert("postbell-session".to_owned(), wrong.to_owned());
        browser.with_cookies(cookies.clone());
        assert_eq!(browser.get("/bot").await.leads_to(), "/sign-in", "{wrong}");
    }
    // A value that was encrypted for one purpose does not decrypt for another.
    cookies.remove("postbell-session");
    cookies.insert("postbell-toast".to_owned(), encrypted);
    browser.with_cookies(cookies);
    assert_eq!(browser.get("/bot").await.leads_to(), "/sign-in");
}

/// Every route that changes something.
const ACTIONS: [&str; 12] = [
    "/sign-out",
    "/bot/connect",
    "/bot/notifications",
    "/bot/wake",
    "/bot/disconnect",
    "/bot/test",
    "/bot/dead-letters/drop",
    "/bot/dead-letters/1/replay",
    "/bot/dead-letters/1/drop",
    "/operator/search",
    "/operator/dead-letters/1/replay",
    "/operator/dead-letters/1/drop",
];

#[tokio::test]
async fn forms_from_elsewhere_are_rejected() {
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    let browser = pages.signed_in(Some("ann"), true).await;
    let other = pages.signed_in(Some("ann"), true).await;
    let (token, of_other) = (
        browser.form_token("/bot").await,
        other.form_token("/bot").await,
    );
    assert_ne!(token, of_other);
    let before = pages.world.record("ann").await;
    for action in ACTIONS {
        for fields in [
            &[][..],
            &[("form_token", "x")],
            &[("form_token", &*of_other)],
        ] {
            let answer = browser.post(action, fields).await;
            assert_eq!(answer.status, 403, "{action} {fields:?}");
        }
        let from = [("sec-fetch-site", "cross-site")];
        let body = form(&[("form_token", &*token)]);
        let answer = browser.send(Method::POST, action, &from, body).await;
        assert_eq!(answer.status, 403, "{action} from elsewhere");
        let stranger = pages
            .browser()
            .post(action, &[("form_token", &*token)])
            .await;
        assert_eq!(
            stranger.leads_to(),
            "/sign-in",
            "{action} without a session"
        );
        let method = browser.get(action).await;
        let expected = if action == "/sign-out" { 200 } else { 405 };
        assert_eq!(method.status, expected, "{action} is no page");
    }
    assert_eq!(pages.world.record("ann").await, before);
}

#[tokio::test]
async fn pages_require_the_right_principal() {
    let pages = TestPages::new().await;
    let user = pages.signed_in(Some("ann"), false).await;
    for path in ["/operator", "/operator/events"] {
        assert_eq!(user.get(path).await.status, 403, "{path}");
        assert_eq!(pages.browser().get(path).await.leads_to(), "/sign-in");
    }
    let token = user.form_token("/bot").await;
    let fields = [("form_token", &*token)];
    for action in ACTIONS
        .iter()
        .filter(|action| action.starts_with("/operator"))
    {
        assert_eq!(user.post(action, &fields).await.status, 403, "{action}");
    }
    let operator = pages.signed_in(None, true).await;
    assert_eq!(operator.get("/").await.leads_to(), "/operator");
    assert_eq!(operator.get("/operator").await.status, 200);
    for path in ["/bot", "/bot/events"] {
        assert_eq!(operator.get(path).await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn an_unchanged_page_renders_the_same() {
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    for number in 0..60 {
        pages.world.add_another(&format!("user-{number:02}")).await;
    }
    let browser = pages.signed_in(Some("ann"), true).await;
    let first = browser.get("/operator").await.body;
    let next = first.split_once("rel=\"next\" href=\"").unwrap().1;
    let second = next.split(['#', '"']).next().unwrap();
    assert!(browser.get(second).await.body.contains("user-30"));
    for page in ["/bot", "/operator", second] {
        // Otherwise each render would send the fragments again.
        let (one, other) = (browser.get(page).await, browser.get(page).await);
        assert_eq!(one.body, other.body, "{page}");
    }
}

#[tokio::test]
async fn every_response_has_security_headers_and_is_not_cached() {
    let pages = TestPages::new().await;
    let browser = pages.signed_in(Some("ann"), true).await;
    for path in [
        "/",
        "/sign-in",
        "/sign-in/link/x",
        "/bot",
        "/operator",
        "/assets/x",
        "/nope",
        "/bot/",
        "/operator?list=a&list=b",
        "/sign-in/google/back?state=1&state=2",
        "/bot/dead-letters/abc/replay",
        "/sign-out",
    ] {
        let answer = browser.get(path).await;
        let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
        let policy = header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "same-origin");
        assert_eq!(header("cache-control"), "no-store");
        assert!(!answer.headers.contains_key("strict-transport-security"));
        for inline in ["style=", "<style", "onclick", "<script>"] {
            assert!(!answer.body.contains(inline), "{path} has {inline}");
        }
    }
    let page = browser.get("/bot").await.body;
    for kind in ["css", "js", "svg"] {
        let name = page
            .split('"')
            .find(|text| text.starts_with("/assets/") && text.ends_with(kind));
        let asset = browser.get(name.unwrap()).await;
        assert_eq!(asset.status, 200);
        let cached = asset.headers["cache-control"].to_str().unwrap();
        assert!(cached.contains("immutable"), "{cached}");
    }
}

#[tokio::test]
async fn over_https_cookies_are_secure_and_bound_to_the_host() {
    let pages = TestPages::at(
        "https://bell.example.com",
        TestPlatform::new().await,
        SignInWays::default(),
    );
    let link = pages.link(Some("ann"), false).await;
    let answer = pages.browser().post(&link, &[]).await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-postbell-session="), "{cookie}");
    for attribute in ["; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Domain"));
    assert!(answer.headers.contains_key("strict-transport-security"));

    let plain = TestPages::new().await;
    let link = plain.link(Some("ann"), false).await;
    let answer = plain.browser().post(&link, &[]).await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("postbell-session=") && !cookie.contains("Secure"));
}

//! Problems and alert targets on the pages.

use postbell_alerts::AlertTarget;
use postbell_core::{AlertTargets, MachineReport, MailProblem, ProblemCode, StoredTarget};
use postbell_sandbox::{AlertServices, MailServer, Misbehaviour};

use crate::test_browser::{Browser, TestPages};

const PAGE: &str = "/bot";

/// Adds a target and returns its id.
async fn add(browser: &Browser, target: &str) -> String {
    let fields = [("target", target)];
    let answer = browser.submit(PAGE, "/bot/alerts", &fields).await;
    assert_eq!(answer.leads_to(), "/bot#alerts");
    id(&browser.get(PAGE).await.body)
}

/// The id of the first target on the page.
fn id(page: &str) -> String {
    let (_, rest) = page.split_once("action=\"/bot/alerts/").unwrap();
    rest.split('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_target_is_added_tested_and_removed() {
    let services = AlertServices::start().await.unwrap();
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    let browser = pages.signed_in(Some("ann"), false).await;
    let page = browser.get(PAGE).await.body;
    assert!(page.contains("No alert target yet."), "{page}");
    let secret = format!("slack+http://{}/services/T/B/hunter2", services.host());
    let id = add(&browser, &secret).await;
    let page = browser.get(PAGE).await.body;
    assert!(page.contains("Slack at 127.0.0.1"), "{page}");
    assert!(!page.contains("hunter2"), "the text is a secret");

    let test = format!("/bot/alerts/{id}/test");
    browser.submit(PAGE, &test, &[]).await;
    let page = browser.get(PAGE).await.body;
    assert!(
        page.contains("The service accepted the test alert."),
        "{page}"
    );
    let text = services.received()[0].json["text"].to_string();
    assert!(text.contains("Test alert: ann@example.com"), "{text}");

    services.misbehave(Misbehaviour::Refuse {
        status: 404,
        retry_after: None,
    });
    browser.submit(PAGE, &test, &[]).await;
    let page = browser.get(PAGE).await.body;
    let answer = "The test alert was not accepted: the service answered 404";
    assert!(page.contains(answer), "{page}");

    let remove = format!("/bot/alerts/{id}/remove");
    browser.submit(PAGE, &remove, &[]).await;
    let page = browser.get(PAGE).await.body;
    assert!(page.contains("The alert target is removed."), "{page}");
    browser.submit(PAGE, &test, &[]).await;
    let page = browser.get(PAGE).await.body;
    assert!(
        page.contains("This alert target no longer exists."),
        "{page}"
    );
}

#[tokio::test]
async fn a_wrong_target_is_not_added_and_shown_once_to_be_corrected() {
    let pages = TestPages::new().await;
    let browser = pages.signed_in(Some("ann"), false).await;
    for (wrong, value) in [
        ("hunter2", "value=\"hunter2\""),
        ("gopher://hunter2/", "value=\"gopher://hunter2/\""),
        (
            "example.com/hunter2",
            "value=\"https://example.com/hunter2\"",
        ),
        (
            "ann@hunter2",
            "type=\"email\" required maxlength=\"254\" autocomplete=\"email\" value=\"ann@hunter2\"",
        ),
    ] {
        let fields = [("target", wrong)];
        let answer = browser.submit(PAGE, "/bot/alerts", &fields).await;
        assert_eq!(answer.status, 422);
        let page = answer.body;
        assert_eq!(page.matches("Nothing was added").count(), 1, "{page}");
        assert!(page.contains(value), "{page}");
        let page = browser.get(PAGE).await.body;
        assert!(!page.contains("hunter2"), "{page}");
    }
    assert_eq!(browser.get("/bot/alerts").await.leads_to(), "/bot#alerts");
}

#[tokio::test]
async fn an_address_gets_alerts_by_the_operators_mail_server() {
    let mail = MailServer::start().await.unwrap();
    let pages = TestPages::with_mail_server(&mail).await;
    let browser = pages.signed_in(Some("ann"), false).await;
    let page = browser.get(PAGE).await.body;
    assert!(page.contains("Your mail address, "), "{page}");
    assert!(!page.contains("/bot/alerts/mail"), "{page}");
    let id = add(&browser, "ann@example.com").await;
    browser
        .submit(PAGE, &format!("/bot/alerts/{id}/test"), &[])
        .await;
    let page = browser.get(PAGE).await.body;
    assert!(page.contains("e-mail to a…@example.com"), "{page}");
    assert_eq!(mail.mails()[0].to, ["ann@example.com"]);
}

#[tokio::test]
async fn an_address_that_gets_no_alerts_any_more_is_shown_with_what_to_do() {
    let pages = TestPages::new().await;
    let browser = pages.signed_in(Some("ann"), false).await;
    for (target, is_used) in [("ann@example.com", false), ("https://example.com/", true)] {
        let target: AlertTarget = target.parse().unwrap();
        let stored = StoredTarget {
            id: target.id(),
            text: target.text().clone(),
            added_at: pages.now(),
        };
        let (user, alerts) = ("ann".parse().unwrap(), &pages.world.alerts);
        assert!(alerts.add_target(&user, &stored, 5).await.unwrap());
        let page = browser.get(PAGE).await.body;
        let advice = "Remove it, and enter yours under By mail.";
        assert_eq!(page.contains(advice), !is_used, "{page}");
        alerts.remove_target(&user, &stored.id).await.unwrap();
    }
}

#[tokio::test]
async fn without_it_the_users_own_mail_server_is_asked_for() {
    let pages = TestPages::new().await;
    let browser = pages.signed_in(Some("ann"), false).await;
    let mut fields = [
        ("to", "ann@example.com"),
        ("host", "smtp example"),
        ("port", "587"),
        ("user", ""),
        ("password", "hunter2"),
        ("from", ""),
    ];
    let answer = browser.submit(PAGE, "/bot/alerts/mail", &fields).await;
    assert_eq!(answer.status, 422);
    let page = answer.body;
    assert!(
        page.contains("Nothing was added. Expected the name of a mail server"),
        "{page}"
    );
    for kept in [
        "<details id=\"mail-target\" class=\"choice\" open",
        "\"smtp example\"",
        "\"587\"",
    ] {
        assert!(page.contains(kept), "{kept}: {page}");
    }
    assert!(!page.contains("hunter2"), "a password is not sent back");

    fields[1].1 = "smtp.example.com";
    let answer = browser.submit(PAGE, "/bot/alerts/mail", &fields).await;
    assert_eq!(answer.leads_to(), "/bot#alerts");
    let page = browser.get(PAGE).await.body;
    assert!(page.contains("e-mail to a…@example.com"), "{page}");
    assert_eq!(
        browser.get("/bot/alerts/mail").await.leads_to(),
        "/bot#alerts"
    );
}

#[tokio::test]
async fn a_user_has_five_targets_at_most() {
    let pages = TestPages::new().await;
    let browser = pages.signed_in(Some("ann"), false).await;
    for number in 0..5 {
        add(&browser, &format!("https://example.com/{number}")).await;
    }
    let fields = [("target", "https://example.com/6")];
    browser.submit(PAGE, "/bot/alerts", &fields).await;
    let page = browser.get(PAGE).await.body;
    assert!(page.contains("remove one of your five"), "{page}");
    assert_eq!(page.matches("/test\"").count(), 5);
}

#[tokio::test]
async fn test_alerts_are_limited() {
    let services = AlertServices::start().await.unwrap();
    let pages = TestPages::new().await;
    let browser = pages.signed_in(Some("ann"), false).await;
    let id = add(&browser, &format!("{}/alerts", services.url())).await;
    for _ in 0..12 {
        let test = format!("/bot/alerts/{id}/test");
        browser.submit(PAGE, &test, &[]).await;
    }
    let page = browser.get(PAGE).await.body;
    assert!(page.contains("Too many test alerts"), "{page}");
    assert_eq!(services.received().len(), 10);
}

#[tokio::test]
async fn nobody_else_can_use_a_target() {
    let services = AlertServices::start().await.unwrap();
    let pages = TestPages::new().await;
    pages.world.add_another("bob").await;
    let ann = pages.signed_in(Some("ann"), false).await;
    let id = add(&ann, &format!("{}/alerts", services.url())).await;
    let bob = pages.signed_in(Some("bob"), false).await;
    for action in ["test", "remove"] {
        let path = format!("/bot/alerts/{id}/{action}");
        bob.submit(PAGE, &path, &[]).await;
        let page = bob.get(PAGE).await.body;
        assert!(
            page.contains("This alert target no longer exists."),
            "{page}"
        );
        let forged = ann.post(&path, &[]).await;
        assert_eq!(forged.status, 403, "a form of another page");
        let signed_out = pages.browser().post(&path, &[]).await;
        assert_eq!(signed_out.leads_to(), "/sign-in");
    }
    assert!(services.received().is_empty());
    assert!(ann.get(PAGE).await.body.contains("webhook at 127.0.0.1"));
}

#[tokio::test]
async fn a_problem_is_shown_with_its_advice_and_since_when() {
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    let ann = pages.signed_in(Some("ann"), false).await;
    let operator = pages.signed_in(None, true).await;
    for code in ProblemCode::ALL {
        let problem = MailProblem {
            code,
            since: pages.now(),
        };
        let report = MachineReport {
            problem: Some(problem),
            ..MachineReport::default()
        };
        let user = "ann".parse().unwrap();
        let fleet = &pages.world.fleet;
        fleet.report_running(&user, report, None).await.unwrap();
        let page = ann.get(PAGE).await.body;
        let advice = code.advice().split(['<', '&', '"']).next().unwrap();
        assert!(page.contains(advice), "{code}: {page}");
        assert!(
            page.contains("No mail has reached your bot since"),
            "{page}"
        );
        let page = operator.get("/operator").await.body;
        assert!(page.contains(&format!(">{code}</span>")), "{page}");
    }
}

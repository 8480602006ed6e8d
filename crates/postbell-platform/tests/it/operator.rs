use std::time::Duration;

use postbell_core::{
    GoogleConnection, MailProblem, ProblemCode, UnparseableMessage, UserRecord, Users,
};

use crate::test_browser::{Browser, TestPages};

#[tokio::test]
async fn users_are_paged_and_searched_without_addresses_in_urls() {
    let pages = TestPages::new().await;
    for number in 0..60 {
        pages.world.add_another(&format!("user-{number:02}")).await;
    }
    pages.world.connect("ann").await;
    let operator = pages.signed_in(None, true).await;
    let first = operator.get("/operator").await.body;
    assert!(
        first.contains("user-23") && !first.contains("user-24"),
        "{first}"
    );
    assert!(first.contains("a…@example.com") && !first.contains("ann@example.com"));
    let next = link(&first, "Next page");
    let second = operator.get(&next).await.body;
    assert!(second.contains("user-24") && second.contains("user-48"));
    assert!(!second.contains("user-23"));
    let third = operator.get(&link(&second, "Next page")).await.body;
    assert!(third.contains("user-59") && !third.contains("Next page"));
    let back = operator.get(&link(&third, "First page")).await.body;
    assert!(back.contains("user-00"));

    for (by, text, found) in [
        ("user", "user-5", "user-50"),
        ("email", "ANN@", "a…@example.com"),
        ("user", "zoe", "No users found."),
        ("user", "ann@example.com", "a…@example.com"),
        ("user", "zoe@", "no address begins with this"),
    ] {
        let fields = [("by", by), ("text", text)];
        let answer = operator
            .submit("/operator", "/operator/search", &fields)
            .await;
        let path = answer.leads_to().to_owned();
        assert!(
            !path.contains(text) && path.starts_with("/operator?list="),
            "{path}"
        );
        let page = operator.get(&path).await.body;
        assert!(page.contains(found), "{page}");
        assert!(!page.contains("user-00"));
    }
}

/// The target of the link with a text.
fn link(page: &str, text: &str) -> String {
    let (before, _) = page.split_once(&format!(">{text}</a>")).unwrap();
    let (_, path) = before.rsplit_once("href=\"").unwrap();
    let path = path.split('"').next().unwrap();
    path.split('#').next().unwrap().to_owned()
}

#[tokio::test]
async fn users_are_filtered_by_their_problem() {
    let pages = TestPages::new().await;
    for number in 0..60 {
        let name = format!("user-{number:02}");
        pages.world.add_another(&name).await;
        if number >= 30 {
            let mut record = pages.world.record(&name).await;
            record.problem = Some(MailProblem {
                code: ProblemCode::WebhookGone,
                since: pages.now(),
            });
            let replaced = pages.world.store.replace(&record, None, pages.now()).await;
            replaced.unwrap();
        }
    }
    let operator = pages.signed_in(None, true).await;
    let page = operator.get("/operator").await.body;
    assert!(page.contains("accounts with a problem"), "{page}");
    for name in ["With a problem (30)", "webhook_gone (30)"] {
        let page = operator.get("/operator").await.body;
        let first = operator.get(&link(&page, name)).await.body;
        assert!(first.contains("user-30") && first.contains("user-54"));
        assert!(!first.contains("user-29") && !first.contains("user-55"));
        let second = operator.get(&link(&first, "Next page")).await.body;
        assert!(second.contains("user-59") && !second.contains("user-54"));
        assert!(second.contains("aria-current"), "{second}");
    }
}

/// The path of a user's page, as the list links to it.
async fn page_of(operator: &Browser, user: &str) -> String {
    let list = operator.get("/operator").await.body;
    link(&list, user)
}

#[tokio::test]
async fn the_counts_that_matter_are_filters() {
    let pages = TestPages::new().await;
    let world = &pages.world;
    for (name, code, hours) in [
        ("bob", Some(ProblemCode::GrantRevoked), 100),
        ("cid", None, 1),
        ("dan", None, 100),
        ("eve", None, 100),
    ] {
        world.add_another(name).await;
        let now = pages.now();
        let change = |record: &mut UserRecord| {
            record.connect(GoogleConnection {
                email: None,
                push_account: None,
                connected_at: now,
            });
            record.notifications_enabled = true;
            record.problem = code.map(|code| MailProblem { code, since: now });
            record.watch_expires_at = Some(now + Duration::from_secs(hours * 3600));
            record.unreachable_since = (name == "eve").then_some(now);
        };
        world.change(name, change).await;
    }
    world.connect("ann").await;
    world.add_another("fay").await;
    let operator = pages.signed_in(None, true).await;
    let list = operator.get("/operator").await.body;
    for (name, found) in [
        ("Without mail (1)", "bob"),
        ("Watch ends (1)", "cid"),
        ("Does not answer (1)", "eve"),
        ("Not connected (1)", "fay"),
        ("With a problem (1)", "bob"),
        ("grant_revoked (1)", "bob"),
    ] {
        let page = operator.get(&link(&list, name)).await.body;
        let users: Vec<_> = ["ann", "bob", "cid", "dan", "eve", "fay"]
            .into_iter()
            .filter(|user| page.contains(&format!(">{user}</a>")))
            .collect();
        assert_eq!(users, [found], "{name}");
    }
    for name in [
        " no mail",
        "dead grant<",
        " within a day",
        "machine does not answer",
        "user not connected",
    ] {
        assert!(list.contains(name), "{name}: {list}");
    }
    assert!(list.contains("not seen yet"), "no machine has checked in");
}

#[tokio::test]
async fn a_user_has_a_page_with_an_invitation_and_sign_out_everywhere() {
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    let ann = pages.signed_in(Some("ann"), false).await;
    let operator = pages.signed_in(None, true).await;
    let path = page_of(&operator, "ann").await;
    assert!(!path.contains("ann"), "{path}");
    let page = operator.get(&path).await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("a…@example.com") && !page.body.contains("ann@example.com"));

    let invite = format!("{path}/invite");
    let invited = operator.submit(&path, &invite, &[]).await.body;
    assert!(invited.contains("/sign-in/link/") && invited.contains("within 7 days"));
    assert!(
        !operator.get(&path).await.body.contains("/sign-in/link/"),
        "shown once"
    );

    let sign_out = format!("{path}/sign-out");
    let answer = operator.submit(&path, &sign_out, &[]).await;
    assert_eq!(answer.status, 303);
    assert_eq!(ann.get("/bot").await.leads_to(), "/sign-in");
    let shown = operator.get(&path).await.body;
    assert!(shown.contains("signed out everywhere"), "{shown}");
    for action in ["link.issue", "session.end"] {
        assert!(shown.contains(action), "{shown}");
    }
    let rename = format!("{path}/sandbox-id");
    assert_eq!(operator.submit(&path, &rename, &[]).await.status, 303);
    let shown = operator.get(&path).await.body;
    assert!(shown.contains("has a new sandbox id"), "{shown}");
    assert_ne!(pages.world.record("ann").await.sandbox_id.as_str(), "ann");
    // A user's own session sees none of it.
    let ann = pages.signed_in(Some("ann"), false).await;
    assert_eq!(ann.get(&path).await.status, 403);
    for wrong in ["/operator/users/x", "/operator/users/ann"] {
        assert_eq!(operator.get(wrong).await.status, 404);
    }
}

#[tokio::test]
async fn a_viewer_looks_at_everything_and_changes_nothing() {
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    let message = UnparseableMessage {
        user: "ann".parse().unwrap(),
        message_id: "m1".parse().unwrap(),
        body: bytes::Bytes::from_static(b"?"),
        cause: "expected JSON".to_owned(),
    };
    pages.queue.dead_letter(message, pages.now()).await.unwrap();
    let operator = pages.signed_in(None, true).await;
    let viewer = pages.browser();
    let link = pages.viewer_link().await;
    assert_eq!(viewer.post(&link, &[]).await.leads_to(), "/operator");
    let list = viewer.get("/operator").await.body;
    assert!(
        list.contains("Unparseable") && !list.contains("/dead-letters/"),
        "{list}"
    );
    let path = page_of(&operator, "ann").await;
    let page = viewer.get(&path).await.body;
    assert!(page.contains("Unparseable"), "{page}");
    for hidden in ["/invite", "/sign-out\"", "/sandbox-id", "/dead-letters/"] {
        let hidden = format!("{path}{hidden}");
        assert!(!page.contains(&hidden), "{hidden}");
    }
    let search = [("by", "user"), ("text", "ann")];
    let found = viewer
        .submit("/operator", "/operator/search", &search)
        .await;
    assert_eq!(found.status, 303, "a search changes nothing");
    for action in [
        format!("{path}/invite"),
        format!("{path}/sign-out"),
        format!("{path}/sandbox-id"),
        format!("{path}/dead-letters/1/drop"),
        "/operator/dead-letters/1/drop".to_owned(),
    ] {
        let answer = viewer.submit("/operator", &action, &[]).await;
        assert_eq!(answer.status, 403, "{action}");
        assert!(answer.body.contains("as a viewer"), "{}", answer.body);
    }
    assert_eq!(
        pages.log.dead_letters(None, None, 9).await.unwrap().len(),
        1
    );

    let dropped = operator.submit("/operator", "/operator/dead-letters/1/drop", &[]);
    assert_eq!(dropped.await.status, 303);
    let shown = operator.get("/operator").await.body;
    assert!(
        shown.contains("dead_letter.drop"),
        "the change is shown: {shown}"
    );
}

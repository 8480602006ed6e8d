use postbell_core::{MailProblem, ProblemCode, Users};

use crate::test_browser::TestPages;

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
    assert!(page.contains("users with a problem"), "{page}");
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

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

use crate::world::World;

const ANN: &str = r#"{"userId": "ann"}"#;

impl World {
    /// Reports that a user has changed, with this key, and returns the status.
    async fn report_change(&self, body: &'static str, key: Option<&str>) -> u16 {
        let url = format!("http://{}/api/relay/forget", self.address);
        let mut request = self.client.post(url).body(body);
        if let Some(key) = key {
            request = request.header("x-internal-api-key", key);
        }
        request.send().await.unwrap().status().as_u16()
    }
}

#[tokio::test]
async fn a_changed_user_is_looked_up_again() {
    let world = World::new().await;
    assert_eq!(world.push_with(&world.claims()).await, 204);
    assert_eq!(world.waiting().await.len(), 1);
    // Without the report, the cached answer would let the next push in for a second.
    let off = |instance: &mut postbell_sandbox::PlatformInstance| {
        instance.gmail_notifications_enabled = false;
    };
    world.sandbox.platform().update("ann", off);
    let key = world.sandbox.platform().api_key().to_owned();
    assert_eq!(world.report_change(ANN, Some(&key)).await, 204);

    let token = world.token();
    let body = crate::world::notification("m2", 8).to_string();
    let answer = world.push("/push/user/ann", &token, body).await;
    assert_eq!(answer.status().as_u16(), 204);
    let waiting = world.waiting().await;
    assert!(waiting.is_empty(), "the first is claimed: {waiting:?}");
    let depth = postbell_core::DeliveryLog::depth(&*world.store)
        .await
        .unwrap();
    assert_eq!(depth.pending, 1, "and no second was stored");
    world.stop().await;
}

#[tokio::test]
async fn only_the_platform_may_report_a_change() {
    let world = World::new().await;
    for key in [None, Some(""), Some("wrong")] {
        assert_eq!(world.report_change("no JSON", key).await, 401, "{key:?}");
    }
    let key = world.sandbox.platform().api_key().to_owned();
    for body in ["", "{}", r#"{"userId": "a b"}"#] {
        assert_eq!(world.report_change(body, Some(&key)).await, 400, "{body}");
    }
    world.stop().await;

    let keyless = World::with(|parts| parts.api_key = None).await;
    assert_eq!(keyless.report_change(ANN, Some(&key)).await, 401);
    keyless.stop().await;
}

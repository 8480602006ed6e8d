//! Targets that strangers enter.

use std::sync::Arc;

use postbell_alerts::{AlertClient, Reach, SendError};
use postbell_core::SystemClock;
use postbell_sandbox::{AlertServices, MailServer};

use crate::{event, target};

#[tokio::test]
async fn a_target_in_the_operators_network_is_not_reached() {
    let services = AlertServices::start().await.unwrap();
    let mail = MailServer::start().await.unwrap();
    let port = services.host().rsplit_once(':').unwrap().1;
    let client = AlertClient::new(Reach::PublicOnly, Arc::new(SystemClock::new())).unwrap();
    for text in [
        format!("http://127.0.0.1:{port}/alerts"),
        format!("http://localhost:{port}/alerts"),
        format!("http://[::1]:{port}/alerts"),
        format!("http://[::ffff:127.0.0.1]:{port}/alerts"),
        format!("http://2130706433:{port}/alerts"),
        format!("http://0:{port}/alerts"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        format!("ntfy+http://localhost:{port}/topic"),
        format!("telegram+http://1:A@localhost:{port}/7"),
        format!("smtp://{}?tls=none&from=a@b.c&to=d@e.f", mail.address()),
        format!(
            "smtp://localhost:{}?tls=none&from=a@b.c&to=d@e.f",
            mail.address().port()
        ),
    ] {
        let sent = client.send(&target(&text), &event()).await;
        assert!(
            matches!(sent, Err(SendError::NotPublic)),
            "{text}: {sent:?}"
        );
    }
    for text in [
        "smtp://mail.example.com?tls=none&from=a@b.c&to=d@e.f",
        "smtps://u:p@127.0.0.1?from=a@b.c&to=d@e.f",
        "smtps://u:p@[::1]?from=a@b.c&to=d@e.f",
        "https://10.0.0.1/x",
    ] {
        let checked = client.check(&target(text));
        assert!(matches!(checked, Err(SendError::NotPublic)), "{text}");
    }
    let named = "smtps://u:p@mail.example.com?from=a@b.c&to=d@e.f";
    client.check(&target(named)).unwrap();
    assert!(services.received().is_empty() && mail.mails().is_empty());
}

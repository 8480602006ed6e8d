//! Mail over SMTP.

use std::sync::Arc;

use postbell_alerts::{AlertClient, AlertTarget, Reach, SendError};
use postbell_core::SystemClock;
use postbell_sandbox::MailServer;

use crate::{client, event, failure, target};

#[tokio::test]
async fn a_mail_reaches_each_recipient() {
    let server = MailServer::start().await.unwrap();
    let target = target(&format!(
        "smtp://{}?tls=none&from=postbell@example.com&to=ops@example.com,ann@example.com",
        server.address()
    ));
    client().send(&target, &event()).await.unwrap();
    let mail = server.mails().remove(0);
    assert_eq!(mail.from, "postbell@example.com");
    assert_eq!(mail.to, ["ops@example.com", "ann@example.com"]);
    let message_id = format!("Message-ID: <{}@postbell.invalid>", event().id);
    assert!(mail.text.contains(&message_id), "{}", mail.text);
    assert!(
        mail.text
            .contains("Subject: Postbell: Access to Gmail was revoked")
    );
    assert!(mail.text.contains("Google answered"));
}

#[tokio::test]
async fn the_code_of_a_refusal_is_shown_and_not_its_text() {
    let server = MailServer::start().await.unwrap();
    let target = target(&format!(
        "smtp://{}?tls=none&from=a@example.com&to=b@example.com",
        server.address()
    ));
    for (code, shown) in [
        (451, "the mail server answered 451"),
        (550, "the mail server answered 550"),
    ] {
        server.refuse(code);
        let (text, _) = failure(client().send(&target, &event()).await);
        assert_eq!(text, shown);
    }
    client().send(&target, &event()).await.unwrap();
}

#[tokio::test]
async fn nothing_is_sent_without_tls_unless_it_is_asked_for() {
    let server = MailServer::start().await.unwrap();
    for scheme in ["smtp", "smtps"] {
        let target = target(&format!(
            "{scheme}://user:hunter2@{}?from=a@example.com&to=b@example.com",
            server.address()
        ));
        let (text, _) = failure(client().send(&target, &event()).await);
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(server.mails().is_empty());
}

/// A client for users' targets, with the mail server of the operator, which is in a private network.
fn client_with(server: &MailServer) -> AlertClient {
    let url = format!("smtp://{}?tls=none&from=bell@example.com", server.address());
    AlertClient::new(Reach::PublicOnly, Arc::new(SystemClock::new()))
        .unwrap()
        .with_mail_server(Some(url.parse().unwrap()))
}

#[tokio::test]
async fn an_address_alone_gets_mail_by_the_clients_server() {
    let server = MailServer::start().await.unwrap();
    let address = target("ann@example.com");
    client_with(&server).send(&address, &event()).await.unwrap();
    let mail = server.mails().remove(0);
    assert_eq!(mail.from, "bell@example.com");
    assert_eq!(mail.to, ["ann@example.com"]);

    let sent = client().send(&address, &event()).await;
    assert!(matches!(sent, Err(SendError::NoMailServer)), "{sent:?}");
}

#[tokio::test]
async fn mail_by_the_clients_server_leaves_its_network() {
    let server = MailServer::start().await.unwrap();
    for address in [
        "root@localhost",
        "ann@intranet",
        "ann@box.local",
        "ann@10.0.0.5",
        "ann@[10.0.0.5]",
        "ann@0x7f.0.0.0x1",
        "ann@2130706433",
        "root@box.\u{ff4c}ocal",
        "root@\u{ff4c}ocalhost.\u{ff4c}ocal",
        "root@box\u{3002}local",
        "root@box.local.",
        "root@BOX.LOCAL",
        "root@mail.intranet",
        "root@mail.private",
        "root@mail.test",
    ] {
        let Ok(target) = address.parse::<AlertTarget>() else {
            continue;
        };
        let sent = client_with(&server).send(&target, &event()).await;
        assert!(matches!(sent, Err(SendError::NotPublic)), "{address}");
    }
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn a_domain_is_sent_as_it_is_looked_up() {
    let server = MailServer::start().await.unwrap();
    let address = target("ann@b\u{fc}cher.example.\u{ff43}om");
    client_with(&server).send(&address, &event()).await.unwrap();
    let mail = server.mails().remove(0);
    assert_eq!(mail.to, ["ann@xn--bcher-kva.example.com"]);
}

#[test]
fn an_address_that_cannot_be_written_is_no_target() {
    for text in ["mailto:\"x y\"@example.com", "mailto:\"a>\"@example.com"] {
        assert!(text.parse::<AlertTarget>().is_err(), "{text}");
    }
}

#[tokio::test]
async fn a_users_own_server_is_not_that_of_the_operator() {
    let server = MailServer::start().await.unwrap();
    let own = format!("smtp://{}?tls=none&from=a@b.c&to=d@e.f", server.address());
    let sent = client_with(&server).send(&target(&own), &event()).await;
    assert!(matches!(sent, Err(SendError::NotPublic)), "{sent:?}");
    assert!(server.mails().is_empty());
}

#[test]
fn a_mail_server_has_a_sender_and_no_recipient() {
    for text in [
        "smtps://u:p@smtp.example.com?from=a@b.c",
        "smtp://ann%40example.com:p@smtp.example.com:25",
        "smtp://mail.internal?tls=none&from=a@b.c",
    ] {
        assert!(
            text.parse::<postbell_alerts::MailServer>().is_ok(),
            "{text}"
        );
    }
    for text in [
        "smtps://u:hunter2@smtp.example.com?from=a@b.c&to=d@e.f",
        "smtps://u:hunter2@smtp.example.com",
        "https://u:hunter2@smtp.example.com?from=a@b.c",
        "smtp.example.com",
    ] {
        let error = text.parse::<postbell_alerts::MailServer>().err().unwrap();
        let error = error.to_string();
        assert!(
            error.contains("?from=ADDRESS,") && !error.contains("hunter2"),
            "{error}"
        );
    }
}

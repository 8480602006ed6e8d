//! Mail over SMTP.

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

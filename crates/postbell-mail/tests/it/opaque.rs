//! Mails whose text is encrypted, or signed in a form that hides it.

use serde_json::json;

use crate::mail::{LIMIT, multipart, plain, read, text, with_field};

#[test]
fn an_opaque_mail_says_what_it_is() {
    let smime = |kind: &str| {
        let part = json!({
            "mimeType": "application/pkcs7-mime", "filename": "smime.p7m",
            "body": { "attachmentId": "A", "size": 5000 },
        });
        with_field(
            part,
            "Content-Type",
            &format!("application/pkcs7-mime; smime-type={kind}; name=smime.p7m"),
        )
    };
    for (mail, word) in [
        (smime("enveloped-data"), "encrypted with S/MIME"),
        (smime("authEnveloped-data"), "encrypted with S/MIME"),
        (smime("signed-data"), "signed with S/MIME"),
        (
            multipart(
                "encrypted",
                &[text("application/pgp-encrypted", "Version: 1")],
            ),
            "encrypted",
        ),
        (
            multipart("mixed", &[smime("enveloped-data")]),
            "encrypted with S/MIME",
        ),
    ] {
        let read = read(mail);
        let body = read.body.unwrap();
        assert!(body.contains(word) && body.len() < LIMIT, "{body}");
        assert_eq!(read.body_truncated, Some(true));
    }
    let certificates = multipart("mixed", &[plain("My certificate."), smime("certs-only")]);
    assert_eq!(read(certificates).body.as_deref(), Some("My certificate."));
    let inline = "-----BEGIN PGP MESSAGE-----\n\nhQEMA\n-----END PGP MESSAGE-----";
    assert_eq!(read(plain(inline)).body.as_deref(), Some(inline));
}

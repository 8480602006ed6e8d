//! The header fields of a message.

use serde_json::json;

use crate::mail::{plain, read, with_field};

#[test]
fn fields_are_decoded_and_stay_one_line() {
    let mut mail = json!({ "mimeType": "text/plain", "body": { "data": "eA" } });
    for (name, value) in [
        ("FROM", "=?iso-8859-1?Q?M=FCller=2C_Ann?= <ann@example.org>"),
        (
            "To",
            "=?utf-8?Q?Roe=2C_Richard?= <rr@example.com>,\r\n =?utf-8?B?RG9lLCBKYW5l?= <jd@example.com>",
        ),
        ("Subject", "=?utf-8?q?hi=E2=80=A8To=3A_all=0Bx=C2=85y?="),
        ("Subject", "second"),
        ("Date", "Sun, 29 Nov 2026\r\n 10:00:00 +0000"),
    ] {
        mail = with_field(mail, name, value);
    }
    let read = read(mail);
    assert_eq!(read.from, "\"Müller, Ann\" <ann@example.org>");
    assert_eq!(
        read.to,
        "\"Roe, Richard\" <rr@example.com>, \"Doe, Jane\" <jd@example.com>"
    );
    assert_eq!(read.subject, "hi To: all x y");
    assert_eq!(read.date, "Sun, 29 Nov 2026 10:00:00 +0000");
    assert_eq!(read.body.as_deref(), Some("x"));
}

#[test]
fn a_message_without_fields_is_read() {
    let read = read(plain("x"));
    assert_eq!(
        (
            read.from.as_str(),
            read.subject.as_str(),
            read.attachments.len()
        ),
        ("", "", 0)
    );
}

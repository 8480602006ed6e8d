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

#[test]
fn an_agent_gets_what_it_needs_to_answer_and_to_sort() {
    let mut mail = json!({ "mimeType": "text/plain" });
    for (name, value) in [
        ("Delivered-To", "bot@example.com"),
        (
            "Received",
            "from m.example ([192.0.2.1]) by mx.google.com with ESMTPS id a",
        ),
        (
            "Authentication-Results",
            "mx.google.com; spf=pass smtp.mailfrom=x.org; dkim=fail; dmarc=pass header.from=x.org",
        ),
        ("From", "Ann <ann@x.org>"),
        ("Cc", "=?utf-8?q?M=C3=BCller=2C_B?= <b@x.org>, c@x.org"),
        ("Reply-To", "replies@x.org"),
        ("Message-ID", "<1@x.org>"),
        ("In-Reply-To", "<0@x.org>"),
        ("References", "<a@x.org>\r\n <b@\r\n x.org> <0@x.org>"),
        ("List-Id", "Team <team.x.org>"),
        (
            "List-Unsubscribe",
            "<mailto:u@x.org>, <https://x.org/u?a=1,2>",
        ),
    ] {
        mail = with_field(mail, name, value);
    }
    let read = read(mail);
    assert_eq!(read.cc.as_deref(), Some("\"Müller, B\" <b@x.org>, c@x.org"));
    assert_eq!(read.reply_to.as_deref(), Some("replies@x.org"));
    assert_eq!(read.message_id.as_deref(), Some("<1@x.org>"));
    assert_eq!(read.in_reply_to, ["<0@x.org>"]);
    assert_eq!(read.references, ["<a@x.org>", "<b@x.org>", "<0@x.org>"]);
    assert_eq!(read.list_id.as_deref(), Some("Team <team.x.org>"));
    assert_eq!(
        read.list_unsubscribe,
        ["mailto:u@x.org", "https://x.org/u?a=1,2"]
    );
    let authentication = serde_json::to_value(read.authentication).unwrap();
    assert_eq!(
        authentication,
        json!({ "spf": "pass", "dkim": "fail", "dmarc": "pass" })
    );
}

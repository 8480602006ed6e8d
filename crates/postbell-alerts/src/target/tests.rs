use super::*;

fn parse(text: &str) -> AlertTarget {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A form of each service, and how it is shown.
const FORMS: &[(&str, &str)] = &[
    ("https://example.com/hooks/1?a=b", "webhook at example.com"),
    (
        "https://example.com/h#whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "signed webhook at example.com",
    ),
    (
        "https://example.com/h#whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX",
        "signed webhook at example.com",
    ),
    ("http://127.0.0.1:8080/x", "webhook at 127.0.0.1"),
    (
        "https://hooks.slack.com/services/T/B/X",
        "Slack at hooks.slack.com",
    ),
    (
        "slack://chat.example.com/hooks/1",
        "Slack at chat.example.com",
    ),
    (
        "mattermost+http://10.0.0.1/hooks/1",
        "Mattermost at 10.0.0.1",
    ),
    (
        "https://discord.com/api/webhooks/1/x",
        "Discord at discord.com",
    ),
    (
        "discord+http://127.0.0.1/api/webhooks/1/x",
        "Discord at 127.0.0.1",
    ),
    ("https://ntfy.sh/my-topic", "ntfy at ntfy.sh"),
    (
        "ntfy://ntfy.example.com/my_topic",
        "ntfy at ntfy.example.com",
    ),
    (
        "ntfys://:tk_abc@ntfy.example.com/t",
        "ntfy at ntfy.example.com",
    ),
    ("NTFY+http://u:p@h/t", "ntfy at h"),
    (
        "telegram://123456:ABC-DEF_1@api.telegram.org/-100123",
        "Telegram at api.telegram.org",
    ),
    (
        "telegram://1:A@api.telegram.org/@news",
        "Telegram at api.telegram.org",
    ),
    (
        "smtps://ann%40example.com:secret@smtp.example.com?to=ops@example.com",
        "e-mail to o…@example.com",
    ),
    (
        "smtp://u:p@mail.example.com:2525?from=a@example.com&to=b@example.com,c@example.com",
        "e-mail to b…@example.com and 1 more",
    ),
    (
        "smtp://mail.internal?tls=none&from=a@b.c&to=d@e.f",
        "e-mail to d…@e.f",
    ),
    ("ann@example.com", "e-mail to a…@example.com"),
    ("MailTo:ann%2Bx@example.com", "e-mail to a…@example.com"),
    ("ntfy.sh/my-topic", "ntfy at ntfy.sh"),
    ("hooks.slack.com/services/T/B/X", "Slack at hooks.slack.com"),
];

#[test]
fn each_service_has_its_form() {
    for (text, shown) in FORMS {
        assert_eq!(parse(text).to_string(), *shown, "{text}");
    }
}

#[test]
fn a_wrong_text_is_refused_without_being_repeated() {
    for text in [
        "",
        "hunter2",
        "https://",
        "ftp://hunter2.example.com/",
        "ntfy+ftp://hunter2/t",
        "https://example.com/#hunter2",
        "https://example.com/#whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,hunter2",
        "ntfy://example.com/",
        "ntfy://example.com/hunter2/b",
        "ntfy://hunter2@example.com/topic",
        "telegram://hunter2@api.telegram.org/1",
        "telegram://1:hunter2@api.telegram.org/",
        "telegram://1:hunter2@api.telegram.org/a b",
        "smtps://u:hunter2@smtp.example.com",
        "smtps://u:hunter2@smtp.example.com?to=a@b.c",
        "smtps://u:hunter2@smtp.example.com?to=nobody&from=a@b.c",
        "smtp://u:hunter2@smtp.example.com?to=a@b.c&from=a@b.c&tls=none",
        "smtps://h?to=a@b.c&from=a@b.c&tls=none",
        "smtp://h/path?to=a@b.c&from=a@b.c",
        "smtp://h?to=a@b.c&from=a@b.c&hunter2=1",
        "mailto:",
        "mailto:hunter2",
        "mailto:a@b.c,hunter2@e.f",
        "mailto:a@b.c?subject=hunter2",
        "hunter2.example.com/alerts",
        "ntfy.sh",
    ] {
        let error = text.parse::<AlertTarget>().unwrap_err().to_string();
        assert!(
            error.starts_with("expected ") && !error.contains("hunter2"),
            "{error}"
        );
    }
    let long = format!("https://example.com/{}", "a".repeat(MOST_BYTES));
    assert!(long.parse::<AlertTarget>().is_err());
}

#[test]
fn a_target_is_not_shown_but_has_an_id() {
    let one = parse("https://example.com/hunter2");
    let shown = format!("{one:?} {one} {}", one.id());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(one.id(), parse(" https://example.com/hunter2\n").id());
    assert_ne!(one.id(), parse("https://example.com/hunter3").id());
}

#[test]
fn a_target_without_a_scheme_is_stored_with_it() {
    for (typed, stored) in [
        (" ann@example.com\n", "mailto:ann@example.com"),
        ("ntfy.sh/my-topic", "https://ntfy.sh/my-topic"),
    ] {
        let target = parse(typed);
        assert_eq!(target.text().expose_secret(), stored);
        assert_eq!(target.id(), parse(stored).id());
        let is_address = stored.starts_with("mailto:");
        assert_eq!(target.needs_mail_server(), is_address);
    }
}

#[test]
fn a_change_of_its_signing_secret_leaves_a_target_the_same() {
    let unsigned = parse("https://example.com/h").id();
    for secrets in [
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX",
    ] {
        let signed = parse(&format!("https://example.com/h#{secrets}"));
        assert_eq!(signed.id(), unsigned);
    }
}

#[test]
fn an_address_in_another_notation_is_normalized() {
    let url = |text: &str| parse(text).service.url().unwrap().to_string();
    assert_eq!(url("https://0x7f.1/"), "https://127.0.0.1/");
    assert_eq!(url("ntfy://2130706433/t"), "https://127.0.0.1/");
    assert_eq!(
        url("telegram://1:A@api.telegram.org/7"),
        "https://api.telegram.org/bot1:A/sendMessage"
    );
}

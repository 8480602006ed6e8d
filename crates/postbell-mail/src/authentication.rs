//! What Gmail found out about a mail's sender: the `Authentication-Results` field of its own server (RFC 8601).

use postbell_google::Header;
use postbell_protocol::webhook::{AuthenticationResult, MailAuthentication};

use crate::address::mailboxes;
use crate::header::{decode_addresses, fields};

/// The server that receives Gmail's mail, as it names itself.
const GMAIL: &str = "mx.google.com";

/// Fields that Gmail's servers write above their results. What the sender wrote stands below.
const WRITTEN_BY_GMAIL: [&str; 11] = [
    "arc-authentication-results",
    "arc-message-signature",
    "arc-seal",
    "delivered-to",
    "received",
    "received-spf",
    "return-path",
    "x-forwarded-encrypted",
    "x-forwarded-for",
    "x-forwarded-to",
    "x-received",
];

/// The results for a mail, or `None` if it has none that a sender cannot have written: mail that was appended by a
/// program, or never left Google.
pub(crate) fn authentication(headers: &[Header]) -> Option<MailAuthentication> {
    let results = parse(field_of_gmail(headers)?)?;
    let best = |method: &str| {
        let mut found = results
            .iter()
            .filter(|one| one.method == method)
            .map(|one| one.result);
        // One valid signature of several is enough (RFC 8601, section 2.7.1).
        let first = found.next()?;
        Some(
            if found.any(|result| result == AuthenticationResult::Pass) {
                AuthenticationResult::Pass
            } else {
                first
            },
        )
    };
    let dmarc = results.iter().find(|one| one.method == "dmarc");
    // The result is about the domain that Gmail read in `From`. Another one, or several, prove nothing.
    let dmarc = dmarc
        .filter(|one| one.result != AuthenticationResult::Pass || one.is_about_sender(headers));
    Some(MailAuthentication {
        spf: best("spf"),
        dkim: best("dkim"),
        dmarc: dmarc.map(|one| one.result),
    })
}

/// The topmost field, if Gmail wrote it: above it stand only fields that Gmail writes, one of which says that
/// Gmail's server received the mail. A sender's own copy is below, and a copy of another hop (ARC) is not believed.
fn field_of_gmail(headers: &[Header]) -> Option<&str> {
    let mut is_received = false;
    for header in headers {
        let name = header.name.trim().to_ascii_lowercase();
        match name.as_str() {
            "authentication-results" => return is_received.then_some(header.value.as_str()),
            "received" => is_received |= is_received_by_gmail(&header.value),
            name if name.starts_with("x-google-") || name.starts_with("x-gm-") => {}
            name if WRITTEN_BY_GMAIL.contains(&name) => {}
            _ => return None,
        }
    }
    None
}

fn is_received_by_gmail(value: &str) -> bool {
    let value = without_comments(value).to_ascii_lowercase();
    let words: Vec<_> = value.split_ascii_whitespace().collect();
    words.windows(2).any(|pair| pair == ["by", GMAIL])
}

/// The result of one method.
struct MethodResult {
    method: String,
    result: AuthenticationResult,
    properties: Vec<(String, String)>,
}

impl MethodResult {
    /// Whether the result is about the domain of the one address in the one `From` field.
    fn is_about_sender(&self, headers: &[Header]) -> bool {
        let mut from = fields(headers, "from");
        let (Some(first), None) = (from.next(), from.next()) else {
            return false;
        };
        let mailboxes = mailboxes(&decode_addresses(first));
        let [sender] = mailboxes.as_slice() else {
            return false;
        };
        let checked = self
            .properties
            .iter()
            .find(|(name, _)| name == "header.from");
        let domain = sender.domain();
        domain.is_some()
            && !sender.is_in_group
            && domain == checked.map(|(_, domain)| domain.to_lowercase())
    }
}

fn parse(value: &str) -> Option<Vec<MethodResult>> {
    let value = without_comments(value);
    let mut pieces = split_outside_quotes(&value, ';').into_iter();
    let mut identity = pieces.next()?.split_ascii_whitespace();
    let is_gmail = identity.next()?.eq_ignore_ascii_case(GMAIL);
    // The version of the format may follow.
    let is_known = identity.next().is_none_or(|version| version == "1");
    let results = pieces.filter_map(method_result).collect();
    (is_gmail && is_known).then_some(results)
}

/// Parses `method/version=result property=value …`.
fn method_result(piece: &str) -> Option<MethodResult> {
    let mut words = split_outside_quotes(piece, ' ')
        .into_iter()
        .filter(|word| !word.is_empty());
    let (method, result) = words.next()?.split_once('=')?;
    let properties = words.filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        Some((
            name.to_ascii_lowercase(),
            value.trim_matches('"').to_owned(),
        ))
    });
    Some(MethodResult {
        method: method
            .split('/')
            .next()
            .unwrap_or(method)
            .to_ascii_lowercase(),
        result: AuthenticationResult::parse(result),
        properties: properties.collect(),
    })
}

/// Replaces comments, which may be nested and contain anything, by spaces.
fn without_comments(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let (mut depth, mut is_quoted, mut is_escaped) = (0_usize, false, false);
    for one in value.chars() {
        let was_escaped = std::mem::take(&mut is_escaped);
        match one {
            _ if was_escaped => {}
            '\\' if is_quoted || depth > 0 => is_escaped = true,
            '"' if depth == 0 => is_quoted = !is_quoted,
            '(' if !is_quoted => depth += 1,
            ')' if depth > 0 => {
                depth -= 1;
                text.push(' ');
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            text.push(if one.is_whitespace() { ' ' } else { one });
        }
    }
    text
}

fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut is_quoted = false;
    let is_separator = |one: char| {
        is_quoted ^= one == '"';
        one == separator && !is_quoted
    };
    text.split(is_separator).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use AuthenticationResult::{Fail, Neutral, Pass, SoftFail};

    const RESULTS: &str = "mx.google.com;\r\n       dkim=neutral (no key) header.i=@arewe.example;\r\n       \
        dkim=pass header.i=@arewe.example header.s=s1 header.b=Q1pcJCMy;\r\n       \
        spf=pass (google.com: domain of a@arewe.example designates 192.0.2.1 as permitted sender; dmarc=fail) \
        smtp.mailfrom=\"a;b\"@arewe.example;\r\n       \
        dmarc=pass (p=REJECT (sp=REJECT) dis=NONE) header.from=arewe.example";
    const RECEIVED: (&str, &str) = (
        "Received",
        "from mail.example (mail.example. [192.0.2.1])\r\n        by mx.google.com with ESMTPS id a64",
    );
    const FROM: (&str, &str) = ("From", "Ann <ann@arewe.example>");

    fn of(headers: &[(&str, &str)]) -> Option<MailAuthentication> {
        let header = |(name, value): &(&str, &str)| Header {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        authentication(&headers.iter().map(header).collect::<Vec<_>>())
    }

    #[test]
    fn the_field_of_gmail_is_read() {
        let found = of(&[
            ("Delivered-To", "bot@example.com"),
            ("Received", "by 2002:a05:6a10 with SMTP id x"),
            ("X-Google-Smtp-Source", "AGHT"),
            (
                "ARC-Authentication-Results",
                "i=1; mx.google.com; dmarc=fail",
            ),
            ("Return-Path", "<a@arewe.example>"),
            RECEIVED,
            ("Authentication-Results", RESULTS),
            ("Authentication-Results", "mx.google.com; dmarc=fail"),
            FROM,
        ]);
        assert_eq!(
            found,
            Some(MailAuthentication {
                spf: Some(Pass),
                dkim: Some(Pass),
                dmarc: Some(Pass)
            })
        );
        let failed = "mx.google.com; dkim=neutral header.i=@x; spf=softfail smtp.mailfrom=x; dmarc=fail header.from=arewe.example";
        let found = of(&[RECEIVED, ("Authentication-Results", failed), FROM]);
        assert_eq!(
            found,
            Some(MailAuthentication {
                spf: Some(SoftFail),
                dkim: Some(Neutral),
                dmarc: Some(Fail)
            })
        );
        let none = of(&[
            RECEIVED,
            ("Authentication-Results", "mx.google.com 1; none"),
            FROM,
        ]);
        assert_eq!(none, Some(MailAuthentication::default()));
    }

    #[test]
    fn a_field_that_a_sender_may_have_written_is_not_read() {
        let results = ("Authentication-Results", RESULTS);
        for headers in [
            &[results, FROM][..],
            &[RECEIVED, FROM, results],
            &[("X-Mailer", "x"), RECEIVED, results, FROM],
            &[
                RECEIVED,
                (
                    "Authentication-Results",
                    "mx.google.com.evil.example; dmarc=pass header.from=arewe.example",
                ),
                FROM,
            ],
            &[
                RECEIVED,
                (
                    "Authentication-Results",
                    "evil.example (mx.google.com); dmarc=pass",
                ),
                results,
                FROM,
            ],
            &[
                RECEIVED,
                ("Authentication-Results", "mx.google.com 2; dmarc=pass"),
                FROM,
            ],
            &[
                ("Received", "from x (by mx.google.com) by evil.example"),
                results,
                FROM,
            ],
            &[
                ("Received", "from \"by mx.google.com\" by evil.example"),
                results,
                FROM,
            ],
            &[RECEIVED, ("ARC-Authentication-Results", RESULTS), FROM],
        ] {
            assert_eq!(of(headers), None, "{headers:?}");
        }
    }

    #[test]
    fn dmarc_passes_only_for_the_one_sender_that_a_person_sees() {
        let with_from = |from: &[(&'static str, &'static str)]| {
            let headers = [&[RECEIVED, ("Authentication-Results", RESULTS)], from].concat();
            of(&headers).and_then(|found| found.dmarc)
        };
        assert_eq!(
            with_from(&[("From", "\"eve@evil.example\" <ann@AREWE.example>")]),
            Some(Pass)
        );
        for from in [
            &[("From", "ann@evil.example")][..],
            &[("From", "ann@sub.arewe.example")],
            &[("From", "ann@arewe.example, eve@evil.example")],
            &[FROM, ("From", "eve@evil.example")],
            &[("From", "ann@arewe.example: eve@arewe.example;")],
            &[("From", "")],
            &[],
        ] {
            assert_eq!(with_from(from), None, "{from:?}");
        }
    }
}

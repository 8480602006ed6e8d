//! Decides what counts as a mail.

use std::borrow::Cow;

use mail_parser::MessageParser;

/// Maximum of nested mails that are parsed.
const MAILS_WITHIN: usize = 30;

/// The bytes are not a mail.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected a mail in RFC 5322 form: header fields such as `Subject: …`, then an empty line")]
pub struct NotAMail;

/// Refuses bytes with neither header fields nor text that contains a mail address (a mail that lost
/// its header).
pub(super) fn check(bytes: &[u8]) -> Result<(), NotAMail> {
    let mail = without_envelope(bytes);
    if begins_with_field(mail) || (is_text(mail) && names_an_address(mail)) {
        Ok(())
    } else {
        Err(NotAMail)
    }
}

/// Strips the lines that a mailbox file (RFC 4155) or an editor puts before a mail.
pub(super) fn without_envelope(bytes: &[u8]) -> &[u8] {
    let mail = without_blank_lines(bytes);
    match mail.strip_prefix(b"From ") {
        Some(rest) => {
            let end = rest
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(rest.len(), |at| at + 1);
            &rest[end..]
        }
        None => mail,
    }
}

/// Parses a mail. Without a header, everything is the body.
pub(super) fn parse(bytes: &[u8]) -> Option<mail_parser::Message<'static>> {
    let mail = without_envelope(bytes);
    let mail = with_few_mails_within(mail);
    let parsed = if begins_with_field(&mail) {
        MessageParser::default().parse(&mail[..])
    } else {
        let with_head = [b"Content-Type: text/plain\r\n\r\n", &mail[..]].concat();
        return MessageParser::default()
            .parse(&with_head)
            .map(mail_parser::Message::into_owned);
    };
    parsed.map(mail_parser::Message::into_owned)
}

/// Makes all but the first nested mails opaque. The parser nests values as deeply as mails, and ten
/// thousand levels would overflow the stack.
fn with_few_mails_within(mail: &[u8]) -> Cow<'_, [u8]> {
    let mut mail = Cow::Borrowed(mail);
    let mut found = 0;
    // A part of a digest is a mail by default (RFC 2046, section 5.1.5).
    for name in [&b"message/"[..], b"multipart/digest"] {
        let mut from = 0;
        while let Some(at) = find_ignoring_case(&mail[from..], name) {
            found += 1;
            if found > MAILS_WITHIN {
                mail.to_mut()[from + at] = b'x';
            }
            from += at + name.len();
        }
    }
    mail
}

fn find_ignoring_case(text: &[u8], name: &[u8]) -> Option<usize> {
    text.windows(name.len())
        .position(|window| window.eq_ignore_ascii_case(name))
}

fn without_blank_lines(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace());
    &bytes[start.unwrap_or(bytes.len())..]
}

/// Whether the first line is `name: …` with a name of printable ASCII without space or colon.
fn begins_with_field(mail: &[u8]) -> bool {
    let line = mail.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let name = line
        .iter()
        .position(|byte| *byte == b':')
        .map(|colon| &line[..colon]);
    name.is_some_and(|name| {
        let name = name.trim_ascii_end();
        !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
    })
}

fn is_text(bytes: &[u8]) -> bool {
    let is_layout = |character: char| matches!(character, '\n' | '\r' | '\t' | '\u{c}');
    std::str::from_utf8(bytes)
        .is_ok_and(|text| text.chars().all(|c| is_layout(c) || !c.is_control()))
}

/// Whether a word contains `@` with text on both sides and a dot after it.
fn names_an_address(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.split_whitespace().any(|word| {
        word.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && domain.trim_matches('.').contains('.')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_has_a_field_is_a_mail_however_broken() {
        for mail in [
            &b"Subject: x\n\nbody"[..],
            b"Subject: x",
            b"\n\r\nSubject: x\r\n\r\n",
            b"From ann@example.com Fri Apr 06 16:46:09 2001\nSubject: x\n\n",
            b"Subject : x\n\n",
            b"X:\xff\0\xfe\n\n\0\0",
            b"Content-Type: multipart/mixed; boundary=A\n\nno boundary at all",
        ] {
            assert_eq!(check(mail), Ok(()), "{:?}", String::from_utf8_lossy(mail));
            assert!(parse(mail).is_some());
        }
    }

    #[test]
    fn a_text_that_names_an_address_is_a_mail_whose_head_was_lost() {
        let masthead = b"Send list submissions to\n\tlist@example.org\n";
        assert_eq!(check(masthead), Ok(()));
        assert_eq!(
            parse(masthead).unwrap().body_text(0).unwrap(),
            String::from_utf8_lossy(masthead)
        );
    }

    #[test]
    fn mails_within_mails_without_end_are_survived() {
        for within in [
            "Content-Type: message/rfc822\n\n",
            "Content-Type: Message/RFC822\n\n",
        ] {
            let mail = format!("Subject: x\n{}", within.repeat(20_000));
            assert!(parse(mail.as_bytes()).is_some());
        }
        let mut digests = String::from("Subject: x\n");
        for level in 0..5_000 {
            digests +=
                &format!("Content-Type: multipart/digest; boundary={level}\n\n--{level}\n\n");
        }
        assert!(parse(digests.as_bytes()).is_some());
    }

    #[test]
    fn what_is_no_mail_at_all_is_refused() {
        for bytes in [
            &b""[..],
            b"\n\n  \n",
            b"GIF89a\x10\0\x10\0",
            b"\x89PNG\r\n\x1a\n",
            b"#define width 16\n#define height 16\n",
            b"P4\n16 16\n\xfb\xf1",
            b"just a note to myself",
            b"a b: not a field",
            b"RIFF\x01\0\0\0user@example.com",
        ] {
            assert_eq!(
                check(bytes),
                Err(NotAMail),
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}

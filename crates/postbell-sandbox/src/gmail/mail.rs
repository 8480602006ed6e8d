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
    let mail = with_regular_head(mail);
    let mail = with_few_mails_within(&mail);
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

/// Mends a head that the parser reads otherwise than mail programs do:
///
/// - A line of white space ends it, unless a folded line or a field follows (RFC 5322, section 4.2, allows such a line
///   within a folded field).
/// - A delimiter ends it, though the empty line is missing.
/// - Of two `Content-Type` fields, the first counts.
fn with_regular_head(mail: &[u8]) -> Cow<'_, [u8]> {
    let mut head = Vec::new();
    let (mut rest, mut has_type) = (mail, false);
    while let Some(line) = first_line(rest) {
        let is_blank = line.trim_ascii().is_empty();
        let next = first_line(&rest[line.len()..]).unwrap_or_default();
        let goes_on = next.starts_with(b" ") || next.starts_with(b"\t") || is_field(next);
        if is_blank && (line.starts_with(b"\n") || line.starts_with(b"\r\n") || !goes_on) {
            break;
        }
        if line.starts_with(b"--") {
            head.extend(b"\r\n");
            return Cow::Owned([head.as_slice(), rest].concat());
        }
        let is_type = starts_with_ignoring_case(line, b"content-type:");
        if is_type && std::mem::replace(&mut has_type, true) {
            head.extend(b"X-Other-");
        }
        head.extend(line);
        rest = &rest[line.len()..];
    }
    let Some(blank) = first_line(rest) else {
        return Cow::Borrowed(mail);
    };
    head.extend(b"\r\n");
    Cow::Owned([head.as_slice(), &rest[blank.len()..]].concat())
}

/// The first line with its end, unless there is none.
fn first_line(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|byte| *byte == b'\n');
    let end = end.map_or(text.len(), |at| at + 1);
    (end > 0).then_some(&text[..end])
}

fn is_field(line: &[u8]) -> bool {
    let colon = line.iter().position(|byte| *byte == b':');
    let name = colon.map(|colon| &line[..colon]).unwrap_or_default();
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

fn starts_with_ignoring_case(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len())
        .is_some_and(|found| found.eq_ignore_ascii_case(start))
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

//! Names for attachments on disk. The sender wrote them: a name must not lead out of its folder, hide, mean something
//! to a shell or another system, or replace another file.

use std::collections::HashSet;

use postbell_protocol::webhook::Attachment;

/// The longest name, in bytes. Most file systems allow 255, encrypted ones about 140.
const MAX_NAME: usize = 120;

/// The longest ending that is kept when a name is cut, in bytes.
const MAX_ENDING: usize = 16;

/// The name of a file whose sender gave none.
const NAMELESS: &str = "attachment";

/// Characters that separate folders, or mean something to Windows or to a shell, also within quotes.
const UNSAFE: &str = "/\\:*?\"<>|$`';!&%^{}";

/// Names of devices on Windows, whatever their ending
/// (<https://learn.microsoft.com/windows/win32/fileio/naming-a-file>).
const DEVICES: [&str; 6] = ["aux", "con", "conin$", "conout$", "nul", "prn"];

/// A safe name for each attachment of a message, without two that are equal. The same message has the same names each
/// time.
pub(crate) fn safe_names(attachments: &[Attachment]) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut names = Vec::with_capacity(attachments.len());
    for attachment in attachments {
        let name = safe_name(&attachment.name);
        let mut unique = name.clone();
        let mut number = 1;
        // Some file systems do not tell upper from lower case.
        while !taken.insert(unique.to_lowercase()) {
            number += 1;
            let (stem, ending) = split(&name);
            unique = format!("{stem}-{number}{ending}");
        }
        names.push(unique);
    }
    names
}

fn safe_name(name: &str) -> String {
    let mut safe = String::with_capacity(name.len());
    for one in name.chars() {
        if one.is_control() || UNSAFE.contains(one) {
            safe.push('_');
        } else if one.is_whitespace() {
            safe.push(' ');
        } else if !is_invisible(one) {
            safe.push(one);
        }
    }
    // A dot in front hides a file, one at the end is lost on Windows, and a dash in front looks like an option.
    let is_edge = |one: char| one == ' ' || one == '.';
    let mut safe = safe.trim_matches(is_edge).to_owned();
    if safe.starts_with(['-', '~']) {
        safe.replace_range(..1, "_");
    }
    if safe.len() > MAX_NAME {
        let (stem, ending) = split(&safe);
        let end = stem.floor_char_boundary(MAX_NAME - ending.len());
        safe = format!("{}{ending}", stem[..end].trim_end_matches(is_edge));
    }
    if is_device(&safe) {
        safe.insert(0, '_');
    }
    if safe.trim_matches('_').is_empty() {
        NAMELESS.clone_into(&mut safe);
    }
    safe
}

/// Marks that change how other characters look, but not what they are.
fn is_invisible(one: char) -> bool {
    matches!(
        one,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// A name without its ending, and the ending with its dot.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= MAX_ENDING => name.split_at(at),
        _ => (name, ""),
    }
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    let stem = stem.trim_end().to_lowercase();
    let is_port = stem
        .strip_prefix("com")
        .or_else(|| stem.strip_prefix("lpt"))
        .is_some_and(|port| {
            matches!(
                port,
                "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"
            )
        });
    is_port || DEVICES.contains(&stem.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        let attachment = |name: &&str| Attachment {
            name: (*name).to_owned(),
            ..Attachment::default()
        };
        safe_names(&names.iter().map(attachment).collect::<Vec<_>>())
    }

    #[test]
    fn a_hostile_name_becomes_a_plain_one() {
        for (name, expected) in [
            ("invoice (1).pdf", "invoice (1).pdf"),
            ("Rechnung März.pdf", "Rechnung März.pdf"),
            ("../../etc/passwd", "_.._etc_passwd"),
            ("..\\..\\boot.ini", "_.._boot.ini"),
            ("/etc/passwd", "_etc_passwd"),
            ("C:\\a.txt", "C__a.txt"),
            (".bashrc", "bashrc"),
            ("...", NAMELESS),
            ("", NAMELESS),
            ("/", NAMELESS),
            ("a\0b\r\nc.txt", "a_b__c.txt"),
            ("-rf", "_rf"),
            ("~root", "_root"),
            ("$(reboot).sh", "_(reboot).sh"),
            ("a`b`'c';d.txt", "a_b__c__d.txt"),
            ("con", "_con"),
            ("NUL.txt", "_NUL.txt"),
            ("Com1 .log.txt", "_Com1 .log.txt"),
            ("lpt².txt", "_lpt².txt"),
            ("common.txt", "common.txt"),
            ("trailing. . ", "trailing"),
            ("gpj.\u{202e}exe.pdf", "gpj.exe.pdf"),
            ("a\u{2028}b\u{a0}c", "a b c"),
        ] {
            assert_eq!(names(&[name]), [expected], "{name:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_ending() {
        let [name] = &names(&[&format!("{}.tar.pdf", "ä".repeat(300))])[..] else {
            panic!("expected one name")
        };
        assert!(name.len() <= MAX_NAME && name.ends_with("ä.pdf"), "{name}");
        let [name] = &names(&[&format!("a.{}", "b".repeat(300))])[..] else {
            panic!("expected one name")
        };
        assert_eq!(name.len(), MAX_NAME);
    }

    #[test]
    fn no_two_attachments_of_a_message_share_a_name() {
        assert_eq!(
            names(&["a.txt", "A.TXT", "a-2.txt", "a.txt", "a/b", "a:b", "", ""]),
            [
                "a.txt",
                "A-2.TXT",
                "a-2-2.txt",
                "a-3.txt",
                "a_b",
                "a_b-2",
                NAMELESS,
                "attachment-2"
            ]
        );
    }
}

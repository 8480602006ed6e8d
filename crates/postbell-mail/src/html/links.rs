//! Where links lead.

/// Schemes of links that lead out of the mail.
const SCHEMES: [&str; 13] = [
    "ftp", "geo", "http", "https", "mailto", "matrix", "sip", "sms", "tel", "tg", "webcal",
    "whatsapp", "xmpp",
];

/// The longest target that is written, in bytes. Servers take less.
pub(super) const MAX_TARGET: usize = 32 * 1024;

/// The target of a link, whole, if it leads out of the mail. A space or an angle bracket is percent-encoded.
pub(super) fn target(href: &str) -> Option<String> {
    // A browser removes these (WHATWG URL, section 4.4).
    let href = href.trim();
    let (scheme, _) = href.split_once(':')?;
    let scheme: String = scheme.chars().filter(|one| !is_removed(*one)).collect();
    if !SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) {
        return None;
    }
    let mut target = String::with_capacity(href.len());
    for one in href.chars() {
        match one {
            '<' => target.push_str("%3C"),
            '>' => target.push_str("%3E"),
            _ if is_removed(one) || one.is_control() => {}
            _ if one.is_whitespace() => target.push_str("%20"),
            _ => target.push(one),
        }
    }
    Some(target)
}

fn is_removed(one: char) -> bool {
    matches!(one, '\t' | '\n' | '\r')
}

/// Whether the text of a link already says where it leads.
pub(super) fn is_target(shown: &str, target: &str) -> bool {
    if shown.is_empty() || shown.len() > target.len() + 8 {
        return false;
    }
    let (shown, target) = (without_scheme(shown), without_scheme(target));
    let is_phone = |text: &str| text.starts_with('+') && !text.contains(char::is_alphabetic);
    if is_phone(shown) && is_phone(target) {
        let digits = |text: &str| {
            text.chars()
                .filter(char::is_ascii_digit)
                .collect::<String>()
        };
        return digits(shown) == digits(target);
    }
    // Only the host's case does not matter.
    let (shown_host, shown_path) = shown.split_at(shown.find('/').unwrap_or(shown.len()));
    let (host, path) = target.split_at(target.find('/').unwrap_or(target.len()));
    shown_host.eq_ignore_ascii_case(host) && shown_path == path
}

fn without_scheme(text: &str) -> &str {
    let text = text.trim().trim_start_matches('<').trim_end_matches('>');
    let schemes = ["https://", "http://", "mailto:", "tel:"];
    let scheme = schemes.iter().find(|scheme| {
        text.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let text = &text[scheme.map_or(0, |scheme| scheme.len())..];
    text.trim_start_matches("www.").trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_out_of_the_mail_or_is_left_out() {
        assert_eq!(
            target(" https://x.org/a b\n?<c> ").as_deref(),
            Some("https://x.org/a%20b?%3Cc%3E")
        );
        assert_eq!(target("MAILTO:a@x.org").as_deref(), Some("MAILTO:a@x.org"));
        assert_eq!(target("ht\ntps://x.org").as_deref(), Some("https://x.org"));
        for inside in [
            "#top",
            "",
            "javascript:alert(1)",
            "data:text/html,x",
            "cid:1",
            "/relative",
            "x.html",
        ] {
            assert_eq!(target(inside), None, "{inside}");
        }
    }

    #[test]
    fn a_text_that_is_the_target_is_not_followed_by_it() {
        for (shown, target) in [
            ("https://a.example/x", "https://a.example/x"),
            ("www.b.example", "https://www.b.example/"),
            ("B.example/X", "http://b.example/X"),
            ("c@d.example", "mailto:c@d.example"),
            ("+49 123-4", "tel:+491234"),
        ] {
            assert!(is_target(shown, target), "{shown} {target}");
        }
        for (shown, target) in [
            ("https://bank.example/login", "https://evil.example/"),
            ("b.example/x", "http://b.example/X"),
            ("a.example", "https://a.example/reset?token=1"),
            ("", "https://a.example/"),
        ] {
            assert!(!is_target(shown, target), "{shown} {target}");
        }
    }
}

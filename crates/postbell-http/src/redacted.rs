//! URLs as a report may show them.

use url::Url;

/// Returns a URL without the parts that may be secret: user, query, fragment and tokens in the path.
#[must_use]
pub fn redacted(url: &Url) -> String {
    const TOKEN_LENGTH: usize = 32;
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // These fail if the URL has no host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let is_token = |part: &str| {
        part.len() >= TOKEN_LENGTH && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let path = url.path().split('/');
    let path = path.map(|part| if is_token(part) { "TOKEN" } else { part });
    let path = path.collect::<Vec<_>>().join("/");
    url.set_path(&path);
    url.into()
}

/// The same of a text that may be no URL.
#[must_use]
pub fn redacted_text(address: &str) -> String {
    match Url::parse(address) {
        Ok(url) => redacted(&url),
        Err(_) if address.is_empty() => "no address".to_owned(),
        Err(_) => "an invalid address".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_addresses_are_redacted() {
        let token = "0123456789abcdef0123456789abcdef";
        for address in [
            format!("https://u:p@push.example.com/push/user/ada/{token}"),
            format!("https://push.example.com/push?token={token}#{token}"),
        ] {
            let shown = redacted_text(&address);
            assert!(!shown.contains(token) && !shown.contains("u:p"), "{shown}");
        }
        let plain = "https://push.example.com/push/user/oauth%2Fa%40x";
        assert_eq!(redacted_text(plain), plain);
    }
}

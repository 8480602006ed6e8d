//! The URLs of Gmail's API.

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use postbell_http::request_uri;
use url::{Url, form_urlencoded};

/// The methods of the mailbox that the access token opens.
const MAILBOX: &str = "gmail/v1/users/me";

/// The characters that are escaped in a segment of a path: all but the unreserved characters (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where the API is. It makes URLs without parsing: that would take longer than to read a short message.
pub(super) struct Endpoint {
    /// The server.
    base: Uri,
    /// The path of the mailbox.
    path: String,
}

impl Endpoint {
    /// The API at a base URL; `None` if it is not one for HTTP.
    pub(super) fn at(url: &Url) -> Option<Self> {
        let base = request_uri(url)?;
        let path = format!("{}/{MAILBOX}", base.path().trim_end_matches('/'));
        Some(Self { base, path })
    }

    /// The URL of a method, whose path is below the mailbox.
    pub(super) fn uri(&self, path: &[&str], query: &[(&str, &str)]) -> Option<Uri> {
        let mut text = String::with_capacity(128);
        text.push_str(&self.path);
        for segment in path {
            text.push('/');
            text.extend(utf8_percent_encode(segment, ESCAPED));
        }
        if !query.is_empty() {
            text.push('?');
            let start = text.len();
            let mut pairs = form_urlencoded::Serializer::for_suffix(text, start);
            text = pairs.extend_pairs(query).finish();
        }
        let uri = Uri::builder()
            .scheme(self.base.scheme()?.clone())
            .authority(self.base.authority()?.clone())
            .path_and_query(text);
        uri.build().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(base: &str, path: &[&str], query: &[(&str, &str)]) -> String {
        let endpoint = Endpoint::at(&base.parse().unwrap()).unwrap();
        endpoint.uri(path, query).unwrap().to_string()
    }

    #[test]
    fn a_method_is_below_the_base_url() {
        for base in [
            "https://example.com:8443/a",
            "https://ann@example.com:8443/a/",
        ] {
            assert_eq!(
                uri(base, &["messages", "17f-_."], &[("format", "full")]),
                "https://example.com:8443/a/gmail/v1/users/me/messages/17f-_.?format=full"
            );
        }
        assert_eq!(
            uri("http://127.0.0.1:9", &["profile"], &[]),
            "http://127.0.0.1:9/gmail/v1/users/me/profile"
        );
        assert!(Endpoint::at(&"mailto:ann@example.com".parse().unwrap()).is_none());
    }

    #[test]
    fn no_text_ends_its_part_of_the_url() {
        assert_eq!(
            uri(
                "https://example.com",
                &["messages", "a/b?c#d%2f ü"],
                &[("q", "in:\"a&b\" ü+"), ("pageToken", "a=/")]
            ),
            "https://example.com/gmail/v1/users/me/messages/a%2Fb%3Fc%23d%252f%20%C3%BC\
             ?q=in%3A%22a%26b%22+%C3%BC%2B&pageToken=a%3D%2F"
        );
    }
}

//! From where a request comes, for the audit log.

use std::net::IpAddr;

use axum::http::HeaderName;
use axum::http::request::Parts;
use postbell_http::ClientAddress;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Returns the address of the client; behind a proxy on this machine or in its private network, the one that
/// the proxy names, with the proxy's own. Anyone else can write any address into the header.
pub(crate) fn origin(parts: &Parts) -> String {
    let Some(ClientAddress(client)) = parts.extensions.get() else {
        return "unknown".to_owned();
    };
    let forwarded = parts.headers.get_all(FORWARDED_FOR).iter().next_back();
    let forwarded = forwarded.and_then(|value| value.to_str().ok());
    // A proxy appends the address that it sees.
    let last = forwarded.and_then(|value| value.rsplit(',').next()?.trim().parse::<IpAddr>().ok());
    match last {
        Some(last) if is_near(*client) => format!("{last} by {client}"),
        _ => client.to_string(),
    }
}

fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn only_a_near_proxy_is_believed() {
        for (client, forwarded, expected) in [
            ("203.0.113.7", None, "203.0.113.7"),
            ("203.0.113.7", Some("198.51.100.1"), "203.0.113.7"),
            ("127.0.0.1", None, "127.0.0.1"),
            (
                "127.0.0.1",
                Some("10.0.0.1, 198.51.100.1"),
                "198.51.100.1 by 127.0.0.1",
            ),
            ("10.1.2.3", Some("2001:db8::1"), "2001:db8::1 by 10.1.2.3"),
            ("::1", Some("<script>"), "::1"),
        ] {
            let mut request = Request::builder();
            if let Some(forwarded) = forwarded {
                request = request.header("x-forwarded-for", forwarded);
            }
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            parts
                .extensions
                .insert(ClientAddress(client.parse().unwrap()));
            assert_eq!(origin(&parts), expected);
        }
        let (parts, ()) = Request::new(()).into_parts();
        assert_eq!(origin(&parts), "unknown");
    }
}

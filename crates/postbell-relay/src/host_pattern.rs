//! The hosts that deliveries may go to.

use std::str::FromStr;

use url::Host;

/// Hosts that deliveries may go to: one host by its name, or all subdomains of `*.name`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostPattern {
    name: String,
    subdomains: bool,
}

/// A text that is no host pattern.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected a host's name or address, such as bot.example.com, or *.fly.dev for all below")]
pub struct InvalidHostPattern;

impl FromStr for HostPattern {
    type Err = InvalidHostPattern;

    fn from_str(text: &str) -> Result<Self, InvalidHostPattern> {
        let (name, subdomains) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if name.contains('*') {
            return Err(InvalidHostPattern);
        }
        // Normalized as the host of a URL, with which it is compared.
        let name = Host::parse(name).map_err(|_| InvalidHostPattern)?;
        Ok(Self {
            name: name.to_string(),
            subdomains,
        })
    }
}

impl HostPattern {
    /// Returns whether the host of a URL matches.
    pub(crate) fn matches(&self, host: &str) -> bool {
        if self.subdomains {
            let label = host.strip_suffix(&self.name);
            label.is_some_and(|label| label.len() > 1 && label.ends_with('.'))
        } else {
            host == self.name
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_no_host_is_refused() {
        for text in ["", "*", "*.", "a b", "https://x", "x/y", "x:80"] {
            assert_eq!(
                text.parse::<HostPattern>(),
                Err(InvalidHostPattern),
                "{text:?}"
            );
        }
    }
}

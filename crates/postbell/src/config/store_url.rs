//! The URL of a store, which may contain a password.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;

/// The URL of a store. Shown without user, password and parameters.
#[derive(Clone, Deserialize, Eq, PartialEq)]
#[serde(transparent)]
pub struct StoreUrl(String);

impl StoreUrl {
    /// Returns the URL, to open the store.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it sends what is stored unencrypted to another machine.
    pub(super) fn is_unencrypted_elsewhere(&self) -> bool {
        let Some((_, rest)) = self.0.split_once("://") else {
            return false;
        };
        let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
        let named = query
            .split('&')
            .filter_map(|pair| pair.strip_prefix("host="));
        let authority = base.split('/').next().unwrap_or_default();
        let hosts = authority.rsplit('@').next().unwrap_or_default();
        let mut hosts = hosts
            .split(',')
            .chain(named.flat_map(|hosts| hosts.split(',')));
        query.split('&').any(|pair| pair == "sslmode=disable") && !hosts.all(is_local)
    }
}

/// Whether a host of a URL, with or without a port, is this machine: a folder of sockets, or a loopback address.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_folder = name.is_empty() || name.starts_with('/') || name.starts_with("%2F");
    let is_loopback = || {
        name.parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
    };
    is_folder || name == "localhost" || is_loopback()
}

impl From<String> for StoreUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&postbell_store::shown(&self.0))
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

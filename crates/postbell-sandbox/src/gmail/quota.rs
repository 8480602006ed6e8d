//! What a mailbox's calls may cost in a minute
//! (<https://developers.google.com/workspace/gmail/api/reference/quota>).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Serialize;
use tokio::time::Instant;

use crate::errors::api_error;

const MINUTE: Duration = Duration::from_secs(60);

/// A quota for each mailbox, if there is one, and the calls of the last minute.
#[derive(Debug, Default)]
pub(super) struct Quota {
    units_per_minute: Option<u32>,
    spent: HashMap<String, VecDeque<(Instant, u32)>>,
    calls: CountedCalls,
}

/// Gmail's calls since a quota was set.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct CountedCalls {
    /// Those within the quota.
    pub made: usize,
    /// Those above it.
    pub refused: usize,
}

impl Quota {
    /// Sets another quota, of which nothing is spent.
    pub(super) fn set(&mut self, units_per_minute: Option<u32>) {
        *self = Self {
            units_per_minute,
            ..Self::default()
        };
    }

    pub(super) fn calls(&self) -> CountedCalls {
        self.calls
    }

    /// Spends the units of a call, or answers that the mailbox is over its quota.
    pub(super) fn spend(&mut self, email: &str, call: &Parts) -> Result<(), Response> {
        let Some(quota) = self.units_per_minute else {
            return Ok(());
        };
        let now = Instant::now();
        let spent = self.spent.entry(email.to_owned()).or_default();
        while spent.front().is_some_and(|(at, _)| now - *at >= MINUTE) {
            spent.pop_front();
        }
        let units = units(&call.method, call.uri.path());
        let sum: u32 = spent.iter().map(|(_, units)| units).sum();
        if sum + units > quota {
            self.calls.refused += 1;
            let message = "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' \
                           of service 'gmail.googleapis.com'";
            return Err(api_error(429, message));
        }
        spent.push_back((now, units));
        self.calls.made += 1;
        Ok(())
    }
}

/// The cost of a call.
fn units(method: &Method, path: &str) -> u32 {
    let call = path.strip_prefix("/gmail/v1/users/").unwrap_or_default();
    let call: Vec<_> = call.split('/').skip(1).collect();
    match (method.as_str(), &call[..]) {
        ("GET", ["profile" | "settings" | "labels", ..]) => 1,
        ("GET", ["history"]) => 2,
        ("GET", ["messages", _, ..]) => 20,
        ("GET", ["threads", _]) => 40,
        ("POST", ["stop"] | ["messages", "batchModify" | "batchDelete"]) => 50,
        ("POST", ["watch"] | ["messages", "send"]) => 100,
        // Others cost from 5 to 25.
        _ => 5,
    }
}

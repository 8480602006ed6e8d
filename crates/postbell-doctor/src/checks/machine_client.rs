//! Requests to the controller of a machine.

use postbell_core::{MachineLocation, ManagedMachine};
use postbell_http::redacted;
use postbell_protocol::routes::{CONTROLLER_PUSH, FORCE_INSTANCE_ID};
use reqwest::{Method, RequestBuilder};
use secrecy::ExposeSecret;
use url::Url;

use crate::checker::Checker;
use crate::credentials::RESTORE_GATEWAY_SECRET;
use crate::facts::MachineFacts;
use crate::report::CheckResult;

pub(super) const HEALTH: &str = "/health";

/// A machine whose controller has a known URL.
pub(super) struct Machine<'a> {
    pub(super) checker: &'a Checker<'a>,
    pub(super) facts: &'a MachineFacts,
    pub(super) url: &'a Url,
}

impl Machine<'_> {
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let base = self.url.as_str().trim_end_matches('/');
        let client = &self.checker.deps.client;
        let mut request = client.request(method, format!("{base}{path}"));
        if let MachineLocation::Managed(ManagedMachine { machine, .. }) = &self.facts.location {
            request = request.header(FORCE_INSTANCE_ID, machine);
        }
        let push_token = self.facts.push_token.as_ref();
        let push_token = push_token.filter(|_| path == CONTROLLER_PUSH);
        match push_token.or(self.facts.token.as_ref()) {
            Some(token) if path != HEALTH => request.bearer_auth(token.expose_secret()),
            _ => request,
        }
    }

    /// The controller's address for messages.
    pub(super) fn address(&self) -> String {
        redacted(self.url)
    }

    /// The controller rejects the gateway token.
    pub(super) fn token_rejected(&self) -> CheckResult {
        let keys = self.checker.facts.keys.as_ref();
        if keys.is_some_and(|keys| keys.hint.as_deref() == Some(RESTORE_GATEWAY_SECRET)) {
            return CheckResult::failed(
                "the controller rejects the platform's token, which follows from platform.gateway_secret",
                "Repair Keys first.",
            );
        }
        CheckResult::failed(
            "the controller rejects the platform's token",
            format!(
                "Set OPENCLAW_GATEWAY_TOKEN on the machine to the token that follows from \
                 platform.gateway_secret and the sandbox id (`postbell users show {}`), and restart it.",
                self.checker.user_name()
            ),
        )
    }

    /// The answer is not that of a controller.
    pub(super) fn unexpected(&self, problem: &str) -> CheckResult {
        CheckResult::failed(
            format!("{}: {problem}", self.address()),
            "Check that `postbell controller` runs there, and that no other server answers for it.",
        )
    }
}

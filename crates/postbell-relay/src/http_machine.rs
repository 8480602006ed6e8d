//! Delivers to the machines' controllers over HTTP (protocol, section 3).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use bytes::Bytes;
use postbell_core::{
    Clock, Delivery, Failure, FailureKind, Instance, Machine, MachineLocation, ManagedMachine,
    Timestamp, TraceContext,
};
use postbell_http::{HttpClient, RequestError, TRACEPARENT, drain_body, request_uri, retry_after};
use postbell_protocol::routes::{CONTROLLER_PUSH, FORCE_INSTANCE_ID};
use quick_cache::sync::Cache;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use url::Url;

use crate::HostPattern;

const NO_URL: &str = "the machine has no URL";

/// The longest `Retry-After` that is honoured.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Of how many machines the address is remembered: to make it takes a third of a request's instructions.
const REMEMBERED: usize = 4096;

/// Posts to the machines' controllers.
pub struct HttpMachine {
    client: HttpClient,
    template: String,
    timeout: Duration,
    hosts: Vec<HostPattern>,
    clock: Arc<dyn Clock>,
    /// Where the machines are that had deliveries last.
    addresses: Cache<MachineLocation, Uri>,
}

/// A template that does not make a URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected an http or https URL without path or query, such as https://{{app}}.fly.dev")]
pub struct InvalidTemplate;

impl HttpMachine {
    /// Posts to managed machines at the base URL `template`, with `{app}` and `{machine}` filled in,
    /// and to other machines at their own URL.
    ///
    /// `client` follows no redirects: a user's mail goes only where the template or the directory
    /// says, and only to `hosts` unless that is empty. `timeout` limits the time until the response;
    /// `client` limits connecting. `clock` is the time of day, for a `Retry-After` that is a date.
    ///
    /// # Errors
    ///
    /// Fails if the template does not make a URL.
    pub fn new(
        client: HttpClient,
        template: &str,
        timeout: Duration,
        hosts: Vec<HostPattern>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, InvalidTemplate> {
        Self::check_template(template)?;
        Ok(Self {
            client,
            template: template.trim_end_matches('/').to_owned(),
            timeout,
            hosts,
            clock,
            addresses: Cache::new(REMEMBERED),
        })
    }

    /// Checks that `template` makes a URL.
    ///
    /// # Errors
    ///
    /// Fails if it does not, or if it contains another name in braces.
    pub fn check_template(template: &str) -> Result<(), InvalidTemplate> {
        let filled = fill_in(template.trim_end_matches('/'), "app", "machine");
        let url = route_of(&filled).filter(|_| !filled.contains(['{', '}']));
        let url = url.ok_or(InvalidTemplate)?;
        if url.path() == CONTROLLER_PUSH && url.query().is_none() && url.fragment().is_none() {
            Ok(())
        } else {
            Err(InvalidTemplate)
        }
    }

    /// Returns the base URL of a machine's controller, for requests other than deliveries.
    ///
    /// # Errors
    ///
    /// Why there is none, as a clause.
    pub fn controller(&self, location: &MachineLocation) -> Result<Url, &'static str> {
        let mut url = self.address(location)?;
        let base = url.path().trim_end_matches(CONTROLLER_PUSH).to_owned();
        url.set_path(&base);
        Ok(url)
    }

    fn url(&self, app: &str, machine: &str) -> Option<Url> {
        route_of(&fill_in(&self.template, app, machine))
    }

    /// Returns where a delivery goes, or why it goes nowhere.
    fn destination(&self, location: &MachineLocation) -> Result<Uri, &'static str> {
        if let Some(uri) = self.addresses.get(location) {
            return Ok(uri);
        }
        let uri = request_uri(&self.address(location)?).ok_or(NO_URL)?;
        self.addresses.insert(location.clone(), uri.clone());
        Ok(uri)
    }

    /// Returns the URL of a delivery, or why there is none.
    fn address(&self, location: &MachineLocation) -> Result<Url, &'static str> {
        let url = match location {
            MachineLocation::Unknown => {
                return Err("the directory does not say where the machine is");
            }
            // A name that is not a label of a host name could change the template's host.
            MachineLocation::Managed(ManagedMachine { app, machine })
                if !is_label(app) || !is_label(machine) =>
            {
                return Err("the directory's app or machine name cannot be part of a host name");
            }
            MachineLocation::Managed(ManagedMachine { app, machine }) => self.url(app, machine),
            MachineLocation::Url(base) => route_of(base.as_str().trim_end_matches('/')),
        };
        let url = url.ok_or(NO_URL)?;
        if self.is_allowed(&url) {
            Ok(url)
        } else {
            Err("the machine's host is none of relay.machine_hosts")
        }
    }

    fn is_allowed(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        self.hosts.is_empty() || self.hosts.iter().any(|allowed| allowed.matches(host))
    }
}

#[async_trait]
impl Machine for HttpMachine {
    async fn deliver(
        &self,
        instance: &Instance,
        token: &SecretString,
        body: Bytes,
        trace: TraceContext,
    ) -> Delivery {
        let uri = match self.destination(&instance.location) {
            Ok(uri) => uri,
            Err(problem) => return failed(Failure::new(FailureKind::Directory, problem)),
        };
        let Some(headers) = headers(instance, token, trace) else {
            let problem = "the machine's token cannot be part of a request";
            return failed(Failure::new(FailureKind::Directory, problem));
        };
        let sent = self.client.send(Method::POST, uri, headers, body);
        match timeout(self.timeout, sent).await {
            Ok(Ok(response)) => {
                let delivery = classify(response.status(), response.headers(), self.clock.now());
                drain_body(response.into_body()).await;
                delivery
            }
            Ok(Err(error)) => failed(describe(error)),
            Err(_) => failed(Failure::timeout()),
        }
    }
}

/// Returns the headers of a delivery, unless the token is not one of a header.
fn headers(instance: &Instance, token: &SecretString, trace: TraceContext) -> Option<HeaderMap> {
    let mut token = HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).ok()?;
    token.set_sensitive(true);
    // With room for those that the client adds.
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(AUTHORIZATION, token);
    let trace = HeaderValue::try_from(trace.to_string()).ok()?;
    headers.insert(HeaderName::from_static(TRACEPARENT), trace);
    if let MachineLocation::Managed(ManagedMachine { machine, .. }) = &instance.location {
        let machine = HeaderValue::from_str(machine).ok()?;
        headers.insert(HeaderName::from_static(FORCE_INSTANCE_ID), machine);
    }
    Some(headers)
}

fn fill_in(template: &str, app: &str, machine: &str) -> String {
    template.replace("{app}", app).replace("{machine}", machine)
}

fn route_of(base: &str) -> Option<Url> {
    let url = Url::parse(&format!("{base}{CONTROLLER_PUSH}")).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// Classifies a response (protocol, section 3).
fn classify(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Delivery {
    match status.as_u16() {
        200..=299 => Delivery::Accepted,
        status @ (400 | 422) => Delivery::Refused { status },
        status => Delivery::Failed {
            failure: Failure::status(status),
            retry_after: retry_after(headers, now).map(|wait| wait.min(MAX_RETRY_AFTER)),
        },
    }
}

fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn failed(failure: Failure) -> Delivery {
    Delivery::Failed {
        failure,
        retry_after: None,
    }
}

fn describe(error: RequestError) -> Failure {
    match error {
        RequestError::Timeout => Failure::timeout(),
        RequestError::Unreachable(_) => Failure::unreachable(),
        RequestError::Broken(_) => {
            Failure::new(FailureKind::Other, "the connection to the controller broke")
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::RETRY_AFTER;
    use postbell_core::{SystemClock, Tracer};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(0);

    #[test]
    fn a_controller_is_where_its_pushes_go() {
        let machine = machine("https://{app}.fly.dev").unwrap();
        let base = Url::parse("http://bot.example.com/b/").unwrap();
        let url = machine.controller(&MachineLocation::Url(base)).unwrap();
        assert_eq!(url.as_str(), "http://bot.example.com/b");
        assert!(machine.controller(&MachineLocation::Unknown).is_err());
    }

    fn machine(template: &str) -> Result<HttpMachine, InvalidTemplate> {
        let clock = Arc::new(SystemClock::new());
        HttpMachine::new(
            HttpClient::from_env(),
            template,
            Duration::from_secs(1),
            Vec::new(),
            clock,
        )
    }

    #[test]
    fn the_template_is_filled_in() {
        let machine = machine("https://{machine}.vm.{app}.internal:8080/").unwrap();
        let url = machine.url("bot-7", "d891").unwrap();
        assert_eq!(
            url.as_str(),
            "https://d891.vm.bot-7.internal:8080/_kilo/gmail-pubsub"
        );
    }

    #[test]
    fn a_template_that_makes_no_base_url_is_refused() {
        for template in [
            "",
            "{app}.fly.dev",
            "ftp://{app}",
            "https://x/y",
            "https://x?",
            "https://",
        ] {
            assert_eq!(
                machine(template).err(),
                Some(InvalidTemplate),
                "{template:?}"
            );
        }
    }

    #[test]
    fn each_status_is_classified_as_in_the_protocol() {
        let outcome_of = |status: u16| {
            classify(
                StatusCode::from_u16(status).unwrap(),
                &HeaderMap::new(),
                NOW,
            )
        };
        for status in [200, 202, 204] {
            assert_eq!(outcome_of(status), Delivery::Accepted);
        }
        for status in [400, 422] {
            assert_eq!(outcome_of(status), Delivery::Refused { status });
        }
        for status in [301, 401, 403, 404, 429, 500, 502, 503] {
            assert!(
                matches!(outcome_of(status), Delivery::Failed { .. }),
                "{status}"
            );
        }
    }

    #[test]
    fn retry_after_is_honoured_within_reason() {
        let rest_of = |value: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            let Delivery::Failed { retry_after, .. } =
                classify(StatusCode::SERVICE_UNAVAILABLE, &headers, NOW)
            else {
                panic!("expected a failure");
            };
            retry_after
        };
        assert_eq!(rest_of("120"), Some(Duration::from_secs(120)));
        assert_eq!(rest_of("99999999"), Some(MAX_RETRY_AFTER));
        let date = rest_of("Thu, 01 Jan 1970 00:02:00 GMT");
        assert_eq!(date, Some(Duration::from_secs(120)), "as a date");
        assert_eq!(rest_of("-1"), None);
    }

    #[test]
    fn deliveries_go_only_to_allowed_hosts() {
        let allowed =
            ["*.fly.dev", "Bot.example.com", "127.0.0.1"].map(|text| text.parse().unwrap());
        let machine = HttpMachine {
            hosts: allowed.to_vec(),
            ..machine("https://{app}").unwrap()
        };
        for (url, allowed) in [
            ("https://bot.fly.dev:444/x", true),
            ("https://d8.vm.fly.dev", true),
            ("https://fly.dev", false),
            ("https://.fly.dev", false),
            ("https://evilfly.dev", false),
            ("https://fly.dev.evil.com", false),
            ("https://bot.fly.dev@evil.com", false),
            ("https://BOT.example.com", true),
            ("https://a.bot.example.com", false),
            ("http://127.0.0.1:1", true),
            ("http://127.0.0.2", false),
        ] {
            assert_eq!(
                machine.is_allowed(&Url::parse(url).unwrap()),
                allowed,
                "{url}"
            );
        }
    }

    #[tokio::test]
    async fn a_name_that_could_change_the_host_is_never_filled_in() {
        let machine = machine("https://{app}.fly.dev").unwrap();
        for app in [
            "",
            "evil.com/",
            "evil.com#",
            "a@evil.com:80",
            "a.b",
            "ü",
            &"a".repeat(64),
        ] {
            let instance = Instance {
                sandbox_id: String::new(),
                status: postbell_core::InstanceStatus::Running,
                location: MachineLocation::Managed(ManagedMachine {
                    app: app.to_owned(),
                    machine: "d891".to_owned(),
                }),
                google_connected: true,
                email: None,
                notifications_enabled: true,
                problem: None,
            };
            let trace = Tracer::new(|| 1)
                .begin("push", None, Duration::ZERO)
                .context;
            let token = "t".into();
            let delivery = machine
                .deliver(&instance, &token, Bytes::new(), trace)
                .await;
            assert!(
                matches!(&delivery, Delivery::Failed { failure, .. } if failure.detail.contains("host name")),
                "{app}: {delivery:?}"
            );
        }
    }

    #[test]
    fn a_machine_at_a_url_of_its_own_needs_no_template_but_an_allowed_host() {
        let machine = HttpMachine {
            hosts: vec!["bot.example.com".parse().unwrap()],
            ..machine("https://{app}.fly.dev").unwrap()
        };
        let address = |url: &str| machine.address(&MachineLocation::Url(Url::parse(url).unwrap()));
        for url in ["https://bot.example.com", "https://bot.example.com/"] {
            let address = address(url).unwrap();
            assert_eq!(
                address.as_str(),
                "https://bot.example.com/_kilo/gmail-pubsub"
            );
        }
        assert_eq!(
            address("http://bot.example.com/b/").unwrap().path(),
            "/b/_kilo/gmail-pubsub"
        );
        for url in ["https://evil.example.com", "ftp://bot.example.com"] {
            assert!(address(url).is_err(), "{url}");
        }
        assert!(machine.address(&MachineLocation::Unknown).is_err());
    }
}

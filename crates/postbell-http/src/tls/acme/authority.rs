//! Orders at an authority.

use std::error::Error as StdError;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use http_body_util::{BodyExt, Limited};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse,
    CertificateIdentifier, ChallengeType, Error, HttpClient, Identifier, NewAccount, NewOrder,
    Order, OrderStatus, RetryPolicy,
};
use postbell_core::Timestamp;
use reqwest::{Certificate as RootCertificate, Client};
use tokio::time::timeout;

use super::AcmeSettings;
use super::store::AcmeStore;
use crate::client::client_with_roots;
use crate::tls::certificate::{Certificate, CertificateProblem};

/// How long an order may take: the authority validates each name from several places.
const ORDER_TIMEOUT: Duration = Duration::from_secs(300);

/// How long the authority may take to validate the names, and to sign.
const POLLING: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));

/// How often an order begins anew at once, for failures that are not about the order.
const FRESH_STARTS: usize = 3;

/// The largest answer: a chain has some kilobytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// The longest part of an authority's explanation that is shown.
const MAX_DETAIL: usize = 500;

const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Refusals of an order that have nothing to do with the certificate that it replaces (RFC 8555,
/// section 6.7).
const NOT_ABOUT_REPLACED: [&str; 7] = [
    BAD_NONCE,
    NO_ACCOUNT,
    "urn:ietf:params:acme:error:rateLimited",
    "urn:ietf:params:acme:error:rejectedIdentifier",
    "urn:ietf:params:acme:error:serverInternal",
    "urn:ietf:params:acme:error:unsupportedIdentifier",
    "urn:ietf:params:acme:error:userActionRequired",
];

/// An authority, and the client of its API.
pub(super) struct Authority {
    directory: String,
    email: Option<String>,
    client: Client,
}

/// The authority's API over this crate's client: without redirects, bounded in time and size.
struct Http(Client);

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            let request = Request::from_parts(head, body).try_into();
            let request = request.map_err(|error: reqwest::Error| Error::Other(error.into()))?;
            let response = client.execute(request).await;
            let response = response.map_err(|error| Error::Other(error.without_url().into()))?;
            let response: axum::http::Response<reqwest::Body> = response.into();
            Ok(response.map(|body| Limited::new(body, MAX_ANSWER)).into())
        })
    }
}

impl Authority {
    pub(super) fn new(settings: &AcmeSettings) -> Result<Self, CertificateProblem> {
        let mut roots = Vec::new();
        if let Some(file) = &settings.root {
            let shown = file.display();
            let pem = std::fs::read(file).map_err(|error| {
                CertificateProblem::new(format_args!("cannot read {shown}: {error}"))
            })?;
            roots = RootCertificate::from_pem_bundle(&pem)
                .ok()
                .filter(|roots| !roots.is_empty())
                .ok_or_else(|| {
                    CertificateProblem::new(format_args!("expected certificates in PEM in {shown}"))
                })?;
        }
        Ok(Self {
            directory: settings.directory.clone(),
            email: settings.email.clone(),
            client: client_with_roots(&roots).map_err(|error| describe(&error))?,
        })
    }

    /// Orders a certificate for the names, and returns its key, the certificate and its chain in PEM.
    pub(super) async fn order(
        &self,
        names: &[String],
        replaced: Option<&Certificate>,
        store: &AcmeStore,
    ) -> Result<String, CertificateProblem> {
        let ordering = async {
            let mut failed = None;
            for _ in 0..FRESH_STARTS {
                match self.try_order(names, replaced, store).await {
                    Ok(pem) => return Ok(pem),
                    Err(OrderError::Authority(Error::Api(problem)))
                        if problem.r#type.as_deref() == Some(BAD_NONCE) =>
                    {
                        failed = Some(describe(&problem));
                    }
                    Err(OrderError::Authority(Error::Api(problem)))
                        if problem.r#type.as_deref() == Some(NO_ACCOUNT) =>
                    {
                        store.blocking(AcmeStore::forget_account).await;
                        failed = Some(describe(&problem));
                    }
                    Err(OrderError::Authority(error)) => return Err(describe(&error)),
                    Err(OrderError::Here(problem)) => return Err(problem),
                }
            }
            Err(failed.unwrap_or_else(|| CertificateProblem::new("no order was made")))
        };
        let ordered = timeout(ORDER_TIMEOUT, ordering).await;
        ordered.unwrap_or_else(|_| {
            let problem = "the authority did not finish the order within five minutes";
            Err(CertificateProblem::new(problem))
        })
    }

    async fn try_order(
        &self,
        names: &[String],
        replaced: Option<&Certificate>,
        store: &AcmeStore,
    ) -> Result<String, OrderError> {
        let account = self.account(store).await?;
        let names: Vec<_> = names.iter().cloned().map(Identifier::Dns).collect();
        let mut order = new_order(&account, &names, replaced).await?;
        prove(&mut order, &names, store).await?;
        match order.poll_ready(&POLLING).await {
            Ok(OrderStatus::Ready | OrderStatus::Valid) => (),
            Ok(_) => {
                let refused = "the authority does not say why".into();
                return Err(refusals(&mut order).await.unwrap_or(refused).into());
            }
            Err(error) => {
                return Err(match refusals(&mut order).await {
                    Some(refused) => refused.into(),
                    None => error.into(),
                });
            }
        }
        let key = order.finalize().await?;
        let chain = order.poll_certificate(&POLLING).await?;
        Ok(format!("{key}{chain}"))
    }

    async fn account(&self, store: &AcmeStore) -> Result<Account, OrderError> {
        let builder = Account::builder_with_http(Box::new(Http(self.client.clone())));
        if let Some(account) = store.blocking(AcmeStore::account).await? {
            return Ok(builder.from_credentials(account).await?);
        }
        let contact: Vec<_> = self
            .email
            .iter()
            .map(|email| format!("mailto:{email}"))
            .collect();
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let created = builder.create(&new, self.directory.clone(), None).await;
        let (account, credentials) = created?;
        let saved = store.blocking(move |store| store.save_account(&credentials));
        saved.await?;
        Ok(account)
    }

    /// Returns begin and end of the time in which the authority wants the certificate to be renewed, and
    /// when to ask again. `None` if it does not say.
    pub(super) async fn renewal_window(
        &self,
        account: AccountCredentials,
        certificate: &Certificate,
    ) -> Option<([Timestamp; 2], Duration)> {
        let builder = Account::builder_with_http(Box::new(Http(self.client.clone())));
        let id = CertificateIdentifier::try_from(certificate.key.end_entity_cert().ok()?).ok()?;
        let asking = async {
            let account = builder.from_credentials(account).await.ok()?;
            account.renewal_info(&id).await.ok()
        };
        let (info, again) = timeout(ORDER_TIMEOUT, asking).await.ok()??;
        let window = info.suggested_window;
        let window = [window.start, window.end]
            .map(|time| Timestamp::from_millis(time.unix_timestamp().saturating_mul(1000)));
        Some((window, again))
    }
}

/// Places the order. An authority may count the renewal of its own certificate less than a new one
/// (RFC 9773, section 5), but refuse to see one renewed twice.
async fn new_order(
    account: &Account,
    names: &[Identifier],
    replaced: Option<&Certificate>,
) -> Result<Order, Error> {
    let id = replaced.and_then(|it| it.key.end_entity_cert().ok());
    let id = id.and_then(|it| CertificateIdentifier::try_from(it).ok());
    if let Some(id) = id {
        let renewal = NewOrder::new(names).replaces(id);
        match account.new_order(&renewal).await {
            Err(error) if is_about_replaced(&error) => (),
            ordered => return ordered,
        }
    }
    account.new_order(&NewOrder::new(names)).await
}

/// Whether the same order may succeed if it does not name the certificate that it replaces. That one may
/// have been replaced already, or be of another account, and an authority may ignore it.
fn is_about_replaced(error: &Error) -> bool {
    match error {
        Error::Api(problem) => {
            let kind = problem.r#type.as_deref();
            kind.is_some_and(|kind| !NOT_ABOUT_REPLACED.contains(&kind))
        }
        // The library's own complaint about an answer, not a failed request.
        Error::Other(error) => !error.is::<reqwest::Error>(),
        _ => false,
    }
}

/// Returns the name that an authority asks for. It becomes the name of a file, so that only those of the
/// order are accepted.
fn ordered_name<'a>(
    names: &'a [Identifier],
    asked: &Identifier,
) -> Result<&'a str, CertificateProblem> {
    match names.iter().find(|name| *name == asked) {
        Some(Identifier::Dns(name)) => Ok(name),
        _ => Err(CertificateProblem::new(
            "the authority asks for another name",
        )),
    }
}

/// Answers the challenge of each name.
async fn prove(
    order: &mut Order,
    names: &[Identifier],
    store: &AcmeStore,
) -> Result<(), OrderError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let mut challenge = authorization
            .challenge(ChallengeType::TlsAlpn01)
            .ok_or_else(|| {
                CertificateProblem::new("the authority does not validate by tls-alpn-01")
            })?;
        let name = ordered_name(names, challenge.identifier().identifier)?.to_owned();
        let digest = challenge.key_authorization().digest().as_ref().to_vec();
        let saved = store.blocking(move |store| store.save_challenge(&name, &digest));
        saved.await?;
        challenge.set_ready().await?;
    }
    Ok(())
}

/// Why the authority did not validate the names, if it says so.
async fn refusals(order: &mut Order) -> Option<String> {
    let mut refusals = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let name = state.identifier().to_string();
        let problems = state.challenges.iter().filter_map(|it| it.error.as_ref());
        refusals.extend(problems.map(|problem| format!("{name}: {}", describe(problem))));
    }
    (!refusals.is_empty()).then(|| refusals.join("; "))
}

/// Why an order failed: at the authority, or here.
enum OrderError {
    Authority(Error),
    Here(CertificateProblem),
}

impl From<Error> for OrderError {
    fn from(error: Error) -> Self {
        Self::Authority(error)
    }
}

impl From<CertificateProblem> for OrderError {
    fn from(problem: CertificateProblem) -> Self {
        Self::Here(problem)
    }
}

impl From<String> for OrderError {
    fn from(problem: String) -> Self {
        Self::Here(CertificateProblem::new(problem))
    }
}

/// Returns an error with its causes, printable and of a bounded length: parts of it come from outside.
fn describe(error: &(dyn StdError + 'static)) -> CertificateProblem {
    let causes =
        std::iter::successors(Some(error), |it: &&(dyn StdError + 'static)| (*it).source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    let text = causes.join(": ");
    let text = text.chars().filter(|it| !it.is_control()).take(MAX_DETAIL);
    CertificateProblem::new(text.collect::<String>())
}

#[cfg(test)]
mod tests {
    use instant_acme::Problem;

    use super::*;

    #[test]
    fn an_authority_that_asks_for_a_name_that_was_not_ordered_is_refused() {
        let dns = |name: &str| Identifier::Dns(name.to_owned());
        let names = [dns("push.example.com"), dns("api.example.com")];
        let asked = ordered_name(&names, &dns("api.example.com"));
        assert_eq!(asked.unwrap(), "api.example.com");
        for other in ["../../x", "/etc/x", "other.example.com", ""] {
            let problem = ordered_name(&names, &dns(other)).unwrap_err();
            assert_eq!(problem.to_string(), "the authority asks for another name");
        }
        let address = Identifier::Ip([127, 0, 0, 1].into());
        assert!(ordered_name(&names, &address).is_err());
    }

    #[tokio::test]
    async fn a_renewal_is_ordered_again_only_if_the_replaced_certificate_may_be_the_reason() {
        let refused = |kind: Option<&str>| {
            let kind = kind.map(|kind| format!("urn:ietf:params:acme:error:{kind}"));
            is_about_replaced(&Error::Api(Problem {
                r#type: kind,
                detail: None,
                status: Some(400),
                subproblems: Vec::new(),
            }))
        };
        for kind in ["alreadyReplaced", "malformed", "unauthorized"] {
            assert!(refused(Some(kind)), "{kind}");
        }
        for kind in ["rateLimited", "badNonce", "serverInternal"] {
            assert!(!refused(Some(kind)), "{kind}");
        }
        assert!(!refused(None));
        assert!(is_about_replaced(&Error::Other("ignored".into())));
        assert!(!is_about_replaced(&Error::Timeout(None)));
        let request = Client::new().get("http://127.0.0.1:1").send();
        let unreachable = request.await.unwrap_err();
        assert!(!is_about_replaced(&Error::Other(unreachable.into())));
    }
}

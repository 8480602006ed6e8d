//! Certificates from an authority by ACME (RFC 8555). The authority connects to this server to see
//! that the names lead to it (TLS-ALPN-01, RFC 8737).

mod authority;
mod challenges;
mod store;

use std::path::PathBuf;
use std::time::Duration;

use postbell_core::{Backoff, Clock, Timestamp};
use tokio::time::sleep;
use tracing::{info, warn};

use self::authority::Authority;
pub(super) use self::challenges::Challenges;
use self::store::{AcmeStore, Failure};
use super::CertificateState;
use super::certificate::{Certificate, CertificateProblem};

/// How often the store is compared with what was read: another process may use the same.
const POLL: Duration = Duration::from_secs(10);

/// The wait after failed orders. Let's Encrypt permits five failed validations of a name in an hour
/// (<https://letsencrypt.org/docs/rate-limits/>).
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(6 * 3600));

/// The shortest time between two orders at the request of the authority.
const SPACING: Duration = Duration::from_secs(3600);

/// How often the authority is asked when to renew, at least and at most.
const ASK_AFTER: [Duration; 2] = [Duration::from_secs(3600), Duration::from_secs(86_400)];

/// How to get certificates by ACME. The operator has agreed to the authority's terms of service.
#[derive(Clone, Debug)]
pub struct AcmeSettings {
    /// The names that the certificate is for, in lower case.
    pub names: Vec<String>,
    /// URL of the authority's directory.
    pub directory: String,
    /// Where the authority may reach the operator.
    pub email: Option<String>,
    /// File in PEM with the root certificate of the authority's own server, if systems do not know it.
    pub root: Option<PathBuf>,
    /// Folder for the account and the certificate.
    pub store: PathBuf,
    /// A random number from 0 to 1.
    pub random: fn() -> f64,
}

/// A certificate by ACME, which is renewed ahead.
pub(super) struct Acme {
    settings: AcmeSettings,
    store: AcmeStore,
    authority: Authority,
}

/// When the authority wants a certificate to be renewed.
struct Suggestion {
    /// The certificate's end tells it from others.
    of: Timestamp,
    at: Option<Timestamp>,
    ask_again_at: Timestamp,
}

impl Acme {
    /// Opens the folder. Sends no request.
    pub(super) fn open(settings: AcmeSettings) -> Result<Self, CertificateProblem> {
        let store = AcmeStore::open(&settings.store, &settings.directory)?;
        let authority = Authority::new(&settings)?;
        Ok(Self {
            settings,
            store,
            authority,
        })
    }

    /// What proves to the authority that the names lead to this server.
    pub(super) fn challenges(&self) -> Challenges {
        Challenges {
            names: self.settings.names.clone(),
            store: self.store.clone(),
        }
    }

    /// Orders a certificate when there is none or it is to be renewed, for ever.
    pub(super) async fn run(&self, state: &CertificateState, clock: &dyn Clock) {
        self.forget_failure_of_other_settings().await;
        let mut read = None;
        let mut suggestion = None;
        loop {
            let found = self.store.blocking(AcmeStore::version).await;
            if found != read {
                read = found;
                self.load_stored(state).await;
            }
            let certificate = state.certificate.load_full();
            self.ask_when_to_renew(certificate.as_deref(), &mut suggestion, clock)
                .await;
            let due = self.due(certificate.as_deref(), suggestion.as_ref());
            let wait = due - clock.now();
            if wait.is_zero() {
                self.order(state, certificate.as_deref(), suggestion.as_ref(), clock)
                    .await;
                // The stored certificate is read before anything else.
                if self.store.blocking(AcmeStore::version).await != read {
                    continue;
                }
            }
            sleep(if wait.is_zero() { POLL } else { wait.min(POLL) }).await;
        }
    }

    /// Lets the first order with other settings than those that failed begin at once. Only at the start:
    /// processes with different settings may use one store, and each of them is to back off.
    async fn forget_failure_of_other_settings(&self) {
        let AcmeSettings { names, email, .. } = self.settings.clone();
        let forgotten = self.store.blocking(move |store| {
            let failure = store.failure();
            if failure.is_some_and(|it| it.names != names || it.email != email) {
                store.forget_failure();
            }
        });
        forgotten.await;
    }

    /// Shows the certificate in the store.
    async fn load_stored(&self, state: &CertificateState) {
        let stored = self.store.blocking(|it| (it.certificate(), it.failure()));
        let (certificate, failure) = stored.await;
        match certificate {
            Ok(None) => (),
            Ok(Some(certificate)) => {
                info!(names = ?certificate.names, "Read the TLS certificate");
                state.replace(certificate);
            }
            Err(problem) => {
                warn!(%problem, "Cannot use the stored TLS certificate");
                state.failed(problem.to_string());
            }
        }
        if let Some(failure) = failure {
            state.problem.store(Some(failure.problem.into()));
        }
    }

    /// Returns when a certificate is to be ordered: at once if there is none for all names, else when a
    /// third of its lifetime is left, or earlier if the authority wants that.
    fn due(&self, certificate: Option<&Certificate>, suggestion: Option<&Suggestion>) -> Timestamp {
        let names = &self.settings.names;
        let certificate = certificate.filter(|it| names.iter().all(|name| it.is_for(name)));
        let Some(certificate) = certificate else {
            return Timestamp::default();
        };
        let lifetime = certificate.not_after - certificate.not_before;
        let ahead = certificate.not_before + lifetime * 2 / 3;
        let wanted = suggestion.and_then(|suggestion| suggestion.at);
        let wanted = wanted.map(|at| at.max(self.store.saved_at() + SPACING));
        wanted.map_or(ahead, |wanted| wanted.min(ahead))
    }

    /// Asks the authority when it wants the certificate to be renewed (RFC 9773): earlier than usual if
    /// it is going to revoke it. Without an answer, the lifetime decides.
    async fn ask_when_to_renew(
        &self,
        certificate: Option<&Certificate>,
        suggestion: &mut Option<Suggestion>,
        clock: &dyn Clock,
    ) {
        let now = clock.now();
        let Some(certificate) = certificate.filter(|it| now < it.not_after) else {
            return;
        };
        let of = certificate.not_after;
        if suggestion
            .as_ref()
            .is_some_and(|it| it.of == of && now < it.ask_again_at)
        {
            return;
        }
        let Ok(Some(account)) = self.store.blocking(AcmeStore::account).await else {
            return;
        };
        let asked = self.authority.renewal_window(account, certificate).await;
        let [soonest, latest] = ASK_AFTER;
        let (at, wait) = match asked {
            Some(([start, end], wait)) => {
                let within = (end - start).mul_f64((self.settings.random)());
                (Some(start + within), wait.clamp(soonest, latest))
            }
            None => (None, latest),
        };
        *suggestion = Some(Suggestion {
            of,
            at,
            ask_again_at: clock.now() + wait,
        });
    }

    /// Orders a certificate, unless another process does so, or the last attempt has just failed.
    async fn order(
        &self,
        state: &CertificateState,
        replaced: Option<&Certificate>,
        suggestion: Option<&Suggestion>,
        clock: &dyn Clock,
    ) {
        let stored = self.store.blocking(|it| (it.version(), it.failure()));
        let (before, failure) = stored.await;
        if failure
            .as_ref()
            .is_some_and(|it| clock.now() < it.next_attempt_at)
        {
            return;
        }
        let locked = self.store.blocking(move |store| {
            let lock = store.try_lock();
            // Another process may have ordered one until now.
            lock.map(|lock| lock.filter(|_| store.version() == before))
        });
        let lock = match locked.await {
            Ok(Some(lock)) => lock,
            Ok(None) => return,
            Err(problem) => return self.failed(state, failure, problem, clock).await,
        };
        let names = &self.settings.names;
        info!(?names, "Ordering a TLS certificate by ACME");
        let replaced = replaced.filter(|_| suggestion.is_some_and(|it| it.at.is_some()));
        let ordered = self.authority.order(names, replaced, &self.store).await;
        let stored = self.store.blocking(move |store| {
            store.remove_challenges();
            ordered.and_then(|pem| {
                let certificate = Certificate::from_pem(pem.as_bytes(), pem.as_bytes())?;
                store.save_certificate(&pem)?;
                store.forget_failure();
                Ok(certificate.not_after)
            })
        });
        match stored.await {
            Ok(not_after) => {
                let days = (not_after - clock.now()).as_secs() / 86_400;
                info!(?names, days, "Got a TLS certificate");
            }
            Err(problem) => self.failed(state, failure, problem, clock).await,
        }
        drop(lock);
    }

    async fn failed(
        &self,
        state: &CertificateState,
        before: Option<Failure>,
        problem: CertificateProblem,
        clock: &dyn Clock,
    ) {
        let attempts = before.map_or(0, |it| it.attempts).saturating_add(1);
        let wait = BACKOFF.wait_after(attempts);
        let next_attempt_at = clock.now() + wait;
        let seconds = wait.as_secs();
        let file = self.store.failure_file();
        warn!(
            %problem,
            attempts,
            "Could not get a TLS certificate; the next attempt is in {seconds} s, or when {} is removed",
            file.display()
        );
        state.failed(problem.to_string());
        let AcmeSettings { names, email, .. } = self.settings.clone();
        let failure = Failure {
            names,
            email,
            attempts,
            next_attempt_at,
            problem: problem.to_string(),
        };
        let saved = self.store.blocking(move |it| it.save_failure(&failure));
        if let Err(problem) = saved.await {
            warn!(%problem, "Could not record the failure");
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    const NAME: &str = "push.example.com";

    /// A certificate for a name, valid for 90 days from 2026-01-01.
    fn certificate(name: &str) -> Certificate {
        let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
        parameters.not_before = date_time_ymd(2026, 1, 1);
        parameters.not_after = date_time_ymd(2026, 4, 1);
        let key = KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        Certificate::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn a_certificate_is_renewed_at_a_third_of_its_lifetime_or_when_the_authority_wants_it() {
        let folder = tempfile::tempdir().unwrap();
        let acme = Acme::open(AcmeSettings {
            names: vec![NAME.to_owned()],
            directory: "https://acme.example.com/directory".to_owned(),
            email: None,
            root: None,
            store: folder.path().to_owned(),
            random: || 0.5,
        })
        .unwrap();
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let ours = certificate(NAME);
        let begin = ours.not_before;
        let suggested = |at: Timestamp| Suggestion {
            of: ours.not_after,
            at: Some(at),
            ask_again_at: at,
        };
        let due = |certificate: Option<&Certificate>, suggestion: Option<Suggestion>| {
            acme.due(certificate, suggestion.as_ref())
        };
        assert_eq!(due(None, None), Timestamp::default());
        assert_eq!(
            due(Some(&certificate("other.example.com")), None),
            Timestamp::default()
        );
        assert_eq!(due(Some(&ours), None), begin + days(60));
        let earlier = suggested(begin + days(10));
        assert_eq!(due(Some(&ours), Some(earlier)), begin + days(10));
        let later = suggested(begin + days(80));
        assert_eq!(due(Some(&ours), Some(later)), begin + days(60));
        let at_once = suggested(Timestamp::default());
        assert_eq!(
            due(Some(&ours), Some(at_once)),
            Timestamp::default() + SPACING
        );
    }
}

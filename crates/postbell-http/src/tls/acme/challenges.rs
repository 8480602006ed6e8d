//! The certificates by which an authority sees that a name leads to this server (RFC 8737, section 3).

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::sign::CertifiedKey;

use super::store::AcmeStore;

/// The open challenges. They are in the store, because the authority may reach another process than the
/// one that orders.
#[derive(Debug)]
pub(in crate::tls) struct Challenges {
    pub(super) names: Vec<String>,
    pub(super) store: AcmeStore,
}

impl Challenges {
    /// Returns the certificate that answers the challenge of a name, if there is one.
    pub(in crate::tls) async fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let name = self.names.iter().find(|it| it.eq_ignore_ascii_case(name))?;
        let name = name.clone();
        self.store.blocking(move |store| answer(store, name)).await
    }
}

fn answer(store: &AcmeStore, name: String) -> Option<Arc<CertifiedKey>> {
    let digest = store.challenge(&name)?;
    let mut parameters = CertificateParams::new([name]).ok()?;
    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let key = KeyPair::generate().ok()?;
    let certificate = parameters.self_signed(&key).ok()?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let key = default_provider().key_provider.load_private_key(key).ok()?;
    let chain = vec![certificate.der().clone()];
    // Not `from_der`, which refuses the critical extension of RFC 8737.
    Some(Arc::new(CertifiedKey::new(chain, key)))
}

#[cfg(test)]
mod tests {
    use postbell_core::SystemClock;
    use tokio::io::duplex;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::*;
    use crate::tls::{AcmeSettings, Tls, VALIDATION};

    #[tokio::test]
    async fn only_an_open_challenge_of_our_names_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let store = AcmeStore::open(folder.path(), "https://acme.example.com/directory").unwrap();
        let challenges = Challenges {
            names: vec!["push.example.com".to_owned()],
            store: store.clone(),
        };
        assert!(challenges.certificate("push.example.com").await.is_none());
        store.save_challenge("push.example.com", &[7; 32]).unwrap();
        let answer = challenges.certificate("PUSH.example.com").await.unwrap();
        assert!(
            answer.cert[0]
                .windows(34)
                .any(|it| it[..2] == [4, 32] && it[2..] == [7; 32])
        );
        assert!(challenges.certificate("../account.json").await.is_none());
        store.remove_challenges();
        assert!(challenges.certificate("push.example.com").await.is_none());
    }

    #[tokio::test]
    async fn an_authority_is_shown_the_answer_and_no_other_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let settings = AcmeSettings {
            names: vec!["push.example.com".to_owned()],
            directory: "https://acme.example.com/directory".to_owned(),
            email: None,
            root: None,
            store: folder.path().to_owned(),
            random: || 0.5,
        };
        let store = AcmeStore::open(folder.path(), &settings.directory).unwrap();
        let tls = Tls::with_acme(settings, Arc::new(SystemClock::new())).unwrap();
        let provider = Arc::new(default_provider());
        let client =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut client = client
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        client.alpn_protocols = vec![VALIDATION.to_vec()];
        let client = TlsConnector::from(Arc::new(client));
        let validate = async || {
            let (ours, theirs) = duplex(64 * 1024);
            let name = ServerName::try_from("push.example.com").unwrap();
            let (_, seen) = tokio::join!(tls.accept(theirs), client.connect(name, ours));
            seen.unwrap_err().to_string()
        };
        let refused = validate().await;
        assert!(refused.contains("fatal alert"), "{refused}");
        store.save_challenge("push.example.com", &[7; 32]).unwrap();
        // A client that is no authority does not trust it.
        let seen = validate().await;
        assert!(seen.contains("invalid peer certificate"), "{seen}");
    }
}

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
    pub(in crate::tls) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let name = self.names.iter().find(|it| it.eq_ignore_ascii_case(name))?;
        let digest = self.store.challenge(name)?;
        let mut parameters = CertificateParams::new([name.clone()]).ok()?;
        parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
        let key = KeyPair::generate().ok()?;
        let certificate = parameters.self_signed(&key).ok()?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let key = default_provider().key_provider.load_private_key(key).ok()?;
        let chain = vec![certificate.der().clone()];
        // Not `from_der`, which refuses the critical extension of RFC 8737.
        Some(Arc::new(CertifiedKey::new(chain, key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_open_challenge_of_our_names_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let store = AcmeStore::open(folder.path(), "https://acme.example.com/directory").unwrap();
        let challenges = Challenges {
            names: vec!["push.example.com".to_owned()],
            store: store.clone(),
        };
        assert!(challenges.certificate("push.example.com").is_none());
        store.save_challenge("push.example.com", &[7; 32]).unwrap();
        let answer = challenges.certificate("PUSH.example.com").unwrap();
        assert!(
            answer.cert[0]
                .windows(34)
                .any(|it| it[..2] == [4, 32] && it[2..] == [7; 32])
        );
        assert!(challenges.certificate("../account.json").is_none());
        store.remove_challenges();
        assert!(challenges.certificate("push.example.com").is_none());
    }
}

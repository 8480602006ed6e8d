//! Encrypted connections to a PostgreSQL server with the certificate of a private authority.

use std::path::PathBuf;

use postbell_store::{OpenError, Store};
use postbell_testkit::PostgresServer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

const NAME: &str = "db.example.com";

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server whose certificate has a name and the address of this machine.
struct Server {
    server: PostgresServer,
    authority: String,
    stranger: String,
    folder: TempDir,
}

impl Server {
    fn start() -> Self {
        let (authority, stranger) = (authority(), authority());
        let params = CertificateParams::new([NAME.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let mut server = PostgresServer::with_certificate(&certificate.pem(), &key.serialize_pem());
        server.start();
        server.execute("CREATE ROLE encrypted LOGIN SUPERUSER");
        Self {
            server,
            authority: authority.pem(),
            stranger: stranger.pem(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The certificate of an authority in a file.
    fn file(&self, name: &str, pem: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    }

    fn migrate(&self, host: &str, parameters: &str) -> Result<(), String> {
        let port = self.server.port();
        let url = format!("postgres://encrypted@{host}:{port}/postgres?{parameters}");
        match Store::migrate(&url) {
            Ok(_) => Ok(()),
            Err(OpenError::Unreachable(error)) => Err(chain(&*error)),
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        said = format!("{said}: {error}");
        source = error.source();
    }
    said
}

#[test]
fn a_server_is_used_only_with_a_certificate_of_the_authority_for_its_name() {
    let server = Server::start();
    let ours = server.file("ours.pem", &server.authority);
    let stranger = server.file("stranger.pem", &server.stranger);
    let both = server.file(
        "both.pem",
        &format!("{}{}", server.stranger, server.authority),
    );
    let by = |path: &PathBuf| format!("sslrootcert={}", path.display());
    for (host, parameters) in [
        ("127.0.0.1", format!("sslmode=verify-full&{}", by(&ours))),
        ("127.0.0.1", format!("sslmode=require&{}", by(&both))),
        // The address says where to connect, the name what the certificate must have.
        (NAME, format!("hostaddr=127.0.0.1&{}", by(&ours))),
    ] {
        let connected = server.migrate(host, &parameters);
        assert_eq!(connected, Ok(()), "{host} {parameters}");
    }
    for (host, parameters, reason) in [
        (
            "localhost",
            format!("sslmode=verify-full&{}", by(&ours)),
            "not valid for name",
        ),
        (
            "other.example.com",
            format!("hostaddr=127.0.0.1&{}", by(&ours)),
            "not valid for name",
        ),
        (
            "127.0.0.1",
            format!("sslmode=verify-full&{}", by(&stranger)),
            "invalid peer certificate",
        ),
        // It verifies as well, unlike that of libpq.
        (
            "127.0.0.1",
            format!("sslmode=require&{}", by(&stranger)),
            "invalid peer certificate",
        ),
        ("127.0.0.1", "sslmode=require".to_owned(), "UnknownIssuer"),
        // The default for a host that is not local.
        (NAME, "hostaddr=127.0.0.1".to_owned(), "UnknownIssuer"),
        ("127.0.0.1", "sslmode=disable".to_owned(), "(pg_hba.conf)"),
    ] {
        let said = server.migrate(host, &parameters).unwrap_err();
        assert!(said.contains(reason), "{host} {parameters}: {said}");
    }
}

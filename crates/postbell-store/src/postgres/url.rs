//! The URL of a database: that of libpq, with fewer choices and `prepare`.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, LoadBalanceHosts, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::failure::Failure;
use crate::OpenError;

/// How long connecting to one address may take, with encryption and sign-in, unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// After how long without an acknowledgement a connection is closed, unless the URL says otherwise.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// After how long an idle connection is tested, unless the URL says otherwise.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);

/// Parameters of libpq that are used as they are
/// (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS>).
const AS_IN_LIBPQ: [&str; 15] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "tcp_user_timeout",
    "user",
];

/// The servers of a database, and how to connect to them. Its debug output contains no password.
pub(crate) struct Target {
    /// With all servers.
    config: Config,
    /// Without a server.
    alone: Config,
    tls: Tls,
    /// Whether statements are prepared by name, which a pooler that changes the connection with each
    /// transaction may not support.
    pub(super) prepares: bool,
}

/// Whether connections are encrypted. An encrypted one always verifies the server's name and
/// certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Tls {
    None,
    SystemRoots,
    Roots(PathBuf),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.config.get_hosts();
        f.debug_struct("Target")
            .field("hosts", &hosts)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Returns whether a URL names a PostgreSQL database.
pub(crate) fn is_ours(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

impl Target {
    /// Parses a URL. Reads no file and connects to nothing.
    ///
    /// # Errors
    ///
    /// [`OpenError::InvalidUrl`], which does not contain the URL.
    pub(crate) fn parse(url: &str) -> Result<Self, OpenError> {
        // What follows the first one would be taken for a host, and shown.
        if url.matches('@').count() > 1 {
            return Err(invalid(AT));
        }
        let (base, query) = split(url);
        let mut kept = Vec::new();
        let (mut prepares, mut encrypted, mut roots) = (true, None, None);
        let mut attributes = TargetSessionAttrs::ReadWrite;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "prepare" => prepares = prepare(value)?,
                "sslmode" => encrypted = Some(is_encrypted(value)?),
                "sslrootcert" => roots = Some(decoded(value)?),
                "target_session_attrs" => attributes = session_attributes(value)?,
                _ if AS_IN_LIBPQ.contains(&key) => kept.push(pair),
                _ => return Err(invalid(PARAMETERS)),
            }
        }
        let url = format!("{base}?{}", kept.join("&"));
        // The parser's error can repeat a part of the password.
        let mut config: Config = url.parse().map_err(|_| {
            // Without them, it is right.
            let is_base_right = base.parse::<Config>().is_ok();
            invalid(if is_base_right { VALUES } else { FORM })
        })?;
        if !has_servers(&config) {
            return Err(invalid(FORM));
        }
        let mut alone = without_servers(base, &kept)?;
        let encrypted = encrypted.unwrap_or_else(|| !is_local(&config));
        let tls = match roots.as_deref() {
            None | Some("system") if encrypted => Tls::SystemRoots,
            Some(path) if encrypted => Tls::Roots(path.into()),
            None => Tls::None,
            Some(_) => return Err(invalid(ROOTS)),
        };
        for config in [&mut config, &mut alone] {
            config
                .ssl_mode(if encrypted {
                    SslMode::Require
                } else {
                    SslMode::Disable
                })
                .target_session_attrs(attributes);
            set_defaults(config, &kept);
        }
        Ok(Self {
            config,
            alone,
            tls,
            prepares,
        })
    }

    /// How long each step of connecting may take.
    pub(super) fn limit(&self) -> Duration {
        let given = self.config.get_connect_timeout();
        given.copied().unwrap_or(CONNECT_TIMEOUT)
    }

    /// The servers in the order in which they are tried.
    pub(super) fn servers(&self) -> Vec<Config> {
        let (hosts, addresses) = (self.config.get_hosts(), self.config.get_hostaddrs());
        let ports = self.config.get_ports();
        let server = |number: usize| {
            let mut server = self.alone.clone();
            match hosts.get(number) {
                Some(Host::Tcp(name)) => drop(server.host(name)),
                Some(Host::Unix(path)) => drop(server.host_path(path)),
                None => (),
            }
            if let Some(address) = addresses.get(number) {
                server.hostaddr(*address);
            }
            // One port may stand for all servers.
            if let Some(port) = ports.get(number).or(ports.first()) {
                server.port(*port);
            }
            server
        };
        self.balanced((0..hosts.len().max(addresses.len())).map(server).collect())
    }

    /// One of the servers by each of its addresses. Its name is still the one that its certificate must have.
    ///
    /// # Errors
    ///
    /// [`Failure::Connection`] if its name has no address.
    pub(super) async fn addresses(&self, server: &Config) -> Result<Vec<Config>, Failure> {
        let [Host::Tcp(name)] = server.get_hosts() else {
            return Ok(vec![server.clone()]);
        };
        if !server.get_hostaddrs().is_empty() {
            return Ok(vec![server.clone()]);
        }
        let found = tokio::net::lookup_host((&**name, 0)).await;
        let found = found.map_err(|error| Failure::Connection(error.into()))?;
        let by_address = |address: SocketAddr| {
            let mut server = server.clone();
            server.hostaddr(address.ip());
            server
        };
        Ok(self.balanced(found.map(by_address).collect()))
    }

    /// Begins anywhere, if the URL says so.
    fn balanced(&self, mut servers: Vec<Config>) -> Vec<Config> {
        if self.config.get_load_balance_hosts() == LoadBalanceHosts::Random && !servers.is_empty() {
            let random = RandomState::new().hash_one(()) % servers.len() as u64;
            servers.rotate_left(usize::try_from(random).unwrap_or(0));
        }
        servers
    }

    /// Returns the hosts and the database, for messages.
    pub(crate) fn shown(&self) -> String {
        let names = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let addresses = self.config.get_hostaddrs().iter().map(ToString::to_string);
        let ports = self.config.get_ports();
        let hosts = names.chain(addresses).enumerate().map(|(number, host)| {
            // One port may stand for all hosts.
            match ports.get(number).or(ports.first()) {
                Some(port) => format!("{host}:{port}"),
                None => host,
            }
        });
        let hosts: Vec<_> = hosts.collect();
        let database = self.config.get_dbname().unwrap_or_default();
        format!("postgres://{}/{database}", hosts.join(","))
    }

    /// Makes what encrypts the connections. Reads the certificates of authorities.
    ///
    /// # Errors
    ///
    /// [`OpenError::Certificates`].
    pub(super) fn encryption(&self) -> Result<MakeRustlsConnect, OpenError> {
        let mut roots = RootCertStore::empty();
        match &self.tls {
            Tls::None => (),
            Tls::SystemRoots => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
            }
            Tls::Roots(path) => {
                let read = CertificateDer::pem_file_iter(path);
                for certificate in read.map_err(certificates)? {
                    let certificate = certificate.map_err(certificates)?;
                    roots.add(certificate).map_err(certificates)?;
                }
            }
        }
        if roots.is_empty() && self.tls != Tls::None {
            return Err(certificates("there is none"));
        }
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(certificates)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(MakeRustlsConnect::new(config))
    }
}

const FORM: &str = "postgres://USER:PASSWORD@HOST[:PORT][,HOST[:PORT]]/DATABASE, with special characters \
                    percent-encoded";
const AT: &str = "one @ only, between password and host: write %40 for those in the password";
const PARAMETERS: &str = "no other parameters than sslmode, sslrootcert, target_session_attrs, prepare, \
                          application_name, channel_binding, connect_timeout, dbname, host, hostaddr, keepalives, \
                          keepalives_idle, keepalives_interval, load_balance_hosts, options, password, port, \
                          tcp_user_timeout and user";
const VALUES: &str = "numbers in connect_timeout, keepalives_idle, keepalives_interval (seconds), \
                      tcp_user_timeout and port, and addresses in hostaddr";
const SSL_MODE: &str = "sslmode=verify-full (or require, which verifies as well) or sslmode=disable: the other \
                        modes do not detect a wrong server, or send data unencrypted";
const ROOTS: &str = "sslrootcert only with sslmode=verify-full";
const ATTRIBUTES: &str = "target_session_attrs=read-write, primary or any";
const PREPARE: &str = "prepare=on or prepare=off";

fn invalid(expected: &'static str) -> OpenError {
    OpenError::InvalidUrl { expected }
}

fn certificates(error: impl Into<postbell_core::BoxError>) -> OpenError {
    OpenError::Certificates(error.into())
}

/// Splits a URL into what is before its parameters, and these.
fn split(url: &str) -> (&str, &str) {
    let after_credentials = url.find('@').unwrap_or(0);
    match url[after_credentials..].find('?') {
        None => (url, ""),
        Some(at) => {
            let (base, query) = url.split_at(after_credentials + at);
            (base, &query[1..])
        }
    }
}

/// Returns whether there is a server, and ports and addresses are as many as they must be.
fn has_servers(config: &Config) -> bool {
    let (hosts, addresses) = (config.get_hosts().len(), config.get_hostaddrs().len());
    let (servers, ports) = (hosts.max(addresses), config.get_ports().len());
    let is_each_named = hosts == addresses || hosts == 0 || addresses == 0;
    servers > 0 && is_each_named && (ports <= 1 || ports == servers)
}

/// Parses a URL as if it named no server.
fn without_servers(base: &str, parameters: &[&str]) -> Result<Config, OpenError> {
    let (scheme, rest) = base.split_once("://").ok_or_else(|| invalid(FORM))?;
    let hosts = rest.find('@').map_or(0, |at| at + 1);
    let (credentials, rest) = rest.split_at(hosts);
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    let is_kept = |pair: &&&str| {
        let key = pair.split('=').next().unwrap_or_default();
        !["host", "hostaddr", "port"].contains(&key)
    };
    let parameters: Vec<_> = parameters.iter().filter(is_kept).copied().collect();
    let url = format!("{scheme}://{credentials}{path}?{}", parameters.join("&"));
    url.parse().map_err(|_| invalid(FORM))
}

fn prepare(value: &str) -> Result<bool, OpenError> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(invalid(PREPARE)),
    }
}

fn is_encrypted(mode: &str) -> Result<bool, OpenError> {
    match mode {
        "verify-full" | "require" => Ok(true),
        "disable" => Ok(false),
        _ => Err(invalid(SSL_MODE)),
    }
}

/// With `any`, a server that is only read from may be a standby.
fn session_attributes(value: &str) -> Result<TargetSessionAttrs, OpenError> {
    match value {
        "read-write" | "primary" => Ok(TargetSessionAttrs::ReadWrite),
        "any" => Ok(TargetSessionAttrs::Any),
        _ => Err(invalid(ATTRIBUTES)),
    }
}

fn decoded(value: &str) -> Result<String, OpenError> {
    let decoded = percent_decode_str(value).decode_utf8();
    Ok(decoded.map_err(|_| invalid(FORM))?.into_owned())
}

/// Returns whether no host is on a network.
fn is_local(config: &Config) -> bool {
    let hosts = config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .parse()
                    .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
    });
    hosts && config.get_hostaddrs().iter().all(|ip| ip.is_loopback())
}

fn set_defaults(config: &mut Config, given: &[&str]) {
    let has = |key: &str| given.iter().any(|pair| pair.split('=').next() == Some(key));
    if !has("connect_timeout") {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if !has("tcp_user_timeout") {
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
    if !has("keepalives_idle") {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if !has("application_name") {
        config.application_name("postbell");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::parse(url).unwrap()
    }

    #[test]
    fn a_server_on_a_network_is_verified_unless_the_url_says_otherwise() {
        for (url, tls) in [
            ("postgres://u@localhost/db", Tls::None),
            ("postgres://u@127.0.0.1,[::1]/db", Tls::None),
            ("postgres://u@%2Frun%2Fpostgresql/db", Tls::None),
            ("postgres://u@db.example.com/db", Tls::SystemRoots),
            ("postgres://u@localhost,db.example.com/db", Tls::SystemRoots),
            ("postgres://u@10.0.0.1/db?sslmode=disable", Tls::None),
            (
                "postgres://u@localhost/db?sslmode=require",
                Tls::SystemRoots,
            ),
            (
                "postgres://u@h/db?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem",
                Tls::Roots("/etc/ca.pem".into()),
            ),
        ] {
            assert_eq!(target(url).tls, tls, "{url}");
        }
    }

    #[test]
    fn several_hosts_are_tried_and_one_that_can_be_written_is_chosen() {
        let target = target("postgresql://u:p@one:1,two:2/db?connect_timeout=2");
        assert_eq!(target.config.get_hosts().len(), 2);
        assert_eq!(target.config.get_ports(), [1, 2]);
        let attributes = target.config.get_target_session_attrs();
        assert_eq!(attributes, TargetSessionAttrs::ReadWrite);
        let timeout = target.config.get_connect_timeout();
        assert_eq!(timeout, Some(&Duration::from_secs(2)));
    }

    #[test]
    fn each_server_is_tried_with_all_that_the_url_says() {
        let several = target(
            "postgres://u:p@one:1,%2Frun%2Fpg,[::1]:3/db?connect_timeout=2&keepalives_idle=7&host=four&port=4",
        );
        let servers = several.servers();
        let expected = ["one", "%2Frun%2Fpg", "[::1]", "four"];
        assert_eq!(servers.len(), expected.len());
        for ((server, host), port) in servers.iter().zip(expected).zip([1, 5432, 3, 4]) {
            let url =
                format!("postgres://u:p@{host}:{port}/db?connect_timeout=2&keepalives_idle=7");
            let mut alone = target(&url).config;
            alone.ssl_mode(SslMode::Require);
            assert_eq!(*server, alone);
        }
        for (url, port) in [
            ("postgres:///db?hostaddr=::1,127.0.0.1&port=7", 7),
            ("postgres://one:7/db?load_balance_hosts=random", 7),
        ] {
            assert!(
                target(url)
                    .servers()
                    .iter()
                    .all(|it| it.get_ports() == [port])
            );
        }
    }

    #[test]
    fn statements_are_prepared_unless_the_url_says_otherwise() {
        assert!(target("postgres://u@h/db").prepares);
        assert!(!target("postgres://u@h/db?prepare=off").prepares);
    }

    #[test]
    fn a_wrong_url_is_refused_with_words_that_do_not_repeat_it() {
        for (wrong, expected) in [
            ("postgres://u:s3cret@h:port/db", FORM),
            ("postgres://u:p@s3cret@h/db", AT),
            ("postgres://u@h/db?password=p@s3cret", AT),
            ("postgres:///db", FORM),
            ("postgres://one,two/db?hostaddr=10.0.0.1", FORM),
            ("postgres://one/db?port=1", FORM),
            ("postgres://u:s3cret@h/db?connect_timeout=2s", VALUES),
            ("postgres://u:s3cret@h/db?sslmode=prefer", SSL_MODE),
            ("postgres://u:s3cret@h/db?sslmode=verify-ca", SSL_MODE),
            ("postgres://u:s3cret@h/db?sslkey=s3cret", PARAMETERS),
            ("postgres://u:s3cret@h/db?prepare=s3cret", PREPARE),
            ("postgres://u@h/db?target_session_attrs=standby", ATTRIBUTES),
            ("postgres://u@h/db?sslmode=disable&sslrootcert=x", ROOTS),
        ] {
            let error = Target::parse(wrong).unwrap_err();
            let OpenError::InvalidUrl { expected: said } = &error else {
                panic!("{wrong}: {error:?}");
            };
            assert_eq!(*said, expected, "{wrong}");
            assert!(!format!("{error} {error:?}").contains("s3cret"));
        }
    }

    #[test]
    fn no_password_is_shown() {
        let shown = format!("{:?}", target("postgres://ann:s3cret@h/db"));
        assert!(!shown.contains("s3cret"), "{shown}");
        for (url, shown) in [
            (
                "postgres://ann:s3cret@h/db?password=s3cret",
                "postgres://h:5432/db",
            ),
            ("postgres://u@one:1,two:2/db", "postgres://one:1,two:2/db"),
            (
                "postgres://u@%2Frun%2Fpg:5433/db",
                "postgres:///run/pg:5433/db",
            ),
        ] {
            assert_eq!(target(url).shown(), shown);
        }
    }
}

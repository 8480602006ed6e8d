//! Alerts by mail.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message as Mail, Tokio1Executor};
use postbell_core::{AlertId, EmailAddress, Timestamp};
use postbell_http::is_public;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::lookup_host;
use url::{Host, Url};

use crate::message::Message;
use crate::target::{InvalidTarget, decoded};
use crate::{Reach, SendError};

/// The ports of RFC 8314: TLS from the start, and STARTTLS.
pub(crate) const PORT_TLS: u16 = 465;
const PORT_STARTTLS: u16 = 587;

/// How long one reply of the server may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How many recipients a target has at most.
const MOST_RECIPIENTS: usize = 10;

/// How many addresses of a host are tried.
const MOST_ADDRESSES: usize = 2;

const EXPECTED: InvalidTarget = InvalidTarget {
    expected: "a mail server: smtps://USER:PASSWORD@HOST?from=ADDRESS&to=ADDRESS, or smtp:// for STARTTLS; \
               tls=none is possible with smtp and without a password",
};
const SERVER: InvalidTarget = InvalidTarget {
    expected: "a mail server: smtps://USER:PASSWORD@HOST?from=ADDRESS, or smtp:// for STARTTLS; tls=none is possible \
               with smtp and without a password",
};
const MAILTO: InvalidTarget = InvalidTarget {
    expected: "mailto: and one mail address",
};

/// A mail server, the log-in there, and the sender. Its text is a URL without recipients, and a secret.
#[derive(Clone)]
pub struct MailServer {
    host: String,
    port: u16,
    encryption: Encryption,
    login: Option<(String, SecretString)>,
    from: Mailbox,
}

/// Who gets mails, and by which server.
#[derive(Clone)]
pub(crate) struct MailTarget {
    /// `None` for an address alone: the server is that of the client.
    server: Option<MailServer>,
    to: Vec<Mailbox>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Encryption {
    FromTheStart,
    StartTls,
    None,
}

impl FromStr for MailServer {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(SERVER)?;
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(&*scheme, "smtp" | "smtps") {
            return Err(SERVER);
        }
        match Self::parse(&scheme, rest) {
            Ok((server, to)) if to.is_empty() => Ok(server),
            _ => Err(SERVER),
        }
    }
}

impl MailServer {
    /// Returns the server and the recipients that the URL names.
    fn parse(scheme: &str, rest: &str) -> Result<(Self, Vec<Mailbox>), InvalidTarget> {
        // Parsed as https, for which hosts are normalized; the port is given so that 443 stays.
        let url = Url::parse(&format!("https://{rest}")).map_err(|_| EXPECTED)?;
        let is_tls = scheme == "smtps";
        let mut encryption = if is_tls {
            Encryption::FromTheStart
        } else {
            Encryption::StartTls
        };
        let (mut from, mut to) = (None, Vec::new());
        for (key, value) in url.query_pairs() {
            match &*key {
                "from" => from = Some(mailbox(&value)?),
                "to" => {
                    for one in value.split(',') {
                        to.push(mailbox(one.trim())?);
                    }
                }
                "tls" if value == "none" && !is_tls => encryption = Encryption::None,
                _ => return Err(EXPECTED),
            }
        }
        let login = login(&url)?;
        let user = login.as_ref().map(|(user, _)| user);
        let from = from.map_or_else(|| mailbox(user.map_or("", |user| user)), Ok)?;
        let is_plain = matches!(url.path(), "" | "/") && url.fragment().is_none();
        let is_safe = encryption != Encryption::None || login.is_none();
        if !is_plain || !is_safe {
            return Err(EXPECTED);
        }
        let port = if is_tls { PORT_TLS } else { PORT_STARTTLS };
        let server = Self {
            host: url.host_str().ok_or(EXPECTED)?.to_owned(),
            port: url.port().unwrap_or(port),
            encryption,
            login,
            from,
        };
        Ok((server, to))
    }
}

impl MailTarget {
    /// Parses the URL of a mail server with its recipients.
    pub(crate) fn parse(scheme: &str, rest: &str) -> Result<Self, InvalidTarget> {
        let (server, to) = MailServer::parse(scheme, rest)?;
        if !(1..=MOST_RECIPIENTS).contains(&to.len()) {
            return Err(EXPECTED);
        }
        Ok(Self {
            server: Some(server),
            to,
        })
    }

    /// Parses what follows `mailto:`. One address only, so that a user's target sends one mail by the operator's server.
    pub(crate) fn address_alone(address: &str) -> Result<Self, InvalidTarget> {
        let address = decoded(address).ok_or(MAILTO)?;
        Ok(Self {
            server: None,
            to: vec![mailbox(&address).map_err(|_| MAILTO)?],
        })
    }

    /// Whether its own server is meant for a private network: mail without encryption, or an address that is not public.
    pub(crate) fn is_in_private_network(&self) -> bool {
        self.server.as_ref().is_some_and(|server| {
            let address = server.host.trim_matches(['[', ']']).parse::<IpAddr>();
            server.encryption == Encryption::None
                || address.is_ok_and(|address| !is_public(address))
        })
    }

    /// Whether the client's mail server would send to public domains only.
    pub(crate) fn is_to_public_domains(&self) -> bool {
        let mut to = self.to.iter();
        self.server.is_some() || to.all(|to| is_public_domain(to.email.domain()))
    }

    /// Whether it has no server of its own.
    pub(crate) const fn is_address_alone(&self) -> bool {
        self.server.is_none()
    }

    /// The recipients, masked.
    pub(crate) fn shown(&self) -> String {
        let first = self.to[0].email.to_string().parse::<EmailAddress>();
        let first = first.map_or_else(|_| "…".to_owned(), |it| it.masked().to_string());
        match self.to.len() {
            1 => first,
            more => format!("{first} and {} more", more - 1),
        }
    }

    /// Sends a mail, for an address alone by `own`, which may be anywhere. A repeat has the same `Message-ID`, by which
    /// mailboxes recognize it.
    pub(crate) async fn send(
        &self,
        own: Option<&MailServer>,
        message: &Message,
        id: &AlertId,
        now: Timestamp,
        reach: Reach,
    ) -> Result<(), SendError> {
        let (server, reach) = match &self.server {
            Some(server) => (server, reach),
            None => (own.ok_or(SendError::NoMailServer)?, Reach::Anywhere),
        };
        let mail = server.mail(&self.to, message, id, now)?;
        server.send(mail, reach).await
    }
}

impl MailServer {
    async fn send(&self, mail: Mail, reach: Reach) -> Result<(), SendError> {
        let mut failure = SendError::failed("the mail server's name cannot be resolved");
        for address in self.addresses(reach).await? {
            match self.transport(address)?.send(mail.clone()).await {
                Ok(_) => return Ok(()),
                Err(error) => {
                    let is_answer = error.status().is_some();
                    failure = describe(&error);
                    if is_answer {
                        break;
                    }
                }
            }
        }
        Err(failure)
    }

    fn mail(
        &self,
        recipients: &[Mailbox],
        message: &Message,
        id: &AlertId,
        now: Timestamp,
    ) -> Result<Mail, SendError> {
        let since_epoch = now - Timestamp::default();
        let mut mail = Mail::builder()
            .from(self.from.clone())
            .date(SystemTime::UNIX_EPOCH + since_epoch)
            .message_id(Some(format!("<{id}@postbell.invalid>")))
            .subject(&message.title)
            .header(ContentType::TEXT_PLAIN);
        for to in recipients {
            mail = mail.to(to.clone());
        }
        mail.body(message.text.clone())
            .map_err(|_| SendError::failed("the mail cannot be written"))
    }

    /// Resolves the host here, so that the address that is checked is the one that is connected to.
    async fn addresses(&self, reach: Reach) -> Result<Vec<SocketAddr>, SendError> {
        let host = self.host.trim_matches(['[', ']']);
        let found = lookup_host((host, self.port)).await;
        let found =
            found.map_err(|_| SendError::failed("the mail server's name cannot be resolved"))?;
        let found = found.take(MOST_ADDRESSES).collect::<Vec<_>>();
        if reach == Reach::PublicOnly && !found.iter().all(|it| is_public(it.ip())) {
            return Err(SendError::NotPublic);
        }
        Ok(found)
    }

    fn transport(
        &self,
        address: SocketAddr,
    ) -> Result<AsyncSmtpTransport<Tokio1Executor>, SendError> {
        let host = self.host.trim_matches(['[', ']']).to_owned();
        let parameters = || {
            let parameters = TlsParameters::new(host.clone());
            parameters.map_err(|_| SendError::failed("TLS to the mail server cannot be set up"))
        };
        let tls = match self.encryption {
            Encryption::FromTheStart => Tls::Wrapper(parameters()?),
            Encryption::StartTls => Tls::Required(parameters()?),
            Encryption::None => Tls::None,
        };
        let server = address.ip().to_string();
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server)
            .port(address.port())
            .tls(tls)
            .timeout(Some(TIMEOUT));
        if let Some((user, password)) = &self.login {
            let password = password.expose_secret().to_owned();
            transport = transport.credentials(Credentials::new(user.clone(), password));
        }
        Ok(transport.build())
    }
}

/// Whether a text is one mail address.
pub(crate) fn is_address(text: &str) -> bool {
    mailbox(text).is_ok()
}

/// Reads an address, whose domain becomes what mail servers look up.
///
/// The crate takes every character of RFC 5322's atoms for one of a domain, `/` and `?` as well, and quoted names that it
/// cannot write.
fn mailbox(address: &str) -> Result<Mailbox, InvalidTarget> {
    let is_of_domain = |one: char| one.is_alphanumeric() || "-.:[]".contains(one);
    let (name, domain) = address.rsplit_once('@').ok_or(EXPECTED)?;
    if name.contains('"') || !domain.chars().all(is_of_domain) {
        return Err(EXPECTED);
    }
    let domain = looked_up(domain).ok_or(EXPECTED)?;
    let address = Address::new(name, domain).map_err(|_| EXPECTED)?;
    Ok(Mailbox::new(None, address))
}

/// The domain as it is looked up: in ASCII, with the characters that IDNA maps to others, such as wide ones, replaced
/// (UTS 46), and numbers of any form as an IP address.
fn looked_up(domain: &str) -> Option<String> {
    if domain.starts_with('[') {
        return Some(domain.to_owned());
    }
    Some(match Host::parse(domain).ok()? {
        Host::Domain(domain) => domain,
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => format!("[IPv6:{address}]"),
    })
}

/// Whether mail to a domain leaves the network of its server, by its name: it has one, and not a name for private networks
/// (<https://www.iana.org/assignments/special-use-domain-names>).
fn is_public_domain(domain: &str) -> bool {
    const PRIVATE: [&str; 13] = [
        "arpa",
        "corp",
        "home",
        "internal",
        "intranet",
        "invalid",
        "lan",
        "local",
        "localdomain",
        "localhost",
        "onion",
        "private",
        "test",
    ];
    let domain = domain.trim_end_matches('.').to_ascii_lowercase();
    let last = domain.rsplit_once('.').map(|(_, last)| last);
    let is_number = |last: &str| last.bytes().all(|byte| byte.is_ascii_digit());
    !domain.starts_with('[')
        && last.is_some_and(|last| !PRIVATE.contains(&last) && !is_number(last))
}

fn login(url: &Url) -> Result<Option<(String, SecretString)>, InvalidTarget> {
    let user = decoded(url.username()).ok_or(EXPECTED)?;
    match (user.is_empty(), url.password()) {
        (true, None) => Ok(None),
        (false, Some(password)) => {
            let password = decoded(password).ok_or(EXPECTED)?;
            Ok(Some((user, password.into())))
        }
        _ => Err(EXPECTED),
    }
}

/// The error in words, without what the server said.
fn describe(error: &SmtpError) -> SendError {
    let detail = match error.status() {
        Some(code) => format!("the mail server answered {code}"),
        None if error.is_tls() => {
            "the mail server offers no TLS, or its certificate is not trusted".to_owned()
        }
        None if error.is_timeout() => "the mail server did not answer in time".to_owned(),
        None => "the mail server cannot be reached, or does not speak SMTP as expected".to_owned(),
    };
    SendError::failed(detail)
}

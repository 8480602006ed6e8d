//! A mail target as the fields of a form.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use url::Host;

use crate::mail::{PORT_TLS, is_address};
use crate::{AlertTarget, InvalidTarget};

/// A mail server, its log-in and the addresses, as a person enters them.
#[derive(Clone, Copy)]
pub struct MailFields<'a> {
    /// The name or address of the mail server.
    pub host: &'a str,
    /// Its port: with 465, TLS begins at once; with others, by STARTTLS.
    pub port: &'a str,
    /// The user at the mail server.
    pub user: &'a str,
    /// The user's password there.
    pub password: &'a str,
    /// The sender's address.
    pub from: &'a str,
    /// The recipient's address.
    pub to: &'a str,
}

const HOST: InvalidTarget = InvalidTarget {
    expected: "the name of a mail server, such as smtp.example.com",
};
const PORT: InvalidTarget = InvalidTarget {
    expected: "a port from 1 to 65535, mostly 465 or 587",
};
const LOGIN: InvalidTarget = InvalidTarget {
    expected: "the user and the password at the mail server",
};
const ADDRESS: InvalidTarget = InvalidTarget {
    expected: "one mail address as the recipient and one as the sender, such as ann@example.com",
};

impl MailFields<'_> {
    /// Returns the target.
    ///
    /// # Errors
    ///
    /// [`InvalidTarget`] names the field at fault.
    pub fn target(&self) -> Result<AlertTarget, InvalidTarget> {
        let host = Host::parse(self.host.trim()).map_err(|_| HOST)?;
        let port: u16 = self.port.trim().parse().map_err(|_| PORT)?;
        if port == 0 {
            return Err(PORT);
        }
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let (user, password) = (self.user.trim(), self.password);
        if user.is_empty() || password.is_empty() {
            return Err(LOGIN);
        }
        let (from, to) = (self.from.trim(), self.to.trim());
        if !is_address(from) || !is_address(to) {
            return Err(ADDRESS);
        }
        let scheme = if port == PORT_TLS { "smtps" } else { "smtp" };
        let text = format!(
            "{scheme}://{}:{}@{host}:{port}?from={}&to={}",
            encoded(user),
            encoded(password),
            encoded(from),
            encoded(to)
        );
        text.parse().map_err(|_| ADDRESS)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const FIELDS: MailFields<'_> = MailFields {
        host: " smtp.example.com ",
        port: "465",
        user: "ann@example.com",
        password: "a:b/c@d?&#%é",
        from: "ann@example.com",
        to: "ops+bell@example.com",
    };

    #[test]
    fn fields_are_the_url_with_every_character_encoded() {
        let text = |fields: MailFields<'_>| {
            let target = fields.target().unwrap();
            target.text().expose_secret().to_owned()
        };
        assert_eq!(
            text(FIELDS),
            "smtps://ann%40example%2Ecom:a%3Ab%2Fc%40d%3F%26%23%25%C3%A9@smtp.example.com:465\
             ?from=ann%40example%2Ecom&to=ops%2Bbell%40example%2Ecom"
        );
        let starttls = text(MailFields {
            port: "587",
            ..FIELDS
        });
        assert!(starttls.starts_with("smtp://"), "{starttls}");
    }

    #[test]
    fn a_wrong_field_is_named() {
        let fields = FIELDS;
        for (fields, expected) in [
            (
                MailFields {
                    host: "a/b",
                    ..fields
                },
                HOST,
            ),
            (MailFields { host: "", ..fields }, HOST),
            (
                MailFields {
                    port: "0",
                    ..fields
                },
                PORT,
            ),
            (
                MailFields {
                    port: "x",
                    ..fields
                },
                PORT,
            ),
            (
                MailFields {
                    user: " ",
                    ..fields
                },
                LOGIN,
            ),
            (
                MailFields {
                    password: "",
                    ..fields
                },
                LOGIN,
            ),
            (
                MailFields {
                    from: "ann",
                    ..fields
                },
                ADDRESS,
            ),
            (
                MailFields {
                    to: "a@b.c,d@e.f",
                    ..fields
                },
                ADDRESS,
            ),
        ] {
            assert_eq!(fields.target().unwrap_err(), expected);
        }
    }
}

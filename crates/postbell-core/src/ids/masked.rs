//! Ids and addresses for logs.

use std::fmt;

/// An id or an address for a log. Of a mail address it shows only the first character and the domain.
#[derive(Clone, Copy)]
pub struct Masked<'a>(pub(super) &'a str);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.rsplit_once('@') {
            None => f.write_str(self.0),
            Some((local, domain)) => {
                let first = local.chars().next();
                write!(
                    f,
                    "{}…@{domain}",
                    first.map_or_else(String::new, String::from)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_cut_short_and_another_id_is_not() {
        for (id, shown) in [
            ("ann", "ann"),
            ("who@example.com", "w…@example.com"),
            ("oauth/google:a@b@example.com", "o…@example.com"),
            ("@x", "…@x"),
        ] {
            assert_eq!(Masked(id).to_string(), shown);
        }
    }
}

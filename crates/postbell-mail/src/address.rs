//! The mailboxes of an address field, for decisions about a sender.

use mail_parser::{Address, MessageParser};

/// A mailbox of an address field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FieldMailbox {
    /// The display name; empty if there is none.
    pub name: String,
    /// The address, as it is written.
    pub address: String,
    /// Whether it is a member of a group (RFC 5322, section 3.4), whose name a sender can choose freely.
    pub is_in_group: bool,
}

impl FieldMailbox {
    /// The domain of the address in lower case.
    #[must_use]
    pub fn domain(&self) -> Option<String> {
        let (_, domain) = self.address.rsplit_once('@')?;
        Some(domain.trim_end_matches('.').to_lowercase())
    }
}

/// The mailboxes of an address field, in order. A mailbox without an address has an empty one.
#[must_use]
pub fn mailboxes(field: &str) -> Vec<FieldMailbox> {
    let text = format!("From: {}\r\n\r\n", field.replace(['\r', '\n'], " "));
    let parsed = MessageParser::default().parse_headers(text.as_bytes());
    let mailbox = |one: &mail_parser::Addr<'_>, is_in_group| FieldMailbox {
        name: one.name().unwrap_or_default().to_owned(),
        address: one.address().unwrap_or_default().to_owned(),
        is_in_group,
    };
    match parsed.as_ref().and_then(|message| message.from()) {
        Some(Address::List(list)) => list.iter().map(|one| mailbox(one, false)).collect(),
        Some(Address::Group(groups)) => groups
            .iter()
            .flat_map(|group| {
                let is_in_group = group.name.is_some();
                group
                    .addresses
                    .iter()
                    .map(move |one| mailbox(one, is_in_group))
            })
            .collect(),
        None => Vec::new(),
    }
}

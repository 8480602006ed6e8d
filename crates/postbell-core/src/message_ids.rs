//! The ids of the messages that announced one history id.

use std::fmt;
use std::str::FromStr;

use crate::{InvalidId, MessageId};

/// How many ids are kept of the messages that announced one history id of a mailbox.
pub const MESSAGE_IDS_KEPT: usize = 16;

/// The ids of the last [`MESSAGE_IDS_KEPT`] messages that announced one history id, the latest last.
///
/// As text they are separated by spaces, which a message id cannot contain.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MessageIds(Vec<MessageId>);

impl MessageIds {
    /// Returns whether this message is one of them.
    #[must_use]
    pub fn contains(&self, id: &MessageId) -> bool {
        self.0.contains(id)
    }

    /// Adds the ids of further messages. The oldest ones are dropped.
    pub fn extend(&mut self, ids: impl IntoIterator<Item = MessageId>) {
        for id in ids {
            if !self.contains(&id) {
                self.0.push(id);
            }
        }
        let excess = self.0.len().saturating_sub(MESSAGE_IDS_KEPT);
        self.0.drain(..excess);
    }
}

impl From<MessageId> for MessageIds {
    fn from(id: MessageId) -> Self {
        Self(vec![id])
    }
}

impl IntoIterator for MessageIds {
    type Item = MessageId;
    type IntoIter = std::vec::IntoIter<MessageId>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for MessageIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, id) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { " " };
            write!(f, "{separator}{id}")?;
        }
        Ok(())
    }
}

impl FromStr for MessageIds {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let ids = text.split_ascii_whitespace().map(str::parse);
        ids.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> MessageId {
        format!("m{number}").parse().unwrap()
    }

    #[test]
    fn the_last_ids_are_kept_each_once_and_read_back() {
        let mut ids = MessageIds::from(id(0));
        ids.extend([id(0), id(1)]);
        assert_eq!(ids.to_string(), "m0 m1");
        ids.extend((2..=MESSAGE_IDS_KEPT).map(id));
        assert!(!ids.contains(&id(0)) && ids.contains(&id(1)));
        assert_eq!(ids.to_string().parse(), Ok(ids.clone()));
        assert_eq!(ids.into_iter().count(), MESSAGE_IDS_KEPT);
        assert_eq!("".parse(), Ok(MessageIds::default()));
    }
}

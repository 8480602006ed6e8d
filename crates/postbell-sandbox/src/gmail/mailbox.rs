//! One mailbox: its messages and history.

use std::collections::BTreeMap;

use super::Delivered;
use super::payload::Node;
use super::watch::Watch;
use crate::rng::Rng;

/// One mailbox.
#[derive(Debug)]
pub(super) struct Mailbox {
    pub(super) email: String,
    pub(super) history_id: u64,
    pub(super) history: Vec<Change>,
    /// History below this id has expired.
    pub(super) known_from: u64,
    /// In order of arrival.
    pub(super) messages: Vec<Stored>,
    /// By the project of the client that started it: there is one for a mailbox and project.
    pub(super) watches: BTreeMap<String, Watch>,
    /// Labels that the owner has made, as id and name.
    pub(super) labels: Vec<(String, String)>,
    /// Other addresses whose mail comes here.
    pub(super) aliases: Vec<String>,
    places: BTreeMap<String, usize>,
    made: u64,
}

/// A message in a mailbox.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) thread_id: String,
    pub(super) labels: Vec<String>,
    pub(super) raw: Vec<u8>,
    pub(super) node: Node,
    /// Time of arrival, in milliseconds since the Unix epoch.
    pub(super) internal_date: i64,
    pub(super) history_id: u64,
    pub(super) is_deleted: bool,
}

/// A change in the history.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) id: u64,
    pub(super) kind: ChangeKind,
    /// Index of the message in the mailbox.
    pub(super) message: usize,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum ChangeKind {
    MessageAdded,
    MessageDeleted,
    LabelsAdded(Vec<String>),
    LabelsRemoved(Vec<String>),
}

impl Stored {
    pub(super) fn of(raw: &[u8], labels: &[&str], internal_date: i64) -> Self {
        Self {
            id: String::new(),
            thread_id: String::new(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            raw: raw.to_vec(),
            node: Node::of(raw),
            internal_date,
            history_id: 0,
            is_deleted: false,
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .node
            .headers
            .iter()
            .find(|(named, _)| named.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl Mailbox {
    /// Creates a mailbox. Its history id is derived from `now`, in seconds since the Unix epoch, so that
    /// a state kept from an earlier sandbox is older.
    pub(super) fn new(email: String, now: i64, rng: &Rng) -> Self {
        let history_id = now.unsigned_abs() * 1_000 + rng.below(1_000);
        Self {
            email,
            history_id,
            history: Vec::new(),
            known_from: 0,
            messages: Vec::new(),
            watches: BTreeMap::new(),
            labels: Vec::new(),
            aliases: Vec::new(),
            places: BTreeMap::new(),
            made: 0,
        }
    }

    pub(super) fn add(&mut self, message: Stored, rng: &Rng) -> Delivered {
        self.made += 1;
        // Sixteen rising hex digits, as Gmail's ids.
        let id = format!(
            "{:016x}",
            0x0199_0000_0000_0000 + self.made * 0x1_0000 + rng.below(0xffff)
        );
        let thread_id = self.thread_of(&message).unwrap_or_else(|| id.clone());
        let place = self.messages.len();
        let history_id = self.change(ChangeKind::MessageAdded, place, rng);
        self.places.insert(id.clone(), place);
        self.messages.push(Stored {
            id: id.clone(),
            thread_id: thread_id.clone(),
            history_id,
            ..message
        });
        Delivered {
            message_id: id,
            thread_id,
            history_id,
        }
    }

    pub(super) fn delete(&mut self, id: &str, rng: &Rng) -> bool {
        let Some(place) = self.places.remove(id) else {
            return false;
        };
        self.messages[place].is_deleted = true;
        self.change(ChangeKind::MessageDeleted, place, rng);
        true
    }

    /// Changes a message's labels. Returns those that it had or has, or `None` if there is no such message.
    pub(super) fn relabel(
        &mut self,
        id: &str,
        add: &[&str],
        remove: &[&str],
        rng: &Rng,
    ) -> Option<Vec<String>> {
        let place = *self.places.get(id)?;
        let labels = &mut self.messages[place].labels;
        let mut touched = labels.clone();
        let is_removed =
            |label: &mut String| remove.contains(&label.as_str()) && !add.contains(&label.as_str());
        let removed: Vec<_> = labels.extract_if(.., is_removed).collect();
        let added = add.iter().map(|label| (*label).to_owned());
        let added: Vec<_> = added.filter(|label| !touched.contains(label)).collect();
        labels.extend(added.clone());
        touched.extend(added.clone());
        for (labels, kind) in [
            (added, ChangeKind::LabelsAdded as fn(_) -> _),
            (removed, ChangeKind::LabelsRemoved),
        ] {
            if !labels.is_empty() {
                self.messages[place].history_id = self.change(kind(labels), place, rng);
            }
        }
        Some(touched)
    }

    /// The ids of a thread's messages, in order of arrival.
    pub(super) fn thread(&self, id: &str) -> Vec<String> {
        let messages = self.messages.iter();
        let of_thread = messages.filter(|message| message.thread_id == id && !message.is_deleted);
        of_thread.map(|message| message.id.clone()).collect()
    }

    pub(super) fn message(&self, id: &str) -> Option<&Stored> {
        self.places
            .get(id)
            .and_then(|place| self.messages.get(*place))
    }

    pub(super) fn expire_history(&mut self) {
        self.known_from = self.history_id;
        self.history.clear();
    }

    /// History ids grow, "but are not contiguous with random gaps".
    fn change(&mut self, kind: ChangeKind, message: usize, rng: &Rng) -> u64 {
        self.history_id += 1 + rng.below(40);
        self.history.push(Change {
            id: self.history_id,
            kind,
            message,
        });
        self.history_id
    }

    /// The thread of the message that this one replies to.
    fn thread_of(&self, message: &Stored) -> Option<String> {
        let referred = ["In-Reply-To", "References"]
            .into_iter()
            .filter_map(|name| message.header(name));
        let ids: Vec<_> = referred.flat_map(str::split_whitespace).collect();
        if ids.is_empty() {
            return None;
        }
        let answered = self.messages.iter().rev().find(|earlier| {
            earlier
                .header("Message-ID")
                .is_some_and(|id| ids.contains(&id.trim()))
        });
        answered.map(|earlier| earlier.thread_id.clone())
    }
}

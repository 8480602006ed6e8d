//! A change of the mailbox.

use postbell_core::HistoryId;
use postbell_google::{HistoryRecord, HistoryType, MessageRef};

/// A message that was added or changed.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// The history id of the change.
    pub(crate) at: HistoryId,
    pub(crate) message: MessageRef,
    pub(crate) change: HistoryType,
}

impl Arrival {
    /// All changes in a history record.
    pub(crate) fn in_record(record: HistoryRecord) -> impl Iterator<Item = Self> {
        let changes = [
            (HistoryType::MessageAdded, record.messages_added),
            (HistoryType::LabelAdded, record.labels_added),
            (HistoryType::LabelRemoved, record.labels_removed),
            (HistoryType::MessageDeleted, record.messages_deleted),
        ];
        changes.into_iter().flat_map(move |(change, messages)| {
            messages.into_iter().map(move |changed| Self {
                at: record.id,
                message: changed.message,
                change,
            })
        })
    }

    /// Identifies the change. A message is added once, but may change often.
    pub(crate) fn key(&self) -> String {
        let id = &self.message.id;
        match self.change {
            HistoryType::MessageAdded => id.clone(),
            _ => format!("{id}@{}", self.at),
        }
    }

    /// The change of a message that failed before.
    pub(crate) fn again(id: &str, change: &str, at: HistoryId) -> Self {
        Self {
            at,
            message: MessageRef {
                id: id.to_owned(),
                label_ids: Vec::new(),
            },
            change: change.parse().unwrap_or(HistoryType::MessageAdded),
        }
    }

    /// The change as the state keeps it: empty for an added message.
    pub(crate) fn change_name(&self) -> &'static str {
        match self.change {
            HistoryType::MessageAdded => "",
            change => change.as_str(),
        }
    }

    pub(crate) fn is_deletion(&self) -> bool {
        self.change == HistoryType::MessageDeleted
    }
}

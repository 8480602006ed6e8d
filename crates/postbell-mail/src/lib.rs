//! What a mail says to a person: the letter, the header fields and the attachments of a Gmail message.
//!
//! An agent acts on this text, so it must be what a person would read: nothing that the sender hid, nothing of
//! another part, and nothing left out without a mark. The crate knows nothing of watchers, webhooks or servers, reads
//! no clock and does no I/O. Every input is written by a stranger: time and memory are bounded by its size.
//!
//! Start reading at `message.rs`; `letter.rs` decides which parts are read, `html.rs` reads HTML.

mod address;
mod attachment;
mod authentication;
mod calendar;
mod charset;
mod cut;
mod encoded_word;
mod enriched;
mod flowed;
mod header;
mod html;
mod invisible;
mod letter;
mod media_type;
mod message;
mod message_ids;
mod named_fields;
mod parameter;
mod part;

pub use address::{FieldMailbox, mailboxes};
pub use attachment::attached_contents;
pub use letter::{FetchedParts, MissingPart};
pub use message::{BodyWanted, Extraction, extract};
pub use named_fields::{HeaderName, InvalidHeaderName, NamedFields, named_fields};

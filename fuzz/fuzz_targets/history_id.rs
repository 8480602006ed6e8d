//! A text is a history id exactly if it is an unsigned 64-bit integer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postbell_core::{HistoryId, UserId};

fuzz_target!(|text: &str| {
    if let Ok(id) = text.parse::<HistoryId>() {
        assert_eq!(text.parse::<u64>().unwrap(), id.get());
        assert_eq!(id.to_string().parse::<HistoryId>().unwrap(), id);
    }
    // A user id is chosen by strangers, too: it must remain one segment of a URL.
    if let Ok(user) = text.parse::<UserId>() {
        assert!(!user.url_segment().contains(['/', '?', '#', ' ']));
    }
});

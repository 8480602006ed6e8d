//! Parsing a push never panics, and a parsed notification can be written and parsed again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postbell_google::PushBody;

fuzz_target!(|body: &[u8]| {
    let push = PushBody::read(body);
    if !push.is_wrapped {
        assert_eq!(push.message_id, None);
    }
    if let Ok(changed) = push.notification {
        let data = serde_json::json!({
            "emailAddress": changed.email_address,
            "historyId": changed.history_id,
        });
        let again = PushBody::read(data.to_string().as_bytes());
        assert_eq!(again.notification.unwrap(), changed);
    }
});

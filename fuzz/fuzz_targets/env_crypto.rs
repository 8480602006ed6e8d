//! An encrypted variable is decrypted or refused, and never passed on encrypted.
#![no_main]

use std::ffi::OsString;

use libfuzzer_sys::fuzz_target;
use postbell_protocol::env_crypto::decrypt_variables;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fuzz_target!(|input: (&str, &str)| {
    let (name, value) = input;
    let name = OsString::from(format!("KILOCLAW_ENC_{name}"));
    let given = [
        (OsString::from("KILOCLAW_ENV_KEY"), OsString::from(KEY)),
        (name.clone(), OsString::from(value)),
    ];
    if let Ok(variables) = decrypt_variables(given) {
        let has = |searched: &str| variables.iter().any(|(name, _)| name == searched);
        assert!(!has("KILOCLAW_ENV_KEY"));
        assert!(!variables.iter().any(|(decrypted, _)| *decrypted == name));
    }
});

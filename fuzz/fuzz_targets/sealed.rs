//! Whatever a variable holds, it is decrypted or refused, and never kept as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postbell_controller::{Variables, unseal};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fuzz_target!(|input: (&str, &str)| {
    let (name, value) = input;
    let name = format!("KILOCLAW_ENC_{name}");
    let given = [("KILOCLAW_ENV_KEY", KEY), (&name, value)];
    let variables: Variables = given.into_iter().collect();
    if let Ok(variables) = unseal(variables) {
        assert_eq!(variables.get("KILOCLAW_ENV_KEY"), None);
        assert_eq!(variables.get(&name), None);
    }
});

//! Settings of the controller and their errors.

use serde_json::json;
use tokio::process::Command;

use super::Machine;

#[tokio::test]
async fn invalid_settings_are_logged_and_health_works() {
    let mut machine = Machine::new("exec sleep 1000").await;
    machine.set("KILOCLAW_GATEWAY_ARGS", "--token hunter2");
    machine.set("REQUIRE_PROXY_TOKEN", "hunter2");
    let controller = machine.start();
    let health = machine.is("degraded").await;
    let expected = json!({
        "status": "ok", "state": "degraded", "error": "Startup failed during runtime-config",
        "mail": "problem",
    });
    assert_eq!(health, expected);
    assert_eq!(
        machine.get("/health").await,
        Some(json!({ "status": "ok" }))
    );
    assert_eq!(controller.terminate().await, Some(0));
    let log = machine.log();
    for expected in [
        "KILOCLAW_GATEWAY_ARGS: expected a JSON array of strings",
        "it is text of 15 characters",
        "REQUIRE_PROXY_TOKEN: expected true or false",
    ] {
        assert!(log.contains(expected), "{log}");
    }
    assert!(!log.contains("hunter2"));
}

#[tokio::test]
async fn an_invalid_configuration_degrades_the_controller() {
    let mut machine = Machine::new("exec sleep 1000").await;
    machine.set("POSTBELL_CONTROLLER__WATCHER", "mutt");
    machine.set("POSTBELL_LOG", "a=b=c");
    let controller = machine.start();
    machine.is("degraded").await;
    assert_eq!(controller.terminate().await, Some(0));
    let log = machine.log();
    assert!(log.contains("POSTBELL_LOG"), "{log}");
    assert!(
        log.contains("controller.watcher (from POSTBELL_CONTROLLER__WATCHER)"),
        "{log}"
    );
}

#[tokio::test]
async fn children_get_decrypted_variables_and_no_key() {
    // Encrypted under the bytes 0 to 31, with Python's `cryptography`.
    let mut machine = Machine::new("env > $HOME/env; exec sleep 1000").await;
    machine.set(
        "KILOCLAW_ENV_KEY",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    );
    let sealed = "enc:v1:AAECAwQFBgcICQoLLnbxaOWE4mjoIuXuxU+ocrVixC28ZVN1NfTsB3A=";
    machine.set("KILOCLAW_ENC_SECRET", sealed);
    let controller = machine.start();
    let env = machine.written("env").await;
    assert!(
        env.lines().any(|line| line == "SECRET=it's a secret"),
        "{env}"
    );
    assert!(!env.contains("KILOCLAW_EN"), "{env}");
    assert_eq!(controller.terminate().await, Some(0));

    machine.set("KILOCLAW_ENC_OTHER", "enc:v1:AAAA");
    let controller = machine.start();
    let health = machine.is("degraded").await;
    assert_eq!(health["error"], "Startup failed during bootstrap");
    assert_eq!(controller.terminate().await, Some(0));
    let log = machine.log();
    assert!(
        log.contains("KILOCLAW_ENC_OTHER: expected enc:v1:"),
        "{log}"
    );
}

#[tokio::test]
async fn a_second_controller_on_the_same_port_fails() {
    let machine = Machine::new("exec sleep 1000").await;
    let controller = machine.start();
    machine.is("ready").await;
    let second = Command::new(env!("CARGO_BIN_EXE_postbell"))
        .arg("controller")
        .env_clear()
        .env("PORT", machine.port.to_string())
        .output()
        .await
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(error.contains("error: PORT: cannot listen on"), "{error}");
    assert_eq!(controller.terminate().await, Some(0));
}

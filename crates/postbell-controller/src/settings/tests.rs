use secrecy::ExposeSecret;

use super::*;

const TOKEN: (&str, &str) = ("OPENCLAW_GATEWAY_TOKEN", "hunter2");
const ARGUMENTS: (&str, &str) = ("KILOCLAW_GATEWAY_ARGS", "[]");

/// The least that must be set, and these.
fn read(pairs: &[(&str, &str)]) -> Result<Settings, Problems> {
    let least = [TOKEN, ARGUMENTS];
    let variables: Variables = least.iter().chain(pairs).copied().collect();
    Settings::read(&variables)
}

fn told(pairs: &[(&str, &str)]) -> String {
    read(pairs).expect_err("expected a refusal").to_string()
}

#[test]
fn what_is_not_set_has_the_contracts_defaults() {
    let settings = read(&[]).unwrap();
    assert_eq!(settings.gateway_token.expose_secret(), "hunter2");
    assert_eq!(settings.proxy_token, ProxyToken::NotRequired);
    assert!(settings.gateway_arguments.is_empty());
    let tunnels = TunnelLimits {
        idle: Duration::from_millis(600_000),
        handshake: Duration::from_millis(5_000),
        most: 100,
    };
    assert_eq!(settings.tunnels, tunnels);
    assert!(matches!(settings.gmail, Ok(None)) && settings.checkin.is_none());
    assert_eq!(port(&Variables::default()), 18789);
}

#[test]
fn what_is_set_is_read() {
    let settings = read(&[
        ("PORT", "8080"),
        ("REQUIRE_PROXY_TOKEN", "TRUE"),
        ("KILOCLAW_GATEWAY_ARGS", r#"["--port","3001"]"#),
        ("WS_IDLE_TIMEOUT_MS", "1000"),
        ("WS_HANDSHAKE_TIMEOUT_MS", "20"),
        ("MAX_WS_CONNS", "3"),
        ("KILOCLAW_GOG_CONFIG_TARBALL", "H4sI"),
        ("KILOCLAW_GOOGLE_ACCOUNT_EMAIL", "ann@example.com"),
        ("KILOCLAW_GMAIL_LAST_HISTORY_ID", "18446744073709551615"),
        ("KILOCLAW_CHECKIN_URL", "https://platform.example.com/api"),
        ("KILOCLAW_SANDBOX_ID", "sb"),
    ]);
    let settings = settings.unwrap();
    assert_eq!(settings.proxy_token, ProxyToken::Required);
    assert_eq!(settings.gateway_arguments, ["--port", "3001"]);
    let tunnels = TunnelLimits {
        idle: Duration::from_secs(1),
        handshake: Duration::from_millis(20),
        most: 3,
    };
    assert_eq!(settings.tunnels, tunnels);
    let gmail = settings.gmail.unwrap().unwrap();
    assert_eq!(gmail.account, "ann@example.com");
    assert_eq!(gmail.last_history_id, Some(HistoryId::new(u64::MAX)));
    assert_eq!(settings.checkin.unwrap().sandbox_id, "sb");
}

#[test]
fn all_that_is_wrong_is_told_at_once_without_what_it_holds() {
    let wrong: Variables = [
        ("PORT", "70000"),
        ("OPENCLAW_GATEWAY_TOKEN", "hunter 2"),
        ("REQUIRE_PROXY_TOKEN", "hunter2"),
        ("KILOCLAW_GATEWAY_ARGS", r#"{"token":"hunter2"}"#),
        ("MAX_WS_CONNS", "-1"),
    ]
    .into_iter()
    .collect();
    let told = Settings::read(&wrong).unwrap_err().to_string();
    assert_eq!(
        told,
        "PORT: expected a port, from 1 to 65535; it is 70000; \
         OPENCLAW_GATEWAY_TOKEN: expected the token of the gateway, of visible ASCII characters; \
         it is text of 8 characters; \
         REQUIRE_PROXY_TOKEN: expected true or false; it is text of 7 characters; \
         KILOCLAW_GATEWAY_ARGS: expected a JSON array of strings, such as [\"--port\",\"3001\"]; \
         it is a JSON object of 19 characters; \
         MAX_WS_CONNS: expected a number of WebSockets, 1 or more; it is -1"
    );
    assert_eq!(port(&wrong), 18789);
}

#[test]
fn what_must_be_set_is_missed() {
    let told = Settings::read(&Variables::default())
        .unwrap_err()
        .to_string();
    assert_eq!(
        told,
        "OPENCLAW_GATEWAY_TOKEN: expected the token of the gateway, of visible ASCII characters; \
         it is not set; \
         KILOCLAW_GATEWAY_ARGS: expected a JSON array of strings, such as [\"--port\",\"3001\"]; \
         it is not set"
    );
}

#[test]
fn no_number_is_taken_for_another() {
    for text in ["0", "1.5", "1e3", " 1", "٣", "many", "18446744073709551616"] {
        for name in ["PORT", "WS_IDLE_TIMEOUT_MS", "MAX_WS_CONNS"] {
            assert!(told(&[(name, text)]).starts_with(name), "{name} {text}");
        }
    }
}

#[test]
fn a_google_account_without_its_address_concerns_gmail_alone() {
    for account in ["", "ann", "--hook-url=http://x@y"] {
        let settings = read(&[
            ("KILOCLAW_GOG_CONFIG_TARBALL", "H4sI"),
            ("KILOCLAW_GOOGLE_ACCOUNT_EMAIL", account),
        ]);
        let problem = settings.unwrap().gmail.unwrap_err().to_string();
        assert!(problem.starts_with("KILOCLAW_GOOGLE_ACCOUNT_EMAIL: expected"));
    }
}

#[test]
fn what_only_helps_never_keeps_the_machine_from_starting() {
    let settings = read(&[
        ("KILOCLAW_GOG_CONFIG_TARBALL", "H4sI"),
        ("KILOCLAW_GOOGLE_ACCOUNT_EMAIL", "ann@example.com"),
        ("KILOCLAW_GMAIL_LAST_HISTORY_ID", "-5"),
        ("KILOCLAW_CHECKIN_URL", "ftp://x"),
    ]);
    let settings = settings.unwrap();
    assert_eq!(settings.gmail.unwrap().unwrap().last_history_id, None);
    assert!(settings.checkin.is_none());
    let without_id = read(&[("KILOCLAW_CHECKIN_URL", "https://x")]).unwrap();
    assert!(without_id.checkin.is_none());
}

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::*;

const TOKEN: (&str, &str) = ("OPENCLAW_GATEWAY_TOKEN", "hunter2");
const ARGUMENTS: (&str, &str) = ("KILOCLAW_GATEWAY_ARGS", "[]");

/// Reads the required variables and these.
fn read(pairs: &[(&str, &str)]) -> Result<Settings, InvalidVariables> {
    let required = [TOKEN, ARGUMENTS];
    let variables: Variables = required.iter().chain(pairs).copied().collect();
    Settings::read(&variables)
}

/// Returns the errors, one per line.
fn errors(variables: &Variables) -> String {
    let invalid = Settings::read(variables).expect_err("expected errors");
    let lines: Vec<_> = invalid.into_iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[test]
fn unset_variables_have_the_protocols_defaults() {
    let settings = read(&[]).unwrap();
    assert_eq!(settings.gateway_token.expose(), "hunter2");
    assert_eq!(settings.proxy_token, ProxyToken::NotRequired);
    assert!(settings.gateway_arguments.is_empty());
    let tunnels = TunnelLimits {
        idle: Duration::from_millis(600_000),
        handshake: Duration::from_millis(5_000),
        max_open: 100,
    };
    assert_eq!(settings.tunnels, tunnels);
    assert!(matches!(
        (&settings.gmail, &settings.checkin),
        (Ok(None), Ok(None))
    ));
    assert_eq!(port(&Variables::default()), 18789);
}

#[test]
fn variables_are_read() {
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
        max_open: 3,
    };
    assert_eq!(settings.tunnels, tunnels);
    let gmail = settings.gmail.unwrap().unwrap();
    assert_eq!(gmail.account, "ann@example.com");
    assert_eq!(gmail.last_history_id, Ok(Some(HistoryId::new(u64::MAX))));
    let checkin = settings.checkin.unwrap().unwrap();
    assert_eq!(checkin.sandbox_id.as_str(), "sb");
}

#[test]
fn all_errors_are_reported_at_once_without_values() {
    let wrong: Variables = [
        ("PORT", "70000"),
        ("OPENCLAW_GATEWAY_TOKEN", "hunter 2"),
        ("REQUIRE_PROXY_TOKEN", "hunter2"),
        ("KILOCLAW_GATEWAY_ARGS", r#"{"token":"hunter2"}"#),
        ("MAX_WS_CONNS", "-1"),
    ]
    .into_iter()
    .collect();
    assert_eq!(
        errors(&wrong),
        "PORT: expected a port, from 1 to 65535; it is 70000\n\
         OPENCLAW_GATEWAY_TOKEN: expected the token of the gateway, of visible ASCII characters; \
         it is text of 8 characters\n\
         REQUIRE_PROXY_TOKEN: expected true or false; it is text of 7 characters\n\
         KILOCLAW_GATEWAY_ARGS: expected a JSON array of strings, such as [\"--port\",\"3001\"]; \
         it is a JSON object of 19 characters\n\
         MAX_WS_CONNS: expected a number of WebSockets, 1 or more; it is -1"
    );
    assert_eq!(port(&wrong), 18789);
}

#[test]
fn missing_required_variables_are_reported() {
    assert_eq!(
        errors(&Variables::default()),
        "OPENCLAW_GATEWAY_TOKEN: expected the token of the gateway, of visible ASCII characters; \
         it is not set\n\
         KILOCLAW_GATEWAY_ARGS: expected a JSON array of strings, such as [\"--port\",\"3001\"]; \
         it is not set"
    );
}

#[test]
fn invalid_numbers_are_rejected() {
    for text in ["0", "1.5", "1e3", " 1", "٣", "many", "18446744073709551616"] {
        for name in ["PORT", "WS_IDLE_TIMEOUT_MS", "MAX_WS_CONNS"] {
            let wrong: Variables = [TOKEN, ARGUMENTS, (name, text)].into_iter().collect();
            assert!(errors(&wrong).starts_with(name), "{name} {text}");
        }
    }
}

#[test]
fn a_google_account_without_address_affects_only_mail() {
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
fn errors_in_optional_settings_do_not_prevent_the_start() {
    let settings = read(&[
        ("KILOCLAW_GOG_CONFIG_TARBALL", "H4sI"),
        ("KILOCLAW_GOOGLE_ACCOUNT_EMAIL", "ann@example.com"),
        ("KILOCLAW_GMAIL_LAST_HISTORY_ID", "-5"),
        ("KILOCLAW_CHECKIN_URL", "ftp://x"),
    ]);
    let settings = settings.unwrap();
    let message = |error: InvalidVariable| error.to_string();
    let id = settings.gmail.unwrap().unwrap().last_history_id;
    assert_eq!(
        message(id.unwrap_err()),
        "KILOCLAW_GMAIL_LAST_HISTORY_ID: expected an unsigned 64-bit number; it is -5"
    );
    let checkin = message(settings.checkin.unwrap_err());
    assert!(checkin.starts_with("KILOCLAW_CHECKIN_URL: expected an http or https URL"));
    let without_id = read(&[("KILOCLAW_CHECKIN_URL", "https://x")]).unwrap();
    assert!(message(without_id.checkin.unwrap_err()).starts_with("KILOCLAW_SANDBOX_ID"));
}

#[test]
fn values_that_are_not_unicode_are_not_treated_as_unset() {
    let no_text = OsString::from_vec(b"tr\xffue".to_vec());
    for name in [
        "PORT",
        "REQUIRE_PROXY_TOKEN",
        "OPENCLAW_GATEWAY_TOKEN",
        "KILOCLAW_GATEWAY_ARGS",
        "KILOCLAW_HOOKS_TOKEN",
        "MAX_WS_CONNS",
    ] {
        let required: Variables = [TOKEN, ARGUMENTS].into_iter().collect();
        let errors = errors(&required.with(name, &no_text));
        assert!(
            errors.starts_with(name) && errors.ends_with("is no text"),
            "{errors}"
        );
    }
    let required: Variables = [TOKEN, ARGUMENTS].into_iter().collect();
    let tarball = required.with("KILOCLAW_GOG_CONFIG_TARBALL", &no_text);
    assert!(Settings::read(&tarball).unwrap().gmail.is_err());
}

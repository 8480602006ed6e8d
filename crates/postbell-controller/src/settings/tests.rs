use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::*;

const TOKEN: (&str, &str) = ("OPENCLAW_GATEWAY_TOKEN", "hunter2");
const ARGUMENTS: (&str, &str) = ("KILOCLAW_GATEWAY_ARGS", "[]");

/// The least that must be set, and these.
fn read(pairs: &[(&str, &str)]) -> Result<Settings, Problems> {
    let least = [TOKEN, ARGUMENTS];
    let variables: Variables = least.iter().chain(pairs).copied().collect();
    Settings::read(&variables)
}

/// What is told of variables that are wrong, each in a line.
fn told(variables: &Variables) -> String {
    let problems = Settings::read(variables).expect_err("expected a refusal");
    let lines: Vec<_> = problems.into_iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[test]
fn what_is_not_set_has_the_contracts_defaults() {
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
    assert_eq!(
        told(&wrong),
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
fn what_must_be_set_is_missed() {
    assert_eq!(
        told(&Variables::default()),
        "OPENCLAW_GATEWAY_TOKEN: expected the token of the gateway, of visible ASCII characters; \
         it is not set\n\
         KILOCLAW_GATEWAY_ARGS: expected a JSON array of strings, such as [\"--port\",\"3001\"]; \
         it is not set"
    );
}

#[test]
fn no_number_is_taken_for_another() {
    for text in ["0", "1.5", "1e3", " 1", "٣", "many", "18446744073709551616"] {
        for name in ["PORT", "WS_IDLE_TIMEOUT_MS", "MAX_WS_CONNS"] {
            let wrong: Variables = [TOKEN, ARGUMENTS, (name, text)].into_iter().collect();
            assert!(told(&wrong).starts_with(name), "{name} {text}");
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
    let in_words = |problem: Problem| problem.to_string();
    let id = settings.gmail.unwrap().unwrap().last_history_id;
    assert_eq!(
        in_words(id.unwrap_err()),
        "KILOCLAW_GMAIL_LAST_HISTORY_ID: expected an unsigned 64-bit number; it is -5"
    );
    let checkin = in_words(settings.checkin.unwrap_err());
    assert!(checkin.starts_with("KILOCLAW_CHECKIN_URL: expected an http or https URL"));
    let without_id = read(&[("KILOCLAW_CHECKIN_URL", "https://x")]).unwrap();
    assert!(in_words(without_id.checkin.unwrap_err()).starts_with("KILOCLAW_SANDBOX_ID"));
}

#[test]
fn what_is_no_text_is_never_taken_for_what_is_not_set() {
    let no_text = OsString::from_vec(b"tr\xffue".to_vec());
    for name in [
        "PORT",
        "REQUIRE_PROXY_TOKEN",
        "OPENCLAW_GATEWAY_TOKEN",
        "KILOCLAW_GATEWAY_ARGS",
        "KILOCLAW_HOOKS_TOKEN",
        "MAX_WS_CONNS",
    ] {
        let least: Variables = [TOKEN, ARGUMENTS].into_iter().collect();
        let told = told(&least.with(name, &no_text));
        assert!(
            told.starts_with(name) && told.ends_with("is no text"),
            "{told}"
        );
    }
    let least: Variables = [TOKEN, ARGUMENTS].into_iter().collect();
    let tarball = least.with("KILOCLAW_GOG_CONFIG_TARBALL", &no_text);
    assert!(Settings::read(&tarball).unwrap().gmail.is_err());
}

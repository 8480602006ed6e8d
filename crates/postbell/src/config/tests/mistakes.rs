//! Everything that is wrong in a configuration is reported at once, in words.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use postbell_core::Timestamp;

use super::*;

/// Returns each error of a configuration.
fn mistakes(file: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let variables: Vec<_> = variables.iter().map(owned).collect();
    let read_secret = |_: &Path| Err("no such file".to_owned());
    let file_name = Path::new("postbell.toml");
    let found = match overlay::parse(file, file_name, &variables, &read_secret) {
        Ok((config, mistakes)) => config.check_all(mistakes, Timestamp::default()).map(|_| ()),
        Err(error) => Err(error),
    };
    let found = found.err();
    let each = found.iter().flat_map(|error| error.each());
    each.map(ToString::to_string).collect()
}

#[test]
fn all_mistakes_are_reported_at_once_in_words_with_an_example() {
    let file = "
        [relay]
        audience = \"push.example.com\"
        listen = \"here\"
        lissen = \"127.0.0.1:1\"
        ack_rejected = \"yes\"
        delivery_timeout = 30
        deliveries_at_once = 0
        machine_hosts = [\"a\", 5]
        retry = { attempts = \"x\", factor = 0.5, first = \"soon\" }
        [platform]
        api_key_file = \"nowhere\"
        gateway_secret = \"s\"
        url = \"https://bell.example.com/pages\"
        store = \"redis\"
        [directory]
        url = \"https://platform.example.com\"";
    let variables = [("POSTBELL_CONTROLLER__WATCHER_PORT", "x")];
    let mut found = mistakes(file, &variables);
    found.sort();
    insta::assert_snapshot!(found.join("\n"));
}

#[test]
fn one_mistake_is_reported_once() {
    for (file, expected) in [
        (
            "[directory]\napi_key = \"k\"\nurl = 5\n[relay]\naudience = \"https://a\"",
            "directory.url (from postbell.toml): expected a URL such as",
        ),
        (
            "[directory]\napi_key = \"k\"\n[relay]\naudience = \"https://a\"",
            "directory.url (from postbell.toml): expected a value, because [directory] is set",
        ),
        (
            "[relai]\naudience = \"https://a\"",
            "relai (from postbell.toml): unknown key; did you mean relay?",
        ),
        (
            "[platform]\ngateway_secret_fil = \"a\"\ngateway_secret = \"s\"\napi_key = \"k\"\n[relay]\naudience = \"https://a\"",
            "platform.gateway_secret_fil (from postbell.toml): unknown key; did you mean gateway_secret_file?",
        ),
        (
            "[directory]\napi_key = \"k\"\nurl = \"https://b\"\nport = 1\n[relay]\naudience = \"https://a\"",
            "directory.port (from postbell.toml): unknown key; there are url, api_key, api_key_file",
        ),
        (
            "[platform]\napi_key_file = \"a\"\ngateway_secret = \"s\"\n[relay]\naudience = \"https://a\"",
            "platform.api_key_file: cannot read a: no such file",
        ),
        (
            "[relay]\n[tls]\n[relay]",
            "postbell.toml: not TOML: line 3, column 2: duplicate key relay",
        ),
    ] {
        let found = mistakes(file, &[]);
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{found:?}"
        );
    }
}

#[test]
fn times_and_attempts_that_would_lose_or_hold_mail_are_refused() {
    for (setting, expected) in [
        (
            "retry = { attempts = 0 }",
            "relay.retry.attempts: expected 1 or more",
        ),
        (
            "retry = { first = \"0s\" }",
            "relay.retry.first: expected more than 0s",
        ),
        ("grace = \"100d\"", "relay.grace: expected at most 10m"),
        (
            "delivery_timeout = \"1h\"",
            "relay.delivery_timeout: expected more than 0s",
        ),
    ] {
        let file = format!(
            "[relay]\naudience = \"https://a\"\n{setting}\n[directory]\napi_key = \"k\"\nurl = \"https://b\""
        );
        let found = mistakes(&file, &[]);
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{found:?}"
        );
    }
}

#[test]
fn a_database_elsewhere_without_encryption_is_warned_of() {
    for (url, is_warned) in [
        (
            "postgres://postbell@db.example.com/postbell?sslmode=disable",
            true,
        ),
        (
            "postgres://postbell@localhost,db2.example.com/postbell?sslmode=disable",
            true,
        ),
        (
            "postgres:///postbell?host=db.example.com&sslmode=disable",
            true,
        ),
        ("postgres://postbell@db.example.com/postbell", false),
        (
            "postgres://postbell@localhost:5432,127.0.0.1,[::1]:5/postbell?sslmode=disable",
            false,
        ),
        (
            "postgres:///postbell?sslmode=disable&host=/run/postgresql",
            false,
        ),
        (
            "postgres://%2Frun%2Fpostgresql/postbell?sslmode=disable",
            false,
        ),
    ] {
        let file = format!("[relay]\ninbox = \"{url}\"");
        let warnings = parse(&file, &[]).unwrap().warnings();
        let is_about = |warning: &String| warning.starts_with("relay.inbox has sslmode=disable");
        assert_eq!(warnings.iter().any(is_about), is_warned, "{url}");
    }
}

#[test]
fn an_audience_that_no_push_could_have_is_refused() {
    let with = |audience: &str| {
        let file = format!(
            "[relay]\naudience = \"{audience}\"\n[platform]\napi_key = \"{0}\"\ngateway_secret = \"{0}\"",
            "k".repeat(16)
        );
        (mistakes(&file, &[]), parse(&file, &[]).unwrap().warnings())
    };
    let (found, _) = with("https://push.example.com/x");
    assert!(
        found[0].starts_with("relay.audience: expected"),
        "{found:?}"
    );
    for (audience, is_warned) in [
        ("https://push.example.com", false),
        ("http://push.example.com", true),
        ("http://127.0.0.1:8080", false),
    ] {
        let (found, warnings) = with(audience);
        assert!(found.is_empty(), "{found:?}");
        let is_about = |warning: &String| warning.starts_with("relay.audience is not https");
        assert_eq!(warnings.iter().any(is_about), is_warned, "{warnings:?}");
    }
}

#[test]
fn the_address_of_the_pages_is_missing_where_a_browser_could_not_open_the_other() {
    for listen in ["unix:/run/pages.sock", "[::]:8081", "systemd:pages"] {
        let file =
            format!("[platform]\napi_key = \"k\"\ngateway_secret = \"s\"\nlisten = \"{listen}\"");
        let found = mistakes(&file, &[]);
        let expected = "platform.url: expected a value, because a browser cannot open the address in platform.listen";
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{found:?}"
        );
    }
}

#[test]
fn weak_and_open_secrets_and_variables_that_set_nothing_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let write = |name: &str, content: &str, mode: u32| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let strong = "k".repeat(32);
    write("open", &strong, 0o644);
    write("closed", &strong, 0o640);
    let file = "[platform]\napi_key_file = \"open\"\ngateway_secret_file = \"closed\"\nstorage_keys = [\"short\"]\n\
                url = \"https://bell.example.com\"";
    let file = write("postbell.toml", file, 0o644);
    let variables = [
        ("POSTBELL_RELAY_LISTEN", "x"),
        ("POSTBELL_WATCH_HOOK_TOKEN_FILE", "x"),
        ("POSTBELL_PLATFORM__LISTEN", "127.0.0.1:1"),
        ("POSTBELL_SERVICE_HOST", "10.0.0.1"),
        ("PATH", "/bin"),
    ];
    let variables = variables.map(|(name, value)| (OsStr::new(name), OsStr::new(value)));
    let env = Env::from_process(Some(file)).unwrap();
    let env = env.with_variables(variables.into_iter());
    let warnings = env.warnings(&env.load().unwrap()).join("\n");
    for expected in [
        "platform.storage_keys is too short",
        "/open, which has a secret: chmod 600",
        "/postbell.toml, which has a secret",
        "POSTBELL_RELAY_LISTEN sets nothing: two underscores separate table and key, as in POSTBELL_RELAY__LISTEN",
    ] {
        assert!(warnings.contains(expected), "{expected}: {warnings}");
    }
    assert_eq!(warnings.lines().count(), 4, "{warnings}");
}

#[test]
fn the_url_of_a_store_is_a_secret_only_with_a_password() {
    for (url, expected) in [
        ("sqlite:postbell.db", false),
        ("postgres://postbell@db/postbell", false),
        ("postgres:///postbell?host=/run/postgresql", false),
        ("postgres://postbell:hunter2@db/postbell", true),
        ("postgres://db/postbell?password=hunter2", true),
        (
            "postgres://postbell:hunter2@db1:5432,db2:5432/postbell",
            true,
        ),
    ] {
        let file = format!("[relay]\ninbox = \"{url}\"");
        assert_eq!(overlay::has_secret(&file), expected, "{url}");
    }
    assert!(overlay::has_secret("[relay]\nurl_token_secret = \"x\""));
}

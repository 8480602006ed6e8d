mod mistakes;

use secrecy::ExposeSecret;

use super::*;

fn parse(file: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let variables: Vec<_> = variables.iter().map(owned).collect();
    let read_secret = |path: &Path| match path.to_str() {
        Some("/secret") => Ok("hunter2\n".to_owned()),
        Some("/targets") => Ok("https://ntfy.sh/topic\n\nhttps://example.com/hunter2\n".to_owned()),
        Some("/mail-server") => Ok("smtps://u:hunter2@mail?from=a@b.c\n".to_owned()),
        Some("/empty") => Ok("\n\n".to_owned()),
        Some("/keys") => Ok("new\n\nold\n".to_owned()),
        _ => Err("no such file".to_owned()),
    };
    Config::parse(file, Path::new("postbell.toml"), &variables, &read_secret)
}

fn problem(file: &str, variables: &[(&str, &str)]) -> String {
    parse(file, variables)
        .expect_err("expected a refusal")
        .to_string()
}

#[test]
fn the_example_lists_the_defaults() {
    let example = parse(EXAMPLE, &[]).unwrap();
    assert_eq!(format!("{example:?}"), format!("{:?}", Config::default()));
}

#[test]
fn the_example_names_every_key() {
    let uncommented: String = EXAMPLE
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| is_setting(rest))
                .unwrap_or(line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let with_secret = uncommented
        .replace("targets = []\n", "")
        .replace("/etc/postbell/alert-targets", "/targets")
        .replace("/etc/postbell/mail-server", "/mail-server")
        .replace("/etc/postbell/api-key", "/secret")
        .replace("/etc/postbell/url-token-secret", "/secret")
        .replace("/etc/postbell/gateway-secret", "/secret")
        .replace("/etc/postbell/storage-keys", "/keys")
        .replace("/etc/postbell/platform.pem", "/secret")
        .replace("/etc/postbell/fly-token", "/secret")
        .replace("/etc/postbell/sign-in-secret", "/secret")
        .replace("/etc/postbell/issuer-secret", "/secret")
        .replace("/etc/postbell/hook-token", "/secret")
        .replace("/etc/postbell/env-key", "/secret")
        .replace("/etc/postbell/google-client-secret", "/secret")
        .replace("/etc/postbell/otlp-headers", "/secret");
    let config = parse(&with_secret, &[]).unwrap();
    assert!(config.relay.audience.is_some());
    assert_eq!(config.directory.unwrap().api_key.expose_secret(), "hunter2");
    assert_eq!(config.alerts.targets().unwrap().len(), 2);
    assert!(config.alerts.mail_server().unwrap().is_some());
    let platform = config.platform;
    assert_eq!(platform.storage_keys.len(), 2);
    for secret in [
        platform.api_key,
        platform.gateway_secret,
        platform.private_key,
        platform.fly.token,
        platform.fly.env_key,
        platform.sign_in.client_secret,
        platform.sign_in.issuer.client_secret,
    ] {
        assert_eq!(secret.unwrap().expose_secret(), "hunter2");
    }
}

fn is_setting(line: &str) -> bool {
    line.starts_with('[')
        || line
            .split_once(" = ")
            .is_some_and(|(key, _)| !key.contains(' '))
}

#[test]
fn a_variable_wins_over_the_file_whatever_its_type() {
    let file = "[relay]\nlisten = \"127.0.0.1:1\"\nretry = { attempts = 1 }";
    let config = parse(
        file,
        &[
            ("POSTBELL_RELAY__LISTEN", "0.0.0.0:2"),
            ("POSTBELL_RELAY__RETRY__ATTEMPTS", "7"),
            ("POSTBELL_RELAY__RETRY__FIRST", "5s"),
            ("POSTBELL_DIRECTORY__URL", "http://127.0.0.1:3"),
            ("POSTBELL_DIRECTORY__API_KEY", "0012"),
            ("POSTBELL_LOG", "debug"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(config.relay.listen.tcp().unwrap().port(), 2);
    assert_eq!(
        (
            config.relay.retry.attempts,
            config.relay.retry.first.as_secs()
        ),
        (7, 5)
    );
    assert_eq!(config.directory.unwrap().api_key.expose_secret(), "0012");
}

#[test]
fn a_variable_wins_over_the_file_in_either_form_of_a_secret() {
    for (file, variable, value) in [
        (
            "api_key_file = \"/nowhere\"",
            "POSTBELL_PLATFORM__API_KEY",
            "hunter2",
        ),
        (
            "api_key = \"other\"",
            "POSTBELL_PLATFORM__API_KEY_FILE",
            "/secret",
        ),
    ] {
        let file = format!("[platform]\n{file}");
        let config = parse(&file, &[(variable, value)]).unwrap();
        assert_eq!(config.platform.api_key.unwrap().expose_secret(), "hunter2");
    }
    let both = "[platform]\napi_key = \"other\"\napi_key_file = \"/secret\"";
    let expected = "not both: remove platform.api_key, or platform.api_key_file";
    assert!(problem(both, &[]).contains(expected));
}

#[test]
fn a_relative_path_is_relative_to_the_file_that_contains_it() {
    let text = "[platform]\napi_key_file = \"keys/api\"\n\
                [google]\ncredentials_file = \"google.json\"\nsign_in_client_file = \"/c.json\"";
    let secret_of = |variables: &[(&str, &str)]| {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables: Vec<_> = variables.iter().map(owned).collect();
        let read_secret = |path: &Path| Ok(path.display().to_string());
        let file = Path::new("/etc/postbell/postbell.toml");
        Config::parse(text, file, &variables, &read_secret).unwrap()
    };
    let config = secret_of(&[]);
    let api_key = config.platform.api_key.unwrap();
    assert_eq!(api_key.expose_secret(), "/etc/postbell/keys/api");
    let google = config.google;
    assert_eq!(
        [google.credentials_file, google.sign_in_client_file],
        ["/etc/postbell/google.json", "/c.json"].map(|path| Some(path.into()))
    );
    let config = secret_of(&[("POSTBELL_PLATFORM__API_KEY_FILE", "mine/api")]);
    assert_eq!(config.platform.api_key.unwrap().expose_secret(), "mine/api");
}

#[test]
fn a_refusal_names_the_key_its_source_and_what_was_expected() {
    let message = problem("[relay]\nlisten = 8080", &[]);
    assert!(
        message.starts_with("relay.listen (from postbell.toml): expected"),
        "{message}"
    );

    let expected = "expected an address and a port such as 127.0.0.1:8080";
    for text in ["8080", "\":8080\"", "\"localhost:8080\"", "\"unix:\""] {
        let message = problem(&format!("[relay]\nlisten = {text}"), &[]);
        assert!(message.contains(expected), "{text}: {message}");
        let message = problem("", &[("POSTBELL_RELAY__LISTEN", text.trim_matches('"'))]);
        assert!(message.contains(expected), "{text}: {message}");
    }

    let message = problem("", &[("POSTBELL_RELAY__RETRY__ATTEMPTS", "many")]);
    let expected = "relay.retry.attempts (from POSTBELL_RELAY__RETRY__ATTEMPTS): \
                    expected a whole number, such as 3";
    assert_eq!(message, expected);

    let message = problem("relay = [", &[]);
    assert!(message.starts_with("postbell.toml: not TOML"), "{message}");
}

#[test]
fn an_unknown_key_is_refused_wherever_it_came_from() {
    let message = problem("[relay]\nlissen = \"x\"", &[]);
    assert!(
        message.contains("lissen") && message.contains("postbell.toml"),
        "{message}"
    );
    let message = problem("", &[("POSTBELL_RELAY__LISSEN", "x")]);
    assert!(
        message.contains("lissen") && message.contains("POSTBELL_RELAY__LISSEN"),
        "{message}"
    );
}

#[test]
fn a_secret_is_read_from_its_file_and_never_shown() {
    let file = "[directory]\nurl = \"http://x\"\napi_key_file = \"/secret\"";
    let config = parse(file, &[]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.directory.unwrap().api_key.expose_secret(), "hunter2");

    let message = problem(&file.replace("/secret", "/nowhere"), &[]);
    assert_eq!(
        message,
        "directory.api_key_file: cannot read /nowhere: no such file"
    );
    let message = problem(
        "[directory]\nurl = \"http://x\"\napi_key = [\"hunter2\"]",
        &[],
    );
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn a_relay_without_its_public_name_does_not_start() {
    let message = Config::default().relay.check().unwrap_err().to_string();
    assert!(
        message.starts_with("relay.audience: expected the public base URL"),
        "{message}"
    );
}

#[test]
fn what_each_value_alone_does_not_show_is_found() {
    let audience = "audience = \"https://push.example.com\"";
    for (setting, expected) in [
        ("retry = { factor = 0.5 }", "relay.retry.factor"),
        ("delivery_timeout = \"0s\"", "relay.delivery_timeout"),
        ("machine_hosts = [\"https://x\"]", "relay.machine_hosts"),
        ("url_token_secret = \"hunter2\"", "relay.url_token_secret"),
        ("machine_url = \"https://{nope}.x\"", "relay.machine_url"),
        ("machine_url = \"file:///{app}\"", "relay.machine_url"),
        ("inbox = \"postgres://u:hunter2@h:port/db\"", "relay.inbox"),
    ] {
        let config = parse(&format!("[relay]\n{audience}\n{setting}"), &[]).unwrap();
        let message = config.relay.check().unwrap_err().to_string();
        assert!(
            message.starts_with(expected) && !message.contains("hunter2"),
            "{message}"
        );
    }
    let ports = "[controller]\ngateway_port = 3002";
    let message = parse(ports, &[]).unwrap().check().unwrap_err().to_string();
    assert!(message.starts_with("controller.watcher_port"), "{message}");
    let message = problem("[relay]\nrate_per_user = { per_second = 0 }", &[]);
    assert!(
        message.starts_with("relay.rate_per_user.per_second"),
        "{message}"
    );
}

#[test]
fn a_platform_without_what_it_needs_does_not_start() {
    let complete = "api_key = \"k\"\ngateway_secret = \"s\"\n";
    for (settings, expected) in [
        ("", "platform.api_key"),
        ("api_key = \"k\"", "platform.gateway_secret"),
        ("api_key = \"\"\ngateway_secret = \"s\"", "platform.api_key"),
    ] {
        let config = parse(&format!("[platform]\n{settings}"), &[]).unwrap();
        let message = config.platform.check().unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
    for (setting, expected) in [
        ("private_key = \"hunter2\"", "platform.private_key"),
        ("relay_urls = [\"mailto:a@b\"]", "platform.relay_urls"),
        ("storage_keys = [\"a\", \"\"]", "platform.storage_keys"),
        ("fly = { env_key = \"hunter2\" }", "platform.fly.env_key"),
        ("url = \"https://x/hunter2\"", "platform.url"),
        ("url = \"https://$(hunter2)\"", "platform.url"),
        ("store = \"redis\"", "platform.store"),
        ("store = \"sqlite:\"", "platform.store"),
        ("fly = { url = \"file:///hunter2\" }", "platform.fly.url"),
        ("fly = { token = \"\" }", "platform.fly.token"),
        ("fly = { token = \"hunter2\\n\" }", "platform.fly.token"),
        ("listen = \"0.0.0.0:8081\"", "platform.url"),
        ("listen = \"[::]:8081\"", "platform.url"),
        (
            "sign_in = { client_secret = \"hunter2\" }",
            "platform.sign_in.client_id",
        ),
        (
            "sign_in = { client_id = \"x\" }",
            "platform.sign_in.client_secret",
        ),
        (
            "sign_in = { operators = [\"ops@example.com\"] }",
            "platform.sign_in.client_id",
        ),
    ] {
        let config = parse(&format!("[platform]\n{complete}{setting}"), &[]).unwrap();
        let message = config.platform.check().unwrap_err().to_string();
        assert!(
            message.starts_with(expected) && !message.contains("hunter2"),
            "{message}"
        );
    }
    let config = parse(&format!("[platform]\n{complete}"), &[]).unwrap();
    config.platform.check().unwrap();
    assert!(config.platform.is_local_only());
    let public = format!("[platform]\n{complete}listen = \"0.0.0.0:1\"\nurl = \"https://x\"");
    let config = parse(&public, &[]).unwrap();
    config.platform.check().unwrap();
    assert!(!config.platform.is_local_only());
}

#[test]
fn storage_keys_are_a_list_or_stand_one_a_line() {
    let keys = |file: &str, variables: &[(&str, &str)]| {
        let config = parse(file, variables).unwrap();
        let keys = config.platform.storage_keys.into_iter();
        keys.map(|key| key.expose_secret().to_owned())
            .collect::<Vec<_>>()
    };
    let name = "POSTBELL_PLATFORM__STORAGE_KEYS";
    assert_eq!(keys("", &[(name, "new\nold")]), ["new", "old"]);
    let list = "[platform]\nstorage_keys = [\"new\", \"old\"]";
    assert_eq!(keys(list, &[]), ["new", "old"]);
    let file = "[platform]\nstorage_keys_file = \"/keys\"";
    assert_eq!(keys(file, &[]), ["new", "old"]);
    let fly = [("POSTBELL_PLATFORM__FLY__TOKEN", "0012")];
    let token = parse("", &fly).unwrap().platform.fly.token.unwrap();
    assert_eq!(token.expose_secret(), "0012");
}

#[test]
fn an_operators_client_needs_the_key_that_encrypts_what_it_brings() {
    let file = r#"
        [relay]
        audience = "https://push.example.com"
        [platform]
        url = "https://bell.example.com"
        api_key = "k"
        gateway_secret = "s"
        [google.client]
        client_id = "1-x.apps.googleusercontent.com"
        client_secret = "hunter2"
        topic = "projects/p/topics/t"
        push_account = "push@p.iam.gserviceaccount.com"
    "#;
    let mut config = parse(file, &[]).unwrap();
    let message = config.check().unwrap_err().to_string();
    assert!(message.starts_with("platform.private_key"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
    let key = include_str!("../../../postbell-protocol/fixtures/key.pem");
    config.platform.private_key = Some(key.into());
    assert_eq!(config.check().unwrap(), "postbell serve");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_syntax_error_is_reported_by_position_without_the_line() {
    for (file, line) in [
        ("[platform]\ngateway_secret = hunter2-hunter2\n", 2),
        (
            "[platform]\n\ngateway_secret = \"hunter2\napi_key = \"x\"\n",
            3,
        ),
        (
            "[platform]\ngateway_secret = \"hunter2\"\ngateway_secret = \"hunter2\"\n",
            3,
        ),
    ] {
        let message = problem(file, &[]);
        assert!(!message.contains("hunter2"), "{message}");
        let place = format!("postbell.toml: not TOML: line {line}, column ");
        assert!(message.starts_with(&place), "{message}");
    }
}

#[test]
fn a_store_is_named_without_what_may_be_a_password() {
    for (url, shown) in [
        ("sqlite:postbell.db", "sqlite:postbell.db"),
        ("postgres://u:hunter2@h/db", "postgres://h:5432/db"),
        ("postgres://u:hunter2@h:port/db", "postgres"),
        ("hunter2", ""),
    ] {
        assert_eq!(StoreUrl::from(url.to_owned()).to_string(), shown);
    }
}

#[test]
fn a_secret_can_be_shown_in_a_header() {
    let message = |key: &str, value: &str| {
        let mut config = Config::default();
        config.platform.api_key = Some("k".into());
        config.platform.gateway_secret = Some("s".into());
        match key {
            "platform.api_key" => config.platform.api_key = Some(value.into()),
            "platform.gateway_secret" => config.platform.gateway_secret = Some(value.into()),
            _ => config.platform.fly.token = Some(value.into()),
        }
        config.platform.check()
    };
    let keys = [
        "platform.api_key",
        "platform.gateway_secret",
        "platform.fly.token",
    ];
    for key in keys {
        for wrong in [
            "   ",
            " hunter2",
            "hunter2\n",
            "hun\nter2",
            "h\u{fc}nter2",
            "hunter2\t",
        ] {
            let message = message(key, wrong).unwrap_err().to_string();
            assert!(message.starts_with(key), "{message}");
            assert!(!message.contains("nter2"), "{message}");
        }
        message(key, "FlyV1 fm2_lJPE=,fm2_x").unwrap();
    }
}

#[test]
fn a_file_without_a_secret_is_refused() {
    for key in ["storage_keys", "api_key"] {
        let message = problem(&format!("[platform]\n{key}_file = \"/empty\""), &[]);
        assert!(
            message.starts_with(&format!("platform.{key}_file")),
            "{message}"
        );
    }
    let name = "POSTBELL_PLATFORM__STORAGE_KEYS";
    let message = problem("", &[(name, " \n")]);
    assert!(message.contains(name), "{message}");
}

#[test]
fn an_audience_is_a_url_that_can_be_pasted() {
    for wrong in [
        "http://h/; rm -rf $HOME",
        "https://h/a?b",
        "https://h/$(x)",
        "https://h/a'b",
        "https://u:p@h",
        "file:///h",
    ] {
        let mut config = Config::default();
        config.relay.audience = Some(wrong.parse().unwrap());
        let message = config.relay.check().unwrap_err().to_string();
        assert!(message.starts_with("relay.audience"), "{wrong}: {message}");
    }
}

#[test]
fn a_wrong_alert_target_is_named_by_its_key_and_not_shown() {
    let config = parse(
        "[alerts]\ntargets = [\"ntfy.sh/t\", \"gopher://hunter2\"]",
        &[],
    );
    let error = config.unwrap().check().unwrap_err().to_string();
    assert!(
        error.contains("alerts.targets (from number 2): expected the URL"),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
    let config = parse("[alerts]\nsilent_after = \"0s\"", &[]).unwrap();
    assert!(config.check().is_err());
}

#[test]
fn an_address_among_the_alert_targets_needs_a_mail_server() {
    let targets = "[alerts]\ntargets = [\"ann@hunter2.example.com\"]\n";
    let check = |server: &str| {
        let config = parse(&format!("{targets}{server}"), &[]).unwrap();
        config.alerts.check().map_err(|error| error.to_string())
    };
    for server in ["", "mail_server = \"smtp.hunter2.example.com\""] {
        let error = check(server).unwrap_err();
        assert!(
            error.starts_with("alerts.mail_server: expected "),
            "{error}"
        );
        assert!(error.contains("smtps://USER:PASSWORD@HOST"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    check("mail_server = \"smtps://u:p@smtp.example.com?from=a@b.c\"").unwrap();
}

#[test]
fn alert_targets_are_a_list_or_lines() {
    let variable = [("POSTBELL_ALERTS__TARGETS_FILE", "/targets")];
    let config = parse("", &variable).unwrap();
    assert_eq!(config.alerts.targets().unwrap().len(), 2);
    assert!(!format!("{config:?}").contains("hunter2"));
}

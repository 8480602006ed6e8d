//! The webhook in OpenClaw's configuration (<https://docs.openclaw.ai/gateway/configuration>).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

/// The largest configuration that is read.
const MAX_BYTES: u64 = 1 << 20;

/// OpenClaw's webhook for Gmail.
#[derive(Debug)]
pub(crate) struct OpenClawHook {
    pub(crate) url: Url,
    /// `None` if the configuration takes it from a variable, which only OpenClaw knows.
    pub(crate) token: Option<SecretString>,
}

#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    gateway: Gateway,
    #[serde(default)]
    hooks: Hooks,
}

#[derive(Default, Deserialize)]
struct Gateway {
    port: Option<u16>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Hooks {
    enabled: bool,
    token: String,
    path: Option<String>,
    presets: Vec<String>,
}

/// The file of OpenClaw's configuration, below the home folder.
const FILE: &str = ".openclaw/openclaw.json";

/// Reads OpenClaw's configuration, which is JSON5. `None` if there is none, or it cannot be read.
fn read(home: &Path) -> Option<Configuration> {
    let file = File::open(home.join(FILE)).ok()?;
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    json5::from_str(&text).ok()
}

/// Whether OpenClaw's configuration is there, and cannot be read.
pub(crate) fn is_unreadable(home: &Path) -> bool {
    home.join(FILE).exists() && read(home).is_none()
}

/// Whether OpenClaw's configuration is there, and its webhook for Gmail is off.
pub(crate) fn is_off(home: &Path) -> bool {
    let is_on = |Hooks {
                     enabled, presets, ..
                 }: Hooks| { enabled && presets.iter().any(|one| one == "gmail") };
    read(home).is_some_and(|found| !is_on(found.hooks))
}

/// Finds OpenClaw's webhook. `None` if it is not configured here, or its webhook for Gmail is off.
pub(crate) fn find(home: &Path) -> Option<OpenClawHook> {
    let Configuration { gateway, hooks } = read(home)?;
    if !hooks.enabled || hooks.token.is_empty() || !hooks.presets.iter().any(|one| one == "gmail") {
        return None;
    }
    let port = gateway.port.unwrap_or(18_789);
    let path = hooks.path.unwrap_or_else(|| "/hooks".to_owned());
    let url = format!("http://127.0.0.1:{port}/{}/gmail", path.trim_matches('/'));
    Some(OpenClawHook {
        url: Url::parse(&url).ok()?,
        token: Some(hooks.token)
            .filter(|token| !token.contains("${"))
            .map(Into::into),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_configuration_that_cannot_be_read_is_told_from_none() {
        let home = tempfile::tempdir().unwrap();
        assert!(!is_unreadable(home.path()));
        fs::create_dir(home.path().join(".openclaw")).unwrap();
        for (text, expected) in [("hooks: {{", true), ("{ hooks: {}, }", false)] {
            fs::write(home.path().join(FILE), text).unwrap();
            assert_eq!(is_unreadable(home.path()), expected, "{text}");
        }
    }

    fn found(text: &str) -> Option<(String, String)> {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".openclaw")).unwrap();
        fs::write(home.path().join(".openclaw/openclaw.json"), text).unwrap();
        let OpenClawHook { url, token } = find(home.path())?;
        let token = token.map_or_else(String::new, |token| token.expose_secret().to_owned());
        Some((url.into(), token))
    }

    #[test]
    fn the_webhook_is_read_from_openclaws_configuration() {
        let hooks =
            r#""hooks": {"enabled": true, "token": "t", "path": "/my/", "presets": ["gmail"]}"#;
        let expect = |url: &str| Some((url.to_owned(), "t".to_owned()));
        assert_eq!(
            found(&format!("{{{hooks}}}")),
            expect("http://127.0.0.1:18789/my/gmail")
        );
        let with_port = format!(r#"{{"gateway": {{"port": 5}}, {hooks}}}"#);
        assert_eq!(found(&with_port), expect("http://127.0.0.1:5/my/gmail"));
        for useless in [
            hooks.replace("true", "false"),
            hooks.replace("\"t\"", "\"\""),
            hooks.replace("gmail", "other"),
        ] {
            assert_eq!(found(&format!("{{{useless}}}")), None, "{useless}");
        }
        let home = tempfile::tempdir().unwrap();
        assert!(!is_off(home.path()));
        fs::create_dir(home.path().join(".openclaw")).unwrap();
        for (text, off) in [
            ("{}".to_owned(), true),
            (format!("{{{hooks}}}"), false),
            (format!("{{{}}}", hooks.replace("gmail", "other")), true),
        ] {
            fs::write(home.path().join(".openclaw/openclaw.json"), &text).unwrap();
            assert_eq!(is_off(home.path()), off, "{text}");
        }
        for text in ["", "{}", "{ // JSON5\n}"] {
            assert_eq!(found(text), None, "{text}");
        }
        let as_people_write_it =
            "{ // mine\n hooks: { enabled: true, token: '${HOOK_TOKEN}', presets: ['gmail',], }, }";
        let url = "http://127.0.0.1:18789/hooks/gmail".to_owned();
        assert_eq!(found(as_people_write_it), Some((url, String::new())));
        assert!(find(Path::new("/nowhere")).is_none());
    }
}

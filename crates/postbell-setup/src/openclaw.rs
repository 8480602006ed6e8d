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
    pub(crate) token: SecretString,
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

/// Reads `.openclaw/openclaw.json` below the home folder. `None` if there is none, or it is not plain JSON.
fn read(home: &Path) -> Option<Configuration> {
    let file = File::open(home.join(".openclaw/openclaw.json")).ok()?;
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
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
    // A text with ${…} is replaced by a variable that only OpenClaw knows.
    let has_token = !hooks.token.is_empty() && !hooks.token.contains("${");
    if !hooks.enabled || !has_token || !hooks.presets.iter().any(|one| one == "gmail") {
        return None;
    }
    let port = gateway.port.unwrap_or(18_789);
    let path = hooks.path.unwrap_or_else(|| "/hooks".to_owned());
    let url = format!("http://127.0.0.1:{port}/{}/gmail", path.trim_matches('/'));
    Some(OpenClawHook {
        url: Url::parse(&url).ok()?,
        token: hooks.token.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use secrecy::ExposeSecret;

    use super::*;

    fn found(text: &str) -> Option<(String, String)> {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".openclaw")).unwrap();
        fs::write(home.path().join(".openclaw/openclaw.json"), text).unwrap();
        let OpenClawHook { url, token } = find(home.path())?;
        Some((url.into(), token.expose_secret().to_owned()))
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
            hooks.replace("\"t\"", "\"${HOOK_TOKEN}\""),
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
        assert!(find(Path::new("/nowhere")).is_none());
    }
}

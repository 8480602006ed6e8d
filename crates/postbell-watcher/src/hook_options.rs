//! The webhook: as the command line names it, or as the state has saved it.

use postbell_protocol::watch_state::SavedHook;
use postbell_protocol::webhook::BodyFormat;
use url::Url;

/// Default size limit of a mail's text, the same as gog's.
const BODY_BYTES: usize = 20_000;

/// What a command line says about the webhook.
#[derive(Clone, Debug, Default)]
pub struct HookOptions {
    /// Its URL.
    pub url: Option<Url>,
    /// Its bearer token, which is empty if there is none.
    pub token: Option<String>,
    /// Whether the text of a mail is included.
    pub include_body: bool,
    /// The largest text, in bytes.
    pub max_bytes: Option<usize>,
    /// How the text is written.
    pub body_format: Option<BodyFormat>,
}

impl HookOptions {
    /// The webhook that the options name, in the form of the state file.
    #[must_use]
    pub fn given(&self) -> Option<SavedHook> {
        Some(SavedHook {
            url: self.url.as_ref()?.to_string(),
            token: self.token.clone().unwrap_or_default(),
            include_body: self.include_body,
            max_bytes: self.max_bytes.unwrap_or(BODY_BYTES),
            body_format: self.body_format.unwrap_or_default(),
            ..SavedHook::default()
        })
    }

    /// The webhook that the options name, else the saved one with what the options add to it.
    #[must_use]
    pub fn or_saved(&self, saved: Option<SavedHook>) -> Option<SavedHook> {
        self.given().or_else(|| {
            let saved = saved?;
            Some(SavedHook {
                token: self.token.clone().unwrap_or(saved.token),
                include_body: saved.include_body || self.include_body,
                max_bytes: self.max_bytes.unwrap_or(match saved.max_bytes {
                    0 => BODY_BYTES,
                    bytes => bytes,
                }),
                body_format: self.body_format.unwrap_or(saved.body_format),
                ..saved
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> SavedHook {
        SavedHook {
            url: "http://saved/".to_owned(),
            token: "of the state".to_owned(),
            ..SavedHook::default()
        }
    }

    #[test]
    fn a_named_webhook_takes_nothing_from_the_saved_one() {
        let options = HookOptions {
            url: Some("http://named/".parse().unwrap()),
            ..HookOptions::default()
        };
        let hook = options.or_saved(Some(saved())).unwrap();
        assert_eq!(
            (hook.url.as_str(), hook.token.as_str()),
            ("http://named/", "")
        );
        assert_eq!(hook.max_bytes, BODY_BYTES);
    }

    #[test]
    fn options_without_a_url_change_the_saved_webhook() {
        let none = HookOptions::default();
        assert!(none.or_saved(None).is_none());
        let hook = none.or_saved(Some(saved())).unwrap();
        assert_eq!(
            (hook.token.as_str(), hook.max_bytes),
            ("of the state", BODY_BYTES)
        );
        let options = HookOptions {
            token: Some("of the variable".to_owned()),
            include_body: true,
            max_bytes: Some(7),
            body_format: Some(BodyFormat::Markdown),
            url: None,
        };
        let hook = options.or_saved(Some(saved())).unwrap();
        assert_eq!(hook.url, "http://saved/");
        assert_eq!(
            (hook.token.as_str(), hook.max_bytes),
            ("of the variable", 7)
        );
        assert!(hook.include_body);
        assert_eq!(hook.body_format, BodyFormat::Markdown);
    }
}

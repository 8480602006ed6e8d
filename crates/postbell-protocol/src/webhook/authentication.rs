//! What Gmail found out about the sender of a message.

use serde::{Deserialize, Serialize};

/// The results of Gmail's checks, from its own `Authentication-Results` field (RFC 8601).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct MailAuthentication {
    /// Whether the sending server may send for the envelope's domain
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spf: Option<AuthenticationResult>,
    /// Whether a domain signed the message
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dkim: Option<AuthenticationResult>,
    /// Whether the domain in `from` stands behind the message: only `pass` proves the sender's domain
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dmarc: Option<AuthenticationResult>,
}

/// The result of one check (RFC 8601, section 2.7).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AuthenticationResult {
    /// The check passed
    Pass,
    /// The check failed
    Fail,
    /// The domain's owner doubts it
    SoftFail,
    /// The domain's owner says nothing
    Neutral,
    /// There was nothing to check
    None,
    /// The check passed, but the receiver does not accept it
    Policy,
    /// The check could not be made now
    TempError,
    /// The check cannot be made
    PermError,
    /// Another result
    #[serde(other)]
    Unknown,
}

impl AuthenticationResult {
    /// Parses a result in any case.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.trim().to_ascii_lowercase().as_str() {
            "pass" => Self::Pass,
            "fail" | "hardfail" | "bestguessfail" => Self::Fail,
            "softfail" => Self::SoftFail,
            "neutral" => Self::Neutral,
            "none" => Self::None,
            "policy" => Self::Policy,
            "temperror" => Self::TempError,
            "permerror" => Self::PermError,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_is_read_as_it_was_written() {
        for text in [
            "pass",
            "fail",
            "softfail",
            "neutral",
            "none",
            "policy",
            "temperror",
            "permerror",
            "unknown",
        ] {
            let result = AuthenticationResult::parse(&text.to_uppercase());
            assert_eq!(json!(result), json!(text));
            assert_eq!(
                serde_json::from_value::<AuthenticationResult>(json!(text)).unwrap(),
                result
            );
        }
        let other: AuthenticationResult = serde_json::from_value(json!("later")).unwrap();
        assert_eq!(other, AuthenticationResult::Unknown);
    }
}

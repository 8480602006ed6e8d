//! Access: invitations, sign-in links, sessions, tokens.

use postbell_core::UserId;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::users::AddUser;
use super::{Removed, operation};
use crate::api::platform::expose;
use crate::routes;

/// Whom to invite. A user who does not exist is added
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"userId": "ann", "url": "https://ann.example.com", "validForSeconds": 604_800}))]
pub struct Invite {
    /// The user
    #[serde(flatten)]
    pub user: AddUser,
    /// How long the link works, at most 30 days; 7 days if it is missing
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_for_seconds: Option<u64>,
}

/// An invitation. It is shown once
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Invitation {
    /// The user's id
    pub user_id: String,
    /// Whether the user was added
    pub added: bool,
    /// The link, which signs the user in once
    #[schema(value_type = String, example = "https://bell.example.com/sign-in/link/…")]
    #[serde(serialize_with = "expose")]
    pub url: SecretString,
    /// When it ends, in milliseconds since the epoch
    pub expires_at: i64,
    /// What to send to the user: what the link is for, and what to do
    #[schema(value_type = String)]
    #[serde(serialize_with = "expose")]
    pub message: SecretString,
}

/// The user who gets a sign-in link
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"userId": "ann", "validForSeconds": 900}))]
pub struct IssueLink {
    /// The user's id
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// How long the link works, at most 30 days; 15 minutes if it is missing
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_for_seconds: Option<u64>,
}

/// A sign-in link. It is shown once
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuedLink {
    /// The link, which signs the user in once
    #[schema(value_type = String, example = "https://bell.example.com/sign-in/link/…")]
    #[serde(serialize_with = "expose")]
    pub url: SecretString,
    /// When it ends, in milliseconds since the epoch
    pub expires_at: i64,
}

/// A page of the invitations and links that were not used
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(example = json!({"limit": 100}))]
pub struct ListLinks {
    /// The id of the last link of the page before
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The greatest number of links, at most 1000; 100 if it is missing
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Invitations and links
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct LinkList {
    /// The links, by id
    pub links: Vec<ListedLink>,
    /// The cursor of the next page, if there are more
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A link that was not used
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedLink {
    /// Its id, which does not sign in: 64 hex digits
    pub id: String,
    /// The user whom it signs in
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// `operator` or `viewer`, if it signs one in
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// When it ends, in milliseconds since the epoch
    pub expires_at: i64,
}

/// The link to revoke
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"id": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}))]
pub struct RevokeLink {
    /// Its id
    pub id: String,
}

/// Whose sessions end, on every device. Unused links and tokens of a user are revoked too
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(example = json!({"userId": "ann"}))]
pub struct SignOut {
    /// A user
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// All operators
    pub operators: bool,
}

/// The user who gets a token for a setup tool
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"userId": "ann", "validForSeconds": 86_400}))]
pub struct IssueToken {
    /// The user's id
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// How long it is valid, at most 366 days; a day if it is missing
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_for_seconds: Option<u64>,
}

/// A token. It is shown once
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuedToken {
    /// Its public id, to revoke it
    pub id: String,
    /// The token
    #[schema(value_type = String)]
    #[serde(serialize_with = "expose")]
    pub token: SecretString,
    /// When it ends, in milliseconds since the epoch
    pub expires_at: i64,
}

/// A page of API keys and users' tokens
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(example = json!({"userId": "ann"}))]
pub struct ListTokens {
    /// Only tokens of this user
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The id of the last token of the page before
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The greatest number of tokens, at most 1000; 100 if it is missing
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// API keys and users' tokens
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct TokenList {
    /// The tokens, by id
    pub tokens: Vec<ListedToken>,
    /// The cursor of the next page, if there are more
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An API key or a user's token, without its secret
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedToken {
    /// Its public id: 16 hex digits
    #[schema(example = "0123456789abcdef")]
    pub id: String,
    /// Who uses it, or what for
    pub name: String,
    /// `read` or `write` for an API key, `setup` for a user's token
    #[schema(example = "read")]
    pub scope: String,
    /// Whose it is, if it is a user's
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// When it was issued, in milliseconds since the epoch
    pub created_at: i64,
    /// When it ends, in milliseconds since the epoch
    pub expires_at: i64,
    /// When it was last used, to a minute, in milliseconds since the epoch
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<i64>,
}

/// The API key or token to revoke
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"id": "0123456789abcdef"}))]
pub struct RevokeToken {
    /// Its id
    pub id: String,
}

operation!(Invite, routes::OPERATOR_INVITATIONS_ADD, true, Invitation);
operation!(IssueLink, routes::OPERATOR_LINKS_ADD, true, IssuedLink);
operation!(ListLinks, routes::OPERATOR_LINKS_LIST, false, LinkList);
operation!(RevokeLink, routes::OPERATOR_LINKS_REVOKE, true, Removed);
operation!(SignOut, routes::OPERATOR_SIGN_OUT, true, Removed);
operation!(IssueToken, routes::OPERATOR_TOKENS_ADD, true, IssuedToken);
operation!(ListTokens, routes::OPERATOR_TOKENS_LIST, false, TokenList);
operation!(RevokeToken, routes::OPERATOR_TOKENS_REVOKE, true, Removed);

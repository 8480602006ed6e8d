//! Access: invitations, links, sessions, tokens.

use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{
    AccessToken, Actor, AuditAction, InvalidId, LinkDigest, MachineLocation, Principal, SignInLink,
    Timestamp, TokenId, TokenScope, UserId, UserRecord, UsersError,
};
use postbell_protocol::api::operator::{
    Invitation, Invite, IssueLink, IssueToken, IssuedLink, IssuedToken, LinkList, ListLinks,
    ListTokens, ListedLink, ListedToken, MachineAccess, Removed, RevokeLink, RevokeToken,
    ShowMachine, SignOut, TokenList,
};
use secrecy::{ExposeSecret, SecretString};

use super::keys::{digest_of, token_id};
use super::{Operator, OperatorError, Perform, page_size};
use crate::SignInLinks;

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// The lifetimes that a request need not name.
const INVITATION: u64 = 7 * DAY;
const LINK: u64 = 15 * 60;
const TOKEN: u64 = DAY;

/// The greatest lifetimes: links pass through mail and chat.
const LONGEST_LINK: u64 = 30 * DAY;
const LONGEST_TOKEN: u64 = 366 * DAY;

impl Operator {
    async fn link(
        &self,
        user: &UserId,
        valid_for: Duration,
        by: &Actor,
    ) -> Result<(SecretString, Timestamp), OperatorError> {
        let principal = Principal {
            user: Some(user.clone()),
            operator: None,
            is_viewer: false,
        };
        let url = self.url()?.clone();
        let links = SignInLinks {
            sessions: self.ports.sessions(by),
            random: self.random.clone(),
            url,
        };
        let now = self.clock.now();
        let link = links.issue(&principal, valid_for, now).await?;
        Ok((link, now + valid_for))
    }

    /// Issues a user's token for a setup tool.
    pub(crate) async fn issue_token(
        &self,
        record: &UserRecord,
        name: &str,
        valid_for: Duration,
        by: &Actor,
    ) -> Result<IssuedToken, OperatorError> {
        let tokens = self.user_tokens.as_ref().ok_or_else(|| {
            let text = "users' tokens need platform.gateway_secret";
            OperatorError::Conflict(text.to_owned())
        })?;
        let now = self.clock.now();
        let expires_at = now + valid_for;
        let stored = AccessToken {
            id: token_id(&self.random)?,
            name: name.to_owned(),
            scope: TokenScope::Setup,
            user: Some(record.user.clone()),
            created_at: now,
            expires_at,
            last_used_at: None,
        };
        let token = tokens.issue_stored(record, &stored.id, expires_at);
        let digest = digest_of(token.expose_secret());
        self.ports.tokens(by).add(&stored, digest).await?;
        Ok(IssuedToken {
            id: stored.id.to_string(),
            token,
            expires_at: expires_at.as_millis(),
        })
    }
}

#[async_trait]
impl Perform<Invite> for Operator {
    async fn perform(&self, request: Invite, by: &Actor) -> Result<Invitation, OperatorError> {
        let valid_for = lifetime(request.valid_for_seconds, INVITATION, LONGEST_LINK)?;
        let new = self.new_user(request.user).await?;
        let (user, location) = (new.user.clone(), new.location.clone());
        self.url()?;
        let added = match self.ports.users(by).add(new, self.clock.now()).await {
            Ok(_) => true,
            Err(UsersError::AlreadyExists { .. }) => {
                let record = self.user_record(&user, by).await?;
                if location != MachineLocation::Unknown && location != record.location {
                    let text = format!(
                        "{user} has another machine, and an invitation does not change it: `postbell users change {user}` does"
                    );
                    return Err(OperatorError::Conflict(text));
                }
                false
            }
            Err(error) => return Err(error.into()),
        };
        self.user_changed(&user).await;
        let (url, expires_at) = self.link(&user, valid_for, by).await?;
        let message = invitation(&user, url.expose_secret(), valid_for);
        Ok(Invitation {
            user_id: user.to_string(),
            added,
            url,
            expires_at: expires_at.as_millis(),
            message: message.into(),
        })
    }
}

/// What to send to an invited user.
fn invitation(user: &UserId, url: &str, valid_for: Duration) -> String {
    let seconds = valid_for.as_secs();
    let (number, unit) = match seconds {
        seconds if seconds >= 2 * DAY => (seconds / DAY, "days"),
        seconds if seconds >= 2 * HOUR => (seconds / HOUR, "hours"),
        seconds => (seconds / 60, "minutes"),
    };
    format!(
        "Your bot \"{user}\" can get your Gmail messages as they arrive.\n\n\
         1. Open this link and sign in:\n\n{url}\n\n\
         2. Connect the Google account whose mail the bot gets, on the page that opens. Bookmark that page.\n\n\
         The link works once, within {number} {unit}, and is only for you."
    )
}

#[async_trait]
impl Perform<ShowMachine> for Operator {
    async fn perform(
        &self,
        request: ShowMachine,
        by: &Actor,
    ) -> Result<MachineAccess, OperatorError> {
        let record = self.user_record(&request.user_id, by).await?;
        let platform_url = self.url()?.clone();
        let tokens = self.gateway_tokens.as_ref().ok_or_else(|| {
            let text = "machines' tokens need platform.gateway_secret";
            OperatorError::Conflict(text.to_owned())
        })?;
        let audit = self.ports.audit_log();
        let action = AuditAction::ShowMachineToken;
        audit.append(by, action, Some(&record.user), "").await?;
        Ok(MachineAccess {
            platform_url,
            gateway_token: tokens.token(&record.sandbox_id),
            sandbox_id: record.sandbox_id.to_string(),
        })
    }
}

#[async_trait]
impl Perform<IssueLink> for Operator {
    async fn perform(&self, request: IssueLink, by: &Actor) -> Result<IssuedLink, OperatorError> {
        let valid_for = lifetime(request.valid_for_seconds, LINK, LONGEST_LINK)?;
        let record = self.user_record(&request.user_id, by).await?;
        let (url, expires_at) = self.link(&record.user, valid_for, by).await?;
        Ok(IssuedLink {
            url,
            expires_at: expires_at.as_millis(),
        })
    }
}

#[async_trait]
impl Perform<ListLinks> for Operator {
    async fn perform(&self, request: ListLinks, by: &Actor) -> Result<LinkList, OperatorError> {
        let after = request.after.map(|id| id.parse()).transpose()?;
        let limit = page_size(request.limit)?;
        let sessions = self.ports.sessions(by);
        let mut links = sessions.links(after, limit + 1, self.clock.now()).await?;
        let has_more = links.len() > limit;
        links.truncate(limit);
        let last = links.last().filter(|_| has_more);
        Ok(LinkList {
            next: last.map(|last| last.digest.to_hex()),
            links: links.into_iter().map(listed_link).collect(),
        })
    }
}

fn listed_link(link: SignInLink) -> ListedLink {
    let Principal {
        user,
        operator,
        is_viewer,
    } = link.principal;
    let role = if is_viewer { "viewer" } else { "operator" };
    ListedLink {
        id: link.digest.to_hex(),
        user_id: user.map(|user| user.to_string()),
        role: operator.map(|_| role.to_owned()),
        expires_at: link.expires_at.as_millis(),
    }
}

#[async_trait]
impl Perform<RevokeLink> for Operator {
    async fn perform(&self, request: RevokeLink, by: &Actor) -> Result<Removed, OperatorError> {
        let link: LinkDigest = request.id.parse()?;
        let removed = self.ports.sessions(by).revoke_link(link).await?;
        Ok(Removed { removed })
    }
}

#[async_trait]
impl Perform<SignOut> for Operator {
    async fn perform(&self, request: SignOut, by: &Actor) -> Result<Removed, OperatorError> {
        if request.user_id.is_none() && !request.operators {
            let text = "expected userId, operators, or both";
            return Err(OperatorError::Invalid(text.to_owned()));
        }
        let sessions = self.ports.sessions(by);
        if let Some(user) = &request.user_id {
            let record = self.user_record(user, by).await?;
            sessions.revoke_user(&record.user).await?;
            self.ports.tokens(by).revoke_user(&record.user).await?;
        }
        if request.operators {
            sessions.revoke_operators().await?;
        }
        Ok(Removed { removed: true })
    }
}

#[async_trait]
impl Perform<IssueToken> for Operator {
    async fn perform(&self, request: IssueToken, by: &Actor) -> Result<IssuedToken, OperatorError> {
        let valid_for = lifetime(request.valid_for_seconds, TOKEN, LONGEST_TOKEN)?;
        let record = self.user_record(&request.user_id, by).await?;
        self.issue_token(&record, "setup", valid_for, by).await
    }
}

#[async_trait]
impl Perform<ListTokens> for Operator {
    async fn perform(&self, request: ListTokens, by: &Actor) -> Result<TokenList, OperatorError> {
        let after: Option<TokenId> = request.after.map(|id| id.parse()).transpose()?;
        let limit = page_size(request.limit)?;
        let tokens = self.ports.tokens(by);
        let user = request.user_id.as_ref();
        let mut tokens = tokens.list(user, after.as_ref(), limit + 1).await?;
        let has_more = tokens.len() > limit;
        tokens.truncate(limit);
        let last = tokens.last().filter(|_| has_more);
        let next = last.map(|last| last.id.to_string());
        let now = self.clock.now();
        let valid = tokens.into_iter().filter(|token| token.expires_at > now);
        Ok(TokenList {
            next,
            tokens: valid.map(listed_token).collect(),
        })
    }
}

fn listed_token(token: AccessToken) -> ListedToken {
    ListedToken {
        id: token.id.to_string(),
        name: token.name,
        scope: token.scope.as_str().to_owned(),
        user_id: token.user.map(|user| user.to_string()),
        created_at: token.created_at.as_millis(),
        expires_at: token.expires_at.as_millis(),
        last_used_at: token.last_used_at.map(Timestamp::as_millis),
    }
}

#[async_trait]
impl Perform<RevokeToken> for Operator {
    async fn perform(&self, request: RevokeToken, by: &Actor) -> Result<Removed, OperatorError> {
        let id: Result<TokenId, InvalidId> = request.id.parse();
        let removed = self.ports.tokens(by).revoke(&id?).await?;
        Ok(Removed { removed })
    }
}

fn lifetime(seconds: Option<u64>, default: u64, longest: u64) -> Result<Duration, OperatorError> {
    let seconds = seconds.unwrap_or(default);
    if (1..=longest).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        let text = format!("validForSeconds: expected 1 to {longest}");
        Err(OperatorError::Invalid(text))
    }
}

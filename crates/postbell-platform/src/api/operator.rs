//! The API for operators: each operation is posted as JSON, with an API key.

use std::marker::PhantomData;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use postbell_core::{Actor, TokenScope};
use postbell_http::bearer_token;
use postbell_protocol::api::Problem;
use postbell_protocol::api::UserStatus;
use postbell_protocol::api::operator::{
    AddUser, AuditList, ChangeUser, DeadLetterList, DeadLetterOutcome, DeliveryList,
    DropDeadLetters, ImportReport, ImportUsers, Invitation, Invite, IssueLink, IssueToken,
    IssuedLink, IssuedToken, LinkList, ListAudit, ListDeadLetters, ListDeliveries, ListLinks,
    ListTokens, ListUsers, MachineAccess, Operation, RemoveUser, Removed, RemovedUser,
    ReplayDeadLetters, RevokeLink, RevokeToken, ShowMachine, ShowUser, SignOut, TokenList,
    UserList,
};
use postbell_protocol::routes;
use utoipa::IntoResponses;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::JsonBody;
use super::{ApiError, BODY_LIMIT, Platform};
use crate::origin::origin;
use crate::{Operator, OperatorError, Perform};

/// The largest body with CSV, whose line ends JSON writes as two characters.
const IMPORT_LIMIT: usize = 4 * 1024 * 1024;

/// An operator with an API key whose scope permits `O`.
struct Permitted<O> {
    actor: Actor,
    operation: PhantomData<O>,
}

impl<O: Operation> FromRequestParts<Platform> for Permitted<O> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, platform: &Platform) -> Result<Self, ApiError> {
        let bearer = bearer_token(&parts.headers).ok_or(ApiError::Unauthorized)?;
        let at = platform.users().clock.now();
        let key = bearer.token().into();
        let verified = platform.parts().api_keys.verify(&key, at).await;
        let verified = verified.map_err(|error| ApiError::from_change("authentication", error))?;
        let token = verified.ok_or(ApiError::Unauthorized)?;
        if O::CHANGES && token.scope != TokenScope::Write {
            return Err(ApiError::ReadOnlyKey);
        }
        let actor = Actor {
            name: format!("key {} ({})", token.name, token.id),
            origin: origin(parts),
            at,
        };
        let operation = PhantomData;
        Ok(Self { actor, operation })
    }
}

/// The error responses of an operation, for the OpenAPI document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes the responses that ApiError sends")]
enum OperatorErrors {
    /// The request is invalid, as the text says
    #[response(status = BAD_REQUEST)]
    Invalid(Problem),
    /// The key is missing, wrong, revoked or has expired
    #[response(status = UNAUTHORIZED)]
    Unauthorized(Problem),
    /// The key only reads
    #[response(status = FORBIDDEN)]
    Forbidden(Problem),
    /// There is no such user
    #[response(status = NOT_FOUND)]
    Unknown(Problem),
    /// What is stored forbids it, as the text says
    #[response(status = CONFLICT)]
    Conflict(Problem),
}

/// Does an operation.
async fn perform<O: Operation>(
    platform: &Platform,
    permitted: &Permitted<O>,
    request: O,
) -> Result<Json<O::Answer>, ApiError>
where
    Operator: Perform<O>,
{
    let operator = &platform.parts().operator;
    let answer = operator.perform(request, &permitted.actor).await;
    answer.map(Json).map_err(|error| match error {
        OperatorError::UnknownUser { .. } => ApiError::UnknownUser,
        OperatorError::Conflict(text) => ApiError::Conflict(text),
        OperatorError::Invalid(text) => ApiError::Refused(text),
        OperatorError::Store(error) => ApiError::from_change("operation", error),
    })
}

/// Declares the handlers of operations, and their router.
macro_rules! operations {
    ($($(#[$summary:meta])* $name:ident: $request:ident => $answer:ident, $path:path, $limit:expr;)+) => {
        $(
            $(#[$summary])*
            #[utoipa::path(
                post,
                path = $path,
                tag = "operator",
                request_body = $request,
                security(("operatorKey" = [])),
                responses(
                    (status = OK, body = $answer),
                    OperatorErrors,
                )
            )]
            async fn $name(
                permitted: Permitted<$request>,
                State(platform): State<Platform>,
                JsonBody(request): JsonBody<$request, { $limit }>,
            ) -> Result<Json<$answer>, ApiError> {
                perform(&platform, &permitted, request).await
            }
        )+

        pub(super) fn routes() -> OpenApiRouter<Platform> {
            OpenApiRouter::new()
                $(.routes(routes!($name)))+
        }
    };
}

operations! {
    /// Lists users: a search, or a state, page by page
    list_users: ListUsers => UserList, routes::OPERATOR_USERS_LIST, BODY_LIMIT;
    /// Shows a user
    show_user: ShowUser => UserStatus, routes::OPERATOR_USERS_SHOW, BODY_LIMIT;
    /// Shows what the machine of a user needs to fetch its configuration, with its token
    show_machine: ShowMachine => MachineAccess, routes::OPERATOR_USERS_MACHINE, BODY_LIMIT;
    /// Adds a user
    add_user: AddUser => UserStatus, routes::OPERATOR_USERS_ADD, BODY_LIMIT;
    /// Changes a user's machine and settings
    change_user: ChangeUser => UserStatus, routes::OPERATOR_USERS_CHANGE, BODY_LIMIT;
    /// Removes a user and all their data, and takes back the permission at Google that was given to the operator's client
    remove_user: RemoveUser => RemovedUser, routes::OPERATOR_USERS_REMOVE, BODY_LIMIT;
    /// Adds users from CSV, with a report for each line
    import_users: ImportUsers => ImportReport, routes::OPERATOR_USERS_IMPORT, IMPORT_LIMIT;
    /// Invites a user: one link, and the text to send with it
    invite: Invite => Invitation, routes::OPERATOR_INVITATIONS_ADD, BODY_LIMIT;
    /// Issues a link that signs a user in once
    issue_link: IssueLink => IssuedLink, routes::OPERATOR_LINKS_ADD, BODY_LIMIT;
    /// Lists invitations and links that were not used
    list_links: ListLinks => LinkList, routes::OPERATOR_LINKS_LIST, BODY_LIMIT;
    /// Revokes an invitation or a link
    revoke_link: RevokeLink => Removed, routes::OPERATOR_LINKS_REVOKE, BODY_LIMIT;
    /// Ends all sessions of a user or of all operators
    sign_out: SignOut => Removed, routes::OPERATOR_SIGN_OUT, BODY_LIMIT;
    /// Issues a token with which a setup tool connects a user's Google account
    issue_token: IssueToken => IssuedToken, routes::OPERATOR_TOKENS_ADD, BODY_LIMIT;
    /// Lists API keys and users' tokens
    list_tokens: ListTokens => TokenList, routes::OPERATOR_TOKENS_LIST, BODY_LIMIT;
    /// Revokes an API key or a user's token
    revoke_token: RevokeToken => Removed, routes::OPERATOR_TOKENS_REVOKE, BODY_LIMIT;
    /// Lists a user's latest deliveries
    list_deliveries: ListDeliveries => DeliveryList, routes::OPERATOR_DELIVERIES_LIST, BODY_LIMIT;
    /// Lists dead letters
    list_dead_letters: ListDeadLetters => DeadLetterList, routes::OPERATOR_DEAD_LETTERS_LIST, BODY_LIMIT;
    /// Delivers dead letters again
    replay_dead_letters: ReplayDeadLetters => DeadLetterOutcome, routes::OPERATOR_DEAD_LETTERS_REPLAY, BODY_LIMIT;
    /// Deletes dead letters
    drop_dead_letters: DropDeadLetters => DeadLetterOutcome, routes::OPERATOR_DEAD_LETTERS_DROP, BODY_LIMIT;
    /// Lists entries of the audit log
    list_audit: ListAudit => AuditList, routes::OPERATOR_AUDIT_LIST, BODY_LIMIT;
}

//! Connecting a Google account in the browser, with the operator's OAuth client.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use postbell_core::{Actor, EmailAddress, MAX_ACCOUNTS_OF_USER, Timestamp, UserId, UserRecord};
use postbell_google::{ConsentRequest, ConsentSecrets, Redirected};
use postbell_http::constant_time_eq;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use url::Url;

use super::accounts::{ACCOUNT, ANOTHER};
use crate::operator_client::{ConnectError, Consented, Wanted};
use crate::pages::cookies::CookieName;
use crate::pages::csrf_form::CsrfForm;
use crate::pages::extract::Origin;
use crate::pages::layout::{form_token, plain_page};
use crate::pages::session::{Session, UserSession};
use crate::pages::toast::Toast;
use crate::pages::{PageError, Pages};
use crate::{ChangeError, OperatorClient};

/// The path that starts the connection.
pub(super) const START: &str = "/bot/google";

/// The path to which Google redirects: a redirect URI of the operator's client.
pub(super) const CALLBACK: &str = postbell_protocol::routes::CONNECT_CALLBACK;

/// How long a person may take at Google.
const ATTEMPT_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Where Google's users see and remove permissions.
const PERMISSIONS: &str = "https://myaccount.google.com/connections";

/// A consent that has been requested, stored in a cookie. It belongs to one user and one session.
#[derive(Deserialize, Serialize)]
struct Attempt {
    user: UserId,
    /// The session's.
    form_token: String,
    state: String,
    verifier: String,
    started_at: Timestamp,
    #[serde(default)]
    aim: Aim,
}

/// Which account is to be connected.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
enum Aim {
    /// The one of the bot's own record.
    #[default]
    Own,
    /// A further one again, by the id of its record.
    Again(UserId),
    /// One beside those that are connected.
    Another,
}

impl Aim {
    /// Reads the fields of a form.
    fn of(form: &CsrfForm<UserSession>) -> Result<Self, PageError> {
        let own = form.session.record.user.as_str();
        match form.field(ACCOUNT).filter(|id| *id != own) {
            _ if form.field(ANOTHER).is_some() => Ok(Self::Another),
            Some(id) => id
                .parse()
                .map(Self::Again)
                .map_err(|_| PageError::InvalidForm),
            None => Ok(Self::Own),
        }
    }

    /// The records in question; `None` if the account was removed.
    async fn wanted(
        &self,
        pages: &Pages,
        record: &UserRecord,
    ) -> Result<Option<Wanted>, PageError> {
        let further = pages.users().fleet.accounts_of(record).await?;
        let again = match self {
            // One that another record has must be found, too.
            Self::Own if record.google.is_none() && !further.is_empty() => None,
            Self::Own => Some(record.clone()),
            Self::Again(account) => match further.iter().find(|it| it.user == *account) {
                Some(found) => Some(found.clone()),
                None => return Ok(None),
            },
            Self::Another => None,
        };
        let own = record.clone();
        Ok(Some(Wanted {
            again,
            own,
            further,
        }))
    }

    /// The fields of a form.
    fn fields(&self) -> Markup {
        html! {
            @match self {
                Self::Own => {},
                Self::Again(account) => input type="hidden" name=(ACCOUNT) value=(account);,
                Self::Another => input type="hidden" name=(ANOTHER) value="1";,
            }
        }
    }
}

impl Attempt {
    fn is_of(&self, session: &Session, record: &UserRecord, now: Timestamp) -> bool {
        self.user == record.user
            && constant_time_eq(&session.form_token, &self.form_token)
            && now < self.started_at + ATTEMPT_LIFETIME
    }
}

/// Why nothing was connected, as shown to the user.
enum Problem {
    Cancelled,
    Refused(String),
    /// The redirect is not of the attempt that runs, if one does.
    Expired,
    /// Another account was connected first.
    OtherAccount,
    /// The connected account that is to be connected again, and what happened.
    Connect(Option<EmailAddress>, ConnectError),
    TooManyUsers,
    /// Another account of the bot has the mailbox.
    AlreadyConnected,
    TooManyAccounts,
}

/// Redirects to Google's consent page.
pub(super) async fn start(
    State(pages): State<Pages>,
    form: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let client = operator_client(&pages)?;
    let aim = Aim::of(&form)?;
    let UserSession { session, record } = form.session;
    let Some(wanted) = aim.wanted(&pages, &record).await? else {
        return Ok(Toast::AccountMissing.redirect(&pages, super::actions::CONNECTION));
    };
    let secrets = client.new_secrets();
    let attempt = Attempt {
        user: record.user.clone(),
        form_token: session.form_token,
        state: secrets.state.clone(),
        verifier: secrets.verifier.expose_secret().to_owned(),
        started_at: pages.now(),
        aim,
    };
    let cookies = pages.cookies();
    let cookie = cookies.set(CookieName::ConnectAttempt, &attempt, ATTEMPT_LIFETIME);
    let request = request(&pages, client, secrets, &wanted)?;
    let page = request.url(client.auth_url());
    Ok((cookie, Redirect::to(page.as_str())).into_response())
}

/// Redeems Google's code and connects the account.
pub(super) async fn callback(
    State(pages): State<Pages>,
    UserSession { session, record }: UserSession,
    Origin(origin): Origin,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let client = operator_client(&pages)?;
    let attempt: Option<Attempt> = pages.cookies().read(CookieName::ConnectAttempt, &headers);
    let attempt = attempt.filter(|attempt| attempt.is_of(&session, &record, pages.now()));
    let aim = attempt.as_ref().map(|attempt| attempt.aim.clone());
    let aim = aim.unwrap_or_default();
    let wanted = aim.wanted(&pages, &record).await?;
    let connected = match attempt.zip(wanted) {
        Some((attempt, wanted)) => {
            pages.count_change(&session.principal)?;
            let query = uri.query().unwrap_or_default();
            let by = session.actor(origin, pages.now());
            connect(&pages, client, attempt, &wanted, query, &by).await?
        }
        None => Err(Problem::Expired),
    };
    // A code is valid once, whatever came of it. A redirect that is old or forged ends no other attempt.
    let is_over = !matches!(connected, Err(Problem::Expired));
    let remove = is_over.then(|| pages.cookies().remove(CookieName::ConnectAttempt));
    let page = match connected {
        Ok(toast) => toast.redirect(&pages, super::actions::CONNECTION),
        Err(problem) => {
            log(&record, &problem);
            problem_page(&session, &aim, &problem)
        }
    };
    Ok((remove, page).into_response())
}

fn operator_client(pages: &Pages) -> Result<&OperatorClient, PageError> {
    let client = pages.users().operator_client.as_deref();
    client.ok_or(PageError::NotFound)
}

fn request(
    pages: &Pages,
    client: &OperatorClient,
    secrets: ConsentSecrets,
    wanted: &Wanted,
) -> Result<ConsentRequest, PageError> {
    let url = &pages.parts().links.url;
    let redirect = url.join(CALLBACK).map_err(|_| PageError::Internal)?;
    let request = client.request(redirect, secrets, wanted.address());
    Ok(match wanted.again {
        Some(_) => request,
        None => request.for_another_account(),
    })
}

async fn connect(
    pages: &Pages,
    client: &OperatorClient,
    attempt: Attempt,
    wanted: &Wanted,
    query: &str,
    by: &Actor,
) -> Result<Result<Toast, Problem>, PageError> {
    let secrets = ConsentSecrets {
        state: attempt.state,
        verifier: attempt.verifier.into(),
    };
    let request = request(pages, client, secrets, wanted)?;
    let mut redirected: Url = pages.parts().links.url.clone();
    redirected.set_query(Some(query));
    let code = match request.read(&redirected) {
        Redirected::Code(code) => code,
        Redirected::Refused(code) if code == "access_denied" => {
            return Ok(Err(Problem::Cancelled));
        }
        Redirected::Refused(code) => return Ok(Err(Problem::Refused(code))),
        Redirected::Stranger => return Ok(Err(Problem::Expired)),
    };
    let users = pages.users();
    let consented = client.connect(request, code, wanted, &users.commands);
    let Consented {
        user,
        new,
        unused,
        ends_in,
    } = match consented.await {
        Ok(consented) => consented,
        Err(error) => {
            let connected = wanted.address().cloned();
            return Ok(Err(Problem::Connect(connected, error)));
        }
    };
    let mailboxes = &pages.parts().mailboxes;
    let error = match mailboxes.connect(users, &user, new, by).await {
        Ok(changed) => {
            unused.keep();
            return Ok(Ok(Toast::Connected(changed.machine, ends_in)));
        }
        Err(error) => error,
    };
    unused.give_back().await;
    match error {
        ChangeError::AddressTaken => Ok(Err(Problem::TooManyUsers)),
        ChangeError::OtherAccount => Ok(Err(Problem::OtherAccount)),
        ChangeError::AccountConnected => Ok(Err(Problem::AlreadyConnected)),
        ChangeError::TooManyAccounts => Ok(Err(Problem::TooManyAccounts)),
        ChangeError::GrantRevoked => Ok(Err(Problem::Connect(None, ConnectError::CodeRefused))),
        error => Err(error.into()),
    }
}

fn log(record: &UserRecord, problem: &Problem) {
    let user = record.user.masked();
    match problem {
        Problem::Connect(_, error @ (ConnectError::Operator(_) | ConnectError::NotEncrypted)) => {
            let error = error as &dyn std::error::Error;
            warn!(user.id = %user, error, "Google refuses to connect an account to {user}: see [google.client]");
        }
        Problem::Connect(_, error) => {
            let error = error as &dyn std::error::Error;
            info!(user.id = %user, error, "No account was connected to {user}");
        }
        _ => info!(user.id = %user, "No account was connected to {user}"),
    }
}

/// Shows what happened and what to do next. Every attempt can be repeated.
fn problem_page(session: &Session, aim: &Aim, problem: &Problem) -> Response {
    let (status, title, text) = problem.shown();
    let page = plain_page(
        title,
        html! {
            (text)
            form method="post" action=(START) {
                (form_token(session))
                (aim.fields())
                button class="primary wide" { "Try again" }
            }
            p { a href=(super::PAGE) { "Back to My bot" } }
        },
    );
    let mut response = (status, page).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let seconds = HeaderValue::from_static("5");
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

impl Problem {
    fn shown(&self) -> (StatusCode, &'static str, Markup) {
        const NOTHING: &str = "Nothing was connected";
        match self {
            Self::Cancelled => (
                StatusCode::FORBIDDEN,
                NOTHING,
                html! { p { "You cancelled on Google's page. Your bot gets no mail until you allow Postbell to read it there." } },
            ),
            Self::Refused(code) => (
                StatusCode::FORBIDDEN,
                NOTHING,
                html! {
                    p { "Google refused with " code { (code) } ". If it does so again, ask your operator, or the \
                        administrator of your organization, whether this app may be used with your account." }
                },
            ),
            Self::Expired => (
                StatusCode::FORBIDDEN,
                NOTHING,
                html! {
                    p { "This attempt has expired, was used already, or was started in another browser or session. \
                        If the account is not shown on My bot, start again." }
                },
            ),
            Self::OtherAccount => (
                StatusCode::CONFLICT,
                NOTHING,
                html! { p { "Another account was connected to your bot while you were on Google's page. To replace it, disconnect it first." } },
            ),
            Self::TooManyUsers => (
                StatusCode::CONFLICT,
                NOTHING,
                html! { p { "This mailbox is connected to too many bots already. Disconnect one of them, or choose another account." } },
            ),
            Self::AlreadyConnected => (
                StatusCode::CONFLICT,
                NOTHING,
                html! { p { "This account is connected to your bot already. Choose another one." } },
            ),
            Self::TooManyAccounts => (
                StatusCode::CONFLICT,
                NOTHING,
                html! { p { "A bot has at most " (MAX_ACCOUNTS_OF_USER) " Google accounts. Disconnect one to connect another." } },
            ),
            Self::Connect(connected, error) => shown_error(error, connected.as_ref()),
        }
    }
}

fn shown_error(
    error: &ConnectError,
    connected: Option<&EmailAddress>,
) -> (StatusCode, &'static str, Markup) {
    const NOTHING: &str = "Nothing was connected";
    match error {
        ConnectError::ScopesMissing(scopes) => (
            StatusCode::FORBIDDEN,
            "A permission is missing",
            html! {
                p { "On Google's page, these were not allowed:" }
                ul { @for scope in scopes { li { (describe_scope(scope)) } } }
                p { "Your bot needs them. Try again, and leave every box ticked." }
            },
        ),
        ConnectError::NoRefreshToken => (
            StatusCode::BAD_GATEWAY,
            NOTHING,
            html! {
                p { "Google gave no lasting permission. Remove this app on " a href=(PERMISSIONS) { "the page of your Google account" }
                    ", and try again." }
            },
        ),
        ConnectError::OtherAccount => (
            StatusCode::CONFLICT,
            "This is another account",
            html! {
                @if let Some(email) = connected {
                    p { "Your bot has " strong class="address" { (email.as_str()) } ". Choose that account on Google's page. \
                        For a further one, go back and connect another account." }
                }
            },
        ),
        ConnectError::CodeRefused => (
            StatusCode::FORBIDDEN,
            NOTHING,
            html! { p { "Google no longer accepts this attempt. If the account is not shown on My bot, start again." } },
        ),
        ConnectError::Unavailable(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Google could not be reached",
            html! { p { "Nothing was connected. Try again in a moment." } },
        ),
        ConnectError::Operator(_) => (
            StatusCode::BAD_GATEWAY,
            NOTHING,
            html! {
                p { "Google refuses something that your operator has to put right. Tell your operator: Postbell's log has \
                    the reason. A new setup takes Google some minutes, so also try again then." }
            },
        ),
        ConnectError::NotEncrypted => (
            StatusCode::INTERNAL_SERVER_ERROR,
            NOTHING,
            html! { p { "Postbell could not encrypt the credentials. Tell your operator: its log has the reason." } },
        ),
    }
}

/// Describes a scope as Google's page does, or by its last part.
fn describe_scope(scope: &str) -> String {
    let name = scope.trim_end_matches('/').rsplit('/').next();
    match name.unwrap_or(scope) {
        "gmail.readonly" => "read your mail (gmail.readonly)".to_owned(),
        "gmail.modify" => "read and change your mail (gmail.modify)".to_owned(),
        "gmail.send" => "send mail (gmail.send)".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_described_by_what_they_allow() {
        for (scope, expected) in [
            (
                "https://www.googleapis.com/auth/gmail.readonly",
                "read your mail (gmail.readonly)",
            ),
            ("https://www.googleapis.com/auth/calendar", "calendar"),
            ("https://mail.google.com/", "mail.google.com"),
        ] {
            assert_eq!(describe_scope(scope), expected);
        }
    }
}

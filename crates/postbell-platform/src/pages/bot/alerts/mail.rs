//! The form for mail by a server of the user's own, which is shown if the operator has none for all.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use postbell_alerts::{InvalidTarget, MailFields};

use super::{Refused, add_target, refuse};
use crate::pages::csrf_form::CsrfForm;
use crate::pages::extract::Origin;
use crate::pages::layout::form_token;
use crate::pages::session::{Session, UserSession};
use crate::pages::{PageError, Pages};

/// Where the form is posted to.
pub(in crate::pages::bot) const MAIL: &str = "/bot/alerts/mail";

/// What a person has entered, without the password.
#[derive(Default)]
pub(in crate::pages::bot) struct Entered {
    to: String,
    host: String,
    port: String,
    user: String,
    from: String,
}

impl Entered {
    /// Only the address of the recipient.
    pub(super) fn to(address: &str) -> Self {
        Self {
            to: address.to_owned(),
            ..Self::default()
        }
    }

    fn new(form: &CsrfForm<UserSession>) -> Self {
        let field = |name| form.field(name).unwrap_or_default().trim().to_owned();
        Self {
            to: field("to"),
            host: field("host"),
            port: field("port"),
            user: field("user"),
            from: field("from"),
        }
    }

    /// The fields, in which user and sender are the recipient unless they were entered.
    fn fields<'a>(&'a self, password: &'a str) -> MailFields<'a> {
        let or_recipient = |text: &'a String| if text.is_empty() { &self.to } else { text };
        MailFields {
            host: &self.host,
            port: &self.port,
            user: or_recipient(&self.user),
            password,
            from: or_recipient(&self.from),
            to: &self.to,
        }
    }
}

/// The form, open if what was entered there was refused.
pub(super) fn form(session: &Session, refused: Option<(&Entered, &str)>) -> Markup {
    let nothing = Entered::default();
    let entered = refused.map_or(&nothing, |(entered, _)| entered);
    let port = if entered.port.is_empty() {
        "465"
    } else {
        &entered.port
    };
    html! {
        details id="mail-target" class="choice" open[refused.is_some()] {
            summary { "By mail" }
            form class="fields" method="post" action={ (MAIL) "#alerts" } {
                (form_token(session))
                @if let Some((_, reason)) = refused {
                    p class="refused" role="alert" { "Nothing was added. " (reason) }
                }
                label {
                    "Your mail address"
                    input name="to" type="email" required maxlength="254" autocomplete="email" value=(entered.to);
                }
                label {
                    "Mail server"
                    input name="host" required maxlength="253" autocapitalize="none" spellcheck="false"
                        placeholder="smtp.example.com" value=(entered.host);
                }
                label {
                    "Port (465, or 587 for STARTTLS)"
                    input name="port" inputmode="numeric" required maxlength="5" value=(port);
                }
                label {
                    "User (your address if empty)"
                    input name="user" maxlength="254" autocomplete="off" autocapitalize="none" spellcheck="false"
                        value=(entered.user);
                }
                label {
                    "Password"
                    input name="password" type="password" required maxlength="256" autocomplete="off";
                }
                label {
                    "Sender (your address if empty)"
                    input name="from" type="email" maxlength="254" autocomplete="off" value=(entered.from);
                }
                p class="hint" {
                    "Postbell sends the alerts by this server, always encrypted. Your mail provider names it; for Gmail it is "
                    "smtp.gmail.com with an app password."
                }
                button class="primary" { "Add" }
            }
        }
    }
}

pub(in crate::pages::bot) async fn add(
    State(pages): State<Pages>,
    Origin(origin): Origin,
    form: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let entered = Entered::new(&form);
    let password = form.field("password").unwrap_or_default();
    let parsed = entered.fields(password).target();
    let checked = parsed
        .map_err(|InvalidTarget { expected }| format!("Expected {expected}."))
        .and_then(|target| match pages.parts().alerts.client.check(&target) {
            Ok(()) => Ok(target),
            Err(error) => Err(format!("The alert could not be sent: {error}.")),
        });
    match checked {
        Ok(target) => add_target(&pages, &form.session, origin, &target).await,
        Err(reason) => refuse(&pages, form.session, Refused::Mail { entered, reason }).await,
    }
}

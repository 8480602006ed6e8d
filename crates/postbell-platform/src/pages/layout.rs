//! The layout of every page.

use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use postbell_core::UserId;

use super::Pages;
use super::assets::{BELL, SCRIPT, STYLE};
use super::cookies::CookieName;
use super::csrf_form::FORM_TOKEN;
use super::session::Session;
use super::toast::{ShownToast, Toast};

/// A page of a session.
pub(super) struct Page<'a> {
    pub(super) title: &'a str,
    /// The path of the event stream.
    pub(super) events: &'a str,
    pub(super) session: &'a Session,
    pub(super) toast: Option<ShownToast>,
}

impl Page<'_> {
    /// Renders the response, and removes a toast that it shows.
    pub(super) fn response(&self, pages: &Pages, content: &Markup) -> Response {
        let page = self.document(content);
        match self.toast {
            Some(_) => (pages.cookies().remove(CookieName::Toast), page).into_response(),
            None => page.into_response(),
        }
    }

    /// Renders the document.
    pub(super) fn document(&self, content: &Markup) -> Markup {
        let content = match &self.toast {
            Some(shown) => &with_toast(shown, content),
            None => content,
        };
        document(
            self.title,
            &html! {
                header class="bar" {
                    div class="bar-inner" {
                        (brand())
                        nav aria-label="Pages" {
                            @if self.session.principal.user.is_some() { (self.tab("/bot", "My bot")) }
                            @if self.session.is_operator() { (self.tab("/operator", "Operator")) }
                        }
                        p class="who" { "Signed in as " strong { (self.session.name()) } }
                        form class="sign-out" action="/sign-out" { button class="quiet" { "Sign out…" } }
                    }
                }
                p id="stale" class="stale" role="status" hidden {}
                main id="main" data-events=(self.events) {
                    p id="announcement" class="unseen" role="status" {}
                    noscript { p class="hint" { "Without JavaScript, this page shows the state when it was opened." } }
                    (content)
                }
            },
        )
    }

    fn tab(&self, path: &str, name: &str) -> Markup {
        let is_here = self.events.starts_with(path);
        html! { a href=(path) aria-current=[is_here.then_some("page")] { (name) } }
    }
}

/// A page without a session.
pub(super) fn plain_page(title: &str, content: Markup) -> Markup {
    document(
        title,
        &html! {
            main id="main" class="plain" {
                (brand())
                h1 { (title) }
                (content)
            }
        },
    )
}

/// The hidden field with the CSRF token.
pub(super) fn form_token(session: &Session) -> Markup {
    html! { input type="hidden" name=(FORM_TOKEN) value=(session.form_token); }
}

fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) " · Postbell" }
                link rel="icon" href=(BELL.path()) type="image/svg+xml";
                link rel="stylesheet" href=(STYLE.path());
                script src=(SCRIPT.path()) defer {}
            }
            body {
                a class="skip" href="#main" { "Skip to content" }
                (body)
            }
        }
    }
}

fn brand() -> Markup {
    html! {
        a class="brand" href="/" {
            svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" {
                path d="M12 3a6 6 0 0 0-6 6v3.6L4.3 16a1 1 0 0 0 .9 1.5h13.6a1 1 0 0 0 .9-1.5L18 12.6V9a6 6 0 0 0-6-6z" {}
                path d="M9.6 19.3a2.5 2.5 0 0 0 4.8 0z" {}
            }
            span { "Postbell" }
        }
    }
}

/// Shows a toast before its section: an action may lead to the middle of a page. It takes its place there, because a message
/// over the page would hide what it is about.
fn with_toast(shown: &ShownToast, content: &Markup) -> Markup {
    let toast = show_toast(&shown.toast);
    let section = format!("<section id=\"{}\"", shown.section);
    let (before, after) = content
        .0
        .split_at(content.0.find(&section).unwrap_or_default());
    html! { (PreEscaped(before)) (toast) (PreEscaped(after)) }
}

fn show_toast(toast: &Toast) -> Markup {
    let tone = if toast.is_warning() { "warn" } else { "good" };
    html! {
        div id="toast" class={ "toast " (tone) } role="status" {
            span class="dot" aria-hidden="true" {}
            p { (toast.text()) }
            // Without script, the link reloads the page.
            a href="" { "Dismiss" }
        }
    }
}

/// A form with a switch that submits it.
pub(super) struct Switch<'a> {
    pub(super) id: &'a str,
    pub(super) action: &'a str,
    pub(super) label: &'a str,
    pub(super) help: &'a str,
    pub(super) is_on: bool,
    /// The record of the account that it is about, if there are several.
    pub(super) account: Option<&'a UserId>,
}

impl Switch<'_> {
    pub(super) fn markup(&self, session: &Session) -> Markup {
        let (state, to) = if self.is_on {
            ("true", "off")
        } else {
            ("false", "on")
        };
        let help = format!("{}-help", self.id);
        let label = format!("{}-label", self.id);
        html! {
            form class="setting" method="post" action=(self.action) {
                (form_token(session))
                input type="hidden" name="to" value=(to);
                @if let Some(account) = self.account { input type="hidden" name="account" value=(account); }
                div {
                    span id=(label) class="setting-name" { (self.label) }
                    p id=(help) class="hint" { (self.help) }
                }
                button id=(self.id) class="switch" role="switch" aria-checked=(state)
                    aria-labelledby=(label) aria-describedby=(help) {
                    span class="knob" aria-hidden="true" {}
                    span class="switch-word" aria-hidden="true" { (if self.is_on { "On" } else { "Off" }) }
                }
            }
        }
    }
}

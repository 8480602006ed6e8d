//! What differs for an operator, whose project serves all users of a platform who connect in the browser.

use url::Url;

use crate::complete::{URL, ask_parsed};
use crate::context::SetupContext;
use crate::error::Result;
use crate::progress::SavedDestination;
use crate::report::Report;
use crate::request::{Destination, parse_url};
use crate::ui::Question;

/// Completes the request, and saves it to the progress file.
pub(crate) async fn complete_request(ctx: &mut SetupContext) -> Result<()> {
    let saved = ctx.progress.destination.clone();
    let known = ctx.request.destination.clone();
    let known = known.or_else(|| saved.and_then(Destination::from_saved));
    let (pages, relay) = match known {
        Some(Destination::Operator { pages, relay }) => (Some(pages), Some(relay)),
        _ => (None, None),
    };
    // Each by itself: what is requested replaces what was saved.
    let pages = ctx.request.pages.clone().or(pages);
    let pages = match pages {
        Some(pages) => pages,
        None => ask(ctx, PAGES).await?,
    };
    let relay = ctx.request.relay.clone().or(relay);
    let relay = match relay {
        Some(relay) => relay,
        None => ask(ctx, RELAY).await?,
    };
    let destination = Destination::Operator { pages, relay };
    ctx.request.destination = Some(destination.clone());
    let names = ctx.request.names.clone();
    ctx.update_progress(|progress| {
        progress.destination = Some(destination.to_saved());
        progress.names.update(names);
    })
}

/// The questions, and the flags that answer them.
const PAGES: [&str; 2] = ["Public URL of the pages (platform.url)", "--pages URL"];
const RELAY: [&str; 2] = ["Public URL of the relay (relay.audience)", "--relay URL"];

async fn ask(ctx: &SetupContext, [text, flag]: [&'static str; 2]) -> Result<Url> {
    let question = Question::new(text, flag);
    ask_parsed(&*ctx.deps.ui, &question, URL, parse_url).await
}

/// The lines to add to the configuration; none before every step is done.
pub(crate) fn configuration(ctx: &SetupContext, report: &Report) -> Vec<String> {
    let saved = ctx.progress.destination.as_ref();
    let is_operator = matches!(saved, Some(SavedDestination::Operator { .. }));
    let (true, true, Some(client), Some(file)) = (
        is_operator,
        report.is_done(),
        &ctx.discovered.web_client,
        &ctx.request.secret_file,
    ) else {
        return Vec::new();
    };
    let (topic, account) = (ctx.topic(), ctx.push_account_email());
    let (topic, account) = (topic.unwrap_or_default(), account.unwrap_or_default());
    // A string of JSON is one of TOML, too.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    vec![
        "[google.client]".to_owned(),
        format!("client_id = {}", quoted(&client.id)),
        format!(
            "client_secret_file = {}",
            quoted(&file.display().to_string())
        ),
        format!("topic = {}", quoted(&topic)),
        format!("push_account = {}", quoted(&account)),
    ]
}

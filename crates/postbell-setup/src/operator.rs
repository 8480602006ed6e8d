//! What differs for an operator, whose project serves all users of a platform who connect in the browser.

use std::collections::BTreeMap;
use std::path::Path;

use url::Url;

use crate::ask::{URL, ask_parsed};
use crate::context::SetupContext;
use crate::error::Result;
use crate::progress::SavedDestination;
use crate::report::Report;
use crate::request::{Destination, parse_url};
use crate::steps::absolute;
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
    // The next run may be in another folder.
    let file = ctx.request.secret_file.take();
    let file = file.or_else(|| ctx.progress.secret_file.clone());
    let file = absolute(file.as_deref().unwrap_or(Path::new(SECRET_FILE)));
    ctx.request.secret_file = Some(file.clone());
    let destination = Destination::Operator { pages, relay };
    ctx.request.destination = Some(destination.clone());
    let names = ctx.request.names.clone();
    ctx.update_progress(|progress| {
        progress.destination = Some(destination.to_saved());
        progress.secret_file = Some(file);
        progress.names.update(names);
    })
}

/// The questions, and the flags that answer them.
const PAGES: [&str; 2] = ["Public URL of the pages (platform.url)", "--pages URL"];
const RELAY: [&str; 2] = ["Public URL of the relay (relay.audience)", "--relay URL"];

/// The file of the client's secret, in the current folder, if none is named.
const SECRET_FILE: &str = "google-client-secret";

async fn ask(ctx: &SetupContext, [text, flag]: [&'static str; 2]) -> Result<Url> {
    let question = Question::new(text, flag);
    let parse = |text: &str| parse_url(text).filter(|url| url.path() == "/");
    ask_parsed(&*ctx.deps.ui, &question, URL, parse).await
}

/// The lines to add to the configuration; none before every step is done.
pub(crate) fn configuration(ctx: &SetupContext, report: &Report) -> Vec<String> {
    let (true, Some(SavedDestination::Operator { .. }), Some(client), Some(file)) = (
        report.is_done(),
        &ctx.progress.destination,
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

/// What the client and the subscription were made for, as keys and values, if the configuration says something else; nothing
/// before every step is done.
pub(crate) fn settings(ctx: &SetupContext, report: &Report) -> BTreeMap<&'static str, String> {
    let (true, Some(SavedDestination::Operator { pages, relay })) =
        (report.is_done(), &ctx.progress.destination)
    else {
        return BTreeMap::new();
    };
    let configured = &ctx.request.configured;
    let of_each = [
        ("platform.url", pages, &configured.pages),
        ("relay.audience", relay, &configured.relay),
    ];
    let others = of_each
        .into_iter()
        .filter(|(_, url, configured)| configured.as_ref() != Some(*url));
    let plain = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
    others.map(|(key, url, _)| (key, plain(url))).collect()
}

//! The bot's hook, where it can be reached from here.

use super::{Exam, Finding};
use crate::hook;
use crate::trouble::{Trouble, Wall};
use crate::wishes::HookWish;

/// What is sent to the hook: what was given, what setup has tried, or what the watcher has saved.
fn wish(exam: &Exam<'_>) -> Option<HookWish> {
    let wishes = &exam.site.wishes;
    let address = wishes.mailbox.as_ref();
    let recall = |address| exam.site.tools.memory.recall(address).ok().flatten();
    let saved = address.and_then(|address| recall(address.as_str())?.hook);
    let mut wish = wishes.hook.clone();
    if wish.is_none() {
        let tried = exam.site.progress.hook.clone();
        wish = tried.map(|url| HookWish { url, token: None });
    }
    match (wish, saved) {
        (Some(wish), Some(saved)) if wish.token.is_none() && wish.url == saved.url => Some(saved),
        (Some(wish), _) => Some(wish),
        (None, saved) => saved,
    }
    .map(|wish| HookWish {
        token: wish.token.or_else(|| exam.facts.hook_token.clone()),
        ..wish
    })
}

/// Sends the hook a mail that says of itself that it is none; nothing, where no hook is known.
pub(super) async fn look(exam: &Exam<'_>) -> Option<Finding> {
    let wish = wish(exam)?;
    Some(exam.within(send(exam, &wish)).await)
}

async fn send(exam: &Exam<'_>, wish: &HookWish) -> Finding {
    let mailbox = exam.site.wishes.mailbox.as_ref();
    let mailbox = mailbox.map_or("", |address| address.as_str());
    let url = super::endpoint::shown(&wish.url);
    let has_token = wish.token.is_some();
    match hook::send(&exam.site.tools.client, wish, mailbox).await {
        Ok(()) => Finding::ok(format!("{url} takes mail")),
        Err(Trouble {
            wall: Wall::Hook(problem),
            ..
        }) => {
            if !has_token && problem.contains("token") {
                return Finding::unless(
                    format!("{url} wants a token, and none is known here"),
                    "Put what the bot's hook expects into POSTBELL_WATCH_HOOK_TOKEN, and run \
                     `postbell doctor` again.",
                );
            }
            let next = "See that the bot runs, and what its hook is";
            let next = format!("{next}: `curl -i -X POST {url}`.");
            Finding::failed(format!("{problem} ({url})"), next)
        }
        Err(trouble) => trouble.into(),
    }
}

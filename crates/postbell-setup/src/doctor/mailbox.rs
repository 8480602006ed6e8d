//! The mailbox: that its owner's leave is still good, and that Gmail tells of new mail.
//!
//! Google has no way to ask how a watch stands. Who renews it knows, and a machine's controller says
//! it; and a renewal has Gmail send a notification, so one that is renewed every day is heard of
//! every day.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{EmailAddress, Timestamp};
use postbell_google::{
    Api, CloudError, Credentials, Mailbox, RefusalKind, TokenError, TokenSource,
};

use super::{Exam, Finding, HopId};
use crate::memory::Remembered;
use crate::times::{day, in_words, minute};
use crate::trouble::Trouble;
use crate::wishes::Destination;

const DAY: i64 = 86_400_000;

/// How long a watch lasts, and what is left of it at least where it is renewed every day.
const LIFE: i64 = 7 * DAY;
const RENEWED: i64 = 2 * DAY;

const NEXT: &str = "Restart the bot's machine: its watcher renews the watch an hour later. Or run \
                    `postbell setup`, which begins one anew.";

const CONSENT: &str = "Run `postbell setup`: it asks for consent again.";

pub(super) async fn look(exam: &Exam<'_>) -> [(HopId, Finding); 2] {
    let grant = match &exam.facts.mailbox {
        Ok((address, credentials)) => exam.within(grant(exam, address, credentials)).await,
        Err(_) if exam.is_local() => match local_credentials(exam) {
            Some((address, credentials)) => exam.within(grant(exam, &address, &credentials)).await,
            None => Finding::needs(HopId::Keys),
        },
        Err(finding) => finding.clone(),
    };
    [(HopId::Watch, watch(exam)), (HopId::Grant, grant)]
}

fn local_credentials(exam: &Exam<'_>) -> Option<(EmailAddress, Credentials)> {
    let wishes = &exam.site.wishes;
    let address = wishes.mailbox.clone()?;
    let file = wishes.destination.as_ref()?.credentials()?;
    let credentials = Credentials::from_file(file, address.as_str()).ok()?;
    Some((address, credentials))
}

async fn grant(exam: &Exam<'_>, address: &EmailAddress, credentials: &Credentials) -> Finding {
    let tools = &exam.site.tools;
    let tokens = TokenSource::new(
        tools.client.clone(),
        tools.google.token.clone(),
        credentials.clone(),
        Arc::clone(&tools.clock),
    );
    let url = tools.google.gmail.clone();
    let mailbox = Mailbox::new(Api::new(tools.client.clone(), url, Arc::new(tokens)));
    match mailbox.profile().await {
        Ok(profile) if !profile.email_address.eq_ignore_ascii_case(address.as_str()) => {
            let detail = format!("it opens another mailbox than {}", address.as_str());
            Finding::failed(detail, CONSENT)
        }
        Ok(_) => alive(exam, address),
        Err(CloudError::Token(TokenError::GrantRevoked)) => Finding::failed(revoked(exam), CONSENT),
        Err(CloudError::Token(error @ TokenError::NotDelegated)) => Finding::failed(
            error.to_string(),
            "Delegate it at https://admin.google.com/ac/owl/domainwidedelegation, and run `postbell \
             doctor` again.",
        ),
        Err(error) if error.is(RefusalKind::ScopeMissing) => {
            let detail = "the grant does not cover reading mail: the box was not ticked";
            Finding::failed(detail, CONSENT)
        }
        Err(error) => Trouble::from(error).into(),
    }
}

fn alive(exam: &Exam<'_>, address: &EmailAddress) -> Finding {
    let address = address.as_str();
    match exam.site.progress.grant_ends_at {
        None => Finding::ok(format!("opens {address}")),
        Some(ends) => Finding::warning(
            format!(
                "opens {address}, and ends on {}: the consent screen is in testing, where every grant \
                 ends after 7 days",
                day(ends)
            ),
            "Publish the app at https://console.cloud.google.com/auth/audience, then run `postbell \
             setup`: it asks for consent again.",
        ),
    }
}

/// Why Google says `invalid_grant`.
fn revoked(exam: &Exam<'_>) -> String {
    let now = exam.site.tools.clock.now().as_millis();
    match exam.site.progress.grant_ends_at {
        Some(ends) if ends <= now => format!(
            "Google takes it no more (invalid_grant): it ended on {}, for the consent screen is in \
             testing, where every grant ends after 7 days",
            day(ends)
        ),
        _ => "Google takes it no more (invalid_grant): its owner took it back or changed the \
              password, or the consent screen is in testing, where every grant ends after 7 days"
            .to_owned(),
    }
}

fn watch(exam: &Exam<'_>) -> Finding {
    if !exam.is_local() {
        return by_what_was_heard(exam);
    }
    let Some(address) = exam.site.wishes.mailbox.as_ref() else {
        return Finding::unknown("the mailbox is not known here");
    };
    match exam.site.tools.memory.recall(address.as_str()) {
        Ok(Some(watch)) => local(exam, address, &watch),
        Ok(None) => Finding::failed(
            format!("none was begun for {} on this machine", address.as_str()),
            "Run `postbell setup`: it begins one.",
        ),
        Err(trouble) => trouble.into(),
    }
}

fn local(exam: &Exam<'_>, address: &EmailAddress, watch: &Remembered) -> Finding {
    let ends = watch.ends_at.as_millis();
    let left = ends.saturating_sub(exam.site.tools.clock.now().as_millis());
    let next = format!("Run `{}`.", renew(exam, address));
    let topic = exam.site.topic().ok();
    if topic.is_some_and(|topic| topic != watch.topic) {
        let detail = format!("it tells another topic, {}", watch.topic);
        return Finding::failed(
            detail,
            "Run `postbell setup`: it has Gmail tell the right one.",
        );
    }
    if left > 0 && !watch.renewal_problem.is_empty() {
        let detail = format!(
            "it could not be renewed, and ends on {}: {}",
            day(ends),
            watch.renewal_problem
        );
        return Finding::warning(detail, next);
    }
    by_its_end(ends, left, &next)
}

/// How a watch stands that ends at a time, of which so much is left.
fn by_its_end(ends: i64, left: i64, next: &str) -> Finding {
    if left <= 0 {
        let detail = format!(
            "it ended on {}, and Gmail tells of no mail since",
            minute(ends)
        );
        return Finding::failed(detail, next);
    }
    if left < RENEWED {
        let detail = format!("it ends in {}, and nobody has renewed it", in_words(left));
        return Finding::warning(detail, next);
    }
    Finding::ok(format!("until {}, and renewed by the watcher", day(ends)))
}

fn renew(exam: &Exam<'_>, address: &EmailAddress) -> String {
    let file = exam.site.wishes.destination.as_ref();
    let file = file.and_then(Destination::credentials);
    let file = file.map(|file| format!(" --credentials {}", file.display()));
    format!(
        "postbell watch renew --account {}{}",
        address.as_str(),
        file.unwrap_or_default()
    )
}

/// The machine's watcher renews it; how that goes its controller says, or it shows in when Gmail told
/// last.
fn by_what_was_heard(exam: &Exam<'_>) -> Finding {
    if let Some(Ok(account)) = &exam.facts.account
        && !(account.google_connected && account.notifications_enabled)
    {
        // What nobody wants to hear is not noted.
        return Finding::needs(HopId::User);
    }
    let account = exam.facts.account.as_ref();
    let said = account.and_then(|account| account.as_ref().ok()?.watch_ends_at);
    let now = exam.site.tools.clock.now();
    let begun = exam.site.progress.watch.as_ref();
    let begun = begun.map(|watch| watch.ends_at.saturating_sub(LIFE));
    let begun = begun.map(Timestamp::from_millis);
    match &exam.facts.deliveries {
        Ok(deliveries) => {
            let last = deliveries.iter().map(|one| one.accepted_at).max();
            match said.filter(|ends| last.is_none_or(|told| told < *ends)) {
                Some(ends) => {
                    let ends = ends.as_millis();
                    by_its_end(ends, ends.saturating_sub(now.as_millis()), NEXT)
                }
                None => heard(now, last.max(begun)),
            }
        }
        // Whether it was renewed since does not show from here.
        Err(why) => match begun {
            Some(begun) if now < begun + Duration::from_millis(LIFE.unsigned_abs()) => {
                let ends = day(begun.as_millis().saturating_add(LIFE));
                Finding::ok(format!("until {ends} at least, as setup has begun it"))
            }
            _ => why.clone(),
        },
    }
}

/// How a watch stands of which was heard last at this time.
fn heard(now: Timestamp, told: Option<Timestamp>) -> Finding {
    let Some(told) = told.map(Timestamp::as_millis) else {
        return Finding::unknown("Gmail has not told of anything yet");
    };
    let silence = now.as_millis().saturating_sub(told);
    let silent = in_words(silence);
    if silence >= LIFE {
        let detail =
            format!("Gmail has told nothing for {silent}, and a watch lasts 7 days: it has ended");
        return Finding::failed(detail, NEXT);
    }
    if silence >= RENEWED {
        let detail = format!(
            "Gmail has told nothing for {silent}, and would with each renewal: nobody renews it"
        );
        return Finding::warning(detail, NEXT);
    }
    let ends = day(told.saturating_add(LIFE));
    Finding::ok(format!("until {ends} at least, and renewed by the watcher"))
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    #[test]
    fn a_watch_that_nobody_has_renewed_is_told_before_its_end() {
        let ends = 1_790_000_000_000;
        for (left, health) in [
            (6 * DAY, Health::Ok),
            (DAY, Health::Warning),
            (0, Health::Failed),
            (-DAY, Health::Failed),
        ] {
            assert_eq!(by_its_end(ends, left, NEXT).health, health, "{left}");
        }
    }

    #[test]
    fn a_watch_of_which_nothing_is_heard_for_a_week_has_ended() {
        let now = Timestamp::from_millis(1_790_000_000_000);
        let ago = |days: i64| Some(Timestamp::from_millis(now.as_millis() - days * DAY));
        for (told, health, words) in [
            (None, Health::Unknown, "yet"),
            (ago(0), Health::Ok, "until 2026-09-28 at least"),
            (ago(1), Health::Ok, "until 2026-09-27 at least"),
            (ago(3), Health::Warning, "nothing for 3 days"),
            (ago(7), Health::Failed, "it has ended"),
            (ago(20_000), Health::Failed, "20000 days"),
        ] {
            let found = heard(now, told);
            assert_eq!(found.health, health, "{}", found.detail);
            assert!(found.detail.contains(words), "{}", found.detail);
        }
    }
}

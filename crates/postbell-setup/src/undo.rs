//! Takes back what was made, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::made::Made;
use crate::person::{Event, Question};
use crate::progress::Progress;
use crate::site::{KnownProject, Site};
use crate::step::{Look, Report, State, Step, StepId, Undone};
use crate::steps;
use crate::trouble::{Trouble, Wall};

/// Takes back what was made here, the last first. What was there before stays, and so does what
/// cannot be taken back, which is said.
///
/// # Errors
///
/// [`Trouble`] where it cannot even begin, or the person stops it.
pub async fn undo(site: &mut Site) -> Result<Report, Trouble> {
    if site.progress == Progress::default() {
        site.note("Nothing was set up from here, so there is nothing to take back.");
        return Ok(Report::default());
    }
    let question = Question::new(words_for(site), "--yes").or("no");
    if !site.ask_whether(&question).await? {
        return Err(Trouble::new(Wall::Stopped));
    }
    let steps = steps::all(&site.wishes);
    let_in(site, &steps).await?;
    let mut report = Report::default();
    // What a step stands on stays as long as that step does.
    let mut kept_for: BTreeMap<StepId, StepId> = BTreeMap::new();
    for step in in_order(site, &steps) {
        let id = step.id();
        let state = if let Some(other) = kept_for.get(&id) {
            State::Skipped(*other)
        } else {
            site.working(id, "taking back");
            match step.undo(site).await {
                Ok(undone) => state_of(undone),
                Err(trouble) if trouble.wall == Wall::Stopped => return Err(trouble),
                Err(trouble) => State::Failed(site.trouble(trouble)),
            }
        };
        if matches!(state, State::Failed(_) | State::Skipped(_)) {
            kept_for.extend(step.needs().iter().map(|need| (*need, id)));
            if id == StepId::Mailbox {
                kept_for.insert(StepId::Credentials, id);
            }
        }
        site.show(Event::Step {
            step: id,
            state: &state,
        });
        report.steps.push((id, state));
    }
    // What stays can be taken back another time.
    if !report.has_failed() && site.progress.made.is_empty() {
        site.tools.progress_file.remove()?;
    }
    site.show(Event::Summary(&report));
    Ok(report)
}

/// The steps in the order in which they are taken back: the last first.
///
/// To take the grant back takes back whatever its owner signed in with, too, so it comes after the
/// others. Only the file from which that is done comes after it: it holds the one copy there is.
fn in_order<'a>(site: &Site, steps: &'a [Box<dyn Step>]) -> Vec<&'a dyn Step> {
    let is_file = |made: &Made| matches!(made, Made::Credentials { .. });
    let has_file = site.progress.made.iter().any(is_file);
    let mut order: Vec<_> = steps.iter().rev().map(|step| &**step).collect();
    order.sort_by_key(|step| match step.id() {
        StepId::Mailbox => 1,
        StepId::Credentials if has_file => 2,
        _ => 0,
    });
    order
}

/// Lets in whoever takes something back in Google Cloud, where there is something.
async fn let_in(site: &mut Site, steps: &[Box<dyn Step>]) -> Result<(), Trouble> {
    for step in steps.iter().filter(|step| step.id() == StepId::Client) {
        // Whoever has made a client is told where it is deleted; one that is gone needs no word.
        let _ = step.look(site).await;
    }
    let projects = site.progress.made.iter().filter_map(Made::project);
    let projects: BTreeSet<_> = projects.map(str::to_owned).collect();
    if projects.is_empty() {
        return Ok(());
    }
    for step in steps.iter().filter(|step| step.is_first()) {
        site.working(step.id(), "looking");
        if let Look::ToDo(_) = step.look(site).await? {
            step.apply(site).await?;
            step.look(site).await?;
        }
    }
    for id in projects {
        // Of one that cannot be seen, each step says why.
        let Ok(found) = site.projects()?.get(&id).await else {
            continue;
        };
        if !found.is_active() {
            site.note(&format!("{id} is being deleted, with all that is in it."));
            site.project_is_gone(&id)?;
        } else if site.progress.project.as_ref() == Some(&id) {
            let number = found.number().to_owned();
            site.known.project = Some(KnownProject { id, number });
        }
    }
    Ok(())
}

fn words_for(site: &Site) -> String {
    let made = &site.progress.made;
    if made.is_empty() {
        "Nothing in Google Cloud was made from here. Forget what is remembered?".to_owned()
    } else {
        let made: BTreeSet<_> = made.iter().map(Made::in_words).collect();
        let made: Vec<_> = made.into_iter().collect();
        format!("Take back what was made from here ({})?", made.join(", "))
    }
}

fn state_of(undone: Undone) -> State {
    let (detail, changed, warning) = match undone {
        Undone::Nothing => ("nothing of ours".to_owned(), false, None),
        Undone::Removed(what) => (what, true, None),
        Undone::Left(why) => ("left as it is".to_owned(), false, Some(why)),
    };
    State::Done {
        detail,
        changed,
        warning,
    }
}

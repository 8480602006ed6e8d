//! Takes back what was made, and nothing else.

use std::collections::BTreeMap;

use crate::person::{Event, Question};
use crate::progress::Progress;
use crate::site::Site;
use crate::step::{Look, Report, State, Step, StepId, Undone};
use crate::steps;
use crate::trouble::{Trouble, Wall};
use crate::wishes;

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
    wishes::complete(site).await?;
    let question = Question::new(words_for(site), "--yes").or("yes");
    if !site.ask_whether(&question).await? {
        return Err(Trouble::new(Wall::Stopped));
    }
    let steps = steps::for_wishes(&site.wishes);
    let mut report = Report::default();
    // Who takes something back has to be let in first.
    for step in &steps {
        let id = step.id();
        let is_way_in = step.is_first() || matches!(id, StepId::Project | StepId::Client);
        if is_way_in && let Err(trouble) = let_in(site, &**step).await {
            return Err(site.trouble(trouble));
        }
    }
    // To take the grant back takes back whatever its owner signed in with, too: it comes last.
    let (grant, others): (Vec<_>, Vec<_>) = steps
        .iter()
        .rev()
        .partition(|step| step.id() == StepId::Mailbox);
    // What a step stands on stays as long as that step does.
    let mut kept_for: BTreeMap<StepId, StepId> = BTreeMap::new();
    for step in others.into_iter().chain(grant) {
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
        }
        site.show(Event::Step {
            step: id,
            state: &state,
        });
        report.steps.push((id, state));
    }
    if !report.has_failed() {
        site.tools.progress_file.remove()?;
    }
    site.show(Event::Summary(&report));
    Ok(report)
}

async fn let_in(site: &mut Site, step: &dyn Step) -> Result<(), Trouble> {
    site.working(step.id(), "looking");
    if let Look::ToDo(_) = step.look(site).await?
        && step.is_first()
    {
        step.apply(site).await?;
        step.look(site).await?;
    }
    Ok(())
}

fn words_for(site: &Site) -> String {
    let made = &site.progress.made;
    if made.is_empty() {
        "Nothing in Google Cloud was made from here. Forget what is remembered?".to_owned()
    } else {
        let made: Vec<_> = made.iter().map(String::as_str).collect();
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

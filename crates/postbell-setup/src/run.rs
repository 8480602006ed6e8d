//! Look, plan, ask, apply, verify.

use std::time::Duration;

use crate::person::{Event, Question};
use crate::site::Site;
use crate::step::{Look, Report, State, Step, StepId};
use crate::steps;
use crate::trouble::{Trouble, Wall};
use crate::wishes;

/// How far it goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Only looks, and says what would be done.
    Plan,
    /// Does it.
    Apply,
}

/// Sets everything up, as far as it goes, and says what has become of each step.
///
/// A step that cannot be done stops only what needs it. Whatever is done can be done again, and
/// changes nothing then.
///
/// # Errors
///
/// [`Trouble`] where it cannot even begin, or the person stops it.
pub async fn run(site: &mut Site, mode: Mode) -> Result<Report, Trouble> {
    wishes::complete(site).await?;
    let steps = steps::for_wishes(&site.wishes);
    let mut report = look_all(site, &steps, mode).await?;
    site.show(Event::Plan(&report));
    if mode == Mode::Plan {
        return Ok(report);
    }
    let has_work = report.steps.iter().any(|(_, state)| state.is_to_do());
    if has_work {
        let question = Question::new("Do what is left to do?", "--yes").or("yes");
        if !site.ask_whether(&question).await? {
            return Err(Trouble::new(Wall::Stopped));
        }
        apply_all(site, &steps, &mut report).await?;
    }
    report.then = steps::what_then(site, &report);
    site.show(Event::Summary(&report));
    Ok(report)
}

/// Looks at each step. What has to be done before anything can be looked at is done.
async fn look_all(site: &mut Site, steps: &[Box<dyn Step>], mode: Mode) -> Result<Report, Trouble> {
    let mut report = Report::default();
    for step in steps {
        let id = step.id();
        let state = match missing(&report, &**step) {
            Some((need, true)) => State::Skipped(need),
            Some((need, false)) => State::After(need),
            None => {
                site.working(id, "looking");
                match step.look(site).await {
                    Ok(Look::ToDo(_)) if step.is_first() => done(site, &**step).await?,
                    Ok(look) => state_of(look, false),
                    Err(trouble) => failed(site, trouble, mode)?,
                }
            }
        };
        site.show(Event::Step {
            step: id,
            state: &state,
        });
        report.steps.push((id, state));
    }
    Ok(report)
}

/// Does what is to be done, in order.
async fn apply_all(
    site: &mut Site,
    steps: &[Box<dyn Step>],
    report: &mut Report,
) -> Result<(), Trouble> {
    for (index, step) in steps.iter().enumerate() {
        let (id, state) = &report.steps[index];
        let id = *id;
        if !state.is_to_do() && !matches!(state, State::Skipped(_)) {
            continue;
        }
        let state = match missing(report, &**step) {
            Some((need, _)) => State::Skipped(need),
            None => done(site, &**step).await?,
        };
        site.show(Event::Step {
            step: id,
            state: &state,
        });
        report.steps[index].1 = state;
    }
    Ok(())
}

/// What a step needs and has not: and whether that has failed.
fn missing(report: &Report, step: &dyn Step) -> Option<(StepId, bool)> {
    let needs = step.needs().iter();
    let states = needs.filter_map(|need| Some((*need, report.state(*need)?)));
    let mut missing = states.filter(|(_, state)| !state.is_done());
    let (need, state) = missing.next()?;
    let has_failed = |state: &State| matches!(state, State::Failed(_) | State::Skipped(_));
    if has_failed(state) {
        return Some((need, true));
    }
    let failed = missing.find(|(_, state)| has_failed(state));
    Some(failed.map_or((need, false), |(need, _)| (need, true)))
}

/// Does a step, waits where only time helps, and looks whether it is done.
async fn done(site: &mut Site, step: &dyn Step) -> Result<State, Trouble> {
    match patiently(site, step).await {
        Ok((look, changed)) => Ok(state_of(look, changed)),
        Err(trouble) => failed(site, trouble, Mode::Apply),
    }
}

/// The state of a step that has failed. Whoever has stopped is not asked about the next one.
fn failed(site: &Site, trouble: Trouble, mode: Mode) -> Result<State, Trouble> {
    match trouble.wall {
        Wall::Stopped => Err(trouble),
        // A plan says what has to be given, and goes on.
        Wall::Unattended(_) if mode == Mode::Plan => Ok(State::ToDo(trouble.what())),
        _ => Ok(State::Failed(site.trouble(trouble))),
    }
}

fn state_of(look: Look, changed: bool) -> State {
    match look {
        Look::Done(detail) => State::Done {
            detail,
            changed,
            warning: None,
        },
        Look::Uncertain(detail, warning) => State::Done {
            detail,
            changed,
            warning: Some(warning),
        },
        Look::ToDo(what) => State::ToDo(what),
    }
}

/// Tries until it is done, or waiting does not help, or has lasted long enough.
async fn patiently(site: &mut Site, step: &dyn Step) -> Result<(Look, bool), Trouble> {
    let patience = site.tools.patience;
    let mut left = patience.total;
    let mut wait = patience.first;
    let mut changed = false;
    loop {
        let trouble = match once(site, step, &mut changed).await {
            Ok(Look::ToDo(_)) => Trouble::new(Wall::NotSeen),
            Ok(look) => return Ok((look, changed)),
            Err(trouble) => trouble,
        };
        let Some(reason) = trouble.passing() else {
            return Err(trouble);
        };
        if left.is_zero() {
            return Err(trouble);
        }
        let pause = wait.min(left);
        left -= pause;
        site.wait(step.id(), reason, pause, left).await;
        wait = (wait + wait / 2)
            .min(patience.longest)
            .max(Duration::from_millis(1));
    }
}

/// Looks, does what is to be done, and looks again.
async fn once(site: &mut Site, step: &dyn Step, changed: &mut bool) -> Result<Look, Trouble> {
    let look = step.look(site).await?;
    let Look::ToDo(what) = &look else {
        return Ok(look);
    };
    site.working(step.id(), what);
    step.apply(site).await?;
    *changed = true;
    step.look(site).await
}

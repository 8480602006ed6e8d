//! Undo: removes the resources that setup created, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::context::{ProjectRef, SetupContext};
use crate::error::{Blocker, Result};
use crate::ledger::Resource;
use crate::plan::{Plan, Step, UndoOutcome};
use crate::progress::{Progress, SavedDestination};
use crate::report::{Report, StepId, StepState};
use crate::steps;
use crate::ui::{Event, Question};

/// Removes the resources in the ledger, the newest first, and reports what cannot be removed.
///
/// # Errors
///
/// If the sign-in fails or the user cancels.
pub async fn undo(ctx: &mut SetupContext) -> Result<Report> {
    if ctx.progress == Progress::default() {
        ctx.note("This progress file records nothing to undo.");
        return Ok(Report::default());
    }
    let saved = ctx.progress.destination.as_ref();
    if matches!(saved, Some(SavedDestination::Operator { .. })) {
        ctx.request.is_for_operator = true;
    }
    let question = Question::new(question_text(ctx), "--yes").with_default("no");
    if !ctx.deps.ui.confirm(&question).await? {
        ctx.note("Nothing was removed.");
        return Ok(Report::default());
    }
    let steps = steps::all(&ctx.request);
    sign_in(ctx, &steps).await?;
    let report = undo_all(ctx, &steps).await?;
    // Resources that stay can be removed by a later undo.
    if !report.has_failed() && ctx.progress.ledger.is_empty() {
        ctx.deps.progress_file.remove()?;
    }
    ctx.deps.ui.show(Event::Summary(&report));
    Ok(report)
}

async fn undo_all(ctx: &mut SetupContext, steps: &[Box<dyn Step>]) -> Result<Report> {
    let mut report = Report::default();
    // The steps that a failed step needs are kept.
    let mut kept_for: BTreeMap<StepId, StepId> = BTreeMap::new();
    for step in in_undo_order(ctx, steps) {
        let id = step.id();
        let state = match kept_for.get(&id) {
            Some(dependent) => StepState::Skipped(*dependent),
            None => undo_step(ctx, step).await?,
        };
        if state.is_failed() {
            kept_for.extend(step.needs().iter().map(|need| (*need, id)));
            if id == StepId::Mailbox {
                kept_for.insert(StepId::Credentials, id);
            }
        }
        ctx.deps.ui.show(Event::Step {
            step: id,
            state: &state,
        });
        report.steps.push((id, state));
    }
    Ok(report)
}

async fn undo_step(ctx: &mut SetupContext, step: &dyn Step) -> Result<StepState> {
    ctx.working(step.id(), "undoing");
    match step.undo(ctx).await {
        Ok(outcome) => Ok(state_of(outcome)),
        Err(error) if error.blocker == Blocker::Cancelled => Err(error),
        Err(error) => Ok(StepState::Failed(ctx.error(error))),
    }
}

/// The reverse order of setup, with two exceptions: revoking the grant also revokes the sign-in of
/// the same account, so the grant comes after the others. The credentials file comes last, because
/// it has the only copy of the grant.
fn in_undo_order<'a>(ctx: &SetupContext, steps: &'a [Box<dyn Step>]) -> Vec<&'a dyn Step> {
    let is_file = |resource: &Resource| matches!(resource, Resource::Credentials { .. });
    let has_file = ctx.progress.ledger.iter().any(is_file);
    let mut order: Vec<_> = steps.iter().rev().map(|step| &**step).collect();
    order.sort_by_key(|step| match step.id() {
        StepId::Mailbox => 1,
        StepId::Credentials if has_file => 2,
        _ => 0,
    });
    order
}

/// Signs in, if there are resources in Google Cloud.
async fn sign_in(ctx: &mut SetupContext, steps: &[Box<dyn Step>]) -> Result<()> {
    for step in steps.iter().filter(|step| step.id() == StepId::Client) {
        // Finds the client for the hint to delete it. A missing client file is not an error.
        let _ = step.check(ctx).await;
    }
    let projects = ctx.progress.ledger.iter().filter_map(Resource::project);
    let projects: BTreeSet<_> = projects.map(str::to_owned).collect();
    if projects.is_empty() {
        return Ok(());
    }
    for step in steps.iter().filter(|step| step.is_prerequisite()) {
        ctx.working(step.id(), "checking");
        if let Plan::Change(_) = step.check(ctx).await? {
            step.apply(ctx).await?;
            step.check(ctx).await?;
        }
    }
    for id in projects {
        // For an invisible project, each step reports the error.
        let Ok(found) = ctx.admin()?.projects().get(&id).await else {
            continue;
        };
        if !found.is_active() {
            ctx.note(&format!(
                "{id} is scheduled for deletion, with everything in it."
            ));
            ctx.update_progress(|progress| progress.ledger.disown_project(&id))?;
        } else if ctx.progress.project.as_ref() == Some(&id) {
            let number = found.number().to_owned();
            ctx.discovered.project = Some(ProjectRef { id, number });
        }
    }
    Ok(())
}

fn question_text(ctx: &SetupContext) -> String {
    let ledger = &ctx.progress.ledger;
    if ledger.is_empty() {
        "Setup created no resources. Delete the progress file?".to_owned()
    } else {
        let kinds: BTreeSet<_> = ledger.iter().map(Resource::kind).collect();
        let kinds: Vec<_> = kinds.into_iter().collect();
        let project = ctx.progress.project.as_deref().unwrap_or("no project");
        let mailbox = ctx.progress.mailbox.as_deref().unwrap_or_default();
        let watch = ctx.deps.watch_states.load(mailbox).ok().flatten();
        if ctx.request.is_for_operator {
            return format!(
                "Users who connected in the browser will get no mail any more. Remove what setup created for them in \
                 {project} ({})?",
                kinds.join(", ")
            );
        }
        let running = match watch {
            Some(watch) if watch.watcher_runs => {
                " A watcher is running for it: stop it first, or it saves its state again."
            }
            _ => "",
        };
        format!(
            "The bot will get no mail of {mailbox} any more.{running} Remove what setup created for it in \
             {project} ({})?",
            kinds.join(", ")
        )
    }
}

fn state_of(outcome: UndoOutcome) -> StepState {
    let (detail, changed, warning) = match outcome {
        UndoOutcome::Nothing => ("nothing to undo".to_owned(), false, None),
        UndoOutcome::Removed(what) => (what, true, None),
        UndoOutcome::Kept(why) => ("kept".to_owned(), false, Some(why)),
    };
    StepState::Done {
        detail,
        changed,
        warning,
    }
}

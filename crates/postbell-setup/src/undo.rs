//! Undo: removes the resources that setup created, and nothing else.

mod scope;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use self::scope::KeptResources;
use self::scope::{listed, mailboxes, turn_to};
use crate::context::{ProjectRef, SetupContext};
use crate::error::{Blocker, Result};
use crate::ledger::Resource;
use crate::plan::{Plan, Step, UndoOutcome};
use crate::progress::{Progress, SavedDestination};
use crate::report::{Report, StepId, StepState};
use crate::steps;
use crate::ui::{Event, Question};

/// Removes the resources in the ledger, the newest first, and reports what cannot be removed. A request that names a
/// mailbox keeps what others of the ledger need.
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
    if let Some(mailbox) = &ctx.request.mailbox {
        let all = mailboxes(&ctx.progress);
        if !all.is_empty() && !all.iter().any(|one| mailbox.is_same_mailbox(one)) {
            let all: Vec<_> = all.into_iter().collect();
            ctx.note(&format!(
                "Setup has created nothing for {}; it was run for {}.",
                mailbox.as_str(),
                listed(&all)
            ));
            return Ok(Report::default());
        }
        ctx.kept = KeptResources::for_others_than(mailbox, &ctx.progress);
    }
    if ctx.kept.is_empty() && mailboxes(&ctx.progress).len() > 1 {
        ctx.note("To undo one mailbox only, name it with --mailbox ADDRESS.");
    }
    let question = Question::new(question_text(ctx), "--yes").with_default("no");
    if !ctx.deps.ui.confirm(&question).await? {
        ctx.note("Nothing was removed.");
        return Ok(Report::default());
    }
    let steps = steps::all(&ctx.request);
    sign_in(ctx, &steps).await?;
    let report = undo_all(ctx, &steps).await?;
    if !report.has_failed()
        && ctx.undoes_last()
        && let Some(other) = ctx.kept.another().cloned()
    {
        ctx.update_progress(|progress| turn_to(&other, progress))?;
    }
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
    let ledger = ctx.progress.ledger.iter();
    let removed = ledger.filter(|resource| !ctx.kept.contains(resource));
    let projects = removed.filter_map(Resource::project);
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
        return "Setup created no resources. Delete the progress file?".to_owned();
    }
    let removed = ledger
        .iter()
        .filter(|resource| !ctx.kept.contains(resource));
    let kinds: BTreeSet<_> = removed.map(Resource::kind).collect();
    let kinds: Vec<_> = kinds.into_iter().collect();
    let kinds = kinds.join(", ");
    let project = ctx.progress.project.as_deref().unwrap_or("no project");
    if ctx.request.is_for_operator {
        return format!(
            "Users who connected in the browser will get no mail any more. Remove what setup created for them in \
             {project} ({kinds})?"
        );
    }
    let all = mailboxes(&ctx.progress).into_iter();
    let undone: Vec<_> = all.filter(|one| !ctx.kept.has_mailbox(one)).collect();
    let pronoun = if undone.len() > 1 { "them" } else { "it" };
    format!(
        "The bot will get no mail of {} any more.{} Remove what setup created for {pronoun} in {project} ({kinds})?",
        listed(&undone),
        running(ctx, &undone)
    )
}

/// A warning about the watchers that run.
fn running(ctx: &SetupContext, mailboxes: &[String]) -> String {
    let runs = |mailbox: &&String| {
        let watch = ctx.deps.watch_states.load(mailbox).ok().flatten();
        watch.is_some_and(|watch| watch.watcher_runs)
    };
    let running: Vec<_> = mailboxes.iter().filter(runs).cloned().collect();
    if running.is_empty() {
        return String::new();
    }
    format!(
        " A watcher is running for {}: stop it first, or it saves its state again.",
        listed(&running)
    )
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

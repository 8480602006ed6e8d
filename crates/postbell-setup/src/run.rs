//! A run of setup: check every step, show the plan, ask, apply, check again.

use std::sync::Arc;

use postbell_google::TokenSource;

use crate::complete::complete_request;
use crate::context::SetupContext;
use crate::error::{Blocker, Result, SetupError};
use crate::next_commands::{next_commands, service};
use crate::operator::{configuration, settings};
use crate::plan::{Plan, Step};
use crate::report::{Mode, Report, StepId, StepState};
use crate::retry::Retries;
use crate::steps::for_request;
use crate::ui::{Event, Question};

/// Runs setup, and reports the state of each step.
///
/// A failed step stops only the steps that need it. A run can be repeated; without work left it
/// changes nothing.
///
/// # Errors
///
/// If the request is incomplete or the user cancels.
pub async fn run(ctx: &mut SetupContext) -> Result<Report> {
    complete_request(ctx).await?;
    let steps = for_request(&ctx.request);
    let mut report = check_all(ctx, &steps).await?;
    ctx.deps.ui.show(Event::Plan(&report));
    if ctx.mode() == Mode::Plan {
        return Ok(report);
    }
    if report.steps.iter().any(|(_, state)| state.is_pending()) {
        let question = Question::new("Apply these changes?", "--yes").with_default("yes");
        if !ctx.deps.ui.confirm(&question).await? {
            return Err(SetupError::new(Blocker::Cancelled));
        }
        apply_all(ctx, &steps, &mut report).await?;
    }
    report.next_commands = next_commands(ctx, &report);
    report.configuration = configuration(ctx, &report);
    report.settings = settings(ctx, &report);
    report.watcher = service(ctx, &report);
    let webhook = ctx.request.webhook.as_ref();
    report.hook_token = webhook.and_then(|webhook| webhook.token.clone());
    ctx.deps.ui.show(Event::Summary(&report));
    Ok(report)
}

/// Checks each step, and applies the prerequisites of later checks.
async fn check_all(ctx: &mut SetupContext, steps: &[Box<dyn Step>]) -> Result<Report> {
    let mut report = Report::default();
    for step in steps {
        let id = step.id();
        let state = match unmet_need(&report, &**step) {
            Some(unmet) => unmet,
            None => check(ctx, &**step).await?,
        };
        ctx.deps.ui.show(Event::Step {
            step: id,
            state: &state,
        });
        report.steps.push((id, state));
    }
    Ok(report)
}

async fn check(ctx: &mut SetupContext, step: &dyn Step) -> Result<StepState> {
    ctx.working(step.id(), "checking");
    match step.check(ctx).await {
        Ok(Plan::Change(_)) if step.is_prerequisite() => apply(ctx, step).await,
        Ok(plan) => Ok(state_of(plan, false)),
        // The step is checked again, with retries, when it is applied.
        Err(error) if ctx.mode() == Mode::Apply && error.retry_reason().is_some() => Ok(
            StepState::Pending(format!("check again: {}", error.problem())),
        ),
        Err(error) => state_of_error(ctx, error),
    }
}

/// Applies the pending steps in order.
async fn apply_all(
    ctx: &mut SetupContext,
    steps: &[Box<dyn Step>],
    report: &mut Report,
) -> Result<()> {
    for (index, step) in steps.iter().enumerate() {
        let (id, state) = &report.steps[index];
        let id = *id;
        if !state.is_pending() && !matches!(state, StepState::Skipped(_)) {
            continue;
        }
        let state = match unmet_need(report, &**step) {
            Some(StepState::Blocked(need)) => StepState::Skipped(need),
            Some(unmet) => unmet,
            None => apply(ctx, &**step).await?,
        };
        ctx.deps.ui.show(Event::Step {
            step: id,
            state: &state,
        });
        report.steps[index].1 = state;
    }
    Ok(())
}

/// The state of a step that needs a step that is not done: skipped if one of those failed, else
/// blocked.
fn unmet_need(report: &Report, step: &dyn Step) -> Option<StepState> {
    let needs = step.needs().iter();
    let states = needs.filter_map(|need| Some((*need, report.state(*need)?)));
    let unmet: Vec<_> = states.filter(|(_, state)| !state.is_done()).collect();
    match unmet.iter().find(|(_, state)| state.is_failed()) {
        Some((need, _)) => Some(StepState::Skipped(*need)),
        None => unmet.first().map(|(need, _)| StepState::Blocked(*need)),
    }
}

/// Applies a step, with retries.
async fn apply(ctx: &mut SetupContext, step: &dyn Step) -> Result<StepState> {
    match apply_with_retries(ctx, step).await {
        Ok((plan, changed)) => Ok(state_of(plan, changed)),
        Err(error) => state_of_error(ctx, error),
    }
}

async fn apply_with_retries(ctx: &mut SetupContext, step: &dyn Step) -> Result<(Plan, bool)> {
    let mut retries = Retries::after_errors(ctx.deps.timeouts);
    let mut changed = false;
    loop {
        let error = match apply_once(ctx, step, &mut changed).await {
            Ok(Plan::Change(_)) => SetupError::new(Blocker::NotVisibleYet),
            Ok(plan) => return Ok((plan, changed)),
            Err(error) => error,
        };
        retries.wait_after(error, &*ctx.deps.ui, step.id()).await?;
    }
}

/// Checks a step, applies it if needed, and checks it again.
async fn apply_once(ctx: &mut SetupContext, step: &dyn Step, changed: &mut bool) -> Result<Plan> {
    let plan = step.check(ctx).await?;
    let Plan::Change(action) = &plan else {
        return Ok(plan);
    };
    ctx.working(step.id(), action);
    step.apply(ctx).await?;
    *changed = true;
    step.check(ctx).await
}

/// The state of a failed step. A cancelled run ends at once.
fn state_of_error(ctx: &SetupContext, error: SetupError) -> Result<StepState> {
    match error.blocker {
        Blocker::Cancelled => Err(error),
        // A plan reports the missing input and continues.
        Blocker::MissingInput(_) if ctx.mode() == Mode::Plan => {
            Ok(StepState::Pending(error.problem()))
        }
        _ => Ok(StepState::Failed(ctx.error(error))),
    }
}

fn state_of(plan: Plan, changed: bool) -> StepState {
    match plan {
        Plan::UpToDate(detail) => StepState::Done {
            detail,
            changed,
            warning: None,
        },
        Plan::Unknown { detail, warning } => StepState::Done {
            detail,
            changed,
            warning: Some(warning),
        },
        Plan::Change(action) => StepState::Pending(action),
    }
}

/// Signs in to Google Cloud, with the requested token or in the user's browser, and returns the
/// access tokens.
///
/// # Errors
///
/// If the sign-in fails or the OAuth client is missing.
pub async fn sign_in(ctx: &mut SetupContext) -> Result<Arc<TokenSource>> {
    let steps = for_request(&ctx.request);
    for step in steps.iter().filter(|step| step.is_prerequisite()) {
        if let Plan::Change(_) = step.check(ctx).await? {
            if step.id() == StepId::Client {
                return Err(SetupError::new(Blocker::MissingInput("--client FILE")));
            }
            step.apply(ctx).await?;
        }
    }
    ctx.admin_tokens()
}

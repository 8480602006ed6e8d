//! A step: how to check it, apply it and undo it.

use async_trait::async_trait;

use crate::context::SetupContext;
use crate::error::Result;
use crate::ledger::Resource;
use crate::progress::Progress;
use crate::report::StepId;

/// One requirement for mail to be delivered.
///
/// A step may be completed by setup or by hand. Applying it twice changes nothing, and the next run
/// continues after a process that was killed at any point.
#[async_trait]
pub(crate) trait Step: Send + Sync {
    fn id(&self) -> StepId;

    /// The steps that must be done before this one can be checked.
    fn needs(&self) -> &'static [StepId];

    /// Whether the step is applied while planning, because later checks depend on it: the sign-in,
    /// for example.
    fn is_prerequisite(&self) -> bool {
        false
    }

    /// Compares the current state with the requested one. Changes nothing outside the context.
    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan>;

    /// Makes the change. The caller checks the step again afterwards.
    async fn apply(&self, ctx: &mut SetupContext) -> Result<()>;

    /// Removes the resources of this step that are in the ledger, and nothing else.
    async fn undo(&self, ctx: &mut SetupContext) -> Result<UndoOutcome> {
        let (mut removed, mut kept) = (Vec::new(), Vec::new());
        for resource in ctx.to_remove(self.id()) {
            match self.remove(ctx, &resource).await? {
                Removal::Removed(what) => removed.push(what),
                Removal::Gone => (),
                Removal::Abandoned(why) => kept.push(why),
                Removal::Kept(why) => {
                    kept.push(why);
                    continue;
                }
            }
            ctx.disown(&resource)?;
        }
        kept.extend(ctx.kept.reason(self.id()));
        if ctx.undoes_last() {
            ctx.update_progress(|progress| self.forget(progress))?;
        }
        Ok(UndoOutcome::new(&removed, &kept))
    }

    /// Removes one resource of this step.
    async fn remove(&self, _: &mut SetupContext, _: &Resource) -> Result<Removal> {
        Ok(Removal::Gone)
    }

    /// Clears what else this step has saved.
    fn forget(&self, _: &mut Progress) {}
}

/// The result of a check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Plan {
    /// Nothing to change.
    UpToDate(String),
    /// Nothing to change, but the state cannot be verified or will not last.
    Unknown { detail: String, warning: String },
    /// The change to make.
    Change(String),
}

/// The result of the removal of one resource.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Removal {
    /// The removed resource.
    Removed(String),
    /// It did not exist.
    Gone,
    /// Setup cannot remove it, and hands it over to the user: why, and what to do.
    Abandoned(String),
    /// It cannot be removed now: why. It stays in the ledger for a later undo.
    Kept(String),
}

/// The result of the undo of a step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum UndoOutcome {
    /// Earlier runs created nothing in this step.
    Nothing,
    /// The removed resource.
    Removed(String),
    /// Why something was kept.
    Kept(String),
}

impl UndoOutcome {
    pub(crate) fn new(removed: &[String], kept: &[String]) -> Self {
        match (removed, kept) {
            ([], []) => Self::Nothing,
            (_, []) => Self::Removed(removed.join("; ")),
            _ => Self::Kept(kept.join("; ")),
        }
    }
}

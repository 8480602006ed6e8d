//! A step: how to check it, apply it and undo it.

use async_trait::async_trait;

use crate::context::SetupContext;
use crate::error::SetupError;
use crate::report::StepId;

/// One requirement for mail to be delivered.
///
/// A step is complete whoever completed it. Applying it twice changes nothing, and the next run
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
    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan, SetupError>;

    /// Makes the change. The caller checks the step again afterwards.
    async fn apply(&self, ctx: &mut SetupContext) -> Result<(), SetupError>;

    /// Removes what earlier runs created, and nothing else.
    async fn undo(&self, ctx: &mut SetupContext) -> Result<UndoOutcome, SetupError>;
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

/// The result of an undo.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum UndoOutcome {
    /// Earlier runs created nothing in this step.
    Nothing,
    /// What was removed.
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

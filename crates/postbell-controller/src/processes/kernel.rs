//! What supervision asks of the kernel. Only Linux offers it.

use std::io;

use tokio::process::Command;

/// Makes this process the parent of its orphaned descendants, and closes its memory and environment
/// to its children.
#[cfg(target_os = "linux")]
pub(super) fn become_supervisor() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, getpid, set_child_subreaper, set_dumpable_behavior};
    use tracing::warn;

    // PID 1 adopts orphans in any case.
    if let Err(error) = set_child_subreaper(Some(getpid())) {
        warn!(%error, "Orphaned processes will not be reaped");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!(%error, "The children can read the controller's environment variables");
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn become_supervisor() -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "postbell controller needs Linux: on other systems its children could outlive it",
    ))
}

/// Has the kernel kill the process when the calling thread ends (`PR_SET_PDEATHSIG`, prctl(2)).
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "pre_exec: what runs between fork and exec must not allocate or lock; these are two \
              system calls"
)]
pub(super) fn end_with_this_thread(command: &mut Command) {
    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

    let parent = Some(getpid());
    let arm = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The controller may have died before that call.
        if getppid() == parent {
            Ok(())
        } else {
            Err(io::ErrorKind::NotConnected.into())
        }
    };
    // SAFETY: see above.
    unsafe { command.pre_exec(arm) };
}

#[cfg(not(target_os = "linux"))]
pub(super) fn end_with_this_thread(_: &mut Command) {}

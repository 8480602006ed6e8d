//! What ends the children when the controller itself is killed.
//!
//! The kernel kills a child whose parent dies (`PR_SET_PDEATHSIG`, prctl(2)), but not what that
//! child has started. So a second process, which does nothing else, waits for the controller's end
//! and kills the process groups that are left. Where the controller is PID 1 the kernel does that
//! for the whole container, and no guardian is needed.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};

use rustix::process::{Pid, Signal, kill_process_group, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

/// The way to the guardian. It does its work once the last of these is dropped, however that
/// happens.
#[derive(Debug)]
pub struct Guardian {
    groups: PipeWriter,
}

impl Guardian {
    /// Starts a guardian of this process, which must have one thread: before a runtime is made.
    ///
    /// # Errors
    ///
    /// Where there is a second thread, or the system has no more processes or files.
    #[expect(
        unsafe_code,
        reason = "fork(2): nothing safe makes a process that costs no memory of its own; with one \
                  thread no lock can be held by another, so that the child may do what it likes"
    )]
    pub fn start() -> io::Result<Self> {
        if threads()? != 1 {
            return Err(io::Error::other(
                "a guardian must come before the first thread",
            ));
        }
        let (told, groups) = io::pipe()?;
        // SAFETY: see above.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(groups);
                stand_guard(told);
            }
            _ => Ok(Self { groups }),
        }
    }

    /// Tells of a process group that must not outlive the controller.
    pub(crate) fn watch(&self, group: Pid) {
        self.tell(group.as_raw_nonzero().get());
    }

    /// Tells that a group has ended.
    pub(crate) fn forget(&self, group: Pid) {
        self.tell(-group.as_raw_nonzero().get());
    }

    fn tell(&self, group: i32) {
        // A guardian that is gone cannot be told; the kernel still ends the children themselves.
        let _ = (&self.groups).write_all(&group.to_ne_bytes());
    }
}

/// How many threads this process has.
fn threads() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// Waits for the controller's end, kills what is left of its groups, and ends.
#[expect(
    unsafe_code,
    reason = "signals are ignored and the process is ended without the exit handlers of the \
              controller, of which it is a copy"
)]
fn stand_guard(told: PipeReader) -> ! {
    // Ctrl-C and `kill` of all processes of one name are for the controller: it ends the children
    // in order, and this process after them.
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: SIG_IGN is a valid handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // Fails only where it leads a group already.
    let _ = setsid();
    let _ = let_go_of_streams();
    for group in groups_left(told) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}

/// Whoever reads what the controller prints must not wait for this process.
fn let_go_of_streams() -> io::Result<()> {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

/// The groups that were told of and not taken back when the controller ended.
fn groups_left(mut told: impl Read) -> impl Iterator<Item = Pid> {
    let mut groups = BTreeSet::new();
    let mut number = [0; size_of::<i32>()];
    while told.read_exact(&mut number).is_ok() {
        let number = i32::from_ne_bytes(number);
        if number > 0 {
            groups.insert(number);
        } else {
            groups.remove(&-number);
        }
    }
    groups.into_iter().filter_map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_guardian_comes_after_the_first_thread() {
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(Guardian::start().is_err()));
        });
    }

    #[test]
    fn the_groups_that_have_not_ended_are_left() {
        let told: Vec<_> = [7_i32, 8, 9, -8, -100]
            .iter()
            .flat_map(|number| number.to_ne_bytes())
            .collect();
        let left: Vec<_> = groups_left(told.as_slice()).collect();
        assert_eq!(left, [7, 9].map(|number| Pid::from_raw(number).unwrap()));
    }
}

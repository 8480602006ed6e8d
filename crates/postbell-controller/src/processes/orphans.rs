//! Processes that are ours to reap, although no supervisor knows them.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};
use tracing::warn;

/// How often it is looked for what is left: each process that is killed may leave others.
const ROUNDS: usize = 64;

/// Between two looks. What was killed is gone by then.
const PAUSE: Duration = Duration::from_millis(5);

/// Knows which processes are orphans.
#[derive(Debug)]
pub(super) struct Orphans {
    /// Those of a supervisor, which reaps them itself.
    supervised: HashSet<Pid>,
    /// Children from before the start, e.g. of a shell that replaced itself by this process. They
    /// are not killed.
    inherited: HashSet<Pid>,
}

impl Orphans {
    pub(super) fn new() -> Self {
        Self {
            supervised: HashSet::new(),
            inherited: inherited().collect(),
        }
    }

    pub(super) fn is_supervised(&mut self, id: Pid) {
        self.supervised.insert(id);
        // The number of one that has ended may be given again.
        self.inherited.remove(&id);
    }

    pub(super) fn is_released(&mut self, id: Pid) {
        self.supervised.remove(&id);
    }

    /// Reaps all that have ended.
    pub(super) fn reap(&self) {
        for id in children().filter(|id| !self.supervised.contains(id)) {
            // Most of them live, or are another's by now.
            let _ = waitpid(Some(id), WaitOptions::NOHANG);
        }
    }

    /// Kills and reaps all orphans, and what they leave in turn.
    pub(super) fn kill(&self) {
        let is_orphan = |id: &Pid| !self.supervised.contains(id) && !self.inherited.contains(id);
        for _ in 0..ROUNDS {
            let left: Vec<_> = children().filter(is_orphan).collect();
            if left.is_empty() {
                return;
            }
            for id in left {
                let _ = kill_process(id, Signal::KILL);
                let _ = waitpid(Some(id), WaitOptions::NOHANG);
            }
            sleep(PAUSE);
        }
        let left = children().filter(is_orphan).count();
        warn!(
            left,
            "Processes that children have left behind cannot be ended"
        );
    }
}

/// The children that this process has from its first moment: those of its first thread, which the
/// kernel lists where it can (proc(5), `/proc/pid/task/tid/children`). Looking through all
/// processes would keep the first child waiting.
fn inherited() -> Box<dyn Iterator<Item = Pid>> {
    let us = getpid().as_raw_nonzero();
    match fs::read_to_string(format!("/proc/self/task/{us}/children")) {
        Ok(list) => {
            let ids = list.split_whitespace().filter_map(|id| id.parse().ok());
            let ids: Vec<_> = ids.filter_map(Pid::from_raw).collect();
            Box::new(ids.into_iter())
        }
        Err(_) => Box::new(children()),
    }
}

/// The children of this process, the dead ones included.
fn children() -> impl Iterator<Item = Pid> {
    let us = getpid().as_raw_nonzero().get();
    let processes = fs::read_dir("/proc").into_iter().flatten();
    processes.filter_map(move |entry| {
        let entry = entry.ok()?;
        let id = entry.file_name().to_str()?.parse().ok()?;
        (parent(&entry.path())? == us).then(|| Pid::from_raw(id))?
    })
}

/// The parent of a process, from `/proc/pid/stat`: `pid (name) state parent …` (proc(5)); a name
/// may have spaces and brackets of its own.
fn parent(process: &Path) -> Option<i32> {
    let stat = fs::read(process.join("stat")).ok()?;
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = str::from_utf8(&stat[after_name..]).ok()?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_is_among_the_children_whatever_it_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("x) R 1 (");
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let mut child = Command::new(&program).arg("1000").spawn().unwrap();
        let id = Pid::from_child(&child);
        assert!(children().any(|child| child == id));
        child.kill().unwrap();
        assert!(children().any(|child| child == id), "it is not reaped yet");
        child.wait().unwrap();
        assert!(!children().any(|child| child == id));
    }
}

//! Child processes that no supervisor reaps: descendants of children, adopted by the controller.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};
use tracing::warn;

use super::listeners::{has_open, listening_sockets};

/// Rounds of killing: each killed process may leave new orphans.
const ROUNDS: usize = 64;

/// The wait between two rounds, in which killed processes end.
const PAUSE: Duration = Duration::from_millis(5);

/// Tells orphans from supervised children.
#[derive(Debug)]
pub(super) struct Orphans {
    /// Children whose supervisor reaps them.
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

    pub(super) fn supervise(&mut self, id: Pid) {
        self.supervised.insert(id);
        // The system may reuse the id of an inherited process that has ended.
        self.inherited.remove(&id);
    }

    pub(super) fn release(&mut self, id: Pid) {
        self.supervised.remove(&id);
    }

    /// Reaps orphans that have ended.
    pub(super) fn reap(&self) {
        for id in children().filter(|id| !self.supervised.contains(id)) {
            // Fails for those that live.
            let _ = waitpid(Some(id), WaitOptions::NOHANG);
        }
    }

    /// Kills and reaps all orphans and their descendants.
    pub(super) fn kill(&self) {
        for _ in 0..ROUNDS {
            let left: Vec<_> = children().filter(|id| self.is_orphan(*id)).collect();
            if left.is_empty() {
                return;
            }
            for id in left {
                let _ = kill_process(id, Signal::KILL);
                let _ = waitpid(Some(id), WaitOptions::NOHANG);
            }
            sleep(PAUSE);
        }
        let left = children().filter(|id| self.is_orphan(*id)).count();
        warn!(left, "Could not kill all orphaned processes");
    }

    /// Returns the orphan that listens on `port`, or of which a descendant does.
    pub(super) fn serving(&self, port: u16) -> Option<Pid> {
        // At a first start there is none, and the kernel's tables of sockets take milliseconds to read.
        if listed_children().is_some_and(|mut listed| !listed.any(|id| self.is_orphan(id))) {
            return None;
        }
        let sockets = listening_sockets(port);
        if sockets.is_empty() {
            return None;
        }
        let parents: HashMap<_, _> = processes().collect();
        let owners = parents.keys().filter(|id| has_open(**id, &sockets));
        let mut children = owners.filter_map(|owner| child_above(*owner, &parents));
        children.find(|child| self.is_orphan(*child))
    }

    fn is_orphan(&self, id: Pid) -> bool {
        !self.supervised.contains(&id) && !self.inherited.contains(&id)
    }
}

/// Returns the child of this process that is `id` or an ancestor of it.
fn child_above(mut id: Pid, parents: &HashMap<Pid, Pid>) -> Option<Pid> {
    let us = getpid();
    // The processes were not read at one moment, so their parents may form a circle.
    for _ in 0..parents.len() {
        match *parents.get(&id)? {
            parent if parent == us => return Some(id),
            parent => id = parent,
        }
    }
    None
}

/// Returns the children that this process had before it started any. Without the kernel's list all processes
/// are read, which delays the first child.
fn inherited() -> Box<dyn Iterator<Item = Pid>> {
    match listed_children() {
        Some(listed) => Box::new(listed),
        None => Box::new(children()),
    }
}

/// Returns the children of this process from the lists of its threads (proc(5), `/proc/pid/task/tid/children`), which
/// may miss one while another ends. `None` if the kernel has no such lists.
fn listed_children() -> Option<impl Iterator<Item = Pid>> {
    let mut lists = String::new();
    for thread in fs::read_dir("/proc/self/task").ok()?.flatten() {
        lists += &fs::read_to_string(thread.path().join("children")).ok()?;
        lists.push(' ');
    }
    let ids: Vec<_> = lists
        .split_whitespace()
        .filter_map(|id| Pid::from_raw(id.parse().ok()?))
        .collect();
    Some(ids.into_iter())
}

/// Returns the children of this process, including zombies.
fn children() -> impl Iterator<Item = Pid> {
    let us = getpid();
    let ours = processes().filter(move |(_, parent)| *parent == us);
    ours.map(|(id, _)| id)
}

/// Returns all processes with their parents, including zombies, but not those without a parent.
fn processes() -> impl Iterator<Item = (Pid, Pid)> {
    let processes = fs::read_dir("/proc").into_iter().flatten();
    processes.filter_map(|entry| {
        let entry = entry.ok()?;
        let id = entry.file_name().to_str()?.parse().ok()?;
        let parent = parent(&entry.path())?;
        Some((Pid::from_raw(id)?, Pid::from_raw(parent)?))
    })
}

/// Reads the parent's id from `/proc/pid/stat`: `pid (name) state parent …` (proc(5)). The name may
/// contain spaces and brackets.
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
    fn children_with_brackets_in_their_name_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("x) R 1 (");
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let mut child = Command::new(&program).arg("1000").spawn().unwrap();
        let id = Pid::from_child(&child);
        assert!(children().any(|child| child == id));
        assert!(listed_children().is_none_or(|mut listed| listed.any(|child| child == id)));
        child.kill().unwrap();
        assert!(children().any(|child| child == id), "it is not reaped yet");
        child.wait().unwrap();
        assert!(!children().any(|child| child == id));
    }
}

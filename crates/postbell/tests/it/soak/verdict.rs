//! Whether each mail arrived as it should.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::machine::Machine;
use super::world::World;

/// The result for all mailboxes.
#[derive(Default)]
pub(crate) struct Verdict {
    good: usize,
    bad: usize,
    repeats: usize,
    /// Good mails that have not arrived, and bad ones that are not listed.
    missing: Vec<String>,
    unlisted: Vec<String>,
    /// Good mails that were set aside, and mails that came twice under two keys, or in another order.
    set_aside: Vec<String>,
    doubled: Vec<String>,
    disordered: Vec<String>,
    logs: Vec<String>,
}

impl Verdict {
    pub(crate) fn of(world: &World) -> Self {
        let mut verdict = Self::default();
        for machine in &world.machines {
            verdict.add(machine);
        }
        verdict
    }

    fn add(&mut self, machine: &Machine) {
        let named = |id: &str| format!("{} {id}", machine.user);
        let mut keys: HashMap<String, HashSet<String>> = HashMap::new();
        let mut arrived = Vec::new();
        for accepted in machine.bot.accepted() {
            let known = keys.entry(accepted.id.clone()).or_default();
            if known.is_empty() {
                arrived.push(accepted.id.clone());
            } else if known.contains(&accepted.key) {
                self.repeats += 1;
            } else {
                self.doubled.push(named(&accepted.id));
            }
            known.insert(accepted.key);
        }
        let listed: HashSet<String> = machine.dead_letters().into_iter().collect();
        let position: HashMap<&str, usize> = arrived
            .iter()
            .enumerate()
            .map(|(position, id)| (id.as_str(), position))
            .collect();
        let mut latest = None;
        for sent in &machine.sent {
            let position = position.get(sent.id.as_str()).copied();
            if sent.is_bad {
                self.bad += 1;
                // Gmail may have given it before the fault was set.
                if !listed.contains(&sent.id) && position.is_none() {
                    self.unlisted.push(named(&sent.id));
                }
                continue;
            }
            self.good += 1;
            if listed.contains(&sent.id) {
                self.set_aside.push(named(&sent.id));
            }
            match position {
                None => self.missing.push(named(&sent.id)),
                Some(_) if position < latest => self.disordered.push(named(&sent.id)),
                Some(_) => latest = position,
            }
        }
        let is_odd = |line: &&str| line.contains("panicked");
        self.logs
            .extend(machine.log().lines().filter(is_odd).map(str::to_owned));
    }

    /// Whether nothing is awaited any more.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unlisted.is_empty()
    }

    pub(crate) fn is_right(&self) -> bool {
        let wrong = [&self.set_aside, &self.doubled, &self.disordered, &self.logs];
        self.is_complete() && wrong.iter().all(|it| it.is_empty())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} good mails, {} bad ones, {} repeats under the same key",
            self.good, self.bad, self.repeats
        )?;
        for (what, ids) in [
            ("missing", &self.missing),
            ("bad and not listed", &self.unlisted),
            ("good and set aside", &self.set_aside),
            ("twice under two keys", &self.doubled),
            ("out of order", &self.disordered),
            ("panics", &self.logs),
        ] {
            writeln!(f, "{what}: {} {:?}", ids.len(), &ids[..ids.len().min(10)])?;
        }
        Ok(())
    }
}

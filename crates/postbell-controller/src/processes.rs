//! The thread that starts every child process and reaps orphaned descendants.
//!
//! Each child gets a parent-death signal (`PR_SET_PDEATHSIG`, prctl(2)): the kernel kills it when
//! the *thread* that started it ends. That thread must therefore live as long as the process, which
//! a runtime thread need not.
//!
//! The controller also adopts the orphans that its children leave (`PR_SET_CHILD_SUBREAPER`, or as
//! PID 1). They are reaped on the same thread, so that no child is reaped before its supervisor has
//! registered it. An orphan that serves the port of a child that has exited is supervised in its place.
//!
//! If the controller is killed (SIGKILL, out of memory), the parent-death signal ends its direct
//! children only. Their descendants are ended by the environment: in a container the kernel kills
//! the whole PID namespace when PID 1 ends; under systemd, `KillMode=control-group` (the default)
//! kills the unit's control group.

mod adopted;
mod kernel;
mod listeners;
mod orphans;

use std::io;
use std::sync::mpsc;
use std::thread;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub(crate) use self::adopted::Adopted;
use self::orphans::Orphans;

/// Starts child processes, each in its own process group. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Processes {
    requests: mpsc::Sender<Request>,
}

/// A request to the thread.
enum Request {
    Start(
        Box<Command>,
        Processes,
        oneshot::Sender<io::Result<Started>>,
    ),
    Adopt(u16, oneshot::Sender<Option<Adopted>>),
    Release(Pid),
    ReapOrphans,
    KillOrphans(oneshot::Sender<()>),
    Answer(oneshot::Sender<()>),
}

/// A started process in a process group of its own. If this value is dropped before it is taken, for
/// example because the caller was cancelled, the group is killed.
pub(crate) struct Started {
    child: Child,
    group: Group,
}

/// A process group, whose id is also that of its process.
struct Group {
    id: Pid,
    /// `None` once another type is responsible for the group.
    processes: Option<Processes>,
}

impl Started {
    /// Returns the process and its id. The caller is responsible for the group from now on.
    pub(crate) fn take(mut self) -> (Child, Pid) {
        self.group.processes = None;
        (self.child, self.group.id)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(processes) = self.processes.take() {
            // Fails if the group has ended.
            let _ = kill_process_group(self.id, Signal::KILL);
            processes.release(self.id);
        }
    }
}

impl Processes {
    /// Starts the thread, which ends with the last clone of this value, and makes this process the
    /// parent of its orphaned descendants.
    ///
    /// # Errors
    ///
    /// If this system is not Linux, or has no more threads.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub fn new() -> io::Result<Self> {
        kernel::become_supervisor()?;
        let (requests, received) = mpsc::channel();
        let runtime = Handle::current();
        let work = move || {
            let _runtime = runtime.enter();
            let orphans = Orphans::new();
            Starter { orphans }.work(&received);
        };
        thread::Builder::new()
            .name("processes".to_owned())
            .spawn(work)?;
        Ok(Self { requests })
    }

    /// Starts a process.
    ///
    /// # Errors
    ///
    /// If the system cannot start it.
    pub(crate) async fn start(&self, command: Command) -> io::Result<Started> {
        let (reply, started) = oneshot::channel();
        self.send(Request::Start(Box::new(command), self.clone(), reply));
        let gone = |_| io::Error::other("the thread that starts processes has ended");
        started.await.map_err(gone)?
    }

    /// Adopts the orphan that listens on `port`, if there is one.
    pub(crate) async fn adopt(&self, port: u16) -> Option<Adopted> {
        let (reply, adopted) = oneshot::channel();
        self.send(Request::Adopt(port, reply));
        adopted.await.ok()?
    }

    /// Ends the supervision of a process: it has been reaped, or it was killed and is an orphan from
    /// now on.
    pub(crate) fn release(&self, id: Pid) {
        self.send(Request::Release(id));
    }

    /// Reaps orphans until `stop` is cancelled.
    pub async fn reap_orphans(self, stop: CancellationToken) {
        let mut deaths = match signal(SignalKind::child()) {
            Ok(deaths) => deaths,
            Err(error) => {
                warn!(%error, "Orphaned processes will not be reaped");
                return stop.cancelled().await;
            }
        };
        while stop.run_until_cancelled(deaths.recv()).await.is_some() {
            self.send(Request::ReapOrphans);
        }
    }

    /// Kills and reaps all remaining descendants of children.
    pub async fn kill_orphans(&self) {
        let (reply, done) = oneshot::channel();
        self.send(Request::KillOrphans(reply));
        // An error means that the thread has ended, and then nothing more can be done.
        let _ = done.await;
    }

    /// Completes once the thread responds.
    pub async fn respond(&self) {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Answer(reply));
        if answer.await.is_err() {
            // It has ended, and never responds again.
            std::future::pending().await
        }
    }

    fn send(&self, request: Request) {
        // The thread ends only with this value.
        let _ = self.requests.send(request);
    }
}

struct Starter {
    orphans: Orphans,
}

impl Starter {
    fn work(mut self, requests: &mpsc::Receiver<Request>) {
        while let Ok(request) = requests.recv() {
            match request {
                Request::Start(command, processes, reply) => {
                    // A process whose caller was cancelled is dropped, and so killed.
                    let _ = reply.send(self.start(*command, processes));
                }
                Request::Adopt(port, reply) => {
                    if let Err(Some(adopted)) = reply.send(self.adopt(port)) {
                        self.orphans.release(adopted.id());
                    }
                }
                Request::Release(id) => self.orphans.release(id),
                Request::ReapOrphans => self.orphans.reap(),
                Request::KillOrphans(reply) => {
                    self.orphans.kill();
                    let _ = reply.send(());
                }
                Request::Answer(reply) => {
                    let _ = reply.send(());
                }
            }
        }
    }

    fn start(&mut self, mut command: Command, processes: Processes) -> io::Result<Started> {
        command.process_group(0).kill_on_drop(true);
        kernel::end_with_this_thread(&mut command);
        let child = command.spawn()?;
        let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let id = id.ok_or_else(|| io::Error::other("it has ended already"))?;
        self.orphans.supervise(id);
        let group = Group {
            id,
            processes: Some(processes),
        };
        Ok(Started { child, group })
    }

    fn adopt(&mut self, port: u16) -> Option<Adopted> {
        let id = self.orphans.serving(port)?;
        match Adopted::new(id) {
            Ok(adopted) => {
                self.orphans.supervise(id);
                Some(adopted)
            }
            Err(error) => {
                warn!(%error, port, "Could not supervise the process that serves the port");
                None
            }
        }
    }
}

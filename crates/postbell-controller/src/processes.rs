//! The thread that starts every child process and reaps orphaned descendants.
//!
//! Each child gets a parent-death signal (`PR_SET_PDEATHSIG`, prctl(2)): the kernel kills it when
//! the *thread* that started it ends. That thread must therefore live as long as the process, which
//! a runtime thread need not.
//!
//! The controller also adopts what its children leave behind (`PR_SET_CHILD_SUBREAPER`, or as PID
//! 1). Orphans are reaped on the same thread, so that no child is reaped before its supervisor has
//! registered it.
//!
//! If the controller is killed (SIGKILL, out of memory), the parent-death signal ends its direct
//! children only. Their descendants are ended by the environment: in a container the kernel kills
//! the whole PID namespace when PID 1 ends; under systemd, `KillMode=control-group` (the default)
//! kills the unit's control group.

mod orphans;

use std::io;
use std::sync::mpsc;
use std::thread;

use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process_group, set_child_subreaper,
    set_parent_process_death_signal,
};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::orphans::Orphans;

/// Starts child processes, each in a process group of its own that ends with this process. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Processes {
    requests: mpsc::Sender<Request>,
}

/// What the thread is asked for.
enum Request {
    Start(Box<Command>, oneshot::Sender<io::Result<Started>>),
    Release(Pid),
    ReapOrphans,
    KillOrphans(oneshot::Sender<()>),
}

/// A process that was started; its id is that of its group, too.
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) id: Pid,
}

impl Processes {
    /// Starts the thread, which ends with the last clone of this value, and makes this process the
    /// parent of all that its children leave behind.
    ///
    /// # Errors
    ///
    /// Where the system has no more threads.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub fn new() -> io::Result<Self> {
        // As PID 1 that is so without asking.
        if let Err(error) = set_child_subreaper(Some(getpid())) {
            warn!(%error, "What children leave behind will not be reaped");
        }
        let (requests, asked) = mpsc::channel();
        let runtime = Handle::current();
        let work = move || {
            let _runtime = runtime.enter();
            let starter = Starter {
                orphans: Orphans::new(),
            };
            starter.work(&asked);
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
    /// What the system says.
    pub(crate) async fn start(&self, command: Command) -> io::Result<Started> {
        let (reply, started) = oneshot::channel();
        self.ask(Request::Start(Box::new(command), reply));
        let gone = |_| io::Error::other("the thread that starts processes has ended");
        started.await.map_err(gone)?
    }

    /// Gives up a process that was started here: it has been reaped, or was killed and is an orphan
    /// from now on.
    pub(crate) fn release(&self, id: Pid) {
        self.ask(Request::Release(id));
    }

    /// Reaps what children leave behind, until `stop` is cancelled.
    pub async fn reap_orphans(self, stop: CancellationToken) {
        let mut deaths = match signal(SignalKind::child()) {
            Ok(deaths) => deaths,
            Err(error) => {
                warn!(%error, "What children leave behind will not be reaped");
                return stop.cancelled().await;
            }
        };
        while stop.run_until_cancelled(deaths.recv()).await.is_some() {
            self.ask(Request::ReapOrphans);
        }
    }

    /// Kills and reaps whatever descends from a child and is still there.
    pub async fn kill_orphans(&self) {
        let (reply, done) = oneshot::channel();
        self.ask(Request::KillOrphans(reply));
        // Where the thread is gone, there is nothing more that can be done.
        let _ = done.await;
    }

    fn ask(&self, request: Request) {
        // The thread ends only with this value.
        let _ = self.requests.send(request);
    }
}

struct Starter {
    orphans: Orphans,
}

impl Starter {
    fn work(mut self, asked: &mpsc::Receiver<Request>) {
        while let Ok(request) = asked.recv() {
            match request {
                Request::Start(command, reply) => {
                    let started = self.start(*command);
                    // Whoever asked may be gone: nobody else would end what was started.
                    if let Err(Ok(started)) = reply.send(started) {
                        let _ = kill_process_group(started.id, Signal::KILL);
                        self.release(started.id);
                    }
                }
                Request::Release(id) => self.release(id),
                Request::ReapOrphans => self.orphans.reap(),
                Request::KillOrphans(reply) => {
                    self.orphans.kill();
                    let _ = reply.send(());
                }
            }
        }
    }

    fn start(&mut self, mut command: Command) -> io::Result<Started> {
        command.process_group(0).kill_on_drop(true);
        end_with_this_thread(&mut command);
        let child = command.spawn()?;
        let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let id = id.ok_or_else(|| io::Error::other("it has ended already"))?;
        self.orphans.is_supervised(id);
        Ok(Started { child, id })
    }

    fn release(&mut self, id: Pid) {
        self.orphans.is_released(id);
    }
}

/// Has the kernel kill the process when this thread ends.
#[expect(
    unsafe_code,
    reason = "pre_exec: what runs between fork and exec must not allocate or lock; these are two \
              system calls"
)]
fn end_with_this_thread(command: &mut Command) {
    let parent = Some(getpid());
    let arm = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The controller may have died before that.
        if getppid() == parent {
            Ok(())
        } else {
            Err(io::ErrorKind::NotConnected.into())
        }
    };
    // SAFETY: see above.
    unsafe { command.pre_exec(arm) };
}

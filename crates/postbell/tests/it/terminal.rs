//! A pseudo-terminal that runs the program.

use std::io::{Read, Write};
use std::path::Path;
use std::thread;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;
use tokio::time::timeout;
use vt100::Parser;

use crate::support::DEADLOCK;

/// Tall enough that nothing scrolls away.
const SIZE: PtySize = PtySize {
    rows: 250,
    cols: 80,
    pixel_width: 0,
    pixel_height: 0,
};

/// A terminal that runs the program.
pub(crate) struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    keyboard: Box<dyn Write + Send>,
    seen: watch::Receiver<Seen>,
    _master: Box<dyn MasterPty + Send>,
}

/// The output of the program.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// The current screen.
    pub(crate) screen: String,
    /// All output, with control sequences.
    pub(crate) all: String,
    /// Whether the program has closed the terminal.
    ended: bool,
}

impl Terminal {
    /// Starts the program with these arguments, and only these variables.
    pub(crate) fn start(arguments: &[String], variables: &[(&str, String)], home: &Path) -> Self {
        let pair = native_pty_system().openpty(SIZE).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_postbell"));
        command.args(arguments);
        command.cwd(home);
        command.env_clear();
        for (name, value) in variables {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut output = pair.master.try_clone_reader().unwrap();
        let keyboard = pair.master.take_writer().unwrap();
        let (sender, seen) = watch::channel(Seen::default());
        thread::spawn(move || {
            let [rows, columns] = [SIZE.rows, SIZE.cols].map(|size| size.try_into().unwrap());
            let mut parser = Parser::new(rows, columns, 0);
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut chunk) {
                parser.process(&chunk[..read]);
                let screen = parser.screen().contents();
                sender.send_modify(|seen| {
                    seen.all.push_str(&String::from_utf8_lossy(&chunk[..read]));
                    seen.screen = screen;
                });
            }
            sender.send_modify(|seen| seen.ended = true);
        });
        Self {
            child,
            keyboard,
            seen,
            _master: pair.master,
        }
    }

    /// Waits until the screen contains a text.
    pub(crate) async fn wait_for(&mut self, text: &str) {
        self.wait_for_times(text, 1).await;
    }

    /// Waits until the screen contains a text this many times.
    pub(crate) async fn wait_for_times(&mut self, text: &str, times: usize) {
        let is_shown = |seen: &Seen| seen.screen.matches(text).count() >= times;
        let shown = self.seen.wait_for(|seen| is_shown(seen) || seen.ended);
        let shown = timeout(DEADLOCK, shown).await;
        let shown = shown.map(|seen| is_shown(&seen.unwrap()));
        let screen = &self.seen.borrow().screen;
        assert_eq!(shown, Ok(true), "expected {text:?} in\n{screen}");
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// Waits for a question and answers it.
    pub(crate) async fn answer(&mut self, question: &str, answer: &str) {
        self.wait_for(question).await;
        self.type_in(answer);
        self.type_in("\r");
    }

    /// The output so far.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Kills the program with SIGKILL.
    pub(crate) async fn kill(mut self) -> Seen {
        self.signal(Signal::KILL);
        self.end().await.1
    }

    /// Sends SIGHUP, as a terminal that is closed does.
    pub(crate) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.process_id().unwrap();
        let id = Pid::from_raw(id.try_into().unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// Waits for the end of the program. Returns its exit code and output.
    pub(crate) async fn ended(mut self) -> (u32, Seen) {
        self.end().await
    }

    async fn end(&mut self) -> (u32, Seen) {
        let ended = timeout(DEADLOCK, self.seen.wait_for(|seen| seen.ended)).await;
        let has_ended = ended.is_ok();
        drop(ended);
        assert!(has_ended, "it does not end:\n{}", self.seen.borrow().screen);
        let code = self.child.wait().unwrap().exit_code();
        (code, self.seen())
    }

    /// The program's command line, which every user of the machine can read.
    pub(crate) fn command_line(&self) -> String {
        let file = format!("/proc/{}/cmdline", self.child.process_id().unwrap());
        std::fs::read_to_string(file).unwrap()
    }
}

//! A browser stand-in that consents at the sandbox.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use reqwest::Client;
use reqwest::redirect::Policy;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use url::Url;

/// A program that forwards the URL it is called with, and a task that consents there.
pub(crate) struct Browser {
    /// The value of BROWSER.
    pub(crate) program: PathBuf,
    fifo: PathBuf,
    opened: Arc<Mutex<Vec<String>>>,
    _consenting: JoinSet<()>,
}

impl Browser {
    /// Creates the program in a folder. URLs of the sandbox are opened, others only recorded.
    pub(crate) fn new(folder: &Path) -> Self {
        let fifo = folder.join("browser.fifo");
        let program = folder.join("browser");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let script = format!("#!/bin/sh\nprintf '%s\\n' \"$1\" > '{}'\n", fifo.display());
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
        // Also opened for writing, so that reading never ends.
        let pipe = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&fifo)
            .unwrap();
        let (sender, mut receiver) = mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if line.is_empty() || sender.send(line).is_err() {
                    return;
                }
            }
        });
        let opened = Arc::new(Mutex::new(Vec::new()));
        let remembered = Arc::clone(&opened);
        let mut consenting = JoinSet::new();
        consenting.spawn(async move {
            while let Some(page) = receiver.recv().await {
                remembered.lock().push(page.clone());
                let page = Url::parse(&page).unwrap();
                if page.host_str() == Some("127.0.0.1")
                    && let Some(back) = consent(&page).await
                {
                    let _ = Client::new().get(back).send().await;
                }
            }
        });
        Self {
            program,
            fifo,
            opened,
            _consenting: consenting,
        }
    }

    /// The opened URLs.
    pub(crate) fn opened(&self) -> Vec<String> {
        self.opened.lock().clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Ok(mut pipe) = OpenOptions::new().write(true).open(&self.fifo) {
            let _ = writeln!(pipe);
        }
    }
}

/// Consents at a page of the sandbox and returns the redirect.
pub(crate) async fn consent(page: &Url) -> Option<Url> {
    let client = Client::builder().redirect(Policy::none()).build().unwrap();
    let form = [("allow", "yes")];
    let answer = client.post(page.clone()).form(&form).send().await.unwrap();
    let back = answer.headers().get("location")?.to_str().unwrap();
    Some(Url::parse(back).unwrap())
}

//! The folder with the account, the certificate and the open challenges of an authority. Several
//! processes may use it at once.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use postbell_core::Timestamp;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::tls::certificate::{Certificate, CertificateProblem};
use crate::tls::files::{Version, version};

const ACCOUNT: &str = "account.json";
const CERTIFICATE: &str = "certificate.pem";
const FAILURE: &str = "failure.json";
const LOCK: &str = "lock";
const CHALLENGES: &str = "challenges";

/// The length of a challenge: a SHA-256 digest (RFC 8737, section 3).
const DIGEST: usize = 32;

/// The folder of an authority. Only its owner can read its files.
#[derive(Clone, Debug)]
pub(super) struct AcmeStore(PathBuf);

/// The last attempt to get a certificate, which failed.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Failure {
    /// The settings of the attempt.
    pub(super) names: Vec<String>,
    pub(super) email: Option<String>,
    pub(super) attempts: u32,
    pub(super) next_attempt_at: Timestamp,
    pub(super) problem: String,
}

impl AcmeStore {
    /// Opens the folder of an authority, and creates it if there is none.
    pub(super) fn open(folder: &Path, directory: &str) -> Result<Self, CertificateProblem> {
        let authority: String = directory
            .trim_start_matches("https://")
            .chars()
            .map(|it| {
                if it.is_ascii_alphanumeric() || it == '.' {
                    it
                } else {
                    '-'
                }
            })
            .collect();
        let store = Self(folder.join(authority));
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(store.0.join(CHALLENGES))
            .and_then(|()| NamedTempFile::new_in(&store.0).map(drop));
        made.map_err(|error| {
            CertificateProblem::new(format_args!(
                "cannot write to {}: {error}",
                store.0.display()
            ))
        })?;
        Ok(store)
    }

    /// Uses the store in a thread that may wait for the disk.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let store = self.clone();
        match spawn_blocking(move || work(&store)).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime ends, and this task with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Locks the store for an order, unless another process has. Dropping the file unlocks it.
    pub(super) fn try_lock(&self) -> Result<Option<File>, CertificateProblem> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(self.0.join(LOCK));
        let file = file.map_err(|error| self.problem(LOCK, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(self.problem(LOCK, &error)),
        }
    }

    /// Tells one stored certificate from another.
    pub(super) fn version(&self) -> Version {
        version(&self.0.join(CERTIFICATE))
    }

    /// Returns when the certificate was stored.
    pub(super) fn saved_at(&self) -> Timestamp {
        let modified = fs::metadata(self.0.join(CERTIFICATE)).and_then(|it| it.modified());
        let since = modified
            .ok()
            .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        Timestamp::default() + since.unwrap_or_default()
    }

    /// Reads the certificate, if there is one.
    pub(super) fn certificate(&self) -> Result<Option<Certificate>, CertificateProblem> {
        let Some(pem) = self.read(CERTIFICATE)? else {
            return Ok(None);
        };
        Certificate::from_pem(&pem, &pem).map(Some)
    }

    /// Stores the key with the certificate and its chain, in PEM.
    pub(super) fn save_certificate(&self, pem: &str) -> Result<(), CertificateProblem> {
        self.write(CERTIFICATE, pem.as_bytes())
    }

    /// Reads the account. A damaged one counts as none.
    pub(super) fn account(&self) -> Result<Option<AccountCredentials>, CertificateProblem> {
        let Some(json) = self.read(ACCOUNT)? else {
            return Ok(None);
        };
        let account = serde_json::from_slice(&json);
        if account.is_err() {
            let file = self.0.join(ACCOUNT);
            warn!(
                "Cannot read the account in {}: a new one takes its place",
                file.display()
            );
        }
        Ok(account.ok())
    }

    pub(super) fn save_account(&self, it: &AccountCredentials) -> Result<(), CertificateProblem> {
        let json = serde_json::to_vec(it).map_err(CertificateProblem::new)?;
        self.write(ACCOUNT, &json)
    }

    pub(super) fn forget_account(&self) {
        self.remove(&self.0.join(ACCOUNT));
    }

    /// Reads the last failure. A damaged one counts as none.
    pub(super) fn failure(&self) -> Option<Failure> {
        let json = self.read(FAILURE).ok()??;
        serde_json::from_slice(&json).ok()
    }

    /// The file of the last failure.
    pub(super) fn failure_file(&self) -> PathBuf {
        self.0.join(FAILURE)
    }

    pub(super) fn save_failure(&self, failure: &Failure) -> Result<(), CertificateProblem> {
        let json = serde_json::to_vec(failure).map_err(CertificateProblem::new)?;
        self.write(FAILURE, &json)
    }

    pub(super) fn forget_failure(&self) {
        self.remove(&self.failure_file());
    }

    /// Reads the digest that answers the challenge of a name, which is valid.
    pub(super) fn challenge(&self, name: &str) -> Option<[u8; DIGEST]> {
        let digest = fs::read(self.0.join(CHALLENGES).join(name)).ok()?;
        digest.try_into().ok()
    }

    pub(super) fn save_challenge(
        &self,
        name: &str,
        digest: &[u8],
    ) -> Result<(), CertificateProblem> {
        self.write(&format!("{CHALLENGES}/{name}"), digest)
    }

    pub(super) fn remove_challenges(&self) {
        let Ok(files) = fs::read_dir(self.0.join(CHALLENGES)) else {
            return;
        };
        for file in files.flatten() {
            self.remove(&file.path());
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CertificateProblem> {
        match fs::read(self.0.join(name)) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.problem(name, &error)),
        }
    }

    /// Replaces a file, which readers see whole: before or after.
    fn write(&self, name: &str, content: &[u8]) -> Result<(), CertificateProblem> {
        let path = self.0.join(name);
        let written = NamedTempFile::new_in(&self.0).and_then(|mut file| {
            file.write_all(content)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            File::open(&self.0)?.sync_all()
        });
        written.map_err(|error| self.problem(name, &error))
    }

    fn remove(&self, path: &Path) {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                warn!(%error, "Cannot remove {}", path.display());
            }
            _ => (),
        }
    }

    fn problem(&self, name: &str, error: &io::Error) -> CertificateProblem {
        let file = self.0.join(name);
        CertificateProblem::new(format_args!("cannot use {}: {error}", file.display()))
    }
}

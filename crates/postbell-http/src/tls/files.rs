//! A certificate in files, which another program renews.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use postbell_core::{Clock, Timestamp};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{info, warn};

use super::CertificateState;
use super::certificate::{Certificate, CertificateProblem};

/// How often the files are compared with what was read.
const POLL: Duration = Duration::from_secs(10);

/// The permissions of users other than the owner and the group.
const OTHERS: u32 = 0o007;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// The files of a certificate, in PEM.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The certificate, and behind it those of the authorities between it and the root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What tells one version of a file from another: device, inode, size, and the times of the last
/// change of content and of inode in nanoseconds.
pub(super) type Version = Option<[i64; 7]>;

impl CertificateFiles {
    /// Reads the files, and returns what a person should know about them.
    ///
    /// # Errors
    ///
    /// If they cannot be read or used, or if the certificate has expired or is not for one of `hosts`.
    pub fn check(&self, hosts: &[&str], now: Timestamp) -> Result<(), CertificateProblem> {
        let certificate = self.load()?;
        self.refuse_expired(&certificate, now)?;
        for host in hosts {
            if !certificate.is_for(host) {
                return Err(CertificateProblem::new(format_args!(
                    "the certificate in {} is for {}, not for {host}",
                    self.certificate.display(),
                    certificate.names.join(", "),
                )));
            }
        }
        Ok(())
    }

    /// Reads the certificate.
    pub(super) fn load(&self) -> Result<Certificate, CertificateProblem> {
        let [chain, key] = [&self.certificate, &self.key].map(|file| {
            read(file).map_err(|error| {
                CertificateProblem::new(format_args!("cannot read {}: {error}", file.display()))
            })
        });
        let certificate = Certificate::from_pem(&chain?, &key?).map_err(|problem| {
            CertificateProblem::new(format_args!(
                "cannot use {} and {}: {problem}",
                self.certificate.display(),
                self.key.display(),
            ))
        })?;
        let mode = fs::metadata(&self.key).map(|it| it.permissions().mode());
        if mode.is_ok_and(|mode| mode & OTHERS != 0) {
            let file = self.key.display();
            warn!("Every user of this machine can read the key in {file}: chmod o= {file}");
        }
        Ok(certificate)
    }

    /// Reads the files again whenever they have changed. What cannot be used is reported, and the
    /// certificate stays.
    pub(super) async fn follow(&self, state: &CertificateState, clock: &dyn Clock) {
        let mut read = None;
        loop {
            let files = self.clone();
            // Before the files are read: a change in between is noticed the next time.
            let found = spawn_blocking(move || files.versions()).await.ok();
            if found != read {
                read = found;
                self.reload(state, clock).await;
            }
            sleep(POLL).await;
        }
    }

    async fn reload(&self, state: &CertificateState, clock: &dyn Clock) {
        let files = self.clone();
        let loaded = spawn_blocking(move || files.load()).await;
        let loaded = loaded.unwrap_or_else(|error| Err(CertificateProblem::new(error)));
        let usable = loaded.and_then(|certificate| {
            self.refuse_expired(&certificate, clock.now())?;
            Ok(certificate)
        });
        match usable {
            Ok(certificate) => {
                info!(names = ?certificate.names, "Read the TLS certificate");
                state.replace(certificate);
            }
            Err(problem) => {
                warn!(%problem, "Cannot use the new TLS certificate; the old one stays");
                state.failed(problem.to_string());
            }
        }
    }

    fn refuse_expired(
        &self,
        certificate: &Certificate,
        now: Timestamp,
    ) -> Result<(), CertificateProblem> {
        if certificate.not_after <= now {
            let file = self.certificate.display();
            let problem = format_args!("the certificate in {file} has expired");
            return Err(CertificateProblem::new(problem));
        }
        Ok(())
    }

    fn versions(&self) -> [Version; 2] {
        [&self.certificate, &self.key].map(|file| version(file))
    }
}

/// Reads a regular file of a bounded size: a pipe would block for ever, and a large file fill the memory.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let found = fs::metadata(file)?;
    if !found.is_file() || found.len() > MAX_FILE {
        let problem = format!("expected a file of at most {MAX_FILE} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    fs::read(file)
}

/// Symbolic links are followed: certbot and Kubernetes replace the link.
pub(super) fn version(file: &Path) -> Version {
    let it = fs::metadata(file).ok()?;
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Some([
        number(it.dev()),
        number(it.ino()),
        number(it.size()),
        it.mtime(),
        it.mtime_nsec(),
        it.ctime(),
        it.ctime_nsec(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_of_a_bounded_size_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let large = folder.path().join("large.pem");
        let file = fs::File::create(&large).unwrap();
        file.set_len(MAX_FILE).unwrap();
        assert!(read(&large).is_ok());
        file.set_len(MAX_FILE + 1).unwrap();
        for refused in [large.as_path(), Path::new("/dev/zero"), folder.path()] {
            let problem = read(refused).unwrap_err().to_string();
            assert_eq!(problem, "expected a file of at most 1048576 bytes");
        }
    }
}

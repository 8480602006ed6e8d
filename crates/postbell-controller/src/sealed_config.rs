//! The configuration that was fetched last, encrypted on disk for starts while the platform is away.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use postbell_core::SandboxId;
use postbell_protocol::api::MachineConfig;
use postbell_protocol::env_crypto::EnvKey;
use postbell_protocol::gog_dirs::GogDirs;
use postbell_protocol::private_file::write_private;
use secrecy::SecretString;
use tracing::warn;

/// The file, beside the configuration folder of `gog`.
const FILE: &str = ".postbell-machine-config";

/// The largest file that is read: credentials of an account have some kilobytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The file with the configuration that was fetched last. Only its owner can read it, and only with the
/// machine's secret.
pub(crate) struct SealedConfig {
    file: PathBuf,
    key: EnvKey,
}

impl SealedConfig {
    /// Derives the key from `secret`, for this machine only.
    pub(crate) fn new(dirs: &GogDirs, secret: &SecretString, sandbox_id: &SandboxId) -> Self {
        Self {
            file: dirs.config().with_file_name(FILE),
            key: EnvKey::derived(secret, &format!("postbell machine config {sandbox_id}")),
        }
    }

    /// Returns the stored configuration. A file that cannot be read or was written with another secret is
    /// logged and counts as none. Blocks on the disk.
    pub(crate) fn read(&self) -> Option<MachineConfig> {
        let mut text = String::new();
        let read =
            File::open(&self.file).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(%error, "Could not read the stored configuration");
                return None;
            }
        }
        let opened = self.key.decrypt(text.trim_end());
        let config = opened.and_then(|config| serde_json::from_slice(&config).ok());
        if config.is_none() {
            warn!("The stored configuration was encrypted with another secret, or is damaged");
        }
        config
    }

    /// Replaces the stored configuration, atomically. Blocks on the disk.
    pub(crate) fn write(&self, config: &MachineConfig) -> io::Result<()> {
        let text = serde_json::to_string(config)?;
        if let Some(folder) = self.file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        write_private(&self.file, &self.key.encrypt(&text))
    }

    /// Removes the stored configuration, if there is one. Blocks on the disk.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use postbell_protocol::api::MachineAccount;

    use super::*;

    #[test]
    fn the_stored_configuration_is_read_with_the_machines_secret_only() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().to_str().unwrap();
        let dirs = GogDirs::from_variables(|name| (name == "HOME").then_some(home)).unwrap();
        let of = |secret: &str, sandbox: &str| {
            SealedConfig::new(&dirs, &secret.into(), &sandbox.parse().unwrap())
        };
        let sealed = of("hunter2", "sandbox-7");
        assert!(sealed.read().is_none(), "there is none yet");
        let config = MachineConfig {
            account: Some(MachineAccount {
                email: "ann@example.com".to_owned(),
                gog_config_tarball: Some("H4sI".into()),
                last_history_id: None,
            }),
            gmail_notifications_enabled: true,
            further_accounts: Some(Vec::new()),
            watcher_arguments: Vec::new(),
        };
        sealed.write(&config).unwrap();
        let read = sealed.read().unwrap();
        assert_eq!(read.account.unwrap().email, "ann@example.com");
        let text = std::fs::read_to_string(&sealed.file).unwrap();
        assert!(!text.contains("ann") && !text.contains("H4sI"), "{text}");
        let mode = std::fs::metadata(&sealed.file)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        for damaged in [&b"enc:v1:"[..], &text.as_bytes()[..40], b"\xff\xfe", b""] {
            std::fs::write(&sealed.file, damaged).unwrap();
            assert!(sealed.read().is_none(), "{damaged:?}");
        }
        sealed.write(&config).unwrap();
        assert!(sealed.read().is_some(), "a damaged file is replaced");
        for other in [of("hunter3", "sandbox-7"), of("hunter2", "sandbox-8")] {
            assert!(other.read().is_none());
        }
        for _ in 0..2 {
            sealed.remove().unwrap();
            assert!(sealed.read().is_none());
        }
    }
}

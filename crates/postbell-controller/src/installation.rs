//! The credentials of all accounts on disk: replaced one by one, so that the failure of one changes no other.

use std::error::Error;
use std::sync::Arc;

use parking_lot::Mutex;
use postbell_core::BoxError;
use postbell_protocol::gog_dirs::GogDirs;
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use tracing::error;

use crate::credentials::{CredentialsError, GogFolder, HomeLock};
use crate::mail_settings::MailSettings;
use crate::settings::{GmailSettings, is_same_mailbox};

/// The credentials on disk. Clones share them.
#[derive(Clone)]
pub(crate) struct Installation {
    gog_dirs: Option<GogDirs>,
    /// Held while a watcher may run.
    lock: Arc<Mutex<Option<HomeLock>>>,
}

/// Changes of the credentials that only need to be put in place.
pub(crate) struct Prepared {
    steps: Vec<Step>,
    /// The addresses of the accounts that cannot be changed.
    pub(crate) failed: Vec<String>,
}

/// What became of changes.
pub(crate) struct Committed {
    /// The addresses of the accounts that could not be changed, with those that could not be prepared.
    pub(crate) failed: Vec<String>,
    /// Whether the folders of all disconnected accounts are gone.
    pub(crate) has_removed: bool,
}

/// The change of one folder.
struct Step {
    folder: GogFolder,
    /// The account and its unpacked credentials; `None`: they are removed.
    fresh: Option<(GmailSettings, TempDir)>,
}

impl Prepared {
    /// The addresses of the accounts whose credentials will be replaced.
    pub(crate) fn replaced(&self) -> Vec<String> {
        let replaced = self.steps.iter().filter_map(|step| step.fresh.as_ref());
        replaced.map(|(gmail, _)| gmail.account.clone()).collect()
    }
}

impl Installation {
    pub(crate) fn new(gog_dirs: Option<GogDirs>) -> Self {
        Self {
            gog_dirs,
            lock: Arc::default(),
        }
    }

    /// Unpacks what `wanted` changes, beside what is used. Watchers can go on.
    ///
    /// # Errors
    ///
    /// Nothing can be changed.
    pub(crate) async fn prepare(
        &self,
        applied: Option<MailSettings>,
        wanted: MailSettings,
    ) -> Result<Prepared, BoxError> {
        let this = self.clone();
        spawn_blocking(move || this.prepare_blocking(applied.as_ref(), &wanted)).await?
    }

    /// Puts the changes in place, while no watcher of their accounts runs.
    pub(crate) async fn commit(&self, prepared: Prepared) -> Result<Committed, BoxError> {
        Ok(spawn_blocking(move || prepared.commit()).await?)
    }

    /// Removes the credentials of all accounts, and keeps the watchers' states: no user has this machine, or the
    /// user has it under another id.
    pub(crate) async fn forget(&self) -> Result<(), BoxError> {
        let this = self.clone();
        spawn_blocking(move || {
            for folder in this.all_folders()? {
                this.hold_lock()?;
                folder.remove_credentials()?;
            }
            Ok(())
        })
        .await?
    }

    fn prepare_blocking(
        &self,
        applied: Option<&MailSettings>,
        wanted: &MailSettings,
    ) -> Result<Prepared, BoxError> {
        let mut prepared = Prepared {
            steps: Vec::new(),
            failed: Vec::new(),
        };
        // Without a home there is nothing to remove.
        if self.gog_dirs.is_none() && wanted.first.is_none() && wanted.further.is_empty() {
            return Ok(prepared);
        }
        let first = GogFolder::new(self.gog_dirs.clone())?;
        let former = applied.and_then(MailSettings::gmail);
        match wanted.gmail() {
            Some(gmail) if former == Some(gmail) => {}
            Some(gmail) => {
                let is_prepared = self.prepare_one(first.clone(), gmail, &mut prepared);
                let is_of_other =
                    former.is_some_and(|former| !is_same_mailbox(&former.account, &gmail.account));
                // It was disconnected, whatever becomes of the one in its place.
                if !is_prepared && is_of_other {
                    prepared.steps.push(Step::removing(first.clone()));
                }
            }
            None if first.exists() => prepared.steps.push(Step::removing(first.clone())),
            None => {}
        }
        let former = applied.map_or(&[][..], |applied| &applied.further);
        for account in &wanted.further {
            let gmail = &account.gmail;
            if former.iter().all(|former| former.gmail != *gmail) {
                self.prepare_one(first.of_further(&gmail.account), gmail, &mut prepared);
            }
        }
        if wanted.has_all {
            let wanted = wanted.further.iter().map(|it| &*it.gmail.account);
            let unwanted = first.further_but(wanted).into_iter();
            prepared.steps.extend(unwanted.map(Step::removing));
        }
        if !prepared.steps.is_empty() {
            self.hold_lock()?;
        }
        Ok(prepared)
    }

    /// Prepares the change of an account's credentials, and returns whether it can be made.
    fn prepare_one(
        &self,
        folder: GogFolder,
        gmail: &GmailSettings,
        prepared: &mut Prepared,
    ) -> bool {
        let unpacked = self.hold_lock().and_then(|()| folder.unpack(gmail));
        let is_prepared = unpacked.is_ok();
        match unpacked {
            Ok(fresh) => prepared.steps.push(Step {
                folder,
                fresh: Some((gmail.clone(), fresh)),
            }),
            Err(error) => {
                log_not_installed(&error);
                prepared.failed.push(gmail.account.clone());
            }
        }
        is_prepared
    }

    /// The folders of all accounts that exist.
    fn all_folders(&self) -> Result<Vec<GogFolder>, CredentialsError> {
        if self.gog_dirs.is_none() {
            return Ok(Vec::new());
        }
        let first = GogFolder::new(self.gog_dirs.clone())?;
        let further = first.further_but([]);
        let own = Some(first).filter(GogFolder::exists);
        Ok(own.into_iter().chain(further).collect())
    }

    /// Locks the home, unless it is locked already.
    fn hold_lock(&self) -> Result<(), CredentialsError> {
        let mut lock = self.lock.lock();
        if lock.is_none() {
            *lock = Some(GogFolder::new(self.gog_dirs.clone())?.lock()?);
        }
        Ok(())
    }
}

impl Step {
    fn removing(folder: GogFolder) -> Self {
        Self {
            folder,
            fresh: None,
        }
    }
}

impl Prepared {
    fn commit(self) -> Committed {
        let mut failed = self.failed;
        let mut has_removed = true;
        for Step { folder, fresh } in self.steps {
            match fresh {
                Some((gmail, fresh)) => {
                    if let Err(error) = folder.install(&gmail, fresh) {
                        log_not_installed(&error);
                        failed.push(gmail.account);
                    }
                }
                None => {
                    if let Err(error) = folder.remove() {
                        has_removed = false;
                        let error: &dyn Error = &error;
                        error!(
                            error,
                            "Could not remove the credentials of a disconnected account"
                        );
                    }
                }
            }
        }
        Committed {
            failed,
            has_removed,
        }
    }
}

fn log_not_installed(error: &CredentialsError) {
    let error: &dyn Error = error;
    error!(error, "Could not install the credentials of a mailbox");
}

#[cfg(test)]
mod tests {
    use std::fs;

    use postbell_protocol::gateway_token::GatewayToken;
    use serde_json::json;

    use super::*;

    fn none(has_all: bool) -> MailSettings {
        let further = has_all.then(Vec::<()>::new);
        let config = json!({
            "account": null, "gmailNotificationsEnabled": false, "furtherAccounts": further,
        });
        let token = GatewayToken::try_from("of-the-gateway").unwrap();
        MailSettings::new(&serde_json::from_value(config).unwrap(), Vec::new(), &token).unwrap()
    }

    #[tokio::test]
    async fn credentials_that_could_not_be_removed_are_removed_by_the_next_attempt() {
        let home = tempfile::tempdir().unwrap();
        let variable = |name: &str| (name == "HOME").then(|| home.path().to_str().unwrap());
        let dirs = GogDirs::from_variables(variable).unwrap();
        let account = dirs.of_further("bob@example.com");
        let account = account.config().parent().unwrap();
        fs::create_dir_all(account.parent().unwrap()).unwrap();
        // A file cannot be removed as a folder.
        fs::write(account, "").unwrap();
        let installation = Installation::new(Some(dirs));
        let mut applied = none(true);
        for (found, is_removed) in [("a file", false), ("a file", false), ("a folder", true)] {
            if found == "a folder" {
                fs::remove_file(account).unwrap();
                fs::create_dir(account).unwrap();
            }
            let prepared = installation.prepare(Some(applied), none(true)).await;
            let committed = installation.commit(prepared.unwrap()).await.unwrap();
            applied = none(true).reached(&committed, None);
            assert_eq!(applied == none(true), is_removed, "{found}");
        }
        assert!(!account.exists());
    }

    #[tokio::test]
    async fn only_a_complete_list_of_accounts_removes_others() {
        let home = tempfile::tempdir().unwrap();
        let variable = |name: &str| (name == "HOME").then(|| home.path().to_str().unwrap());
        let dirs = GogDirs::from_variables(variable).unwrap();
        let account = dirs.of_further("bob@example.com").config().to_owned();
        fs::create_dir_all(&account).unwrap();
        let installation = Installation::new(Some(dirs));
        for has_all in [false, true] {
            let prepared = installation.prepare(None, none(has_all)).await;
            installation.commit(prepared.unwrap()).await.unwrap();
            assert_eq!(account.exists(), !has_all);
        }
    }
}

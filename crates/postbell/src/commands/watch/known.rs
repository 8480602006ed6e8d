//! Facts of this machine about a mailbox that a command does not name.

use std::collections::BTreeSet;
use std::path::PathBuf;

use postbell_protocol::gog_dirs::GogDirs;
use postbell_protocol::watch_state::StateFile;
use postbell_setup::ProgressFile;

use super::super::setup::progress_file;
use crate::config::Env;

/// The mailboxes with a watch on this machine, without their further webhooks.
pub(super) fn mailboxes(env: &Env) -> Vec<String> {
    let Ok(dirs) = GogDirs::from_variables(|name| env.variable(name)) else {
        return Vec::new();
    };
    let folders = dirs.watch_states();
    let accounts = folders
        .iter()
        .flat_map(|folder| StateFile::accounts(folder));
    let has_no_name = |account: &String| {
        account
            .rsplit('@')
            .next()
            .is_some_and(|it| !it.contains('/'))
    };
    let mailboxes: BTreeSet<_> = accounts.filter(has_no_name).collect();
    mailboxes.into_iter().collect()
}

/// The credentials that setup has saved for a mailbox.
pub(super) fn saved_credentials(mailbox: &str, env: &Env) -> Option<PathBuf> {
    let progress = ProgressFile::new(progress_file(None, env).ok()?);
    let progress = progress.read().ok()?;
    let file = progress.credentials_of(&mailbox.parse().ok()?)?;
    file.exists().then(|| file.to_owned())
}

//! OIDC tokens of pushes, each reused for a while as Google does.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// For how many seconds a token is used: it may be "up to an hour old" when it comes
/// (<https://docs.cloud.google.com/pubsub/docs/authenticate-push-subscriptions>).
const USED_FOR: i64 = 50 * 60;

/// The tokens that pushes carry.
#[derive(Debug, Default)]
pub(crate) struct PushTokens {
    /// By service account and audience: the token, and when it was made.
    made: Mutex<BTreeMap<(String, String), (String, i64)>>,
}

impl PushTokens {
    pub(crate) fn token(
        &self,
        account: &str,
        audience: &str,
        now: i64,
        make: impl FnOnce() -> String,
    ) -> String {
        let mut made = self.made.lock();
        let key = (account.to_owned(), audience.to_owned());
        if let Some((token, made_at)) = made.get(&key)
            && (*made_at..made_at + USED_FOR).contains(&now)
        {
            return token.clone();
        }
        let token = make();
        made.insert(key, (token.clone(), now));
        token
    }

    /// Makes new tokens from now on: the key has changed.
    pub(crate) fn forget(&self) {
        self.made.lock().clear();
    }
}

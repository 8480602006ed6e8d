//! Chance that nobody can guess.

use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// Gives 32 bytes that nobody can guess, other ones each time.
pub type Random = Arc<dyn Fn() -> [u8; 32] + Send + Sync>;

/// The system's.
///
/// # Panics
///
/// Where the system has no chance to give, which a program that signs people in must not outlive.
#[must_use]
pub fn system_random() -> Random {
    let random = SystemRandom::new();
    Arc::new(move || {
        let mut bytes = [0; 32];
        #[expect(
            clippy::expect_used,
            reason = "without chance nothing here is secret: better nothing runs"
        )]
        random
            .fill(&mut bytes)
            .expect("the system's random numbers");
        bytes
    })
}

/// 32 such bytes as text that may be in a URL.
pub(crate) fn random_text(random: &Random) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(random())
}

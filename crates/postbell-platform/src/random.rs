//! Secure random bytes.

use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// Generates 32 unpredictable bytes.
pub type Random = Arc<dyn Fn() -> [u8; 32] + Send + Sync>;

/// The operating system's random source.
///
/// # Panics
///
/// If the operating system has no random bytes: without them, no secret is safe.
#[must_use]
pub fn system_random() -> Random {
    let random = SystemRandom::new();
    Arc::new(move || {
        let mut bytes = [0; 32];
        #[expect(clippy::expect_used, reason = "without random bytes no secret is safe")]
        random
            .fill(&mut bytes)
            .expect("the system's random numbers");
        bytes
    })
}

/// Fills a buffer with random bytes.
pub(crate) fn fill(random: &Random, bytes: &mut [u8]) {
    for chunk in bytes.chunks_mut(32) {
        chunk.copy_from_slice(&random()[..chunk.len()]);
    }
}

/// 32 random bytes in base64url.
pub(crate) fn random_text(random: &Random) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(random())
}

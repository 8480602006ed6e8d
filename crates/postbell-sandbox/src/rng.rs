//! Random numbers: seeded for repeatable runs, or from the system for secrets.

use aws_lc_rs::rand;
use parking_lot::Mutex;

/// A seeded generator (xorshift64*), for gaps in history and random faults.
#[derive(Debug)]
pub(crate) struct Rng(Mutex<u64>);

impl Rng {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Mutex::new(seed | 1))
    }

    /// A number from 0 up to, but not including, `bound`.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        let mut state = self.0.lock();
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound.max(1)
    }
}

/// Random bytes as hex, for tokens, codes and secrets.
pub(crate) fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    #[expect(
        clippy::expect_used,
        reason = "without randomness no token can be made"
    )]
    rand::fill(&mut random).expect("the system gives random bytes");
    hex::encode(random)
}

//! Secrets that are shown.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

/// Whether two secrets are the same, in a time that tells nothing of either, nor of its length.
pub(super) fn is_same(secret: &[u8], shown: &[u8]) -> bool {
    let [secret, shown] = [secret, shown].map(|bytes| digest(&SHA256, bytes));
    verify_slices_are_equal(secret.as_ref(), shown.as_ref()).is_ok()
}

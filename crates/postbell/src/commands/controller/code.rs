//! Gives back the memory of code that was needed once.
//!
//! The kernel maps a program's code in pieces of 64 KiB around each page that is touched, and keeps
//! them mapped: half of what a controller takes is code of its start. What is given back here stays
//! in the kernel's cache, and is mapped again where it is needed.

use std::ffi::c_void;
use std::fs;
use std::io;
use std::ops::Range;
use std::time::Duration;

use rustix::mm::{Advice, madvise};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// After which time it is given back first; doubled for each time after.
const FIRST: Duration = Duration::from_secs(1);

/// Between two times, at most.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// Gives it back now and then, until `stop` is cancelled.
pub(super) async fn keep_giving_back(stop: CancellationToken) {
    let mut wait = FIRST;
    while stop.run_until_cancelled(sleep(wait)).await.is_some() {
        if let Err(error) = give_back() {
            debug!(%error, "The memory of unused code is kept");
            return;
        }
        wait = (wait * 2).min(LONGEST);
    }
}

#[expect(
    unsafe_code,
    reason = "code is mapped from the program's file and never written: what is given back is read \
              from there again (madvise(2), MADV_DONTNEED)"
)]
fn give_back() -> io::Result<()> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let here = give_back as fn() -> io::Result<()> as usize;
    let code = code_around(here, &maps)
        .ok_or_else(|| io::Error::other("no code is mapped where this function is"))?;
    let start = std::ptr::with_exposed_provenance_mut::<c_void>(code.start);
    // SAFETY: see above.
    unsafe { madvise(start, code.len(), Advice::LinuxDontNeed) }?;
    Ok(())
}

/// The mapping with this address, where it is code that cannot be written (proc_pid_maps(5)).
fn code_around(address: usize, maps: &str) -> Option<Range<usize>> {
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |digits| usize::from_str_radix(digits, 16).ok();
        let range = number(start)?..number(end)?;
        (range.contains(&address) && rest.starts_with("r-xp ")).then_some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_that_cannot_be_written_is_found() {
        let maps = "1000-2000 r--p 00000000 08:01 7 /bin/postbell\n\
                    2000-5000 r-xp 00001000 08:01 7 /bin/postbell\n\
                    5000-6000 rwxp 00004000 08:01 7 /bin/postbell\n";
        assert_eq!(code_around(0x2abc, maps), Some(0x2000..0x5000));
        for elsewhere in [0x1abc, 0x5abc, 0x9000] {
            assert_eq!(code_around(elsewhere, maps), None);
        }
    }

    #[test]
    fn code_that_was_given_back_still_runs() {
        give_back().unwrap();
        give_back().unwrap();
    }
}

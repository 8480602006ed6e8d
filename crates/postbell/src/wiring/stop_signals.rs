//! The signals that ask a process to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Handlers of SIGTERM, SIGINT (Ctrl-C) and SIGHUP (the terminal is closed).
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` if the process was started with SIGHUP ignored, as by nohup(1): it is to outlive its
    /// terminal.
    hang_up: Option<Signal>,
}

impl StopSignals {
    /// Installs the handlers. Before that, SIGTERM kills the process, or is ignored if it is PID 1.
    pub(crate) fn listen() -> io::Result<Self> {
        let hang_up = (!is_hang_up_ignored()).then(|| signal(SignalKind::hangup()));
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: hang_up.transpose()?,
        })
    }

    /// Completes on the first signal.
    pub(crate) async fn stop(mut self) {
        let hung_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => (),
            _ = self.interrupt.recv() => (),
            _ = hung_up => (),
        }
    }
}

/// Completes on SIGTERM, SIGINT (Ctrl-C) or SIGHUP.
///
/// # Errors
///
/// Fails if the signal handlers cannot be installed.
pub async fn stop_signal() -> io::Result<()> {
    StopSignals::listen()?.stop().await;
    Ok(())
}

/// Returns whether this process ignores SIGHUP: the field `SigIgn` of proc(5) is a mask whose lowest bit
/// is signal 1. Without /proc, as on macOS, the signal counts as ignored, so that nohup works.
fn is_hang_up_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_signals(&status).is_none_or(|ignored| ignored & 1 == 1)
}

fn ignored_signals(status: &str) -> Option<u64> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status_of_a_process() {
        let status = "Name:\tpostbell\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert_eq!(ignored_signals(status), Some(0x1001));
        assert_eq!(ignored_signals("Name:\tpostbell\n"), None);
    }
}

//! The `postbell` program. Start reading at [`postbell::run`].

use std::process::ExitCode;

fn main() -> ExitCode {
    postbell::run()
}

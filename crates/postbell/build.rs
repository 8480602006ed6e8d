//! Packs the program's relocations, where its C library can read them so: the loader otherwise reads
//! a megabyte of them at each start, and every process at rest keeps it (`docs/performance.md`).

#![expect(
    clippy::disallowed_methods,
    reason = "a build script is told by variables"
)]

use std::env;
use std::process::Command;

/// The first glibc whose loader reads DT_RELR
/// (<https://sourceware.org/legacy-ml/libc-announce/2022/msg00006.html>).
const GLIBC_WITH_RELR: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name| env::var(name).unwrap_or_default();
    let is_for_this_machine = variable("HOST") == variable("TARGET");
    let is_glibc =
        variable("CARGO_CFG_TARGET_OS") == "linux" && variable("CARGO_CFG_TARGET_ENV") == "gnu";
    if is_for_this_machine && is_glibc && glibc() >= Some(GLIBC_WITH_RELR) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's C library.
fn glibc() -> Option<(u32, u32)> {
    let told = Command::new("getconf")
        .arg("GNU_LIBC_VERSION")
        .output()
        .ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let (major, minor) = told.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

//! A tarball never writes outside its folder, and creates only files and folders.
#![no_main]

use std::fs;
use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;
use postbell_protocol::tarball::unpack;

/// Compresses the archive: random input is rarely valid gzip.
fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
    gzip.write_all(plain).unwrap();
    gzip.finish().unwrap()
}

fn check(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        assert!(kind.is_file() || kind.is_dir(), "{entry:?}");
        if kind.is_dir() {
            check(&entry.path());
        }
    }
}

fuzz_target!(|input: (bool, &[u8])| {
    let (is_plain, bytes) = input;
    let bytes = if is_plain {
        gzip(bytes)
    } else {
        bytes.to_vec()
    };
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let into = folder.path().join("into");
    fs::create_dir(&into).unwrap();
    let tarball = BASE64_STANDARD.encode(bytes);
    let _ = unpack(&tarball.into(), &into, "gogcli");
    for (place, name) in [(folder.path(), "into"), (&into, "gogcli")] {
        for entry in fs::read_dir(place).unwrap() {
            assert_eq!(entry.unwrap().file_name(), name);
        }
    }
    check(folder.path());
});

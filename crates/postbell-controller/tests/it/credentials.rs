//! The Google account's credentials at the start, and malicious tarballs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use postbell_protocol::tarball::{UnpackError, unpack};
use proptest::prelude::*;
use serde_json::json;
use tar::{Builder, EntryType, Header};

use crate::fixture::{LONG_RUNNING, TOKEN, TestController, TestMachine, answer};

/// Returns a tarball with these files as base64.
pub(crate) fn tarball(files: &[(&str, &str)]) -> String {
    of_entries(|tar| {
        for (path, content) in files {
            let header = header(EntryType::Regular, path, content.len());
            tar.append(&header, content.as_bytes()).unwrap();
        }
    })
}

fn of_entries(append: impl FnOnce(&mut Builder<GzEncoder<Vec<u8>>>)) -> String {
    let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    append(&mut tar);
    BASE64_STANDARD.encode(tar.into_inner().unwrap().finish().unwrap())
}

/// Returns an entry header with an unchecked path.
fn header(kind: EntryType, path: &str, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(0o777);
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_cksum();
    header
}

/// Unpacks a tarball. Nothing may be written outside of the folder.
fn unpacked(tarball: String) -> Result<tempfile::TempDir, UnpackError> {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("into");
    fs::create_dir(&into).unwrap();
    let result = unpack(&tarball.into(), &into, "gogcli");
    let names = |folder: &Path| -> Vec<_> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(names(folder.path()), ["into"], "something left the folder");
    assert!(names(&into).iter().all(|name| name == "gogcli"));
    result.map(|()| folder)
}

#[test]
fn files_and_folders_are_unpacked_with_private_modes() {
    let tarball = of_entries(|tar| {
        let folder = header(EntryType::Directory, "./gogcli/keyring/", 0);
        tar.append(&folder, &[][..]).unwrap();
        let file = header(EntryType::Regular, "./gogcli/keyring/token", 6);
        tar.append(&file, &b"secret"[..]).unwrap();
    });
    let folder = unpacked(tarball).unwrap();
    let keyring = folder.path().join("into/gogcli/keyring");
    assert_eq!(fs::read_to_string(keyring.join("token")).unwrap(), "secret");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&keyring), mode(&keyring.join("token"))),
        (0o700, 0o600)
    );
}

#[test]
fn base64_may_have_line_breaks_and_no_padding() {
    let text = tarball(&[("gogcli/a", "b")]);
    let (first, second) = text.split_at(40);
    unpacked(format!("{first}\n{}\n", second.trim_end_matches('='))).unwrap();
}

#[test]
fn no_path_leaves_the_folder() {
    for path in [
        "../evil",
        "/etc/evil",
        "gogcli/../../evil",
        "gogcli/../evil",
        "evil",
        "./",
        "gogcli2/evil",
        "gogcli/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q",
    ] {
        let refused = unpacked(tarball(&[("gogcli/good", "x"), (path, "x")]));
        assert!(
            matches!(refused, Err(UnpackError::Outside { number: 2, .. })),
            "{path}"
        );
    }
}

#[test]
fn links_and_devices_are_rejected() {
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::Continuous,
        EntryType::GNUSparse,
        EntryType::new(b'Z'),
    ] {
        let tarball = of_entries(|tar| {
            let mut header = header(kind, "gogcli/link", 0);
            header.set_link_name("/etc/passwd").unwrap();
            header.set_cksum();
            tar.append(&header, &[][..]).unwrap();
            let through = self::header(EntryType::Regular, "gogcli/link/passwd", 1);
            tar.append(&through, &b"x"[..]).unwrap();
        });
        assert!(unpacked(tarball).is_err(), "{kind:?}");
    }
}

#[test]
fn a_duplicate_file_is_rejected() {
    let twice = tarball(&[("gogcli/a", "1"), ("gogcli/a", "2")]);
    assert!(unpacked(twice).is_err());
    let in_a_files_place = tarball(&[("gogcli/a", "1"), ("gogcli/a/b", "2")]);
    assert!(unpacked(in_a_files_place).is_err());
}

#[test]
fn a_tarball_over_a_limit_is_rejected() {
    let zeros = "\0".repeat(9 * 1024 * 1024);
    let one_large = tarball(&[("gogcli/a", &zeros)]);
    assert!(one_large.len() < 100_000);
    assert!(matches!(unpacked(one_large), Err(UnpackError::TooLarge)));
    let half = &zeros[..zeros.len() / 2];
    let two_halves = tarball(&[("gogcli/a", half), ("gogcli/b", half)]);
    assert!(matches!(unpacked(two_halves), Err(UnpackError::TooLarge)));
    let names: Vec<_> = (0..1_001)
        .map(|number| format!("gogcli/{number}"))
        .collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    assert!(matches!(
        unpacked(tarball(&files)),
        Err(UnpackError::TooLarge)
    ));
    let claims_more = of_entries(|tar| {
        let mut header = header(EntryType::Regular, "gogcli/a", 1);
        header.set_size(u64::MAX / 2);
        header.set_cksum();
        tar.append(&header, &b"x"[..]).unwrap();
    });
    assert!(unpacked(claims_more).is_err());
}

#[test]
fn invalid_truncated_and_empty_tarballs_are_rejected() {
    assert!(matches!(
        unpacked("no base64!".to_owned()),
        Err(UnpackError::NotBase64)
    ));
    let no_gzip = BASE64_STANDARD.encode("no gzip");
    assert!(matches!(unpacked(no_gzip), Err(UnpackError::NotTarball)));
    assert!(matches!(
        unpacked(tarball(&[])),
        Err(UnpackError::Empty { .. })
    ));
    let whole = BASE64_STANDARD
        .decode(tarball(&[("gogcli/a", &"random ".repeat(999))]))
        .unwrap();
    for length in 0..whole.len() / 2 {
        let broken = BASE64_STANDARD.encode(&whole[..length]);
        assert!(unpacked(broken).is_err(), "{length} bytes");
    }
}

proptest! {
    #[test]
    fn no_bytes_leave_the_folder(bytes: Vec<u8>, at in 0..1024_usize, byte: u8) {
        let _ = unpacked(BASE64_STANDARD.encode(&bytes));
        // A damaged tar in an intact gzip.
        let plain = {
            let mut tar = Builder::new(Vec::new());
            tar.append(&header(EntryType::Regular, "gogcli/a", 3), &b"abc"[..]).unwrap();
            let mut plain = tar.into_inner().unwrap();
            plain[at] = byte;
            plain
        };
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&plain).unwrap();
        let _ = unpacked(BASE64_STANDARD.encode(gzip.finish().unwrap()));
    }
}

/// A watcher that writes its environment to a file.
const TELLS: &str = "env > $HOME/env; echo $@ > $HOME/called; exec sleep 1000";

fn file(controller: &TestController, name: &str) -> Option<String> {
    fs::read_to_string(controller.folder.path().join(name)).ok()
}

#[tokio::test]
async fn credentials_are_replaced_before_the_children_start() {
    let given = tarball(&[("gogcli/keyring/token", "new")]);
    let reads = "cat $HOME/.config/gogcli/keyring/token > $HOME/seen; echo >> $HOME/seen; \
                 exec sleep 1000";
    let machine = TestMachine::new()
        .program("openclaw", reads)
        .watcher(TELLS)
        .account(&given)
        .with("KILOCLAW_GMAIL_LAST_HISTORY_ID", "7");
    fs::create_dir_all(machine.path(".config/gogcli/keyring")).unwrap();
    fs::write(machine.path(".config/gogcli/keyring/token"), "old").unwrap();
    fs::write(machine.path(".config/gogcli/stale"), "old").unwrap();
    // Left by an interrupted start.
    fs::create_dir_all(machine.path(".config/.gogcli-abc/gogcli")).unwrap();
    let controller = machine.start().await;
    assert_eq!(controller.written("seen").await, "new");
    let called = controller.written("called").await;
    assert!(
        called.starts_with("--log-format json watch serve --account ann@example.com"),
        "{called}"
    );
    let entries = fs::read_dir(controller.folder.path().join(".config")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".gogcli.lock", "gogcli"]);
    assert_eq!(file(&controller, ".config/gogcli/stale"), None);

    let variables = controller.written("env").await;
    let has = |line: &str| variables.lines().any(|given| given == line);
    assert!(has("GOG_ACCOUNT=ann@example.com"));
    assert!(has("GOG_KEYRING_BACKEND=file"));
    assert!(has("GOG_KEYRING_PASSWORD=kiloclaw"));
    assert!(has("POSTBELL_WATCH_TOKEN=of-the-gateway"));
    assert!(has("KILOCLAW_HOOKS_TOKEN=a-fresh-token"));
    assert!(!variables.contains("KILOCLAW_GOG_CONFIG_TARBALL"));
    assert!(
        !called.contains(TOKEN) && !called.contains("a-fresh-token"),
        "{called}"
    );
    controller.shut_down().await;
}

#[tokio::test]
async fn a_configured_keyring_password_is_kept() {
    let tells = "echo $GOG_KEYRING_PASSWORD > $HOME/password; exec sleep 1000";
    let controller = TestMachine::new()
        .watcher(tells)
        .account(&tarball(&[("gogcli/a", "x")]))
        .with("GOG_KEYRING_PASSWORD", "another")
        .start()
        .await;
    assert_eq!(controller.written("password").await, "another");
    controller.shut_down().await;
}

#[tokio::test]
async fn without_an_account_old_credentials_are_removed() {
    let tells = "env > $HOME/env; exec sleep 1000";
    let machine = TestMachine::new()
        .program("openclaw", tells)
        .with("GOG_ACCOUNT", "bob@example.com")
        .with("GOG_KEYRING_PASSWORD", "x")
        .with("GOG_KEYRING_BACKEND", "file");
    fs::create_dir_all(machine.path(".config/gogcli")).unwrap();
    let controller = machine.start().await;
    let variables = controller.written("env").await;
    assert!(!variables.contains("GOG_"), "{variables}");
    assert!(!controller.folder.path().join(".config/gogcli").exists());
    controller.shut_down().await;
}

#[tokio::test]
async fn a_folder_that_is_a_symlink_is_replaced_and_not_followed() {
    let machine = TestMachine::new();
    fs::create_dir(machine.path(".config")).unwrap();
    fs::create_dir(machine.path("elsewhere")).unwrap();
    fs::write(machine.path("elsewhere/mine"), "").unwrap();
    std::os::unix::fs::symlink(machine.path("elsewhere"), machine.path(".config/gogcli")).unwrap();
    let controller = machine.start().await;
    controller.settled().await;
    assert!(!controller.folder.path().join(".config/gogcli").exists());
    assert!(controller.folder.path().join("elsewhere/mine").exists());
    controller.shut_down().await;
}

#[tokio::test]
async fn an_invalid_tarball_affects_only_mail_and_keeps_the_old_credentials() {
    let evil = tarball(&[("gogcli/a", "x"), ("../../evil", "x")]);
    let machine = TestMachine::new().watcher(LONG_RUNNING).account(&evil);
    fs::create_dir_all(machine.path(".config/gogcli")).unwrap();
    fs::write(machine.path(".config/gogcli/state"), "old").unwrap();
    let controller = machine.start().await;
    let degraded = json!({
        "status": "ok", "state": "degraded", "error": "Startup failed during gmail-credentials",
        "mail": "problem",
    });
    assert_eq!(controller.settled().await, degraded);
    assert_eq!(
        file(&controller, ".config/gogcli/state").as_deref(),
        Some("old")
    );
    let request = controller.get("/_kilo/gateway/status").bearer_auth(TOKEN);
    assert_eq!(answer(request).await.1["state"], "running");
    assert_eq!(controller.push("Bearer of-the-gateway").await.0, 503);
    controller.shut_down().await;
}

#[tokio::test]
async fn an_account_without_address_affects_only_mail() {
    let given = tarball(&[("gogcli/a", "x")]);
    let controller = TestMachine::new()
        .with("KILOCLAW_GOG_CONFIG_TARBALL", &given)
        .start()
        .await;
    assert_eq!(
        controller.settled().await["error"],
        "Startup failed during gmail-credentials"
    );
    assert_eq!(controller.push("Bearer of-the-gateway").await.0, 503);
    controller.shut_down().await;
}

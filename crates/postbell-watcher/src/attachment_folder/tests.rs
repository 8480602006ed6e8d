use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn open(limit: u64) -> (TempDir, AttachmentFolder) {
    let home = tempfile::tempdir().unwrap();
    let folder = AttachmentFolder::open(&home.path().join("a/b"), limit).unwrap();
    (home, folder)
}

fn now(folder: &AttachmentFolder) -> Timestamp {
    changed_at(&folder.folder().unwrap()).unwrap()
}

#[test]
fn a_file_is_complete_private_and_found_again() {
    let (home, folder) = open(1_000_000);
    let at = now(&folder);
    let path = folder.write("18c", "a.txt", b"hello", at).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"hello");
    assert!(path.ends_with("/a/b/mail-18c/a.txt"), "{path}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(Path::new(&path)), 0o600);
    assert_eq!(mode(Path::new(&path).parent().unwrap()), 0o700);
    assert_eq!(mode(&home.path().join("a/b")), 0o700);
    let names = ["a.txt", "b.txt"].map(str::to_owned);
    assert_eq!(folder.existing("18c", &names, at), [Some(path), None]);
    assert_eq!(folder.existing("18d", &names, at), [None, None]);
}

#[test]
fn an_unfinished_file_of_a_killed_process_is_replaced() {
    let (_home, folder) = open(1_000_000);
    let at = now(&folder);
    let path = folder.write("1", "a", b"a", at).unwrap();
    let unfinished = Path::new(&path).with_file_name(UNFINISHED);
    fs::write(&unfinished, "half").unwrap();
    let path = folder.write("1", "b", b"b", at).unwrap();
    assert_eq!(fs::read(path).unwrap(), b"b");
    assert!(!unfinished.exists());
}

#[test]
fn symbolic_links_are_not_followed() {
    let (home, folder) = open(1_000_000);
    let at = now(&folder);
    let outside = home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let inside = home.path().join("a/b");

    symlink(&outside, inside.join("mail-1")).unwrap();
    folder.write("1", "secret", b"x", at).unwrap_err();
    assert_eq!(folder.existing("1", &["secret".to_owned()], at), [None]);

    fs::create_dir(inside.join("mail-2")).unwrap();
    for name in ["secret", UNFINISHED] {
        symlink(outside.join("secret"), inside.join("mail-2").join(name)).unwrap();
    }
    assert_eq!(folder.existing("2", &["secret".to_owned()], at), [None]);
    folder.write("2", "secret", b"x", at).unwrap();
    assert_eq!(fs::read(inside.join("mail-2/secret")).unwrap(), b"x");

    folder.remove_old(at + KEPT + HOUR).unwrap();
    assert!(!inside.join("mail-2").exists());
    assert!(inside.join("mail-1").exists());
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
}

#[test]
fn files_that_are_delivered_again_do_not_make_room_for_others() {
    let (_home, folder) = open(20_000);
    let at = now(&folder);
    assert!(folder.make_room(8_000, at).unwrap());
    folder.write("1", "a", &[0; 8_000], at).unwrap();
    let later = at + 2 * HOUR;
    let names = ["a".to_owned()];
    assert!(folder.existing("1", &names, later)[0].is_some());
    assert!(!folder.make_room(8_000, later).unwrap());
    assert!(folder.existing("1", &names, later)[0].is_some());
    assert!(folder.make_room(8_000, later + 2 * HOUR).unwrap());
}

#[test]
fn files_that_another_program_has_removed_count_as_removed() {
    let (home, folder) = open(20_000);
    let at = now(&folder);
    assert!(folder.make_room(8_000, at).unwrap());
    folder.write("1", "a", &[0; 8_000], at).unwrap();
    fs::remove_dir_all(home.path().join("a/b/mail-1")).unwrap();
    assert!(folder.make_room(8_000, at + 2 * HOUR).unwrap());
    folder.write("2", "a", &[0; 8_000], at + 2 * HOUR).unwrap();
}

#[test]
fn a_directory_that_was_removed_or_moved_is_made_again() {
    let (home, folder) = open(20_000);
    let at = now(&folder);
    let inside = home.path().join("a/b");
    assert!(folder.make_room(12_000, at).unwrap());
    folder.write("1", "a", &[0; 12_000], at).unwrap();
    let changes: [&dyn Fn(); 3] = [&|| (), &|| fs::remove_dir_all(&inside).unwrap(), &|| {
        fs::rename(&inside, home.path().join("moved")).unwrap()
    }];
    for change in changes {
        change();
        let names = ["a".to_owned()];
        let is_there = inside.exists();
        assert_eq!(folder.existing("1", &names, at)[0].is_some(), is_there);
        assert_eq!(folder.make_room(12_000, at).unwrap(), !is_there);
        let path = folder.write("1", "a", &[0; 12_000], at).unwrap();
        assert!(Path::new(&path).exists());
    }
    fs::remove_dir_all(&inside).unwrap();
    symlink(home.path(), &inside).unwrap();
    folder.write("2", "a", b"a", at).unwrap_err();
    assert!(!home.path().join("mail-2").exists());
}

#[test]
fn a_file_that_cannot_be_written_leaves_no_folder() {
    let (home, folder) = open(1_000_000);
    let at = now(&folder);
    folder.write("1", "no/such/folder", b"a", at).unwrap_err();
    folder.write("2", "a", b"a", at).unwrap();
    folder.write("2", "no/such/folder", b"a", at).unwrap_err();
    let inside = home.path().join("a/b");
    assert!(!inside.join("mail-1").exists());
    assert!(inside.join("mail-2/a").exists());
}

#[test]
fn a_message_id_never_leads_out_of_the_directory() {
    let (home, folder) = open(1_000_000);
    let at = now(&folder);
    for id in ["../../x", "/etc", "a\0b", "", "..", &"x".repeat(1_000)] {
        let path = folder.write(id, "a", b"a", at).unwrap();
        let parent = Path::new(&path).parent().unwrap().parent().unwrap();
        assert_eq!(parent, home.path().join("a/b").canonicalize().unwrap());
    }
}

#[test]
fn old_files_are_removed_and_nothing_else() {
    let (home, folder) = open(1_000_000);
    let at = now(&folder);
    let inside = home.path().join("a/b");
    fs::write(inside.join("mine.txt"), "x").unwrap();
    fs::create_dir(inside.join("photos")).unwrap();
    folder.write("1", "a", b"a", at).unwrap();
    fs::create_dir_all(inside.join("mail-2/mine")).unwrap();

    folder.remove_old(at + (KEPT - HOUR)).unwrap();
    assert!(inside.join("mail-1/a").exists());
    folder.remove_old(at + KEPT + HOUR).unwrap();
    assert!(!inside.join("mail-1").exists());
    for kept in ["mine.txt", "photos", "mail-2/mine"] {
        assert!(inside.join(kept).exists(), "{kept}");
    }
}

#[test]
fn a_full_directory_loses_its_oldest_files_but_never_fresh_ones() {
    let (home, folder) = open(40_000);
    let at = now(&folder);
    let write = |id: &str, at: Timestamp| {
        let has_room = folder.make_room(10_000, at).unwrap();
        if has_room {
            folder.write(id, "a", &[0; 10_000], at).unwrap();
        }
        has_room
    };
    assert!(write("1", at) && write("2", at + HOUR));
    assert!(!write("3", at + (HOUR - Duration::from_secs(1))));
    assert!(write("3", at + HOUR));
    let exists = |id: &str| home.path().join("a/b/mail-".to_owned() + id).exists();
    assert!(!exists("1") && exists("2") && exists("3"));
    assert!(!folder.make_room(u64::MAX, at + 2 * HOUR).unwrap());
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_at_once() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(AttachmentFolder::open(&file, 1).is_err());
    assert!(AttachmentFolder::open(&file.join("below"), 1).is_err());
}

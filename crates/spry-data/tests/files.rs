//! Files that are written atomically: their permissions, and what a killed process leaves behind.

use std::fs::{self, File};
use std::path::Path;

use spry_data::files::{TemporaryFolder, write_atomically, write_atomically_with};

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// A writer that puts a private file of its own in the place of the one that it was given, as the
/// one of safetensors does, or copies one with other permissions over it.
#[cfg(unix)]
#[test]
fn files_have_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
    fs::write(path("plain"), b"x").unwrap();
    fs::set_permissions(path("plain"), fs::Permissions::from_mode(0o400)).unwrap();

    fs::write(path("like"), b"x").unwrap();
    write_atomically(&path("written"), b"1").unwrap();
    write_atomically_with(&path("replaced"), |temporary| {
        let own = tempfile::NamedTempFile::new_in(folder.path())?;
        fs::write(own.path(), b"2")?;
        own.persist(temporary)?;
        Ok(())
    })
    .unwrap();
    write_atomically_with(&path("copied"), |temporary| {
        fs::copy(path("plain"), temporary).map(drop)
    })
    .unwrap();
    for name in ["written", "replaced", "copied"] {
        assert_eq!(mode(name), mode("like"), "{name}: {:o}", mode(name));
    }
    assert_eq!(fs::read(path("replaced")).unwrap(), b"2");
    assert_eq!(names(folder.path()), ["copied", "like", "plain", "replaced", "written"]);
}

#[test]
fn a_write_that_fails_leaves_the_old_contents_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    write_atomically(&path, b"old").unwrap();
    let failed = write_atomically_with(&path, |temporary| {
        fs::write(temporary, b"ha")?;
        Err(std::io::Error::other("the disk is full"))
    });
    assert!(failed.unwrap_err().to_string().ends_with("the disk is full"));
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["a"]);
}

/// What a killed process leaves is not locked; what a living one writes is.
#[test]
fn leftovers_are_removed_and_files_in_use_are_not() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".tmpABCDEF.spry"), b"half").unwrap();
    fs::write(folder.path().join(".tmp-of-mine"), b"whole").unwrap();
    let used = folder.path().join(".tmpGHIJKL.spry");
    let lock = File::create(&used).unwrap();
    lock.lock().unwrap();
    write_atomically(&folder.path().join("a"), b"1").unwrap();
    assert_eq!(names(folder.path()), [".tmp-of-mine", ".tmpGHIJKL.spry", "a"]);
    drop(lock);
    write_atomically(&folder.path().join("a"), b"2").unwrap();
    assert_eq!(names(folder.path()), [".tmp-of-mine", "a"]);
}

/// Many writers of one file: each write is whole, and none takes another's for a leftover.
#[test]
fn writers_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shared");
    std::thread::scope(|scope| {
        for writer in 0..4u8 {
            let path = &path;
            scope.spawn(move || {
                for _ in 0..50 {
                    write_atomically(path, &[writer; 1000]).unwrap();
                }
            });
        }
    });
    let contents = fs::read(&path).unwrap();
    assert_eq!(contents.len(), 1000);
    assert!(contents.iter().all(|byte| *byte == contents[0]));
    assert_eq!(names(folder.path()), ["shared"]);
}

#[test]
fn a_folder_of_a_killed_process_is_removed_by_the_next() {
    let kind = format!("spry-test-{}-", std::process::id());
    let stale = std::env::temp_dir().join(format!("{kind}stale"));
    fs::create_dir(&stale).unwrap();
    fs::write(stale.join(".lock"), b"").unwrap();
    fs::write(stale.join("config.json"), b"{}").unwrap();
    let first = TemporaryFolder::new(&kind).unwrap();
    assert!(!stale.exists());
    let second = TemporaryFolder::new(&kind).unwrap();
    assert!(first.path().is_dir() && second.path().is_dir(), "a folder in use is left alone");
    let path = first.path().to_path_buf();
    drop(first);
    assert!(!path.exists());
}

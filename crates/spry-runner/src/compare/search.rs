//! Runs in a folder and below it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::run::RunFolder;

/// How far below a folder runs are looked for. Those of `results` are three folders down, and one
/// more for each `/` in the experiment's name.
const DEPTH: usize = 12;

/// What was found in a folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Folders with runs: the folder itself, or those below it, in order.
    pub runs: Vec<PathBuf>,
    /// Folders that may have more, and why nobody looked into them.
    pub unread: Vec<(PathBuf, String)>,
    visited: HashSet<PathBuf>,
}

/// The runs in a folder, or below it.
pub(super) fn runs_below(folder: &Path) -> Found {
    let mut found = Found::default();
    search(folder, DEPTH, &mut found);
    found
}

fn search(folder: &Path, depth: usize, found: &mut Found) {
    // A link may lead back to where it is.
    if !std::fs::canonicalize(folder).is_ok_and(|path| found.visited.insert(path)) {
        return;
    }
    if RunFolder::look(folder).is_ok() {
        found.runs.push(folder.to_path_buf());
        return;
    }
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let reason = format!("it cannot be read: {error}");
            return found.unread.push((folder.to_path_buf(), reason));
        }
    };
    let folders = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    let mut folders: Vec<PathBuf> = folders.collect();
    if depth == 0 && !folders.is_empty() {
        let reason = format!("its folders are more than {DEPTH} deep; name them");
        return found.unread.push((folder.to_path_buf(), reason));
    }
    folders.sort();
    for folder in folders {
        search(&folder, depth - 1, found);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn nested_runs_are_found_once_and_links_are_no_trap() {
        let root = tempfile::tempdir().unwrap();
        let run = |path: &str| {
            let folder = root.path().join(path);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("config.toml"), "").unwrap();
            folder
        };
        let runs = [run("ag_news/spry/default"), run("ag_news/spry/grp/b/c"), run("z")];
        // What is inside of a run is none.
        run("z/adapter/run");
        std::os::unix::fs::symlink(root.path(), root.path().join("ag_news/loop")).unwrap();
        std::os::unix::fs::symlink(&runs[2], root.path().join("zz-link")).unwrap();
        assert_eq!(runs_below(root.path()).runs, runs);
        assert_eq!(runs_below(&runs[2]).runs, runs[2..]);
        assert_eq!(runs_below(&root.path().join("nothing")).runs, Vec::<PathBuf>::new());
        let deep: PathBuf = std::iter::repeat_n("deep", DEPTH + 2).collect();
        run(&deep.display().to_string());
        let found = runs_below(root.path());
        assert_eq!(found.runs, runs);
        let [(folder, reason)] = found.unread.as_slice() else { panic!("{found:?}") };
        assert!(deep.starts_with(folder.strip_prefix(root.path()).unwrap()), "{found:?}");
        assert!(reason.contains("12 deep"), "{reason}");
    }
}

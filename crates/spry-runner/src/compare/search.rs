//! Runs in a folder and below it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::run::RunFolder;

/// How far below a folder runs are looked for. Those of `results` are three folders down, and one
/// more for each `/` in the experiment's name.
const DEPTH: usize = 12;

/// Folders with runs: the folder itself, or those below it, in order.
pub(super) fn runs_below(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut visited) = (Vec::new(), HashSet::new());
    search(folder, DEPTH, &mut visited, &mut found);
    found
}

fn search(folder: &Path, depth: usize, visited: &mut HashSet<PathBuf>, found: &mut Vec<PathBuf>) {
    // A link may lead back to where it is.
    if !std::fs::canonicalize(folder).is_ok_and(|path| visited.insert(path)) {
        return;
    }
    if RunFolder::look(folder).is_ok() {
        found.push(folder.to_path_buf());
        return;
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let folders = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    let mut folders: Vec<PathBuf> = if depth > 0 { folders.collect() } else { Vec::new() };
    folders.sort();
    for folder in folders {
        search(&folder, depth - 1, visited, found);
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
        assert_eq!(runs_below(root.path()), runs);
        assert_eq!(runs_below(&runs[2]), runs[2..]);
        assert_eq!(runs_below(&root.path().join("nothing")), Vec::<PathBuf>::new());
    }
}

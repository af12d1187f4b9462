//! The small files of a model: read whole, through the guard, as text.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use spry_data::guard;

use crate::{Error, Result};

/// The longest configuration that is read; real ones have a few kilobytes.
pub const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// What a Git LFS pointer begins with.
const POINTER: &[u8] = b"version https://git-lfs.";

/// The text of a configuration.
///
/// # Errors
///
/// [`Error::Io`] or [`Error::Data`] if it cannot be read or is too long, [`Error::Pointer`] if Git
/// LFS has yet to fetch it.
pub(crate) fn text(path: &Path) -> Result<String> {
    let text = guard::read_text(path, MAX_CONFIG_BYTES)?;
    check_is_fetched(path, text.as_bytes())?;
    Ok(text)
}

/// A file that is read in parts, at its beginning.
///
/// # Errors
///
/// As [`text`].
pub(crate) fn open(path: &Path) -> Result<File> {
    let mut file = guard::open(path)?;
    let mut start = Vec::new();
    let length = POINTER.len() as u64;
    Read::by_ref(&mut file).take(length).read_to_end(&mut start).map_err(Error::io(path))?;
    check_is_fetched(path, &start)?;
    file.rewind().map_err(Error::io(path))?;
    Ok(file)
}

fn check_is_fetched(path: &Path, start: &[u8]) -> Result<()> {
    match start.starts_with(POINTER) {
        true => Err(Error::Pointer { path: path.to_path_buf() }),
        false => Ok(()),
    }
}

/// The longest part of what a file says that a message repeats, in characters.
const SHOWN: usize = 160;

/// What a file says as a message shows it: without control characters, and not at any length.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_and_printable() {
        assert_eq!(shown("bert.é\u{1b}[2J"), "bert.é\\u{1b}[2J");
        let long = shown(&"x".repeat(1_000_000));
        assert_eq!(long.chars().count(), SHOWN + 1);
        assert!(long.ends_with("x…"));
    }
}

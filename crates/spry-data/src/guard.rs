//! Reading what somebody else wrote: regular files only, of a bounded size, by parsers whose panics
//! become errors.
//!
//! A path that a user, a configuration or a checkpoint names may be a FIFO that never ends, a
//! device, or a file of any size, and the crates that parse it may panic on damage that they did
//! not foresee. Whoever reads such a file in this workspace goes through [`open`], [`read`] or
//! [`read_text`], and calls a dependency's parser inside [`catch_panics`].

use std::any::Any;
use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Seek};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Once;

use crate::{Error, Result};

/// How the file begins that Git leaves in the place of one that Git LFS has not fetched.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Such a file is shorter than this, by the specification of Git LFS.
const LONGEST_POINTER: u64 = 1024;

/// Opens a regular file. Links are followed; a folder, FIFO, socket or device is an error, and is
/// not opened. So is a Git LFS pointer: a few lines of text in the place of a file that was not
/// fetched.
///
/// # Errors
///
/// [`Error::NotAFile`] for anything but a regular file, [`Error::LfsPointer`], or [`Error::Io`].
///
/// ```
/// use spry_data::{Error, guard};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.safetensors");
/// std::fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")?;
/// assert!(matches!(guard::open(&path), Err(Error::LfsPointer { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open(path: &Path) -> Result<File> {
    // Opening a FIFO would wait for a writer, so the kind is asked for first.
    check_is_file(path, &std::fs::metadata(path).map_err(Error::io(path))?)?;
    let mut file = File::open(path).map_err(Error::io(path))?;
    // Another kind may have taken the place meanwhile.
    let metadata = file.metadata().map_err(Error::io(path))?;
    check_is_file(path, &metadata)?;
    if metadata.len() < LONGEST_POINTER {
        let mut start = Vec::new();
        (&mut file)
            .take(LFS_POINTER.len() as u64)
            .read_to_end(&mut start)
            .and_then(|_| file.rewind())
            .map_err(Error::io(path))?;
        if start == LFS_POINTER {
            return Err(Error::LfsPointer { path: path.to_path_buf() });
        }
    }
    Ok(file)
}

fn check_is_file(path: &Path, metadata: &std::fs::Metadata) -> Result<()> {
    if metadata.is_file() { Ok(()) } else { Err(Error::NotAFile { path: path.to_path_buf() }) }
}

/// The contents of a regular file of at most `limit` bytes.
///
/// # Errors
///
/// As [`open`], and [`Error::TooLarge`] for a longer file, of which nothing is then read.
///
/// ```
/// use spry_data::{Error, guard};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("a.json");
/// std::fs::write(&path, b"[1]")?;
/// assert_eq!(guard::read(&path, 3)?, b"[1]");
/// assert!(matches!(guard::read(&path, 2), Err(Error::TooLarge { bytes: 3, .. })));
/// assert!(matches!(guard::read(folder.path(), 2), Err(Error::NotAFile { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = open(path)?;
    let bytes = file.metadata().map_err(Error::io(path))?.len();
    let too_large = |bytes| Error::TooLarge { path: path.to_path_buf(), bytes, limit };
    if bytes > limit {
        return Err(too_large(bytes));
    }
    let mut contents = Vec::new();
    // A file may grow while it is read, and some report no length at all (those of /proc).
    file.take(limit.saturating_add(1)).read_to_end(&mut contents).map_err(Error::io(path))?;
    let bytes = contents.len() as u64;
    if bytes > limit { Err(too_large(bytes)) } else { Ok(contents) }
}

/// [`read`], as UTF-8. A byte order mark at the beginning is left out.
///
/// # Errors
///
/// As [`read`], and [`Error::Io`] naming the first byte that is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    let text = String::from_utf8(read(path, limit)?).map_err(|error| {
        let reason = format!("byte {} is not UTF-8 text", error.utf8_error().valid_up_to());
        Error::io(path)(std::io::Error::new(std::io::ErrorKind::InvalidData, reason))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}

thread_local! {
    /// How many calls of [`catch_panics`] this thread is inside of.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Runs a parser; a panic on this thread becomes an error with its message, and is not printed.
///
/// # Errors
///
/// The panic's message.
///
/// ```
/// let parsed = spry_data::guard::catch_panics(|| "12".parse::<u8>().unwrap());
/// assert_eq!(parsed, Ok(12));
/// let parsed = spry_data::guard::catch_panics(|| -> u8 { panic!("no digit") });
/// assert_eq!(parsed, Err("no digit".to_string()));
/// ```
pub fn catch_panics<R>(parse: impl FnOnce() -> R) -> Result<R, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // The thread may be on its way out, when its locals are gone.
            if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
                print(info);
            }
        }));
    });
    DEPTH.set(DEPTH.get() + 1);
    let result = panic::catch_unwind(AssertUnwindSafe(parse));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|payload| message(&*payload))
}

/// What a panic said.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message").to_string()
}

/// Characters of a value that a message quotes.
const QUOTED: usize = 60;

/// Characters of a dependency's message that a message repeats.
const SAID: usize = 300;

/// A value of a file as a message may quote it: its beginning, if it is long, with control
/// characters escaped, so that it neither fills nor commands a terminal.
///
/// ```
/// assert_eq!(spry_data::guard::quotable("two\nlines\u{1b}[2J"), "two\\nlines\\u{1b}[2J");
/// assert_eq!(spry_data::guard::quotable(&"é".repeat(1000)), "é".repeat(60) + "…");
/// ```
pub fn quotable(value: &str) -> String {
    printable(value, QUOTED)
}

/// The same for what a dependency says of a file, which may repeat the file: 300 characters.
pub fn sayable(message: &str) -> String {
    printable(message, SAID)
}

/// Whether a character is seen where it stands and does nothing else. Line breaks are not among
/// them.
pub fn is_plain(c: char) -> bool {
    let is_hidden = matches!(
        c,
        '\u{ad}'                        // soft hyphen
            | '\u{61c}'                 // directions, here and below
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'   // zero width
            | '\u{2028}'..='\u{202e}'   // line separators, overrides
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'   // annotations
            | '\u{1bca0}'..='\u{1bca3}' // controls of shorthand and of music
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}' // tags
    );
    // The last two of each plane, and these 32, are no characters; XML forbids some.
    let is_none = matches!(c, '\u{fdd0}'..='\u{fdef}') || (c as u32 & 0xfffe) == 0xfffe;
    !(c.is_control() || is_hidden || is_none)
}

fn printable(text: &str, characters: usize) -> String {
    let mut shown = String::new();
    for (index, character) in text.chars().enumerate() {
        if index == characters {
            shown.push('…');
            break;
        }
        if !is_plain(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(all(test, unix))]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn devices_and_fifos_are_refused_without_waiting() {
        assert!(matches!(read(Path::new("/dev/zero"), 10), Err(Error::NotAFile { .. })));
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        assert!(matches!(open(&fifo), Err(Error::NotAFile { .. })));
    }

    #[test]
    fn text_names_the_first_byte_that_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, b"ab\xff").unwrap();
        let message = read_text(&path, 10).unwrap_err().to_string();
        assert!(message.ends_with("byte 2 is not UTF-8 text"), "{message}");
        std::fs::write(&path, "\u{feff}{}").unwrap();
        assert_eq!(read_text(&path, 10).unwrap(), "{}");
    }
}

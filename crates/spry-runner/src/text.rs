//! Text for people: numbers as they read them, and what others wrote made fit to be shown.
//!
//! Names, labels, configurations and paths come from elsewhere. One may hold a sequence that moves
//! a terminal's cursor, a character that turns the reading direction around or that nobody sees, or
//! a million letters. All text leaves this program by one of these functions:
//!
//! - [`printable`] for whatever goes to a terminal or a text file, and [`json`] for JSON;
//! - [`message`] for errors and notes, which are one line of a bounded length;
//! - [`label`] for names in tables, pictures and pages, [`cell`] for those in Markdown;
//! - [`shell_word`] and [`path_text`] for paths, which need not be UTF-8.

use spry_data::guard::is_plain;
use spry_strategies::options::shortened;
use std::borrow::Cow;
use std::fmt::Write;
use std::path::Path;

use serde::Serializer;

/// Bytes in a mebibyte.
pub const MEBIBYTE: f64 = (1 << 20) as f64;

/// Longest [`message`], in characters.
pub const LONGEST_MESSAGE: usize = 2_000;

/// Longest part of a message between quotes.
const LONGEST_QUOTATION: usize = 200;

/// Longest part of a message without a space: a path may be long, and is of use only as a whole.
const LONGEST_WORD: usize = 1_000;

/// Longest [`label`].
const LONGEST_LABEL: usize = 80;

/// A share in percent, or a dash.
pub fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_string(), |share| format!("{:.1} %", 100.0 * share))
}

/// A size in MiB, without the unit.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / MEBIBYTE)
}

/// A text in which every character can be seen: what a terminal would obey, what changes the
/// reading direction, and what has no width are written as escapes. Line breaks stay.
///
/// ```
/// use spry_runner::text::printable;
///
/// assert_eq!(printable("Café ☕\nsecond line"), "Café ☕\nsecond line");
/// assert_eq!(printable("\u{1b}[2Jred\u{202e}txt.exe\r"), r"\u{1b}[2Jred\u{202e}txt.exe\r");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n' || is_plain(c))
}

/// The text with an escape for each character that may not stay.
fn escaped(text: &str, may_stay: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&may_stay) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match may_stay(c) {
            true => out.push(c),
            false => out.extend(c.escape_default()),
        }
    }
    Cow::Owned(out)
}

/// A message about something that others wrote: one line, [`printable`], of at most
/// [`LONGEST_MESSAGE`] characters. Values that it quotes are cut first, so that what it says of
/// them stays.
///
/// ```
/// use spry_runner::text::message;
///
/// let name = "x".repeat(100_000);
/// let short = message(&format!("`method.name` is `{name}`, but must be\n   one of a, b\u{7}"));
/// assert!(short.starts_with("`method.name` is `xxxx"));
/// assert!(short.ends_with(r"xxxx`, but must be one of a, b\u{7}"));
/// assert!(short.chars().count() < 300);
/// ```
pub fn message(text: &str) -> String {
    let line = one_line(text);
    let line = printable(&line);
    let (mut out, mut rest) = (String::new(), &line[..]);
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        // A quotation begins a word; an apostrophe or a closing quote does not.
        let end = match c {
            '`' | '"' if !before.is_alphanumeric() => rest[1..].find(c).map(|at| at + 2),
            _ => None,
        };
        if let Some(end) = end {
            out.push(c);
            out.push_str(&shortened(&rest[1..end - 1], LONGEST_QUOTATION));
            out.push(c);
            (rest, before) = (&rest[end..], c);
            continue;
        }
        let is_end = |(at, c): &(usize, char)| *at > 0 && (c.is_whitespace() || "`\"".contains(*c));
        let end = rest.char_indices().find(is_end).map_or(rest.len(), |(at, _)| at);
        out.push_str(&shortened(&rest[..end], LONGEST_WORD));
        before = rest[..end].chars().next_back().unwrap_or(' ');
        rest = &rest[end..];
    }
    shortened(&out, LONGEST_MESSAGE).into_owned()
}

/// Line breaks, with the spaces around them, as one space each. Other spaces stay: a path may have
/// two in a row.
fn one_line(text: &str) -> String {
    let is_break =
        |c: char| matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let parts = text.split(is_break).map(str::trim).filter(|part| !part.is_empty());
    match text.contains(is_break) {
        true => parts.collect::<Vec<_>>().join(" "),
        false => text.to_string(),
    }
}

/// A name for a table, a picture or a page: [`printable`], in one line, of at most 80 characters.
///
/// ```
/// assert_eq!(spry_runner::text::label("a\nb"), r"a\nb");
/// ```
pub fn label(text: &str) -> String {
    // What is cut away need not be escaped.
    let text = shortened(text, 2 * LONGEST_LABEL);
    shortened(&escaped(&text, is_plain), LONGEST_LABEL).into_owned()
}

/// A [`label`] for a table in Markdown, whose columns it does not break.
///
/// ```
/// assert_eq!(spry_runner::text::cell("yes|no"), r"yes\|no");
/// ```
pub fn cell(text: &str) -> String {
    label(text).replace('|', r"\|")
}

/// JSON in one line, in which strings have escapes wherever [`printable`] would: the same value,
/// safe to look at.
///
/// ```
/// let value = serde_json::json!({"name": "a\u{202e}b\u{9b}31m\u{e0041}"});
/// let text = spry_runner::text::json(&value);
/// assert_eq!(text, r#"{"name":"a\u202eb\u009b31m\udb40\udc41"}"#);
/// assert_eq!(serde_json::from_str::<serde_json::Value>(&text)?, value);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn json(value: &serde_json::Value) -> String {
    let text = value.to_string();
    if text.chars().all(is_plain) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Only strings have such characters.
        if is_plain(c) {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

/// A path as text, for results and summaries: `�` stands for what is not UTF-8.
pub fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Serialises a path as [`path_text`]; serde by itself fails for one that is not UTF-8. For use as
/// `#[serde(serialize_with = "…")]`.
///
/// # Errors
///
/// What the serialiser reports.
pub fn serialize_path<S: Serializer>(
    path: impl AsRef<Path>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path_text(path.as_ref()))
}

/// The same for a list of paths.
///
/// # Errors
///
/// What the serialiser reports.
pub fn serialize_paths<S: Serializer>(
    paths: &[impl AsRef<Path>],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path_text(path.as_ref())))
}

/// A path as a shell reads it, in characters that can be seen and copied.
///
/// ```
/// use std::path::Path;
/// use spry_runner::text::shell_word;
///
/// assert_eq!(shell_word(Path::new("results/a-1")), "results/a-1");
/// assert_eq!(shell_word(Path::new("it's here")), r"'it'\''s here'");
/// assert_eq!(shell_word(Path::new("a\u{1b}[2J'")), r"$'a\x1b[2J\''");
/// ```
pub fn shell_word(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    let is_bare = |c: char| c.is_alphanumeric() || "/._-+=@:,".contains(c);
    match path.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(|c| is_bare(c) && is_plain(c)) => {
            text.to_string()
        }
        Some(text) if text.chars().all(is_plain) => format!("'{}'", text.replace('\'', r"'\''")),
        // As bash, zsh and ksh read bytes. In one that is not plain, all but ASCII are written so.
        _ => {
            let mut word = "$'".to_string();
            for &byte in bytes {
                match byte {
                    b'\'' | b'\\' => word.extend(['\\', byte as char]),
                    b' '..=b'~' => word.push(byte as char),
                    _ => {
                        let _ = write!(word, "\\x{byte:02x}");
                    }
                }
            }
            word + "'"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that a terminal obeys, and what the issue of reading directions names.
    #[test]
    fn nothing_hidden_is_printable() {
        let controls = (0..0x20).chain(0x7f..0xa0).filter(|c| *c != 0x0a);
        let others = (0x200b..=0x200f).chain(0x2028..=0x202e).chain(0x2060..=0x206f);
        let more = [0xad, 0x61c, 0xfeff, 0xfff9, 0xfffe, 0xffff, 0xe0041, 0x1fffe];
        for c in controls.chain(others).chain(more).filter_map(char::from_u32) {
            let text = format!("a{c}b");
            let shown = printable(&text);
            assert!(
                !shown.contains(c) && shown.starts_with("a\\") && shown.ends_with('b'),
                "{c:?}"
            );
            assert!(!label(&text).contains(c) && !message(&text).contains(c), "{c:?}");
            let value = serde_json::json!(text);
            let written = json(&value);
            assert!(!written.contains(c), "{c:?}: {written}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), value);
        }
        let plain = "naïve e\u{301} 日本語 Ω ☕ 👍🏽 עברית עַרַבִּי \\ \" '";
        assert_eq!(printable(plain), plain);
    }

    #[test]
    fn messages_are_short_lines() {
        let long = "y".repeat(3_000_000);
        for text in [
            long.clone(),
            format!("`{long}` is wrong"),
            format!("'{long}' is wrong"),
            format!("invalid type: string \"{}\" at line 3", "ä ".repeat(100_000)),
            "a ".repeat(100_000),
            "`".repeat(100_000),
            "\u{1b}".repeat(100_000),
        ] {
            let short = message(&text);
            assert!(short.chars().count() <= LONGEST_MESSAGE, "{short}");
            assert!(short.contains('…'), "{short}");
        }
        assert!(message(&format!("`{long}` is wrong")).ends_with("yyy` is wrong"));
        // What is short stays as it is, to the letter.
        let text = "the run's folder `a  b`, \"c\" and 'd': it's `x`; spry resume 'e  f'";
        assert_eq!(message(text), text);
        assert_eq!(message("left:\r\n  1\u{2028}right: 2\n"), "left: 1 right: 2");
        assert_eq!(message(&"é".repeat(1001)).chars().count(), LONGEST_WORD);
    }

    #[cfg(unix)]
    #[test]
    fn a_shell_gives_back_the_path() {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};

        let names = [b"plain".to_vec(), b"a b".to_vec(), b"it's".to_vec(), (1..=255).collect()];
        for name in names {
            let word = shell_word(Path::new(std::ffi::OsStr::from_bytes(&name)));
            assert!(word.chars().all(is_plain), "{word}");
            let Ok(output) = std::process::Command::new("bash")
                .args(["-c", &format!("printf %s {word}")])
                .output()
            else {
                return;
            };
            assert_eq!(output.stdout, name, "{word}");
        }
        let bytes = std::ffi::OsString::from_vec(b"a\xff".to_vec());
        assert_eq!(path_text(Path::new(&bytes)), "a\u{fffd}");
    }
}

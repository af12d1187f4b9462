//! Changes of text: numbers, words, lines, nesting.

use super::bytes::{self, BOUNDARIES, Random};
use super::{LONGEST, Source};

/// Numbers as they are written, beside those at boundaries.
const NUMBERS: [&str; 14] = [
    "-1", "-0", "0.5", "1.5", "1e18", "1e308", "-1e308", "1e-308", "1e400", "NaN", "inf", "-inf",
    "1e9", "0x10",
];

/// Characters that are awkward in names, terminals and pages.
const CHARACTERS: [&str; 12] = [
    "\0",
    "\u{1b}[2J",
    "\u{7f}",
    "\r\n",
    "\u{202e}",
    "\u{301}",
    "é",
    "😀",
    "\u{feff}",
    "<script>",
    "../",
    "'",
];

/// Beginnings of nested things.
const OPENINGS: [&str; 6] = ["[", "{", "{\"a\":", "a.", "[[", "a={"];

/// A number, written.
pub(super) fn number(random: &mut Random) -> String {
    let written = random.pick(&NUMBERS).copied().unwrap_or("0").to_string();
    let boundary = random.pick(&BOUNDARIES).copied().unwrap_or(0);
    match random.below(6) {
        0 | 1 => written,
        2 => format!("-{boundary}"),
        3 => format!("{boundary}.0"),
        _ => boundary.to_string(),
    }
}

/// A text that is long, empty, or awkward.
pub(super) fn word(random: &mut Random, words: &[&str]) -> String {
    match random.below(6) {
        0 => String::new(),
        1 => "a".repeat(1 + random.small(5000)),
        2 => random.pick(&CHARACTERS).copied().unwrap_or("").repeat(1 + random.small(40)),
        _ => random.pick(words).copied().unwrap_or("none").to_string(),
    }
}

/// One of several changes.
pub(super) fn change(random: &mut Random, mut input: Vec<u8>, source: &Source) -> Vec<u8> {
    match random.below(9) {
        0..3 => {
            let digits = runs(&input, |byte| byte.is_ascii_digit() || b".+-".contains(&byte));
            match random.pick(&digits) {
                Some(&(start, end)) => {
                    input.splice(start..end, number(random).into_bytes());
                }
                None => return bytes::change(random, input, source),
            }
        }
        3 | 4 => {
            let words = runs(&input, |byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
            if let Some(&(start, end)) = random.pick(&words) {
                input.splice(start..end, word(random, source.words).into_bytes());
            }
        }
        5 | 6 => {
            let mut lines: Vec<&[u8]> = input.split(|&byte| byte == b'\n').collect();
            let (one, other) = (random.below(lines.len()), random.below(lines.len()));
            match random.below(4) {
                0 => {
                    lines.remove(one);
                }
                1 => lines.swap(one, other),
                2 => lines.insert(one, lines[other]),
                _ => {
                    let other = random.pick(source.corpus).copied().unwrap_or_default();
                    let theirs: Vec<&[u8]> = other.split(|&byte| byte == b'\n').collect();
                    lines.insert(one, random.pick(&theirs).copied().unwrap_or_default());
                }
            }
            input = lines.join(&b'\n');
        }
        7 => {
            let opening = random.pick(&OPENINGS).copied().unwrap_or("[");
            let times = (1 + random.small(40_000)).min(LONGEST / opening.len());
            let at = random.below(input.len() + 1);
            input.splice(at..at, opening.repeat(times).into_bytes());
        }
        _ => return bytes::change(random, input, source),
    }
    input
}

/// Where the longest stretches of such bytes are.
fn runs(input: &[u8], is_part: impl Fn(u8) -> bool) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut start = None;
    for (at, &byte) in input.iter().enumerate() {
        match (is_part(byte), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                runs.push((from, at));
                start = None;
            }
            _ => {}
        }
    }
    runs.extend(start.map(|from| (from, input.len())));
    runs
}

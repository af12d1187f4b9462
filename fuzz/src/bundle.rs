//! Several files as one input: each begins with a line `=== NAME`.
//!
//! Reading never fails, so that a mutated input is a folder, too. Names are plain: an input cannot
//! write anywhere but into the folder that it is given.

use std::path::Path;

/// The beginning of the line before a file.
const MARK: &[u8] = b"=== ";

/// Longest name of a file.
const LONGEST_NAME: usize = 64;

/// Most files of a folder.
const MOST_FILES: usize = 32;

/// Files by name, in order.
pub type Files = Vec<(String, Vec<u8>)>;

/// Writes files as one input.
///
/// ```
/// use spry_fuzz::bundle;
///
/// let files = vec![("a.json".to_string(), b"{}".to_vec()), ("b".to_string(), vec![])];
/// assert_eq!(bundle::encode(&files), b"=== a.json\n{}\n=== b\n\n");
/// assert_eq!(bundle::decode(&bundle::encode(&files)), files);
/// ```
pub fn encode(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, contents) in files {
        for part in [MARK, name.as_bytes(), b"\n", contents, b"\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes
}

/// Reads files. What comes before the first mark, or after one without a plain name, is left out.
pub fn decode(input: &[u8]) -> Files {
    let mut files = Files::new();
    let marks: Vec<usize> = (0..input.len())
        .filter(|&at| input[at..].starts_with(MARK) && (at == 0 || input[at - 1] == b'\n'))
        .collect();
    for (index, &mark) in marks.iter().enumerate() {
        let end = marks.get(index + 1).copied().unwrap_or(input.len());
        let part = &input[mark + MARK.len()..end];
        let Some(line) = part.iter().position(|&byte| byte == b'\n') else { continue };
        let Some(name) = plain_name(&part[..line]) else { continue };
        let contents = &part[line + 1..];
        let contents = contents.strip_suffix(b"\n").unwrap_or(contents);
        if files.len() < MOST_FILES && files.iter().all(|(other, _)| other != name) {
            files.push((name.to_string(), contents.to_vec()));
        }
    }
    files
}

fn plain_name(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let fits = !name.is_empty() && name.len() <= LONGEST_NAME && !name.starts_with('.');
    (fits && name.chars().all(is_plain)).then_some(name)
}

/// Writes the files of an input into a folder.
///
/// # Errors
///
/// If one cannot be written.
pub fn unpack(input: &[u8], folder: &Path) -> std::io::Result<()> {
    decode(input)
        .iter()
        .try_for_each(|(name, contents)| std::fs::write(folder.join(name), contents))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_left_out() {
        let input = b"ahead\n=== ../up\n1\n=== .hidden\n2\n=== a/b\n3\n=== \n4\n=== ok\n5";
        assert_eq!(decode(input), [("ok".to_string(), b"5".to_vec())]);
    }

    #[test]
    fn the_second_of_a_name_is_left_out() {
        assert_eq!(decode(b"=== a\n1\n=== a\n2\n"), [("a".to_string(), b"1".to_vec())]);
    }
}

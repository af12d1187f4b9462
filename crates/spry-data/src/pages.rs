//! The pages of a Parquet file's columns, before the parquet crate reads their values.
//!
//! The crate makes room for as many bytes as the header of a page says that it has, and for as many
//! values as that of a dictionary says: a changed byte or two ask for gigabytes, and a process that
//! does not get them ends. So headers are read here first. They are small and far apart.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use parquet::file::metadata::ParquetMetaData;

use crate::footer::{Bytes, INT, STRUCT};

/// Bytes of a page when it is not compressed. Writers aim at one megabyte, and go beyond it for the
/// sake of a single long value.
const LARGEST: i64 = 256 << 20;

/// Bytes of a header that are read at first; most have less than a hundred.
const FIRST: u64 = 1 << 12;

/// Longest header: it may have a value or two of its column.
const LONGEST: u64 = 1 << 24;

/// Fails, saying why, unless the pages of those top-level columns of a file that will be read can be
/// made room for.
pub(crate) fn check(
    file: &File,
    metadata: &ParquetMetaData,
    is_read: impl Fn(&str) -> bool,
) -> Result<(), String> {
    for group in metadata.row_groups() {
        for column in group.columns() {
            if !column.column_path().parts().first().is_some_and(|name| is_read(name)) {
                continue;
            }
            let (start, length) = column.byte_range();
            let mut at = start;
            let end = start.checked_add(length).ok_or("a column ends nowhere")?;
            while at < end {
                let (header, length) = read(file, at, end - at)
                    .ok_or_else(|| format!("the header of the page at byte {at} is damaged"))?;
                header.check(at)?;
                let compressed = u64::try_from(header.compressed).unwrap_or(u64::MAX);
                at = at.saturating_add(length).saturating_add(compressed);
            }
        }
    }
    Ok(())
}

/// What the header of a page says.
#[derive(Default)]
struct Header {
    uncompressed: i64,
    compressed: i64,
    /// Number of values of a dictionary.
    values: i64,
}

impl Header {
    fn check(&self, at: u64) -> Result<(), String> {
        let Self { uncompressed, compressed, values } = *self;
        if !(0..=LARGEST).contains(&uncompressed) || compressed < 0 {
            return Err(format!(
                "the page at byte {at} is said to have {uncompressed} bytes, {compressed} of them \
                 in the file; at most {LARGEST} are read"
            ));
        }
        // The shortest value has a byte.
        if !(0..=uncompressed).contains(&values) {
            return Err(format!(
                "the dictionary at byte {at} is said to have {values} values in {uncompressed} \
                 bytes"
            ));
        }
        Ok(())
    }
}

/// The header at a byte, with its length. `None` for one that is damaged, or not there.
fn read(mut file: &File, at: u64, left: u64) -> Option<(Header, u64)> {
    let mut wanted = FIRST.min(left);
    loop {
        let mut start = Vec::new();
        file.seek(SeekFrom::Start(at)).ok()?;
        file.take(wanted).read_to_end(&mut start).ok()?;
        match parse(&start) {
            Some(header) => return Some(header),
            None if wanted < LONGEST.min(left) => wanted = (wanted * 64).min(LONGEST).min(left),
            None => return None,
        }
    }
}

fn parse(start: &[u8]) -> Option<(Header, u64)> {
    let mut bytes = Bytes(start);
    let mut header = Header::default();
    let mut field = 0;
    while let Some((id, kind)) = bytes.field(&mut field)? {
        match (id, kind) {
            (2, INT) => header.uncompressed = bytes.signed()?,
            (3, INT) => header.compressed = bytes.signed()?,
            (7, STRUCT) => {
                let mut field = 0;
                while let Some((id, kind)) = bytes.field(&mut field)? {
                    match (id, kind) {
                        (1, INT) => header.values = bytes.signed()?,
                        _ => bytes.skip(kind, 0)?,
                    }
                }
            }
            _ => bytes.skip(kind, 0)?,
        }
    }
    Some((header, (start.len() - bytes.0.len()) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of a dictionary, with its three numbers as they are encoded.
    fn header(uncompressed: &[u8], compressed: &[u8], values: &[u8]) -> Vec<u8> {
        let parts: [&[u8]; 8] = [
            &[0x15, 4],
            &[0x15],
            uncompressed,
            &[0x15],
            compressed,
            &[0x4c, 0x15],
            values,
            // The encoding, the end of the dictionary's part, and that of all.
            &[0x15, 0, 0, 0],
        ];
        parts.concat()
    }

    #[test]
    fn what_a_header_says_is_bounded() {
        let check = |bytes: &[u8]| {
            let (header, length) = parse(bytes).unwrap();
            assert_eq!(length, bytes.len() as u64);
            header.check(4)
        };
        // Numbers are doubled: 100 bytes, 50 in the file, 25 values.
        assert_eq!(check(&header(&[0xc8, 1], &[100], &[50])), Ok(()));
        let billion = [0x80, 0xa8, 0xd6, 0xb9, 7];
        let message = check(&header(&[0xc8, 1], &[100], &billion)).unwrap_err();
        assert!(message.contains("1000000000 values in 100 bytes"), "{message}");
        let message = check(&header(&billion, &[100], &[50])).unwrap_err();
        assert!(message.contains("1000000000 bytes"), "{message}");
        assert!(check(&header(&[0xc8, 1], &[1], &[50])).is_err(), "a negative size");
        let whole = header(&[0xc8, 1], &[100], &[50]);
        assert!((0..whole.len()).all(|length| parse(&whole[..length]).is_none()));
    }
}

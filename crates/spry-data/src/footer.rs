//! The end of a Parquet file, before the parquet crate reads it.
//!
//! The crate descends into a schema by recursion, so that a few thousand nested groups, in a file of
//! some kilobytes, overflow the stack, which nothing catches. The schema's depth is counted here
//! first, without recursion.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::{Error, Result};

/// Longest footer. One of a thousand row groups and a hundred columns has some 20 MB.
const LONGEST: u64 = 64 << 20;

/// Groups that a column may be inside of. Lists of groups of lists take two for each.
const DEEPEST: usize = 64;

/// Nested values in the footer itself, which needs five.
const NESTED: usize = 32;

/// Fails if the footer of a Parquet file is too long, damaged, or of too deep a schema. What is no
/// Parquet file at all is left to the parquet crate. The file is then at its beginning.
pub(crate) fn check(path: &Path, file: &mut File) -> Result<()> {
    let io = |error| Error::io(path)(error);
    let bytes = file.metadata().map_err(io)?.len();
    if bytes < 12 {
        return Ok(());
    }
    let mut end = [0; 8];
    file.seek(SeekFrom::End(-8)).and_then(|_| file.read_exact(&mut end)).map_err(io)?;
    let [a, b, c, d, magic @ ..] = end;
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    let result = if magic == *b"PAR1" && length <= bytes - 12 {
        if length > LONGEST {
            return Err(Error::TooLarge {
                path: path.to_path_buf(),
                bytes: length,
                limit: LONGEST,
            });
        }
        let mut footer = vec![0; length as usize];
        let start = SeekFrom::Start(bytes - 8 - length);
        file.seek(start).and_then(|_| file.read_exact(&mut footer)).map_err(io)?;
        match depth(&footer) {
            Some(depth) if depth <= DEEPEST => Ok(()),
            Some(_) => Err(format!("its columns are nested in more than {DEEPEST} groups")),
            None => Err("its footer is damaged".to_string()),
        }
    } else {
        Ok(())
    };
    file.rewind().map_err(io)?;
    result.map_err(|reason| Error::Parquet { path: path.to_path_buf(), reason })
}

/// How deep the schema of a footer is, or `None` if the footer is damaged.
fn depth(footer: &[u8]) -> Option<usize> {
    let mut bytes = Bytes(footer);
    let mut field = 0;
    while let Some((id, kind)) = bytes.field(&mut field)? {
        if id == 2 && kind == LIST {
            let (size, _) = bytes.list()?;
            return of_schema(&mut bytes, size);
        }
        bytes.skip(kind, 0)?;
    }
    None
}

/// The depth of a list of elements, each of which says how many of the following are inside of it.
fn of_schema(bytes: &mut Bytes, size: u64) -> Option<usize> {
    let mut open: Vec<i64> = Vec::new();
    let mut deepest = 0;
    for _ in 0..size {
        let mut children = 0;
        let mut field = 0;
        while let Some((id, kind)) = bytes.field(&mut field)? {
            if id == 5 && kind == INT {
                children = bytes.signed()?;
            } else {
                bytes.skip(kind, 0)?;
            }
        }
        if let Some(last) = open.last_mut() {
            *last -= 1;
        }
        if children > 0 {
            open.push(children);
            deepest = deepest.max(open.len());
            // What follows cannot make it less.
            if deepest > DEEPEST {
                return Some(deepest);
            }
        }
        while open.last() == Some(&0) {
            open.pop();
        }
    }
    Some(deepest)
}

/// Types of Thrift's compact protocol.
pub(crate) const INT: u8 = 5;
const LIST: u8 = 9;
pub(crate) const STRUCT: u8 = 12;

/// Bytes in Thrift's compact protocol; every method is `None` at their end.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn pass(&mut self, count: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(count).ok()?..)?;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A whole number, of which the lowest bit is the sign.
    pub(crate) fn signed(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// The number and type of a structure's next field; an inner `None` at its end.
    pub(crate) fn field(&mut self, last: &mut i64) -> Option<Option<(i64, u8)>> {
        let header = self.byte()?;
        if header == 0 {
            return Some(None);
        }
        *last = match header >> 4 {
            0 => self.signed()?,
            step => last.checked_add(step.into())?,
        };
        Some(Some((*last, header & 0x0f)))
    }

    /// The number and type of a list's elements.
    fn list(&mut self) -> Option<(u64, u8)> {
        let header = self.byte()?;
        let size = match header >> 4 {
            15 => self.varint()?,
            size => size.into(),
        };
        Some((size, header & 0x0f))
    }

    /// Passes over a value of a field.
    pub(crate) fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > NESTED {
            return None;
        }
        match kind {
            // Truth values are in the field's own type.
            1 | 2 => Some(()),
            3 => self.pass(1),
            4..=6 => self.varint().map(drop),
            7 => self.pass(8),
            8 => {
                let length = self.varint()?;
                self.pass(length)
            }
            LIST | 10 => {
                let (size, kind) = self.list()?;
                (0..size).try_for_each(|_| match kind {
                    1 | 2 => self.pass(1),
                    kind => self.skip(kind, depth + 1),
                })
            }
            STRUCT => {
                let mut field = 0;
                while let Some((_, kind)) = self.field(&mut field)? {
                    self.skip(kind, depth + 1)?;
                }
                Some(())
            }
            13 => self.pass(16),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer whose schema has these numbers of children.
    fn footer(children: &[u8]) -> Vec<u8> {
        // Field 1, the version; field 2, a list of structures with a name and maybe children.
        let mut bytes = vec![0x15, 2, 0x19, 0xfc];
        let mut size = children.len();
        while size >= 0x80 {
            bytes.push(size as u8 | 0x80);
            size >>= 7;
        }
        bytes.push(size as u8);
        for &count in children {
            bytes.extend([0x48, 1, b'a']);
            if count > 0 {
                bytes.extend([0x15, count * 2]);
            }
            bytes.push(0);
        }
        bytes.push(0);
        bytes
    }

    #[test]
    fn the_depth_of_a_schema_is_counted() {
        assert_eq!(depth(&footer(&[0])), Some(0));
        assert_eq!(depth(&footer(&[2, 0, 0])), Some(1));
        // A list of groups beside a number.
        assert_eq!(depth(&footer(&[2, 1, 1, 2, 0, 0, 0])), Some(4));
        assert_eq!(depth(&footer(&[2, 1, 0, 1, 1, 0])), Some(3));
        assert!(depth(&footer(&vec![1; 100_000])).unwrap() > DEEPEST);
        assert_eq!(depth(&[0x15, 2]), None);
        assert_eq!(depth(&[0x19, 0xfc, 0xff]), None);
    }

    #[test]
    fn a_schema_that_would_overflow_the_stack_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.parquet");
        let footer = footer(&vec![1; 200_000]);
        let mut bytes = b"PAR1".to_vec();
        bytes.extend(&footer);
        bytes.extend((footer.len() as u32).to_le_bytes());
        bytes.extend(b"PAR1");
        std::fs::write(&path, bytes).unwrap();
        let error = crate::parquet_file::read_rows(&path, &["text"], |_, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("nested in more than 64 groups"), "{error}");
    }
}

//! Parquet files that others wrote, and their columns.

use std::fs::File;
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

use crate::guard::{self, quotable, sayable};
use crate::{Error, Result, footer, pages};

/// Names of columns that a message lists.
const LISTED: usize = 20;

/// Opens a Parquet file to read the named columns, or all, after a look at what the parquet crate
/// would believe: the depth of the schema, and how large the headers of pages say that these are.
/// This and what is then read may still panic, so both belong into [`guard::catch_panics`].
///
/// # Errors
///
/// As [`guard::open`]; [`Error::Parquet`] or [`Error::TooLarge`] for a file that is damaged, or asks
/// for more than it has.
pub fn open(path: &Path, columns: Option<&[&str]>) -> Result<SerializedFileReader<File>> {
    let mut file = guard::open(path)?;
    footer::check(path, &mut file)?;
    let again = file.try_clone().map_err(Error::io(path))?;
    let reader = SerializedFileReader::new(file).map_err(broken(path))?;
    if let Some(columns) = columns {
        check_columns(path, columns, &reader)?;
    }
    let is_read = |name: &str| columns.is_none_or(|columns| columns.contains(&name));
    match pages::check(&again, reader.metadata(), is_read) {
        Ok(()) => Ok(reader),
        Err(reason) => Err(Error::Parquet { path: path.to_path_buf(), reason }),
    }
}

fn broken(path: &Path) -> impl Fn(ParquetError) -> Error {
    move |error| Error::Parquet { path: path.to_path_buf(), reason: sayable(&error.to_string()) }
}

/// Rows of the named columns, in the order of the names.
///
/// Reading stops at the first row that `read` rejects.
pub(crate) fn read_rows(
    path: &Path,
    columns: &[&str],
    read: impl FnMut(usize, Vec<Field>) -> Result<()>,
) -> Result<()> {
    // The parquet crate checks headers, but panics on some kinds of damage in the data pages.
    guard::catch_panics(|| try_read_rows(path, columns, read)).unwrap_or_else(|_| {
        let reason = "its data is damaged".to_string();
        Err(Error::Parquet { path: path.to_path_buf(), reason })
    })
}

fn try_read_rows(
    path: &Path,
    columns: &[&str],
    mut read: impl FnMut(usize, Vec<Field>) -> Result<()>,
) -> Result<()> {
    let reader = open(path, Some(columns))?;
    let rows = reader.get_row_iter(Some(projection(&reader, columns).map_err(broken(path))?));
    for (index, row) in rows.map_err(broken(path))?.enumerate() {
        let row: Row = row.map_err(|error| unreadable(path, columns, &reader, index, &error))?;
        read(index, row.into_columns().into_iter().map(|(_, field)| field).collect())?;
    }
    Ok(())
}

/// The part of a file's schema that has these columns.
fn projection(reader: &dyn FileReader, columns: &[&str]) -> Result<Type, ParquetError> {
    let schema = reader.metadata().file_metadata().schema();
    let field = |column: &&str| schema.get_fields().iter().find(|field| field.name() == *column);
    let fields = columns.iter().filter_map(field).cloned().collect();
    Type::group_type_builder(schema.name()).with_fields(fields).build()
}

/// Fails if a column is not there, or is there twice: which of them is meant, nobody knows.
fn check_columns(path: &Path, columns: &[&str], reader: &dyn FileReader) -> Result<()> {
    let fields = reader.metadata().file_metadata().schema().get_fields();
    for column in columns {
        match fields.iter().filter(|field| field.name() == *column).count() {
            1 => continue,
            0 => {}
            count => {
                let reason = format!("it has {count} columns of the name `{}`", quotable(column));
                return Err(Error::Parquet { path: path.to_path_buf(), reason });
            }
        }
        let mut available: Vec<String> =
            fields.iter().take(LISTED).map(|field| quotable(field.name())).collect();
        if fields.len() > LISTED {
            available.push(format!("and {} more", fields.len() - LISTED));
        }
        return Err(Error::MissingColumn {
            path: path.to_path_buf(),
            column: quotable(column),
            available: available.join(", "),
        });
    }
    Ok(())
}

/// The error for a row that cannot be read, with the column that it is about. The parquet crate
/// names neither, and repeats texts of any length byte by byte.
fn unreadable(
    path: &Path,
    columns: &[&str],
    reader: &dyn FileReader,
    row: usize,
    error: &ParquetError,
) -> Error {
    let fails = |column: &&str| {
        let rows = projection(reader, &[column]).and_then(|only| reader.get_row_iter(Some(only)));
        rows.is_ok_and(|mut rows| rows.nth(row).is_none_or(|row| row.is_err()))
    };
    let reason = error.to_string();
    match columns.iter().find(|column| guard::catch_panics(|| fails(column)).unwrap_or(true)) {
        Some(column) if reason.contains("as String") => Error::BadValue {
            path: path.to_path_buf(),
            row,
            column: column.to_string(),
            reason: "the text is not UTF-8; write it anew in that encoding".to_string(),
        },
        column => {
            let column = column.map(|name| format!(", column `{name}`")).unwrap_or_default();
            let reason = format!("row {row}{column}: {}", sayable(&reason));
            Error::Parquet { path: path.to_path_buf(), reason }
        }
    }
}

/// A value of a type that does not fit, for a message. Lists are printed whole by the parquet crate,
/// so they are not asked.
pub(crate) fn found(field: &Field) -> String {
    match field {
        Field::Null => "nothing".to_string(),
        Field::Str(text) => format!("the text `{}`", quotable(text)),
        Field::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Field::Group(group) => {
            let names: Vec<String> =
                group.get_column_iter().take(5).map(|(name, _)| quotable(name)).collect();
            format!("a group of {}", names.join(", "))
        }
        Field::ListInternal(list) => format!("a list of {}", list.len()),
        Field::MapInternal(map) => format!("a map of {}", map.len()),
        other => quotable(&other.to_string()),
    }
}

/// A text, or why the field is none.
pub(crate) fn text(field: Field) -> Result<String, String> {
    match field {
        Field::Str(text) => Ok(text),
        Field::Bytes(bytes) => {
            let text = bytes.as_utf8().map_err(|_| "the text is not UTF-8".to_string())?;
            Ok(text.to_string())
        }
        Field::Null => Err("the text is missing".to_string()),
        other => Err(format!("expected a text, found {}", found(&other))),
    }
}

/// A whole number, which may be stored as a float or a truth value, or why the field is none.
pub(crate) fn integer(field: &Field) -> Result<i64, String> {
    match field {
        Field::Bool(value) => Ok((*value).into()),
        Field::Byte(value) => Ok((*value).into()),
        Field::Short(value) => Ok((*value).into()),
        Field::Int(value) => Ok((*value).into()),
        Field::Long(value) => Ok(*value),
        Field::UByte(value) => Ok((*value).into()),
        Field::UShort(value) => Ok((*value).into()),
        Field::UInt(value) => Ok((*value).into()),
        Field::ULong(value) => i64::try_from(*value).map_err(|_| "the number is too large".into()),
        // Tables of Python have floats wherever a column once had a gap.
        Field::Float(value) => whole((*value).into()),
        Field::Double(value) => whole(*value),
        Field::Float16(value) => whole(value.to_f64()),
        Field::Null => Err("the number is missing".to_string()),
        other => Err(format!("expected a whole number, found {}", found(other))),
    }
}

/// 2⁵³: up to here an `f64` represents every whole number exactly.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

fn whole(value: f64) -> Result<i64, String> {
    if value.fract() == 0.0 && value.abs() < LARGEST_WHOLE {
        Ok(value as i64)
    } else if value.is_nan() {
        Err("the number is missing (NaN)".to_string())
    } else {
        Err(format!("expected a whole number, found {value:?}"))
    }
}

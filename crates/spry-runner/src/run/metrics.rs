//! Rows in Parquet files.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::{Field, RecordWriter};
use spry_data::files::write_atomically;

use super::records::{ResourceRow, RoundRow};
use crate::{Error, Result};

/// Writes rows; the file appears whole or not at all, and the same rows give the same bytes.
///
/// # Errors
///
/// If it cannot be written.
pub fn write<T>(path: &Path, rows: &[T]) -> Result<()>
where
    for<'a> &'a [T]: RecordWriter<T>,
{
    let bytes =
        to_bytes(rows).map_err(|error| Error::Failed(format!("{}: {error}", path.display())))?;
    Ok(write_atomically(path, &bytes)?)
}

fn to_bytes<T>(rows: &[T]) -> Result<Vec<u8>, ParquetError>
where
    for<'a> &'a [T]: RecordWriter<T>,
{
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, rows.schema()?, Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    rows.write_to_row_group(&mut group)?;
    group.close()?;
    writer.close()?;
    Ok(bytes)
}

/// Reads `rounds.parquet`.
///
/// # Errors
///
/// If it cannot be read, or is not a file of this program.
pub fn read_rounds(path: &Path) -> Result<Vec<RoundRow>> {
    let row = |fields: &Fields| {
        Some(RoundRow {
            server_round: fields.whole("server_round")?,
            updates: fields.whole("updates")?,
            num_examples: fields.whole("num_examples")?,
            train_loss: fields.number("train_loss"),
            failed: fields.whole("failed")?,
            left_out: fields.whole("left_out")?,
            forward_passes: fields.whole("forward_passes")?,
            bytes_up: fields.whole("bytes_up")?,
            bytes_down: fields.whole("bytes_down")?,
            received_loss: fields.number("received_loss"),
            received_accuracy: fields.number("received_accuracy"),
            personalized_loss: fields.number("personalized_loss"),
            personalized_accuracy: fields.number("personalized_accuracy"),
            received_f1: fields.number("received_f1"),
            personalized_f1: fields.number("personalized_f1"),
            generalized_loss: fields.number("generalized_loss"),
            generalized_accuracy: fields.number("generalized_accuracy"),
            generalized_f1: fields.number("generalized_f1"),
        })
    };
    read(path, row)
}

/// Reads `resources.parquet`.
///
/// # Errors
///
/// As [`read_rounds`].
pub fn read_resources(path: &Path) -> Result<Vec<ResourceRow>> {
    let row = |fields: &Fields| {
        Some(ResourceRow {
            server_round: fields.whole("server_round")?,
            client: fields.whole("client"),
            wall_secs: fields.number("wall_secs")?,
            peak_bytes: fields.whole("peak_bytes"),
            finished_at_secs: fields.number("finished_at_secs")?,
        })
    };
    read(path, row)
}

/// One row by column name.
struct Fields(HashMap<String, Field>);

impl Fields {
    fn whole(&self, name: &str) -> Option<u64> {
        match self.0.get(name)? {
            Field::ULong(value) => Some(*value),
            _ => None,
        }
    }

    fn number(&self, name: &str) -> Option<f64> {
        match self.0.get(name)? {
            Field::Double(value) => Some(*value),
            _ => None,
        }
    }
}

fn read<T>(path: &Path, parse: impl Fn(&Fields) -> Option<T>) -> Result<Vec<T>> {
    let damaged = |reason: String| Error::Damaged { path: path.to_path_buf(), reason };
    let file = File::open(path).map_err(Error::io(path))?;
    let reader = SerializedFileReader::new(file).map_err(|error| damaged(error.to_string()))?;
    let rows = reader.get_row_iter(None).map_err(|error| damaged(error.to_string()))?;
    rows.enumerate()
        .map(|(index, row)| {
            let row = row.map_err(|error| damaged(error.to_string()))?;
            let fields = Fields(row.into_columns().into_iter().collect());
            parse(&fields).ok_or_else(|| {
                damaged(format!("row {index} lacks a value; was it written by another version?"))
            })
        })
        .collect()
}

//! Rows in Parquet files, for other programs: this one reads its own files of
//! [rows](super::rows), which have checksums.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::FileReader;
use parquet::file::writer::SerializedFileWriter;
use parquet::record::{Field, RecordWriter};
use spry_data::files::write_atomically_with;
use spry_data::guard;

use super::records::{ResourceRow, RoundRow};
use crate::{Error, Result};

/// So many rows are in memory at a time while a file is written.
const ROWS_AT_A_TIME: usize = 1 << 16;

/// Writes rows; the file appears whole or not at all, and the same rows give the same bytes.
///
/// # Errors
///
/// If it cannot be written.
pub fn write<T>(path: &Path, rows: &[T]) -> Result<()>
where
    for<'a> &'a [T]: RecordWriter<T>,
    T: Clone,
{
    write_streamed(path, |add| rows.chunks(ROWS_AT_A_TIME).try_for_each(|rows| add(rows.to_vec())))
}

/// Takes some more rows of a file.
pub type Add<'a, T> = &'a mut dyn FnMut(Vec<T>) -> Result<()>;

/// The same for rows that `rows` gives some at a time, of which few are in memory at once.
///
/// # Errors
///
/// If it cannot be written, or what `rows` returns.
pub fn write_streamed<T>(path: &Path, rows: impl FnOnce(Add<'_, T>) -> Result<()>) -> Result<()>
where
    for<'a> &'a [T]: RecordWriter<T>,
{
    let mut failed = None;
    let written = write_atomically_with(path, |temporary| {
        let file = BufWriter::new(File::create(temporary)?);
        stream(path, file, rows).map_err(|error| {
            let reason = error.line();
            failed = Some(error);
            std::io::Error::other(reason)
        })
    });
    // What went wrong, before how it came out of the writing.
    failed.map_or(Ok(()), Err)?;
    Ok(written?)
}

fn stream<T>(
    path: &Path,
    file: impl Write + Send,
    rows: impl FnOnce(Add<'_, T>) -> Result<()>,
) -> Result<()>
where
    for<'a> &'a [T]: RecordWriter<T>,
{
    let unwritable = |error: ParquetError| Error::Failed(format!("{}: {error}", path.display()));
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let schema = (&[] as &[T]).schema().map_err(unwritable)?;
    let mut writer =
        SerializedFileWriter::new(file, schema, Arc::new(properties)).map_err(unwritable)?;
    let mut waiting = Vec::new();
    rows(&mut |more| {
        waiting.extend(more);
        if waiting.len() >= ROWS_AT_A_TIME {
            write_group(&mut writer, &waiting).map_err(unwritable)?;
            waiting.clear();
        }
        Ok(())
    })?;
    if !waiting.is_empty() {
        write_group(&mut writer, &waiting).map_err(unwritable)?;
    }
    let mut file = writer.into_inner().map_err(unwritable)?;
    file.flush().map_err(|error| unwritable(error.into()))
}

fn write_group<T>(
    writer: &mut SerializedFileWriter<impl Write + Send>,
    rows: &[T],
) -> Result<(), ParquetError>
where
    for<'a> &'a [T]: RecordWriter<T>,
{
    let mut group = writer.next_row_group()?;
    rows.write_to_row_group(&mut group)?;
    group.close().map(drop)
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

/// Files come from elsewhere, too, and the parser of the format panics on some damage.
fn read<T>(path: &Path, parse: impl Fn(&Fields) -> Option<T>) -> Result<Vec<T>> {
    let damaged = |reason: String| Error::Damaged { path: path.to_path_buf(), reason };
    let read = guard::catch_panics(|| {
        let reader = spry_data::parquet_file::open(path, None)?;
        let rows = reader.get_row_iter(None).map_err(|error| damaged(error.to_string()))?;
        rows.enumerate()
            .map(|(index, row)| {
                let row = row.map_err(|error| damaged(error.to_string()))?;
                let fields = Fields(row.into_columns().into_iter().collect());
                parse(&fields).ok_or_else(|| {
                    damaged(format!(
                        "row {index} lacks a value; was it written by another version?"
                    ))
                })
            })
            .collect()
    });
    read.unwrap_or_else(|panic| Err(damaged(panic)))
}

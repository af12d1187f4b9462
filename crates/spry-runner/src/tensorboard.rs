//! Scalars for TensorBoard: its event files, which are TFRecords of protocol buffers.
//!
//! A record is the length of its data (8 bytes, little-endian), a masked CRC-32C of these bytes,
//! the data, and a masked CRC-32C of the data. The data is an `Event` of TensorFlow's
//! `event.proto`, of which only the fields that scalars need are declared here.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use prost::{Message, Oneof};
use spry_core::Event;

use crate::run::records::{Records, RoundRow, now};
use crate::{Error, Result};

/// `tensorflow.Event`.
#[derive(Clone, PartialEq, Message)]
struct LoggedEvent {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(ScalarSummary),
}

/// `tensorflow.Summary`.
#[derive(Clone, PartialEq, Message)]
struct ScalarSummary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<ScalarValue>,
}

/// `tensorflow.Summary.Value`.
#[derive(Clone, PartialEq, Message)]
struct ScalarValue {
    #[prost(string, tag = "1")]
    tag: String,
    /// In a `oneof` there, so that 0 is written, too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// What TensorBoard expects of a file's first event.
const FILE_VERSION: &str = "brain.Event:2";

/// A run's event file. It grows as rounds end, and is written anew from the rows when a run is
/// resumed, so that nothing is in it twice. An event's length depends on its round alone, so a
/// reader that is in the middle of the file does not notice.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: Option<File>,
}

impl EventFile {
    /// The file in a folder; nothing is written yet.
    pub fn at(folder: &Path) -> Self {
        Self { path: folder.join("events.out.tfevents.spry"), file: None }
    }

    /// Writes the file anew with these rows.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn rewrite(&mut self, records: &Records) -> Result<()> {
        let start = records.costs.first().map_or_else(now, |row| row.finished_at_secs);
        let version = What::FileVersion(FILE_VERSION.to_string());
        let mut bytes = record(&LoggedEvent { wall_time: start, step: 0, what: Some(version) });
        for row in &records.rounds {
            bytes.extend(scalars(row, records, &round_scalars(row)));
            bytes.extend(scalars(row, records, &evaluation_scalars(row)));
        }
        let write = || -> std::io::Result<File> {
            if let Some(folder) = self.path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            // In its place: TensorBoard would not notice another file under the same name.
            let mut file =
                OpenOptions::new().create(true).write(true).truncate(false).open(&self.path)?;
            file.write_all(&bytes)?;
            file.set_len(bytes.len() as u64)?;
            Ok(file)
        };
        self.file = Some(write().map_err(Error::io(&self.path))?);
        Ok(())
    }

    /// Appends what an event adds; `records` have taken note of it already.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn on_event(&mut self, event: &Event<'_>, records: &Records) -> Result<()> {
        let Some(row) = records.rounds.last() else { return Ok(()) };
        let bytes = match event {
            Event::RoundFinished(_) => scalars(row, records, &round_scalars(row)),
            Event::Evaluated { .. } => scalars(row, records, &evaluation_scalars(row)),
            _ => return Ok(()),
        };
        let Some(file) = &mut self.file else { return Ok(()) };
        // In one piece, so that a reader rarely sees a torn record (and waits if it does).
        file.write_all(&bytes).map_err(Error::io(&self.path))
    }
}

type Scalars = Vec<(&'static str, Option<f64>)>;

fn round_scalars(row: &RoundRow) -> Scalars {
    if row.server_round == 0 {
        return Vec::new();
    }
    vec![
        ("loss/train", row.train_loss),
        ("loss/received", row.received_loss),
        ("loss/personalized", row.personalized_loss),
        ("accuracy/received", row.received_accuracy),
        ("accuracy/personalized", row.personalized_accuracy),
        ("f1/received", row.received_f1),
        ("f1/personalized", row.personalized_f1),
        ("clients/updates", Some(row.updates as f64)),
        ("clients/failed", Some(row.failed as f64)),
        ("clients/left_out", Some(row.left_out as f64)),
        ("cost/forward_passes", Some(row.forward_passes as f64)),
        ("cost/bytes_up", Some(row.bytes_up as f64)),
        ("cost/bytes_down", Some(row.bytes_down as f64)),
    ]
}

fn evaluation_scalars(row: &RoundRow) -> Scalars {
    vec![
        ("loss/generalized", row.generalized_loss),
        ("accuracy/generalized", row.generalized_accuracy),
        ("f1/generalized", row.generalized_f1),
    ]
}

/// One event with the scalars that have a value; nothing if none has.
fn scalars(row: &RoundRow, records: &Records, scalars: &Scalars) -> Vec<u8> {
    let value = |(tag, value): &(&str, Option<f64>)| {
        Some(ScalarValue { tag: tag.to_string(), simple_value: Some((*value)? as f32) })
    };
    let values: Vec<ScalarValue> = scalars.iter().filter_map(value).collect();
    if values.is_empty() {
        return Vec::new();
    }
    let round = records.costs.iter().rfind(|r| r.server_round == row.server_round);
    let what = Some(What::Summary(ScalarSummary { value: values }));
    let wall_time = round.map_or(0.0, |resource| resource.finished_at_secs);
    record(&LoggedEvent { wall_time, step: row.server_round as i64, what })
}

fn record(event: &LoggedEvent) -> Vec<u8> {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    let mut bytes = length.to_vec();
    bytes.extend(masked_crc(&length).to_le_bytes());
    bytes.extend(&data);
    bytes.extend(masked_crc(&data).to_le_bytes());
    bytes
}

/// TFRecord's checksum: a CRC-32C, rotated and shifted.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_published_checksums() {
        // From RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        let event = LoggedEvent { wall_time: 1.5, step: 7, what: None };
        let bytes = record(&event);
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(bytes.len(), 8 + 4 + length + 4);
        assert_eq!(LoggedEvent::decode(&bytes[12..12 + length]).unwrap(), event);
        assert_eq!(bytes[8..12], masked_crc(&bytes[..8]).to_le_bytes());
        assert_eq!(bytes[12 + length..], masked_crc(&bytes[12..12 + length]).to_le_bytes());
    }
}

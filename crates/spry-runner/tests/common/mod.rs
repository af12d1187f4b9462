//! What the tests of the program share: how it is started, and a run that takes a second.
#![allow(dead_code)] // Not every test uses all of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// The program, offline, in a folder, with an empty cache: what this machine has downloaded before
/// must not matter.
pub fn spry(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spry"));
    command.current_dir(folder).env("HF_HUB_CACHE", folder.join("cache/hub")).arg("--offline");
    command
}

/// Options that make the smoke preset even smaller.
pub const SMALL: [&str; 12] = [
    "--preset",
    "smoke",
    "--set",
    "dataset.max_examples=320",
    "--set",
    "dataset.num_clients=8",
    "--set",
    "cohort_size=3",
    "--set",
    "method.estimator.k=2",
    "--set",
    "num_server_rounds=3",
];

/// Runs a command that must succeed; returns what it prints.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command printed on standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A run of three small rounds in `folder/name`.
pub fn small_run(folder: &Path, name: &str) -> PathBuf {
    succeed(spry(folder).arg("run").args(SMALL).args(["--out", name]));
    folder.join(name)
}

/// The bundled model's files.
pub fn tiny_bert() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny-bert")
}

/// A reference case of spry-models.
pub fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../spry-models/tests/fixtures").join(name)
}

/// The columns of a dataset of one's own.
pub const TEXT_AND_LABEL: &str = "message m { required binary text (UTF8); required int64 label; }";

/// Writes a Parquet file of two columns; a column of text gets the texts, one of numbers the labels.
pub fn write_parquet(path: &Path, schema: &str, texts: &[&str], labels: &[f64]) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    while let Some(mut column) = group.next_column().unwrap() {
        use parquet::column::writer::ColumnWriter;
        match column.untyped() {
            ColumnWriter::ByteArrayColumnWriter(_) => {
                let values: Vec<ByteArray> = texts.iter().map(|text| (*text).into()).collect();
                column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
            }
            ColumnWriter::Int64ColumnWriter(_) => {
                let values: Vec<i64> = labels.iter().map(|label| *label as i64).collect();
                column.typed::<Int64Type>().write_batch(&values, None, None).unwrap();
            }
            _ => {
                column.typed::<DoubleType>().write_batch(labels, None, None).unwrap();
            }
        }
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

/// Writes a Parquet file with columns of texts.
pub fn write_texts(path: &Path, columns: &[(&str, &[&str])]) {
    let fields: Vec<String> =
        columns.iter().map(|(name, _)| format!("required binary {name} (UTF8);")).collect();
    let schema = format!("message m {{ {} }}", fields.join(" "));
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for (_, texts) in columns {
        let values: Vec<ByteArray> = texts.iter().map(|text| (*text).into()).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

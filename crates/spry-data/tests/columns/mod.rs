//! Parquet files of a few rows, and what is read from them.
#![allow(dead_code)] // Not every test uses all of it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use spry_data::{Dataset, Hub, Layout, QuestionDataset, Source, TextDataset};

/// A column of a file.
pub struct Column {
    /// Its part of the file's schema.
    pub schema: String,
    /// What is stored: one leaf, or those of a group in their order.
    pub leaves: Vec<Leaf>,
}

/// Values with their levels; no levels where a column needs none.
pub struct Leaf {
    pub values: Values,
    pub definitions: Vec<i16>,
    pub repetitions: Vec<i16>,
}

pub enum Values {
    Texts(Vec<ByteArray>),
    Truths(Vec<bool>),
    Ints(Vec<i32>),
    Longs(Vec<i64>),
    Doubles(Vec<f64>),
}

impl Column {
    pub fn flat(schema: String, values: Values, definitions: Vec<i16>) -> Self {
        Self { schema, leaves: vec![Leaf { values, definitions, repetitions: Vec::new() }] }
    }

    /// The same where nulls are not allowed.
    pub fn required(mut self) -> Self {
        self.schema = self.schema.replacen("OPTIONAL", "REQUIRED", 1);
        self.leaves[0].definitions.clear();
        self
    }
}

pub fn optional_texts(name: &str, texts: &[Option<&str>]) -> Column {
    let values = texts.iter().flatten().map(|text| ByteArray::from(*text)).collect();
    let definitions = texts.iter().map(|text| i16::from(text.is_some())).collect();
    let schema = format!("OPTIONAL BYTE_ARRAY {name} (UTF8);");
    Column::flat(schema, Values::Texts(values), definitions)
}

pub fn texts(name: &str, texts: &[&str]) -> Column {
    let texts: Vec<Option<&str>> = texts.iter().map(|text| Some(*text)).collect();
    optional_texts(name, &texts)
}

pub fn numbers(name: &str, numbers: &[i64]) -> Column {
    let definitions = vec![1; numbers.len()];
    let schema = format!("OPTIONAL INT64 {name};");
    Column::flat(schema, Values::Longs(numbers.to_vec()), definitions)
}

pub fn floats(name: &str, numbers: &[f64]) -> Column {
    let definitions = vec![1; numbers.len()];
    let schema = format!("OPTIONAL DOUBLE {name};");
    Column::flat(schema, Values::Doubles(numbers.to_vec()), definitions)
}

pub fn truths(name: &str, truths: &[bool]) -> Column {
    let definitions = vec![1; truths.len()];
    let schema = format!("OPTIONAL BOOLEAN {name};");
    Column::flat(schema, Values::Truths(truths.to_vec()), definitions)
}

/// The numbers of the rows.
pub fn row_numbers(name: &str, rows: usize) -> Column {
    let numbers = Values::Ints((0..rows as i32).collect());
    Column::flat(format!("OPTIONAL INT32 {name};"), numbers, vec![1; rows])
}

/// The numbers of the rows in a group, as MultiRC has them.
pub fn grouped_row_numbers(name: &str, rows: usize) -> Column {
    let part = |part: &str| row_numbers(part, rows);
    let parts = ["paragraph", "question", "answer"].map(part);
    let schemas: Vec<&str> = parts.iter().map(|part| part.schema.as_str()).collect();
    let schema = format!("OPTIONAL group {name} {{ {} }}", schemas.join(" "));
    let mut leaves: Vec<Leaf> = parts.into_iter().flat_map(|part| part.leaves).collect();
    leaves.iter_mut().for_each(|leaf| leaf.definitions = vec![2; rows]);
    Column { schema, leaves }
}

/// Answers as SQuAD has them, a group of two lists; `None` for a null in the place of the group.
pub fn answers(rows: &[Option<&[(&str, i32)]>]) -> Column {
    let (mut texts, mut starts) = (Vec::new(), Vec::new());
    let (mut definitions, mut repetitions) = (Vec::new(), Vec::new());
    for row in rows {
        let answers = row.unwrap_or_default();
        for (index, (text, start)) in answers.iter().enumerate() {
            texts.push(ByteArray::from(*text));
            starts.push(*start);
            // The group, the list, its repeated part and the element are there.
            definitions.push(4);
            repetitions.push(i16::from(index > 0));
        }
        if answers.is_empty() {
            definitions.push(if row.is_some() { 2 } else { 0 });
            repetitions.push(0);
        }
    }
    let list = |name: &str, element: &str| {
        format!("OPTIONAL group {name} (LIST) {{ REPEATED group list {{ OPTIONAL {element}; }} }}")
    };
    let (text, start) = (list("text", "BYTE_ARRAY element (UTF8)"), "INT32 element");
    let schema = format!("OPTIONAL group answers {{ {text} {} }}", list("answer_start", start));
    let leaf = |values| Leaf {
        values,
        definitions: definitions.clone(),
        repetitions: repetitions.clone(),
    };
    Column { schema, leaves: vec![leaf(Values::Texts(texts)), leaf(Values::Ints(starts))] }
}

pub fn write(path: &Path, columns: &[Column]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let schemas: Vec<&str> = columns.iter().map(|column| column.schema.as_str()).collect();
    let schema = parse_message_type(&format!("message schema {{ {} }}", schemas.join(" ")));
    let properties = Arc::new(WriterProperties::builder().build());
    let file = File::create(path).unwrap();
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(schema.unwrap()), properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for leaf in columns.iter().flat_map(|column| &column.leaves) {
        let definitions = Some(leaf.definitions.as_slice()).filter(|levels| !levels.is_empty());
        let repetitions = Some(leaf.repetitions.as_slice()).filter(|levels| !levels.is_empty());
        let mut column = group.next_column().unwrap().unwrap();
        let written = match &leaf.values {
            Values::Texts(texts) => {
                column.typed::<ByteArrayType>().write_batch(texts, definitions, repetitions)
            }
            Values::Truths(truths) => {
                column.typed::<BoolType>().write_batch(truths, definitions, repetitions)
            }
            Values::Ints(ints) => {
                column.typed::<Int32Type>().write_batch(ints, definitions, repetitions)
            }
            Values::Longs(longs) => {
                column.typed::<Int64Type>().write_batch(longs, definitions, repetitions)
            }
            Values::Doubles(doubles) => {
                column.typed::<DoubleType>().write_batch(doubles, definitions, repetitions)
            }
        };
        written.unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

pub fn offline() -> Hub {
    Hub::from_variables(|_| None).with_offline(true)
}

pub fn load(folder: &Path, layout: &Layout) -> spry_data::Result<Dataset> {
    Dataset::load(&offline(), &Source::Directory(folder.to_path_buf()), "test", layout)
}

/// The dataset of one file with these columns.
pub fn read(layout: &Layout, columns: &[Column]) -> spry_data::Result<Dataset> {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("train.parquet"), columns);
    load(folder.path(), layout)
}

pub fn read_texts(layout: &Layout, columns: &[Column]) -> TextDataset {
    match read(layout, columns).unwrap() {
        Dataset::Texts(dataset) => dataset,
        Dataset::Questions(_) => panic!("these are texts"),
    }
}

pub fn read_questions(layout: &Layout, columns: &[Column]) -> QuestionDataset {
    match read(layout, columns).unwrap() {
        Dataset::Questions(dataset) => dataset,
        Dataset::Texts(_) => panic!("these are questions"),
    }
}

/// Checks that reading fails with a message that has all these parts.
pub fn check_fails(layout: &Layout, columns: &[Column], parts: &[&str]) {
    let message = read(layout, columns).unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} does not contain {part:?}");
    }
}

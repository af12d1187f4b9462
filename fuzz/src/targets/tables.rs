//! Small Parquet files to start from.

use std::sync::Arc;

use anyhow::Result;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// How a file is written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Style {
    /// Whether values are compressed, with Zstandard.
    pub(super) is_compressed: bool,
    /// Whether values are written without a dictionary, in pages of the second version.
    pub(super) is_plain: bool,
}

/// A leaf: its values, where they are missing, and where lists begin.
pub(super) struct Leaf {
    values: Values,
    definitions: Vec<i16>,
    repetitions: Option<Vec<i16>>,
}

enum Values {
    Texts(Vec<ByteArray>),
    Ints(Vec<i32>),
    Longs(Vec<i64>),
}

/// A column of texts that may be missing.
pub(super) fn texts(texts: &[Option<String>]) -> Leaf {
    let values = texts.iter().flatten().map(|text| ByteArray::from(text.as_str())).collect();
    let definitions = texts.iter().map(|text| i16::from(text.is_some())).collect();
    Leaf { values: Values::Texts(values), definitions, repetitions: None }
}

/// A column of numbers.
pub(super) fn longs(numbers: &[i64]) -> Leaf {
    let (values, definitions) = (Values::Longs(numbers.to_vec()), vec![1; numbers.len()]);
    Leaf { values, definitions, repetitions: None }
}

/// The levels of lists within an optional group, such as SQuAD's answers: one list for each row.
fn levels<T>(rows: &[Vec<T>]) -> (Vec<i16>, Vec<i16>) {
    let (mut definitions, mut repetitions) = (Vec::new(), Vec::new());
    for row in rows {
        for index in 0..row.len() {
            // The group, the list, its repeated part and the element are there.
            definitions.push(4);
            repetitions.push(i16::from(index > 0));
        }
        if row.is_empty() {
            definitions.push(2);
            repetitions.push(0);
        }
    }
    (definitions, repetitions)
}

/// The two leaves of SQuAD's answers.
pub(super) fn answers(texts: &[Vec<String>], starts: &[Vec<i32>]) -> [Leaf; 2] {
    let bytes = texts.iter().flatten().map(|text| ByteArray::from(text.as_str())).collect();
    let leaf = |values, (definitions, repetitions)| Leaf {
        values,
        definitions,
        repetitions: Some(repetitions),
    };
    [leaf(Values::Texts(bytes), levels(texts)), leaf(Values::Ints(starts.concat()), levels(starts))]
}

/// The schema of a column of texts.
pub(super) fn text_column(name: &str) -> String {
    format!("OPTIONAL BYTE_ARRAY {name} (UTF8);")
}

/// The schema of SQuAD's answers.
pub(super) fn answers_column() -> String {
    let list = |name: &str, element: &str| {
        format!("OPTIONAL group {name} (LIST) {{ REPEATED group list {{ OPTIONAL {element}; }} }}")
    };
    let (text, start) = ("BYTE_ARRAY element (UTF8)", "INT32 element");
    format!("OPTIONAL group answers {{ {} {} }}", list("text", text), list("answer_start", start))
}

/// A file of one row group.
pub(super) fn file(columns: &[String], leaves: &[Leaf], style: Style) -> Result<Vec<u8>> {
    let schema = parse_message_type(&format!("message schema {{ {} }}", columns.join(" ")))?;
    let mut properties = WriterProperties::builder().set_created_by("fuzz".to_string());
    if style.is_compressed {
        properties = properties.set_compression(Compression::ZSTD(Default::default()));
    }
    if style.is_plain {
        properties =
            properties.set_dictionary_enabled(false).set_writer_version(WriterVersion::PARQUET_2_0);
    }
    let mut bytes = Vec::new();
    let properties = Arc::new(properties.build());
    let mut writer = SerializedFileWriter::new(&mut bytes, Arc::new(schema), properties)?;
    let mut group = writer.next_row_group()?;
    for leaf in leaves {
        let Some(mut column) = group.next_column()? else { break };
        let (definitions, repetitions) = (Some(&leaf.definitions[..]), leaf.repetitions.as_deref());
        match &leaf.values {
            Values::Texts(values) => {
                column.typed::<ByteArrayType>().write_batch(values, definitions, repetitions)?
            }
            Values::Ints(values) => {
                column.typed::<Int32Type>().write_batch(values, definitions, repetitions)?
            }
            Values::Longs(values) => {
                column.typed::<Int64Type>().write_batch(values, definitions, repetitions)?
            }
        };
        column.close()?;
    }
    group.close()?;
    writer.close()?;
    Ok(bytes)
}

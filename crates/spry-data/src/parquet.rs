//! Columns of Parquet files.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

use crate::{Answer, Error, Result};

/// Rows of the named columns, in the order of the names.
///
/// Reading stops at the first row that `read` rejects.
pub(crate) fn read_rows(
    path: &Path,
    columns: &[&str],
    read: impl FnMut(usize, Vec<Field>) -> Result<()>,
) -> Result<()> {
    // The parquet crate checks headers, but panics on some kinds of damage in the data pages.
    catch_unwind(AssertUnwindSafe(|| try_read_rows(path, columns, read))).unwrap_or_else(|_| {
        let reason = "its data is damaged".to_string();
        Err(Error::Parquet { path: path.to_path_buf(), reason })
    })
}

fn try_read_rows(
    path: &Path,
    columns: &[&str],
    mut read: impl FnMut(usize, Vec<Field>) -> Result<()>,
) -> Result<()> {
    let broken = |error: ParquetError| Error::Parquet {
        path: path.to_path_buf(),
        reason: error.to_string(),
    };
    let file = File::open(path).map_err(Error::io(path))?;
    let reader = SerializedFileReader::new(file).map_err(broken)?;
    let schema = reader.metadata().file_metadata().schema();
    let mut fields = Vec::new();
    for column in columns {
        let field = schema.get_fields().iter().find(|field| field.name() == *column);
        let Some(field) = field else {
            let available: Vec<&str> = schema.get_fields().iter().map(|f| f.name()).collect();
            return Err(Error::MissingColumn {
                path: path.to_path_buf(),
                column: column.to_string(),
                available: available.join(", "),
            });
        };
        fields.push(field.clone());
    }
    let projection =
        Type::group_type_builder(schema.name()).with_fields(fields).build().map_err(broken)?;
    let rows = reader.get_row_iter(Some(projection)).map_err(broken)?;
    for (index, row) in rows.enumerate() {
        let row: Row = row.map_err(broken)?;
        read(index, row.into_columns().into_iter().map(|(_, field)| field).collect())?;
    }
    Ok(())
}

/// A value for a message: its beginning, if it is long.
pub(crate) fn shortened(value: &str) -> String {
    const SHOWN: usize = 60;
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_string(),
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
        other => Err(format!("expected a text, found {}", shortened(&other.to_string()))),
    }
}

/// A whole number, or why the field is none.
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
        Field::Null => Err("the number is missing".to_string()),
        other => Err(format!("expected a whole number, found {}", shortened(&other.to_string()))),
    }
}

/// Where an answer may be, nearest first: some of SQuAD's are said to be off by a character or two.
const NEAR: [i64; 5] = [0, -1, 1, -2, 2];

/// The answers to a question about a context, as SQuAD has them: a group of the lists `text` and
/// `answer_start`, the latter in characters. Empty lists, or none at all, are no answer.
pub(crate) fn answers(field: &Field, context: &str) -> Result<Vec<Answer>, String> {
    let group = match field {
        Field::Group(group) => group,
        Field::Null => return Ok(Vec::new()),
        other => {
            let found = shortened(&other.to_string());
            return Err(format!("expected a group of `text` and `answer_start`, found {found}"));
        }
    };
    let list = |name: &str| -> Result<Vec<Field>, String> {
        let column = group.get_column_iter().find(|(column, _)| *column == name);
        match column {
            Some((_, Field::ListInternal(list))) => Ok(list.elements().to_vec()),
            Some((_, Field::Null)) => Ok(Vec::new()),
            Some((_, other)) => {
                Err(format!("`{name}` is {}, but must be a list", shortened(&other.to_string())))
            }
            None => Err(format!("it has no list `{name}`")),
        }
    };
    let (texts, starts) = (list("text")?, list("answer_start")?);
    if texts.len() != starts.len() {
        return Err(format!("{} texts, but {} starts", texts.len(), starts.len()));
    }
    let answer = |(field, start): (Field, &Field)| {
        let (text, characters) = (text(field)?, integer(start)?);
        let place_of = |character: i64| {
            let character = usize::try_from(character).ok().filter(|_| characters >= 0)?;
            let (place, _) = context.char_indices().nth(character)?;
            context[place..].starts_with(&text).then_some(place)
        };
        match NEAR.iter().find_map(|shift| place_of(characters + shift)) {
            Some(start) => Ok(Answer { text, start }),
            None => {
                let text = shortened(&text);
                Err(format!("`{text}` is not at character {characters} of the context"))
            }
        }
    };
    let answers: Result<Vec<Answer>, String> = texts.into_iter().zip(&starts).map(answer).collect();
    // Some files write no answer as an empty one.
    Ok(answers?.into_iter().filter(|answer| !answer.text.is_empty()).collect())
}

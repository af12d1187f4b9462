//! Answers as a dataset's files have them.

use parquet::record::Field;

use super::Answer;
use crate::guard::quotable;
use crate::parquet_file::{found, integer, text};

/// Where an answer may be, nearest first: some of SQuAD's are said to be off by a character or two.
const NEAR: [i64; 5] = [0, -1, 1, -2, 2];

/// The answers to a question about a context, with starts in characters: SQuAD's group of the lists
/// `text` and `answer_start`, one text with its start, or a list of such groups, as SQuAD's JSON has
/// it. Empty lists, or none at all, are no answer.
pub(crate) fn answers(field: &Field, context: &str) -> Result<Vec<Answer>, String> {
    let groups = match field {
        Field::Null => return Ok(Vec::new()),
        Field::Group(_) => std::slice::from_ref(field),
        Field::ListInternal(list) => list.elements(),
        other => return Err(not_a_group(other)),
    };
    let mut answers = Vec::new();
    for group in groups {
        let (texts, starts) = (values(group, "text")?, values(group, "answer_start")?);
        if texts.len() != starts.len() {
            return Err(format!("{} texts, but {} starts", texts.len(), starts.len()));
        }
        for (field, start) in texts.into_iter().zip(starts) {
            let (text, start) = (text(field)?, integer(&start)?);
            // Some files write no answer as an empty one.
            if !text.is_empty() {
                answers.push(place(text, start, context)?);
            }
        }
    }
    Ok(answers)
}

fn not_a_group(field: &Field) -> String {
    format!("expected a group of `text` and `answer_start`, found {}", found(field))
}

/// What a group has under a name: the elements of a list, or a single value.
fn values(group: &Field, name: &str) -> Result<Vec<Field>, String> {
    let Field::Group(group) = group else { return Err(not_a_group(group)) };
    match group.get_column_iter().find(|(column, _)| *column == name) {
        Some((_, Field::ListInternal(list))) => Ok(list.elements().to_vec()),
        Some((_, Field::Null)) => Ok(Vec::new()),
        Some((_, field @ (Field::Group(_) | Field::MapInternal(_)))) => {
            Err(format!("`{name}` is {}, but must be a list", found(field)))
        }
        Some((_, field)) => Ok(vec![field.clone()]),
        None => Err(format!("it has no list `{name}`")),
    }
}

/// An answer at a character of its context, or near it.
fn place(text: String, character: i64, context: &str) -> Result<Answer, String> {
    let byte_of = |character: i64| {
        let (byte, _) = context.char_indices().nth(usize::try_from(character).ok()?)?;
        context[byte..].starts_with(&text).then_some(byte)
    };
    let near = |shift: &i64| byte_of(character.checked_add(*shift)?);
    if character >= 0
        && let Some(start) = NEAR.iter().find_map(near)
    {
        return Ok(Answer { text, start });
    }
    let hint = match usize::try_from(character) {
        Ok(start) if context.get(start..).is_some_and(|rest| rest.starts_with(&text)) => {
            "; it is at that byte, but starts count characters".to_string()
        }
        Ok(start) if utf16(context, start).is_some_and(|byte| is_at(context, byte, &text)) => {
            "; it is at that UTF-16 unit, but starts count characters".to_string()
        }
        _ => match context.find(&text) {
            Some(byte) => format!("; it is first at {}", context[..byte].chars().count()),
            None => "; the context does not have it".to_string(),
        },
    };
    let text = quotable(&text);
    Err(format!("`{text}` is not at character {character} of the context{hint}"))
}

fn is_at(context: &str, byte: usize, text: &str) -> bool {
    context[byte..].starts_with(text)
}

/// The byte at which a UTF-16 unit begins a character.
fn utf16(context: &str, unit: usize) -> Option<usize> {
    let mut units = 0;
    for (byte, character) in context.char_indices() {
        if units >= unit {
            return (units == unit).then_some(byte);
        }
        units += character.len_utf16();
    }
    None
}

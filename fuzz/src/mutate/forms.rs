//! Changes that keep an input's form: JSON, safetensors, a folder of files.

use serde_json::{Map, Value, json};

use super::bytes::Random;
use super::text::{number, word};
use super::{LONGEST, Source, bytes, step};
use crate::{Shape, bundle};

/// Changes one value of a JSON document; text that is none is changed as text.
pub(super) fn json(random: &mut Random, input: Vec<u8>, source: &Source) -> Vec<u8> {
    let Ok(mut document) = serde_json::from_slice::<Value>(&input) else {
        return step(random, Shape::Text, input, source);
    };
    let count = count(&document);
    let copied = node(&mut document, &mut random.below(count)).cloned().unwrap_or_default();
    // The document itself is seldom worth changing.
    let mut skip = if random.one_in(20) { 0 } else { 1 + random.below(count.max(2) - 1) };
    if let Some(value) = node(&mut document, &mut skip) {
        change(random, value, copied, source);
    }
    let written = match random.one_in(2) {
        true => serde_json::to_vec(&document),
        false => serde_json::to_vec_pretty(&document),
    };
    written.unwrap_or(input)
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(table) => table.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

/// A value within another, by its number.
fn node<'a>(value: &'a mut Value, skip: &mut usize) -> Option<&'a mut Value> {
    if *skip == 0 {
        return Some(value);
    }
    *skip -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| node(item, skip)),
        Value::Object(table) => table.values_mut().find_map(|item| node(item, skip)),
        _ => None,
    }
}

fn change(random: &mut Random, value: &mut Value, copied: Value, source: &Source) {
    match (random.below(10), &mut *value) {
        (0, _) => *value = copied,
        (1, _) => {
            let plain = [json!(null), json!(true), json!(false), json!([]), json!({})];
            *value = random.pick(&plain).cloned().unwrap_or_default();
        }
        (2, _) => *value = word(random, source.words).into(),
        (3, _) => {
            for _ in 0..1 + random.small(200) {
                *value = match random.one_in(2) {
                    true => Value::Array(vec![value.take()]),
                    false => Value::Object(Map::from_iter([("a".to_string(), value.take())])),
                };
            }
        }
        (_, Value::Object(table)) => {
            let keys: Vec<String> = table.keys().cloned().collect();
            let key = random.pick(&keys).cloned().unwrap_or_default();
            match random.below(4) {
                0 => drop(table.remove(&key)),
                1 => drop(table.insert(word(random, source.words), parsed(&number(random)))),
                2 => drop(table.insert(word(random, source.words), copied)),
                _ => {
                    let moved = table.remove(&key).unwrap_or_default();
                    table.insert(word(random, source.words), moved);
                }
            }
        }
        (_, Value::Array(items)) => {
            let at = random.below(items.len() + 1);
            match random.below(4) {
                0 => items.truncate(at),
                1 => items.insert(at, copied),
                2 => {
                    let times = 1 + random.small(1000);
                    let item = random.pick(items).cloned().unwrap_or_default();
                    items.extend(std::iter::repeat_n(item, times));
                }
                _ => items.reverse(),
            }
        }
        (4, Value::String(text)) => {
            let times = (1 + random.small(200)).min(LONGEST / (text.len() + 1));
            *text = text.repeat(times);
        }
        (5..8, Value::String(text)) => {
            let place = random.below(text.chars().count() + 1);
            let at = text.char_indices().nth(place).map_or(text.len(), |(at, _)| at);
            text.insert_str(at, &word(random, source.words));
        }
        _ => *value = parsed(&number(random)),
    }
}

/// What is written as a number, or a text where JSON has no such number.
fn parsed(number: &str) -> Value {
    serde_json::from_str(number).unwrap_or_else(|_| number.into())
}

/// Changes the header or the data of a safetensors file; the length of the header, and mostly of
/// the data, stays right.
pub(super) fn safetensors(random: &mut Random, input: Vec<u8>, source: &Source) -> Vec<u8> {
    let parts = input.split_first_chunk::<8>().and_then(|(length, rest)| {
        rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
    });
    let Some((header, data)) = parts else {
        return bytes::change(random, input, source);
    };
    let (mut header, mut data) = (header.to_vec(), data.to_vec());
    if random.one_in(4) {
        data = bytes::change(random, data, source);
    } else {
        header = json(random, header, source);
    }
    if !random.one_in(4) {
        // Of the length that the header speaks of.
        let offsets = |tensor: &Value| tensor["data_offsets"][1].as_u64();
        let document: Value = serde_json::from_slice(&header).unwrap_or_default();
        let tensors = document.as_object().into_iter().flat_map(|table| table.values());
        let end = tensors.filter_map(offsets).max().unwrap_or(0);
        data.resize((end as usize).min(LONGEST), 0);
    }
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_slice(), data.as_slice()].concat()
}

/// Changes one file of a folder by its form, or which files there are.
pub(super) fn folder(random: &mut Random, input: Vec<u8>, source: &Source) -> Vec<u8> {
    let mut files = bundle::decode(&input);
    if files.is_empty() {
        return bytes::change(random, input, source);
    }
    let at = random.below(files.len());
    match random.below(16) {
        0 => drop(files.remove(at)),
        1 => {
            let other = bundle::decode(random.pick(source.corpus).copied().unwrap_or_default());
            if let Some(file) = random.pick(&other) {
                files.retain(|(name, _)| *name != file.0);
                files.push(file.clone());
            }
        }
        2 => {
            let other = files[random.below(files.len())].1.clone();
            files[at].1 = other;
        }
        _ => {
            let name = files[at].0.as_str();
            let shape = match name.rsplit_once('.').map(|(_, extension)| extension) {
                Some("json") => Shape::Json,
                Some("safetensors") => Shape::Safetensors,
                Some("txt" | "toml") => Shape::Text,
                _ => Shape::Bytes,
            };
            // Other files of the same name, so that parts of them fit.
            let others: Vec<Vec<u8>> = source
                .corpus
                .iter()
                .flat_map(|other| bundle::decode(other))
                .filter_map(|(other, contents)| (other == name).then_some(contents))
                .collect();
            let others: Vec<&[u8]> = others.iter().map(Vec::as_slice).collect();
            let source = Source { words: source.words, corpus: &others };
            files[at].1 = step(random, shape, std::mem::take(&mut files[at].1), &source);
        }
    }
    bundle::encode(&files)
}

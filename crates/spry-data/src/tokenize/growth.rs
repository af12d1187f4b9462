//! How much longer the steps of a `tokenizer.json` make a text before it is cut into tokens.
//!
//! A step that makes a text twice as long is nothing; forty of them, in a file of some kilobytes,
//! are more memory than there is.

use serde_json::{Map, Value};

/// Most that all steps together may make of a byte. Published tokenizers come to 16.
const MOST: usize = 256;

/// Parts of a regular expression with which it may match nothing at all, anywhere in a text.
const MAYBE_EMPTY: [&str; 13] =
    ["?", "*", "^", "$", "|", "{0", "{,", "\\b", "\\B", "\\A", "\\z", "\\Z", "\\G"];

/// Fails for steps that together may make a text too long.
pub(super) fn check(parts: &Map<String, Value>) -> Result<(), String> {
    let mut growth = 1usize;
    let mut steps: Vec<&Value> =
        ["normalizer", "pre_tokenizer"].iter().filter_map(|part| parts.get(*part)).collect();
    while let Some(step) = steps.pop() {
        for list in ["normalizers", "pretokenizers"] {
            steps.extend(step[list].as_array().into_iter().flatten());
        }
        growth = growth.saturating_mul(of_step(step));
        if growth > MOST {
            return Err(format!(
                "the steps of `normalizer` and `pre_tokenizer` may make a text more than {MOST} \
                 times as long"
            ));
        }
    }
    Ok(())
}

/// How many times as long a step may make a text, if it does so again each time.
fn of_step(step: &Value) -> usize {
    let length = |value: &Value| value.as_str().map_or(0, str::len);
    match step["type"].as_str().unwrap_or_default() {
        // A byte becomes a character of one or two.
        "ByteLevel" => 2,
        "Precompiled" => 4,
        "Replace" => {
            let (new, pattern) = (length(&step["content"]), &step["pattern"]);
            let old = match (&pattern["String"], &pattern["Regex"]) {
                (Value::String(text), _) => text.len(),
                (_, Value::String(regex)) => {
                    let may_be_empty = MAYBE_EMPTY.iter().any(|part| regex.contains(part));
                    usize::from(!regex.is_empty() && !may_be_empty)
                }
                _ => 1,
            };
            // Where nothing is replaced, the text stays beside it.
            if old == 0 { 1 + new } else { new.div_ceil(old).max(1) }
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_are_multiplied() {
        let replace = |pattern: Value, content: &str| {
            of_step(&json!({"type": "Replace", "pattern": pattern, "content": content}))
        };
        assert_eq!(replace(json!({"String": " "}), "▁"), 3);
        assert_eq!(replace(json!({"String": "``"}), "\""), 1);
        assert_eq!(replace(json!({"String": ""}), "ab"), 3);
        assert_eq!(replace(json!({"Regex": " {2,}"}), "▁"), 3);
        assert_eq!(replace(json!({"Regex": "\\s*"}), " "), 2);
        let check = |count: usize| {
            let steps = vec![json!({"type": "ByteLevel"}); count];
            let nested = json!({"type": "Sequence", "pretokenizers": steps});
            let parts = json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [nested]}});
            check(parts.as_object().unwrap())
        };
        assert_eq!(check(8), Ok(()));
        assert!(check(9).unwrap_err().contains("256 times as long"));
        assert_eq!(super::check(&Map::new()), Ok(()));
    }
}

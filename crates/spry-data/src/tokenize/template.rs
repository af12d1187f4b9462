//! Templates of a `tokenizer.json`: where special tokens go around a text, or two.
//!
//! The tokenizers crate takes any template. One that names a text twice makes it longer than it was
//! cut to; one that names it often, of a text that is cut into windows, has the windows of each
//! mention with those of each other, which are gigabytes for a few lines.

use serde_json::{Map, Value};

/// Fails for a template that does not name each of its texts once.
pub(super) fn check(parts: &Map<String, Value>) -> Result<(), String> {
    let mut processors: Vec<&Value> = parts.get("post_processor").into_iter().collect();
    while let Some(processor) = processors.pop() {
        processors.extend(processor["processors"].as_array().into_iter().flatten());
        for (kind, expected) in [("single", [1, 0]), ("pair", [1, 1])] {
            let Some(template) = processor[kind].as_array() else { continue };
            for (text, expected) in ["A", "B"].into_iter().zip(expected) {
                let is_text = |piece: &&Value| piece["Sequence"]["id"] == text;
                let count = template.iter().filter(is_text).count();
                if count != expected {
                    return Err(format!(
                        "`post_processor`: the template `{kind}` names the text {text} {count} \
                         times, but must {expected} times"
                    ));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_text_is_named_once() {
        let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
        let special = json!({"SpecialToken": {"id": "[CLS]", "type_id": 0}});
        let check = |single: &[Value], pair: &[Value]| {
            let template = json!({"type": "TemplateProcessing", "single": single, "pair": pair});
            let parts = json!({"post_processor": {"type": "Sequence", "processors": [template]}});
            check(parts.as_object().unwrap())
        };
        let (a, b) = (text("A"), text("B"));
        assert_eq!(check(&[special.clone(), a.clone()], &[a.clone(), special, b.clone()]), Ok(()));
        for (single, pair, expected) in [
            (vec![a.clone(), a.clone()], vec![a.clone(), b.clone()], "`single` names the text A 2"),
            (vec![], vec![a.clone(), b.clone()], "`single` names the text A 0"),
            (vec![b.clone(), a.clone()], vec![a.clone(), b.clone()], "`single` names the text B 1"),
            (vec![a.clone()], vec![a.clone(), a.clone(), b.clone()], "`pair` names the text A 2"),
            (vec![a.clone()], vec![a.clone()], "`pair` names the text B 0"),
        ] {
            let message = check(&single, &pair).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        assert_eq!(super::check(&Map::new()), Ok(()));
    }
}

//! Lists among options: `a`, `a,b` and `1,2` where a list is expected.

use serde_json::Value;

/// Lists that were given without brackets, and may yet have to be read in another way.
#[derive(Default)]
pub(crate) struct Lists(Vec<Unsure>);

/// A list of texts that may be meant as numbers.
struct Unsure {
    path: String,
    values: Value,
}

impl Lists {
    /// After an error at the option `failed`: puts numbers in the place of the texts of a list
    /// there. Returns whether there was one that had not been tried yet.
    pub fn reread(&mut self, table: &mut Value, failed: &str) -> bool {
        // What is inside of a part with a name is reported at the part.
        let concerns = |list: &Unsure| is_at(failed, &list.path) || is_at(&list.path, failed);
        let Some(index) = self.0.iter().position(concerns) else { return false };
        let list = self.0.swap_remove(index);
        let mut place = Some(table);
        for key in list.path.split('.') {
            place = place.and_then(|place| place.get_mut(key));
        }
        let Some(place) = place else { return false };
        *place = list.values;
        true
    }
}

/// Whether a path is `place`, or inside of it.
fn is_at(path: &str, place: &str) -> bool {
    let rest = path.strip_prefix(place);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// What replaces the list `old`: a list as it is, one of the texts between commas, or one of a
/// single value. Numbers replace numbers and texts replace texts. Where the old list is empty,
/// values are texts until that turns out to be wrong.
pub(crate) fn as_list(old: &[Value], new: &Value, path: &str, lists: &mut Lists) -> Value {
    let parts = match new {
        Value::String(text) => split(text),
        Value::Number(_) | Value::Bool(_) => vec![new.to_string()],
        Value::Null | Value::Array(_) | Value::Object(_) => return new.clone(),
    };
    let texts = || parts.iter().map(|part| Value::from(unquoted(part))).collect::<Value>();
    let values = || parts.iter().map(|part| value(part)).collect::<Value>();
    match old {
        [] if values() == texts() => texts(),
        [] => {
            lists.0.push(Unsure { path: path.to_string(), values: values() });
            texts()
        }
        [Value::String(_), ..] => texts(),
        _ => values(),
    }
}

/// The parts between commas that are not inside of quotes. No text has no parts.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut is_quoted, mut is_escaped) = (vec![String::new()], false, false);
    for c in text.chars() {
        match c {
            ',' if !is_quoted => {
                parts.push(String::new());
                continue;
            }
            '"' if !is_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        is_escaped = c == '\\' && !is_escaped;
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    let mut parts: Vec<String> = parts.iter().map(|part| part.trim().to_string()).collect();
    // A comma at the end ends the last part.
    if parts.last().is_some_and(String::is_empty) {
        parts.pop();
    }
    parts
}

/// A number or truth value, else a text.
fn value(part: &str) -> Value {
    match serde_json::from_str(part) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
        _ => unquoted(part).into(),
    }
}

/// A part without quotes around it.
fn unquoted(part: &str) -> String {
    serde_json::from_str::<String>(part).unwrap_or_else(|_| part.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn commas_inside_of_quotes_separate_nothing() {
        assert_eq!(split("a, b,c"), ["a", "b", "c"]);
        assert_eq!(split(r#""a,b",c"#), [r#""a,b""#, "c"]);
        assert_eq!(split(r#""a\",b",c"#), [r#""a\",b""#, "c"]);
        assert_eq!(split("a,"), ["a"]);
        assert_eq!(split(",a"), ["", "a"]);
        assert!(split("").is_empty());
    }

    #[test]
    fn what_was_there_says_what_is_meant() {
        let mut lists = Lists::default();
        let mut list = |old: Value, new: Value| {
            let Value::Array(old) = old else { panic!("{old} is no list") };
            as_list(&old, &new, "a", &mut lists)
        };
        assert_eq!(list(json!([1]), json!(-2)), json!([-2]));
        assert_eq!(list(json!([1]), json!("2,3")), json!([2, 3]));
        assert_eq!(list(json!(["x"]), json!(2)), json!(["2"]));
        assert_eq!(list(json!(["x"]), json!(r#""a,b",c"#)), json!(["a,b", "c"]));
        assert_eq!(list(json!([]), json!("y")), json!(["y"]));
        assert_eq!(list(json!(["x"]), json!("")), json!([]));
        assert_eq!(list(json!([1]), json!([4])), json!([4]));
    }
}

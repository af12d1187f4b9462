//! A head's classes: how many, what they are called, and in which order a dataset has them.

use std::collections::HashMap;

use serde_json::Value;
use spry_data::guard::sayable;

use super::Object;
use crate::Note;
use crate::budget::MAX_LABELS;

/// The number of classes that a configuration names; 2 if it does not say. Where `num_labels` and
/// `id2label` differ, the names count, as in Python.
///
/// # Errors
///
/// Says what is of the wrong type or out of its range.
pub(crate) fn count(json: &Object) -> Result<usize, String> {
    let named = match json.get("id2label") {
        None | Some(Value::Null) => None,
        Some(Value::Object(names)) => Some(names.len()),
        Some(other) => {
            return Err(format!(
                "`id2label` is {}, but must be a table",
                sayable(&other.to_string())
            ));
        }
    };
    let number = match json.get("num_labels") {
        None | Some(Value::Null) => None,
        Some(value) => Some(value.as_u64().ok_or_else(|| {
            format!("`num_labels` is {}, but must be a whole number", sayable(&value.to_string()))
        })?),
    };
    match named.map(|count| count as u64).or(number).unwrap_or(2) {
        0 => Err("it has no labels, but a classifier needs at least one".to_string()),
        count if count > MAX_LABELS as u64 => {
            Err(format!("`num_labels` is {count}, but must be at most {MAX_LABELS}"))
        }
        count => Ok(count as usize),
    }
}

/// Fails for a head that was trained for something else than one class of several.
pub(crate) fn check_problem(json: &Object) -> Result<(), String> {
    match json.get("problem_type") {
        None | Some(Value::Null) => Ok(()),
        Some(value) if value == "single_label_classification" => Ok(()),
        Some(value) => Err(format!(
            "`problem_type` = {} is not supported; supported: single_label_classification; a \
             fresh head can be trained for that",
            sayable(&value.to_string())
        )),
    }
}

/// What a configuration calls its classes, by number; `None` if it does not say, or has the names
/// that stand for none, such as `LABEL_0`.
///
/// # Errors
///
/// If its tables of names contradict each other, or do not count from 0 on.
pub(crate) fn names(json: &Object) -> Result<Option<Vec<String>>, String> {
    let Some(Value::Object(table)) = json.get("id2label") else { return Ok(None) };
    let mut names = vec![None; table.len()];
    for (id, name) in table {
        let place = id.trim().parse().ok().and_then(|id: usize| names.get_mut(id));
        let place = place.ok_or_else(|| {
            let id = sayable(id);
            format!("`id2label` has {} classes, but one of them is number {id}", table.len())
        })?;
        *place = Some(text(name));
    }
    // As many places as names, so that one that is empty means that another was named twice.
    let names: Option<Vec<String>> = names.into_iter().collect();
    let names = names.ok_or("`id2label` has a class twice")?;
    if is_generic(&names) {
        return Ok(None);
    }
    if let Some(Value::Object(numbers)) = json.get("label2id") {
        // Of equal names the first counts.
        let places: HashMap<&str, usize> =
            names.iter().enumerate().rev().map(|(place, name)| (name.as_str(), place)).collect();
        for (name, number) in numbers {
            let number = number.as_u64().and_then(|number| usize::try_from(number).ok());
            // Names that only one of the tables has are left over from another model.
            let of_name = places.get(name.as_str()).copied();
            if let (Some(number), Some(of_name)) = (number, of_name)
                && names.get(number).is_none_or(|other| other != name)
            {
                return Err(format!(
                    "`label2id` says that `{}` is class {number}, `id2label` that it is class \
                     {of_name}",
                    sayable(name)
                ));
            }
        }
    }
    Ok(Some(names))
}

fn text(name: &Value) -> String {
    name.as_str().map_or_else(|| name.to_string(), str::to_string)
}

/// Whether the names are only numbers: `LABEL_0`, `label 0`, `class_0` or `0` for the first, and so
/// on.
fn is_generic(names: &[String]) -> bool {
    let is_number = |(id, name): (usize, &String)| {
        let name = normalised(name);
        let number = name.strip_prefix("label").or(name.strip_prefix("class")).unwrap_or(&name);
        number == id.to_string()
    };
    names.iter().enumerate().all(is_number)
}

/// A name without case, spaces and punctuation.
fn normalised(name: &str) -> String {
    let letters: String =
        name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    if letters.is_empty() { name.trim().to_lowercase() } else { letters }
}

/// How a head's classes become a dataset's.
#[derive(Debug, PartialEq)]
pub(crate) struct Order {
    /// For each class of the dataset its row in the head, if these are not the same.
    pub(crate) rows: Option<Vec<usize>>,
    /// What to tell about it.
    pub(crate) note: Option<Note>,
}

/// Finds a dataset's classes among those of a head.
///
/// # Errors
///
/// If some have the same name in another place, but not all: the head is of other classes, and which
/// is which cannot be told.
pub(crate) fn order(head: &[String], data: &[String]) -> Result<Order, String> {
    let list = |names: &[String]| sayable(&names.join(", "));
    let (heads, datas) = (list(head), list(data));
    if data.is_empty() || is_generic(data) || head.len() != data.len() {
        // Another number of classes is reported where the shapes are compared.
        let note = (!data.is_empty() && head.len() == data.len()).then(|| {
            Note::info(format!(
                "the data's classes have no names; they are taken to be the head's, in its order: \
                 {heads}"
            ))
        });
        return Ok(Order { rows: None, note });
    }
    let normal = |names: &[String]| names.iter().map(|name| normalised(name)).collect::<Vec<_>>();
    let (normal_head, normal_data) = (normal(head), normal(data));
    let mut places: HashMap<&String, Option<usize>> = HashMap::new();
    for (row, name) in normal_head.iter().enumerate() {
        // A name that two classes share tells nothing.
        places.entry(name).and_modify(|place| *place = None).or_insert(Some(row));
    }
    let place = |name: &String| places.get(name).copied().flatten();
    let rows: Vec<Option<usize>> = normal_data.iter().map(place).collect();
    let is_moved = |(class, row): (usize, &Option<usize>)| row.is_some_and(|row| row != class);
    let moved = rows.iter().enumerate().any(is_moved);
    let mut used: Vec<usize> = rows.iter().flatten().copied().collect();
    used.sort_unstable();
    used.dedup();
    match (moved, used.len() == data.len()) {
        (false, true) => Ok(Order { rows: None, note: None }),
        (true, true) => Ok(Order {
            rows: Some(rows.into_iter().flatten().collect()),
            note: Some(Note::info(format!(
                "the checkpoint's head has the data's classes in another order ({heads}); its rows \
                 were put into the data's ({datas})"
            ))),
        }),
        (false, false) => Ok(Order {
            rows: None,
            note: Some(Note::warning(format!(
                "the checkpoint's head calls its classes {heads}, the data {datas}; they are taken \
                 to be the same, in this order; if they are not, make the head afresh"
            ))),
        }),
        (true, false) => Err(format!(
            "its head's classes are {heads}, the data's {datas}: some have the same name in another \
             place, but not all, so that which is which cannot be told; give the data's classes the \
             head's names, or make the head afresh"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names_of(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| name.to_string()).collect()
    }

    fn of(value: serde_json::Value) -> Object {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn many_names_take_no_time_to_compare() {
        let started = std::time::Instant::now();
        let name = |id: usize| format!("class of {id}");
        let table: Object = (0..200_000).map(|id| (id.to_string(), name(id).into())).collect();
        let numbers: Object = (0..200_000).map(|id| (name(id), id.into())).collect();
        let json = of(json!({"id2label": table, "label2id": numbers}));
        let head = names(&json).unwrap().unwrap();
        let data: Vec<String> = head.iter().rev().cloned().collect();
        assert_eq!(order(&head, &data).unwrap().rows.unwrap()[0], 199_999);
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    }

    #[test]
    fn names_are_compared_without_case_and_punctuation() {
        let head = names_of(&["CONTRADICTION", "NEUTRAL", "Not-Entailment"]);
        let data = names_of(&["not_entailment", "neutral", "contradiction"]);
        let order = order(&head, &data).unwrap();
        assert_eq!(order.rows, Some(vec![2, 1, 0]));
        assert!(order.note.unwrap().text().contains("in another order"));
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        let head = names_of(&["negative", "positive"]);
        let same = order(&head, &names_of(&["Negative", "Positive"])).unwrap();
        assert_eq!(same, Order { rows: None, note: None });
        let other = order(&head, &names_of(&["bad", "good"])).unwrap();
        assert!(other.rows.is_none() && other.note.unwrap().is_warning());
        let unnamed = order(&head, &names_of(&["0", "1"])).unwrap();
        assert!(unnamed.rows.is_none() && !unnamed.note.unwrap().is_warning());
        let partly = order(&head, &names_of(&["positive", "other"])).unwrap_err();
        assert!(partly.contains("some have the same name in another place"), "{partly}");
        let twice = order(&names_of(&["a", "A"]), &names_of(&["a", "b"])).unwrap();
        assert!(twice.rows.is_none());
        assert_eq!(order(&head, &[]).unwrap(), Order { rows: None, note: None });
    }

    #[test]
    fn generic_names_are_none() {
        let generic = |list: &[&str]| is_generic(&names_of(list));
        assert!(generic(&["LABEL_0", "LABEL_1"]) && generic(&["0", "1"]));
        assert!(generic(&["class 0", "Class_1"]));
        assert!(!generic(&["LABEL_1", "LABEL_0"]) && !generic(&["a", "b"]));
    }

    #[test]
    fn contradictions_are_found() {
        let count = |value| count(&of(value));
        assert_eq!(count(json!({})), Ok(2));
        assert_eq!(count(json!({"num_labels": 5})), Ok(5));
        assert_eq!(count(json!({"num_labels": 5, "id2label": {"0": "a", "1": "b"}})), Ok(2));
        for value in [json!(1e18), json!(1_000_000_000_000_000_000_u64), json!(-1), json!(0)] {
            assert!(count(json!({"num_labels": value})).is_err(), "{value}");
        }
        let names = |value| names(&of(value));
        assert_eq!(
            names(json!({"id2label": {"1": "b", "0": "a"}})),
            Ok(Some(names_of(&["a", "b"])))
        );
        assert_eq!(names(json!({"id2label": {"1": "LABEL_1", "0": "LABEL_0"}})), Ok(None));
        assert!(names(json!({"id2label": {"1": "a", "2": "b"}})).unwrap_err().contains("number 2"));
        assert!(names(json!({"id2label": {"1": "a", "01": "b"}})).unwrap_err().contains("twice"));
        let other = json!({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 1, "b": 0}});
        assert!(names(other).unwrap_err().contains("`label2id` says that `a` is class 1"));
        let left = json!({"id2label": {"0": "a", "1": "b"}, "label2id": {"LABEL_0": 0, "b": 1}});
        assert!(names(left).is_ok());
    }
}

//! Changing a method's options by name.
//!
//! Options come from files and command lines: how deep they may be nested is bounded, and messages
//! quote no more of them than fits on a line.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use spry_core::{Error, Result};
use std::borrow::Cow;

use crate::Method;
use crate::lists::{Lists, as_list};

/// Most parts that an option's path may have, such as the two of `estimator.k`, and most levels
/// that a table of options may have; no option has as many.
pub const MAX_DEPTH: usize = 16;

/// Most characters of a path or a value that a message quotes.
const QUOTED: usize = 80;

impl Method {
    /// The method with some options changed.
    ///
    /// `options` is a table with the method's own structure, as a configuration file has it; what
    /// it does not mention keeps its value. Naming another estimator, optimizer, exchange
    /// or server rule replaces the old one with its options; the method's own name stays.
    ///
    /// ```
    /// use spry_core::estimators::{EstimatorConfig, ForwardGradient};
    ///
    /// let spry = spry_strategies::find("spry")?;
    /// let options = serde_json::json!({"estimator": {"k": 4}, "head_estimator": "backprop"});
    /// let changed = spry.with_options(&options)?;
    /// let expected = ForwardGradient { k: 4, ..Default::default() };
    /// assert_eq!(changed.estimator, EstimatorConfig::ForwardGradient(expected));
    ///
    /// let error = spry.with_options(&serde_json::json!({"estimator": {"kk": 4}})).unwrap_err();
    /// assert!(error.to_string().contains("`estimator.kk`"));
    /// # Ok::<(), spry_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`changed`]; [`Error::InvalidOption`] for a value outside of its range.
    pub fn with_options(&self, options: &Value) -> Result<Self> {
        if options.get("name").is_some() {
            let known = "all others, and `find` for another method".to_string();
            return Err(Error::UnknownOption { option: "name".to_string(), known });
        }
        let changed: Self = changed(self, options)?;
        changed.validate()?;
        Ok(changed)
    }

    /// As [`with_options`](Self::with_options), for options given as `path=value`, such as
    /// `estimator.k=4` or `server.learning_rate=1e-2`. They are applied together, so their order
    /// only matters where one contradicts another.
    ///
    /// ```
    /// let mezo = spry_strategies::find("fedmezo")?.with_assignments(&["exchange.epochs=1"])?;
    /// assert!(mezo.with_assignments(&["epochs=1"]).is_err());
    /// # Ok::<(), spry_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`with_options`](Self::with_options), and for a text without `=`.
    pub fn with_assignments(&self, assignments: &[impl AsRef<str>]) -> Result<Self> {
        self.with_options(&table_of(assignments)?)
    }
}

/// The table that assignments such as `estimator.k=4` describe.
///
/// A value is a number, boolean, `null`, JSON or quoted text; anything else is text as it stands.
/// Where an option is a list, [`changed`] makes one of `a`, of `a,b` and of `1,2`.
///
/// ```
/// use serde_json::json;
/// use spry_strategies::options::table_of;
///
/// let table = table_of(&["method.estimator.k=4", "seed=1"])?;
/// assert_eq!(table, json!({"method": {"estimator": {"k": 4}}, "seed": 1}));
/// let table = table_of(&["method=spry", "method.batch_size=4"])?;
/// assert_eq!(table, json!({"method": {"name": "spry", "batch_size": 4}}));
/// # Ok::<(), spry_core::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::InvalidOption`] for a text without `=`, or a path of more than [`MAX_DEPTH`] parts.
pub fn table_of(assignments: &[impl AsRef<str>]) -> Result<Value> {
    let mut options = Value::Object(Map::new());
    for assignment in assignments {
        let Some((path, value)) = assignment.as_ref().split_once('=') else {
            return Err(Error::InvalidOption {
                option: "option",
                got: format!("`{}`", shortened(assignment.as_ref(), QUOTED)),
                expected: "of the form path=value, such as estimator.k=4".to_string(),
            });
        };
        if path.split('.').count() > MAX_DEPTH {
            return Err(Error::InvalidOption {
                option: "option",
                got: format!("`{}`", shortened(path, QUOTED)),
                expected: format!("a path of at most {MAX_DEPTH} parts"),
            });
        }
        let value = serde_json::from_str(value.trim())
            .unwrap_or_else(|_| Value::String(value.trim().to_string()));
        let nested = path
            .trim()
            .rsplit('.')
            .fold(value, |value, key| Value::Object(Map::from_iter([(key.to_string(), value)])));
        join(&mut options, nested);
    }
    Ok(options)
}

/// Adds one table to another; where both have a value, the new one counts. A text beside a table is
/// the short form of the part's name.
fn join(table: &mut Value, other: Value) {
    match (table, other) {
        (Value::Object(table), Value::Object(other)) => {
            for (key, value) in other {
                join(table.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Object(table), name @ Value::String(_)) => {
            table.insert(NAME.to_string(), name);
        }
        (table @ Value::String(_), Value::Object(mut other)) => {
            other.entry(NAME).or_insert(table.take());
            *table = Value::Object(other);
        }
        (table, other) => *table = other,
    }
}

/// A value of options with some of them changed: those that the table `options`, of the same
/// structure, mentions. Where a part has a `name` or a `rule` and another one is given, the part is
/// replaced by that kind's defaults before its other options are changed. A text in the place of a
/// part is short for its name: `estimator = "spsa"` for `estimator.name = "spsa"`.
///
/// # Errors
///
/// [`Error::UnknownOption`] for an option that there is not, naming those that there are, and
/// [`Error::UnusableOption`] for a value of the wrong kind; both with the option's whole path.
/// [`Error::InvalidOption`] for options that are no table, or nested too deep.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use spry_strategies::options::{changed, table_of};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Lists {
///     numbers: Vec<i64>,
///     names: Vec<String>,
/// }
///
/// let empty = Lists { numbers: vec![], names: vec![] };
/// let lists = changed(&empty, &table_of(&["numbers=-1,-2", "names=1,two"])?)?;
/// let names = ["1", "two"].map(str::to_string).to_vec();
/// assert_eq!(lists, Lists { numbers: vec![-1, -2], names });
/// # Ok::<(), spry_core::Error>(())
/// ```
pub fn changed<T: Serialize + DeserializeOwned>(value: &T, options: &Value) -> Result<T> {
    let mut table = serde_json::to_value(value).map_err(Error::objective)?;
    if !options.is_object() {
        return Err(Error::InvalidOption {
            option: "options",
            got: shortened(&options.to_string(), QUOTED).into_owned(),
            expected: "a table".to_string(),
        });
    }
    check_depth(options)?;
    let mut options = options.clone();
    expand_short_names(&mut options, &table);
    // First the kinds alone, so that the second time the table has all options of the new ones.
    rename(&mut table, &options);
    let renamed: T = parse(table)?;
    let mut table = serde_json::to_value(renamed).map_err(Error::objective)?;
    // Parts that only the new kinds have.
    expand_short_names(&mut options, &table);
    let mut lists = Lists::default();
    merge(&mut table, &options, "", &mut lists)?;
    // Whether `1` in a list is a number or a text is up to the type.
    loop {
        match parse(table.clone()) {
            Err(Error::UnusableOption { option, .. }) if lists.reread(&mut table, &option) => {}
            parsed => return parsed,
        }
    }
}

fn parse<T: DeserializeOwned>(table: Value) -> Result<T> {
    serde_path_to_error::deserialize(table).map_err(|error| Error::UnusableOption {
        option: shortened(&error.path().to_string(), QUOTED).into_owned(),
        reason: shortened(&error.into_inner().to_string(), 5 * QUOTED).into_owned(),
    })
}

/// Fails for options that are nested deeper than any option is. Without recursion, so that it can
/// be asked before anything that recurses.
///
/// # Errors
///
/// [`Error::InvalidOption`], naming the option at the top.
pub fn check_depth(options: &Value) -> Result<()> {
    let mut open = vec![(options, 0, "options")];
    while let Some((value, depth, top)) = open.pop() {
        if depth > MAX_DEPTH {
            return Err(Error::InvalidOption {
                option: "option",
                got: format!("`{}`", shortened(top, QUOTED)),
                expected: format!("nested at most {MAX_DEPTH} levels deep"),
            });
        }
        match value {
            Value::Array(values) => open.extend(values.iter().map(|value| (value, depth + 1, top))),
            Value::Object(table) => open.extend(table.iter().map(|(key, value)| {
                (value, depth + 1, if depth == 0 { key.as_str() } else { top })
            })),
            _ => {}
        }
    }
    Ok(())
}

/// A text for a message: as it is, or its beginning and its end if it has more than `most`
/// characters.
///
/// ```
/// use spry_strategies::options::shortened;
///
/// assert_eq!(shortened("estimator.k", 80), "estimator.k");
/// assert_eq!(shortened(&"a".repeat(1000), 9), "aaaa…aaaa");
/// ```
pub fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    // No character has more bytes than one.
    if text.len() <= most || text.chars().count() <= most {
        return Cow::Borrowed(text);
    }
    let kept = most.saturating_sub(1);
    let (head, tail) = (kept.div_ceil(2), kept / 2);
    let end = text.char_indices().nth(head).map_or(text.len(), |(at, _)| at);
    let start = text.char_indices().rev().take(tail).last().map_or(text.len(), |(at, _)| at);
    Cow::Owned(format!("{}…{}", &text[..end], &text[start..]))
}

/// The key that says of which kind a part is; its other options depend on it.
const NAME: &str = "name";

/// All such keys.
const KINDS: [&str; 2] = [NAME, "rule"];

/// A text in the place of a part with a name becomes that name.
pub fn expand_short_names(options: &mut Value, table: &Value) {
    let (Value::Object(options), Value::Object(table)) = (options, table) else { return };
    for (key, value) in options {
        let Some(part @ Value::Object(fields)) = table.get(key) else { continue };
        if value.is_string() && fields.contains_key(NAME) {
            *value = Value::Object(Map::from_iter([(NAME.to_string(), value.take())]));
        } else {
            expand_short_names(value, part);
        }
    }
}

/// Replaces parts of another kind than `options` ask for by the bare kind.
fn rename(table: &mut Value, options: &Value) {
    let (Value::Object(table), Value::Object(options)) = (table, options) else { return };
    let renames = |table: &Map<String, Value>, key| {
        options.get(key).is_some_and(|new| table.get(key) != Some(new))
    };
    if renames(table, NAME) {
        *table = kinds_of(options);
        return;
    }
    if table.contains_key("rule") && renames(table, "rule") {
        table.retain(|key, _| key == NAME);
        table.extend(options.get_key_value("rule").map(|(key, rule)| (key.clone(), rule.clone())));
        return;
    }
    for (key, value) in options {
        if let Some(old) = table.get_mut(key) {
            rename(old, value);
        }
    }
}

/// Only the kinds in a table of options, at any depth.
fn kinds_of(options: &Map<String, Value>) -> Map<String, Value> {
    let kinds = options.iter().filter_map(|(key, value)| match value {
        Value::Object(part) => {
            let kinds = kinds_of(part);
            (!kinds.is_empty()).then(|| (key.clone(), Value::Object(kinds)))
        }
        value => KINDS.contains(&key.as_str()).then(|| (key.clone(), value.clone())),
    });
    kinds.collect()
}

/// Lays `options` over `table`; fails, naming the path, for one that is not in the table, or whose
/// value is of another kind than the one there.
fn merge(table: &mut Value, options: &Value, path: &str, lists: &mut Lists) -> Result<()> {
    let (Value::Object(table), Value::Object(options)) = (&mut *table, options) else {
        let options = match &*table {
            Value::Array(old) => as_list(old, options, path, lists),
            _ => options.clone(),
        };
        check_kind(table, &options, path)?;
        *table = options;
        return Ok(());
    };
    for (key, value) in options {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let Some(old) = table.get_mut(key) else {
            let known: Vec<&str> = table.keys().map(String::as_str).collect();
            let option = shortened(&path, QUOTED).into_owned();
            return Err(Error::UnknownOption { option, known: known.join(", ") });
        };
        merge(old, value, &path, lists)?;
    }
    Ok(())
}

/// Fails if a value is of another kind than the one it replaces. An option that has no value now,
/// or is to have none, is left to the type that the table is read into.
fn check_kind(old: &Value, new: &Value, path: &str) -> Result<()> {
    let expected = match (old, new) {
        (Value::Null, _) | (_, Value::Null) => return Ok(()),
        (Value::Bool(_), Value::Bool(_)) | (Value::String(_), Value::String(_)) => return Ok(()),
        (Value::Array(_), Value::Array(_)) => return Ok(()),
        (Value::Number(old), Value::Number(new)) if old.is_f64() || new.is_u64() => return Ok(()),
        (Value::Bool(_), _) => "true or false",
        (Value::String(_), _) => "a text",
        (Value::Array(_), _) => "a list",
        (Value::Object(_), _) => "a table",
        (Value::Number(old), _) if old.is_f64() => "a number",
        (Value::Number(_), _) => "a whole number of at least 0",
    };
    Err(Error::UnusableOption {
        option: path.to_string(),
        reason: format!("{} is not {expected}", shortened(&new.to_string(), QUOTED)),
    })
}

//! From TOML and `key=value` to a [`RunConfig`], and back.
//!
//! TOML has no null: an option without a value is written `"none"`, and read so.

use std::path::Path;

use serde_json::Value;
use spry_core::Error as CoreError;
use spry_data::guard;
use spry_strategies::METHODS;
use spry_strategies::options::{changed, check_depth, expand_short_names, shortened, table_of};

use super::{RunConfig, nesting};
use crate::nearest::{suggestion, suggestion_in};
use crate::{Error, Result};

/// A key that is not stored: it sets the learning rate where the method has its gradient steps.
const LEARNING_RATE: &str = "learning_rate";

/// How an option without a value is written.
const NONE: &str = "none";

/// Most bytes of a configuration file; a thousand class names are some 20,000.
const LARGEST_FILE: u64 = 1 << 20;

/// Most characters of what a user wrote that a message repeats.
pub(crate) const QUOTED: usize = 80;

impl RunConfig {
    /// The configuration with the options of a TOML file changed.
    ///
    /// # Errors
    ///
    /// As [`with_options`](Self::with_options), and if the file cannot be read; the message names
    /// the file.
    pub fn with_file(&self, path: &Path) -> Result<Self> {
        let text = guard::read_text(path, LARGEST_FILE)?;
        self.with_toml(&text).map_err(|error| match error {
            Error::Input(message) => Error::Input(format!("{}: {message}", path.display())),
            other => Error::Input(format!("{}: {}", path.display(), other.line())),
        })
    }

    /// The same for the text of such a file.
    ///
    /// # Errors
    ///
    /// As [`with_options`](Self::with_options), and if the text is not TOML, or nested deeper than
    /// any option is.
    pub fn with_toml(&self, text: &str) -> Result<Self> {
        // Parsing recurses, and so does letting go of what was parsed.
        nesting::check(text)?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
            let line = line.map_or(String::new(), |line| format!("line {line}: "));
            Error::Input(format!("{line}{}", shortened(error.message(), 5 * QUOTED)))
        })?;
        let table = toml::Value::Table(table);
        if let Some(key) = non_finite(&table) {
            let key = shortened(&key, QUOTED);
            return Err(Error::Input(format!("`{key}` is not a finite number")));
        }
        let mut options = serde_json::to_value(table).map_err(CoreError::objective)?;
        none_to_null(&mut options);
        self.with_options(options)
    }

    /// The configuration with options changed that are given as `key=value`, such as
    /// `method.estimator.k=4`.
    ///
    /// # Errors
    ///
    /// As [`with_options`](Self::with_options), and for a text without `=`.
    pub fn with_assignments(&self, assignments: &[impl AsRef<str>]) -> Result<Self> {
        let mut options = table_of(assignments).map_err(explained)?;
        none_to_null(&mut options);
        self.with_options(options)
    }

    /// The configuration with some options changed: a table of the configuration's structure.
    ///
    /// `method = "fedavg"` is short for `method.name = "fedavg"`, and so for `dataset`, `peft` and
    /// the parts of a method. Naming another method or dataset replaces the old one's options by
    /// the new one's defaults. `learning_rate` sets the rate where the method has its gradient
    /// steps: on the clients, or on the server if clients send gradients; a rate that is given by
    /// its own key counts more. Where an option is a list, `"a"`, `"a,b"` and `1` are lists, too.
    ///
    /// # Errors
    ///
    /// [`Error::Input`], naming the key, what is allowed, and the nearest match.
    pub fn with_options(&self, mut options: Value) -> Result<Self> {
        check_depth(&options).map_err(explained)?;
        let table = serde_json::to_value(self).map_err(CoreError::objective)?;
        expand_short_names(&mut options, &table);
        // The model's name has Hugging Face's key.
        if let Some(model) = options.get_mut("model") {
            if model.is_string() {
                *model = serde_json::json!({"name": model.take()});
            }
            if let Some(model) = model.as_object_mut()
                && let Some(name) = model.remove("name")
            {
                model.insert("name_or_path".to_string(), name);
            }
        }
        let mut config = self.clone();
        let rate = options.as_object_mut().and_then(|options| options.remove(LEARNING_RATE));
        if let Some(Value::String(name)) = options.pointer("/method/name")
            && *name != config.method.name
        {
            config.method = find_method(name)?;
        }
        let mut config: Self =
            changed(&config, &options).map_err(|error| match config.elsewhere(&error) {
                Some(error) => error,
                None => explained(error),
            })?;
        if let Some(rate) = rate {
            let Some(rate) = rate.as_f64() else {
                let rate = rate.to_string();
                let rate = shortened(&rate, QUOTED);
                return Err(Error::Input(format!("`{LEARNING_RATE}` is {rate}, not a number")));
            };
            config.method = config.method.with_learning_rate(rate);
            // Once more, for a rate that is given by its whole key.
            config = changed(&config, &options).map_err(explained)?;
        }
        config.check_numbers()?;
        Ok(config)
    }

    /// Fails for a number that TOML cannot have.
    pub(crate) fn check_numbers(&self) -> Result<()> {
        let is_too_large = |value: &Value| value.as_u64().is_some_and(|n| n > i64::MAX as u64);
        match self.flat().iter().find(|(_, value)| is_too_large(value)) {
            None => Ok(()),
            Some((key, value)) => {
                let largest = i64::MAX;
                Err(Error::Input(format!("`{key}` is {value}, but must be at most {largest}")))
            }
        }
    }

    /// An option that is right but at the wrong place, such as `batch_size` for
    /// `method.batch_size`, as an error that says so.
    fn elsewhere(&self, error: &CoreError) -> Option<Error> {
        let CoreError::UnknownOption { option, .. } = error else { return None };
        // Keys end in dots here, so that parts are found like options.
        let end = format!(".{option}.");
        let keys = self.flat().into_keys().map(|key| key + ".");
        let place = |key: String| key.find(&end).map(|at| key[..at].to_string());
        let place = keys.filter_map(place).next()?;
        let message = format!("there is no option `{option}`; did you mean `{place}.{option}`?");
        Some(Error::Input(message))
    }

    /// The whole configuration as TOML, in the order of its documentation.
    ///
    /// # Errors
    ///
    /// None in practice: only if a value could not be written in TOML.
    pub fn to_toml(&self) -> Result<String> {
        let unwritable = |error: toml::ser::Error| Error::Failed(error.to_string());
        let mut table = toml::Table::try_from(self).map_err(unwritable)?;
        // TOML's serialiser drops what has no value; reading it back must not find a default.
        let whole = serde_json::to_value(self).map_err(CoreError::objective)?;
        add_nones(&mut table, &whole);
        toml::to_string(&table).map_err(unwritable)
    }
}

/// The method of a name.
pub(crate) fn find_method(name: &str) -> Result<spry_strategies::Method> {
    spry_strategies::find(name).map_err(|_| {
        let names = || METHODS.iter().map(|spec| spec.name);
        let known: Vec<&str> = names().collect();
        let hint = suggestion(name, names());
        let name = shortened(name, QUOTED);
        Error::Input(format!(
            "`method.name` is `{name}`, but must be one of {}{hint}",
            known.join(", ")
        ))
    })
}

/// An error of an option, with the nearest match.
pub fn explained(error: CoreError) -> Error {
    match error {
        CoreError::UnknownOption { option, known } => {
            let (place, key) = option.rsplit_once('.').unwrap_or(("", &option));
            let mut names: Vec<&str> = known.split(", ").collect();
            if place.is_empty() {
                names.push(LEARNING_RATE);
            }
            let hint = suggestion(key, names.iter().copied());
            let separator = if hint.is_empty() { ";" } else { "" };
            let known = names.join(", ");
            Error::Input(format!(
                "there is no option `{option}`{hint}{separator} there are {known}"
            ))
        }
        CoreError::UnusableOption { option, reason } => {
            let hint = suggestion_in(&reason);
            Error::Input(format!("`{option}` cannot be used: {reason}{hint}"))
        }
        CoreError::InvalidOption { option, got, expected } => {
            let names = expected.strip_prefix("one of ").unwrap_or_default();
            let names = names.split(';').next().unwrap_or_default().split(", ");
            let got = shortened(&got, QUOTED);
            let hint = suggestion(got.trim_matches('`'), names);
            Error::Input(format!("`{option}` is {got}, but must be {expected}{hint}"))
        }
        other => Error::Core(other),
    }
}

/// The key of a number that is none: JSON, and so the rest of this program, has no such numbers.
fn non_finite(value: &toml::Value) -> Option<String> {
    let toml::Value::Table(table) = value else { return None };
    table.iter().find_map(|(key, value)| match value {
        toml::Value::Float(number) if !number.is_finite() => Some(key.clone()),
        value => non_finite(value).map(|rest| format!("{key}.{rest}")),
    })
}

fn none_to_null(value: &mut Value) {
    match value {
        Value::String(text) if text == NONE => *value = Value::Null,
        Value::Object(table) => table.values_mut().for_each(none_to_null),
        _ => {}
    }
}

fn add_nones(table: &mut toml::Table, whole: &Value) {
    let Value::Object(whole) = whole else { return };
    for (key, value) in whole {
        match (table.get_mut(key), value) {
            (None, Value::Null) => {
                table.insert(key.clone(), NONE.into());
            }
            (Some(toml::Value::Table(table)), value) => add_nones(table, value),
            _ => {}
        }
    }
}

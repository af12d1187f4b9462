//! A configuration as a flat list, to see where two differ.

use std::collections::BTreeMap;

use serde_json::Value;

use super::RunConfig;

impl RunConfig {
    /// All options with their whole keys, such as `method.estimator.k`.
    ///
    /// ```
    /// use spry_runner::RunConfig;
    ///
    /// assert_eq!(RunConfig::default().flat()["method.estimator.k"], 1);
    /// ```
    pub fn flat(&self) -> BTreeMap<String, Value> {
        let mut flat = BTreeMap::new();
        // A configuration that was made can be serialised; `with_options` does nothing else.
        let table = serde_json::to_value(self).unwrap_or_default();
        flatten(String::new(), table, &mut flat);
        flat
    }

    /// Keys of the options in which two configurations differ.
    pub fn differing_keys(&self, other: &Self) -> Vec<String> {
        let (own, others) = (self.flat(), other.flat());
        let mut keys: Vec<&String> = own.keys().chain(others.keys()).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter().filter(|key| own.get(*key) != others.get(*key)).cloned().collect()
    }
}

fn flatten(key: String, value: Value, flat: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(table) => {
            for (name, value) in table {
                let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                flatten(key, value, flat);
            }
        }
        value => {
            flat.insert(key, value);
        }
    }
}

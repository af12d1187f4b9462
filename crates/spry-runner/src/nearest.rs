//! "Did you mean …?"

/// How alike two names must be, from 0 to 1, for one to be suggested for the other.
const SIMILAR: f64 = 0.7;

/// The known name that is most like a given one, if any is.
///
/// ```
/// use spry_runner::nearest::nearest;
///
/// assert_eq!(nearest("lerning_rate", ["learning_rate", "beta_1"]), Some("learning_rate"));
/// assert_eq!(nearest("zebra", ["learning_rate", "beta_1"]), None);
/// ```
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(&name, &known.to_lowercase()), known))
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// The same as the end of a sentence: `; did you mean …?`, or nothing.
pub fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map_or(String::new(), |known| format!("; did you mean `{known}`?"))
}

/// The suggestion for serde's message ``unknown variant `x`, expected one of `a`, `b` ``.
pub(crate) fn suggestion_in(message: &str) -> String {
    if !message.starts_with("unknown ") {
        return String::new();
    }
    let mut names = message.split('`').skip(1).step_by(2);
    names.next().map_or(String::new(), |given| suggestion(given, names))
}

//! The options of a tokenizer's files, with what each of them changes.

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::class::Class;
use super::files::{Files, OPTIONS, SPECIAL_TOKENS, TOKENIZER};
use super::keys::KEYS;
use crate::guard::quotable;
use crate::{Error, Result};

/// The special tokens that every class has a place for, in the order in which they are added.
const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The options of a folder.
pub(super) struct Options<'a> {
    files: &'a Files,
    /// `tokenizer_config.json`, with what `special_tokens_map.json` says above it.
    keys: Map<String, Value>,
    /// Special tokens by their keys, in the order in which they are added.
    special: Vec<(String, Token)>,
    /// Special tokens without a key.
    extra: Vec<Token>,
    /// Added tokens by their numbers. Python takes the order and counts anew.
    added: Vec<AddedToken>,
}

/// A token as a file has it: with its properties, or a text alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Text(String),
    Added(AddedToken),
}

impl Token {
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Added(token) => &token.content,
        }
    }
}

impl<'a> Options<'a> {
    /// Reads and checks the options for a class.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] for a key that is not known, or whose value cannot be.
    pub fn read(files: &'a Files, class: Class) -> Result<Self> {
        let mut keys = files.options.clone();
        let has_decoder = keys.contains_key("added_tokens_decoder");
        if !has_decoder {
            for (key, value) in &files.special_tokens {
                let value = match value {
                    Value::Object(token) if key != "extra_special_tokens" => {
                        let mut token = token.clone();
                        token.insert("__type".to_string(), "AddedToken".into());
                        token.insert("special".to_string(), true.into());
                        Value::Object(token)
                    }
                    value => value.clone(),
                };
                keys.insert(key.clone(), value);
            }
        }
        let mut options =
            Self { files, keys, special: Vec::new(), extra: Vec::new(), added: Vec::new() };
        options.check_keys()?;
        options.read_special(class)?;
        options.read_added(has_decoder)?;
        Ok(options)
    }

    fn error(&self, reason: String) -> Error {
        self.files.error(OPTIONS, reason)
    }

    /// An error about the value of a key, in the file that it is from.
    fn error_of(&self, key: &str, reason: String) -> Error {
        let has_decoder = self.keys.contains_key("added_tokens_decoder");
        let is_above = !has_decoder && self.files.special_tokens.contains_key(key);
        self.files.error(if is_above { SPECIAL_TOKENS } else { OPTIONS }, reason)
    }

    fn check_keys(&self) -> Result<()> {
        let is_known = |key: &str| KEYS.iter().any(|(known, _)| *known == key);
        let is_token = |key: &str, value: &Value| {
            let is_text = value.is_null() || value.is_string() || value.get("__type").is_some();
            key.ends_with("_token") && (is_text || NAMED.contains(&key))
        };
        let is_understood = |key: &str, value: &Value| is_known(key) || is_token(key, value);
        if let Some((key, _)) = self.keys.iter().find(|(key, value)| !is_understood(key, value)) {
            let name = quotable(key);
            let reason = format!(
                "`{name}` is not known here; if it changes no token, make a copy of the folder \
                 without it"
            );
            return Err(self.error_of(key, reason));
        }
        let auto = self.keys.get("auto_map");
        let is_code =
            auto.is_some_and(|auto| auto.is_array() || auto.get("AutoTokenizer").is_some());
        if is_code {
            return Err(self.error("`auto_map` asks for Python code of its repository".into()));
        }
        let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
        if self.keys.get("init_inputs").is_some_and(|value| !is_empty(value)) {
            return Err(self.error("`init_inputs` must be empty".into()));
        }
        if let Some(files) = self.keys.get("fast_tokenizer_files") {
            let is_only = |files: &Vec<Value>| files.iter().all(|file| file == TOKENIZER);
            if !files.as_array().is_some_and(is_only) {
                let reason = format!("`fast_tokenizer_files` may name {TOKENIZER} alone");
                return Err(self.error(reason));
            }
        }
        Ok(())
    }

    /// A truth value.
    pub fn truth(&self, key: &str, default: bool) -> Result<bool> {
        match self.keys.get(key) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(other) => {
                let found = quotable(&other.to_string());
                Err(self.error(format!("`{key}` is {found}, but must be true or false")))
            }
        }
    }

    /// A truth value, or none.
    pub fn truth_or_null(&self, key: &str) -> Result<Option<bool>> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.truth(key, false).map(Some),
        }
    }

    /// Whether texts lose their beginnings where they are too long.
    pub fn cuts_left(&self) -> Result<bool> {
        let file = self.files.tokenizer.as_ref();
        let of_file = file.and_then(|file| file.get("truncation")?.get("direction")?.as_str());
        match self.keys.get("truncation_side") {
            None => Ok(of_file == Some("Left")),
            Some(Value::String(side)) if side == "left" || side == "right" => Ok(side == "left"),
            Some(other) => {
                let found = quotable(&other.to_string());
                Err(self.error(format!("`truncation_side` is {found}, but must be left or right")))
            }
        }
    }

    /// Whether the model is told the segment of each token.
    pub fn has_segments(&self, class: Class) -> Result<bool> {
        match self.keys.get("model_input_names") {
            None => Ok(class.has_segments()),
            Some(Value::Array(names)) => Ok(names.iter().any(|name| name == "token_type_ids")),
            Some(_) => Err(self.error("`model_input_names` must be a list of names".into())),
        }
    }

    /// The special token of a key.
    pub fn special(&self, key: &str) -> Option<&str> {
        let found = self.special.iter().find(|(name, _)| name == key);
        found.map(|(_, token)| token.text())
    }

    /// The special token that a class cannot do without.
    pub fn needed(&self, key: &str) -> Result<&str> {
        self.special(key).ok_or_else(|| self.error(format!("`{key}` must be a token")))
    }

    fn read_special(&mut self, class: Class) -> Result<()> {
        let of_class = |key: &str| class.defaults().iter().find(|(name, _)| *name == key);
        let mut special = Vec::new();
        for key in NAMED {
            match self.keys.get(key) {
                Some(Value::Null) => {}
                Some(value) => special.push((key.to_string(), self.token(key, value)?)),
                None => special.extend(
                    of_class(key).map(|(_, text)| (key.to_string(), Token::Text(text.to_string()))),
                ),
            }
        }
        // Tokens of a model's own, such as `image_token`.
        let mut own = |key: &String, value: &Value| -> Result<()> {
            special.push((key.clone(), self.token(key, value)?));
            Ok(())
        };
        for (key, value) in &self.keys {
            let is_own = key.ends_with("_token") && !NAMED.contains(&key.as_str());
            // Others, such as truth values, are options.
            let is_token = value.is_string() || value.get("__type").is_some();
            if is_own && is_token && !KEYS.iter().any(|(known, _)| known == key) {
                own(key, value)?;
            }
        }
        let listed = match self.keys.get("extra_special_tokens") {
            None | Some(Value::Null) => self.keys.get("additional_special_tokens"),
            Some(Value::Array(list)) if list.is_empty() => {
                self.keys.get("additional_special_tokens")
            }
            extra => extra,
        };
        for named in [listed, self.keys.get("model_specific_special_tokens")] {
            if let Some(Value::Object(named)) = named {
                for (key, value) in named {
                    own(key, value)?;
                }
            }
        }
        let mut extra = Vec::new();
        match listed {
            None | Some(Value::Null | Value::Object(_)) => {}
            Some(Value::Array(tokens)) => {
                for token in tokens {
                    extra.push(self.token("extra_special_tokens", token)?);
                }
            }
            Some(_) => {
                return Err(self.error("`additional_special_tokens` must be a list".into()));
            }
        }
        (self.special, self.extra) = (special, extra);
        Ok(())
    }

    fn token(&self, key: &str, value: &Value) -> Result<Token> {
        match value {
            Value::String(text) => Ok(Token::Text(text.clone())),
            // Of the files of older versions some leave the type out.
            Value::Object(token) => {
                Ok(Token::Added(added(token).map_err(|reason| {
                    self.error_of(key, format!("`{}`: {reason}", quotable(key)))
                })?))
            }
            other => {
                let (name, found) = (quotable(key), quotable(&other.to_string()));
                Err(self.error_of(key, format!("`{name}` is {found}, but must be a token")))
            }
        }
    }

    fn read_added(&mut self, has_decoder: bool) -> Result<()> {
        let mut added: std::collections::BTreeMap<u64, AddedToken> = Default::default();
        if has_decoder {
            let Some(Value::Object(tokens)) = self.keys.get("added_tokens_decoder") else {
                return Err(self.error("`added_tokens_decoder` must be an object".into()));
            };
            for (id, token) in tokens {
                let token = match (id.parse(), token.as_object().map(self::added)) {
                    (Ok(id), Some(Ok(token))) => (id, token),
                    (_, Some(Err(reason))) => {
                        let reason = format!("`added_tokens_decoder`: {reason}");
                        return Err(self.error(reason));
                    }
                    _ => {
                        let id = quotable(id);
                        let reason =
                            format!("`added_tokens_decoder`: `{id}` is no number of a token");
                        return Err(self.error(reason));
                    }
                };
                added.insert(token.0, token.1);
            }
        } else {
            for (text, id) in &self.files.added_tokens {
                let Some(id) = id.as_u64() else {
                    let reason = format!("the number of `{}` is none", quotable(text));
                    return Err(self.files.error("added_tokens.json", reason));
                };
                // Those that the class has without being told do not count.
                let listed = ["extra_special_tokens", "additional_special_tokens"];
                let mut told = NAMED.iter().chain(&listed).filter_map(|key| self.keys.get(*key));
                let is_special = told.any(|value| names(value, text));
                added.insert(id, AddedToken::from(text.clone(), is_special));
            }
            let file = self.files.tokenizer.as_ref();
            let tokens = file.and_then(|file| file.get("added_tokens")?.as_array());
            for token in tokens.into_iter().flatten() {
                let read = token.as_object().map(|token| (token.get("id"), self::added(token)));
                match read {
                    Some((Some(id), Ok(token))) if id.is_u64() => {
                        added.insert(id.as_u64().unwrap_or_default(), token);
                    }
                    _ => {
                        let found = quotable(&token.to_string());
                        let reason = format!("`added_tokens` has {found}, which is no token");
                        return Err(self.files.error(TOKENIZER, reason));
                    }
                }
            }
        }
        // A special token that is there with its properties has these.
        for (key, token) in &mut self.special {
            let is_told = self.keys.contains_key(key.as_str()) && NAMED.contains(&key.as_str());
            // The last of equal ones counts.
            let known = added.values().rev().find(|known| known.content == token.text());
            if let (true, Some(known)) = (is_told, known) {
                *token = Token::Added(known.clone());
            }
        }
        self.added = added.into_values().collect();
        Ok(())
    }

    /// The tokens that Python adds to a tokenizer which has some already, in order.
    pub fn to_add(&self, present: &[AddedToken]) -> Vec<AddedToken> {
        let mut adding: Vec<Token> = Vec::new();
        for token in &self.added {
            if !present.contains(token) {
                adding.push(Token::Added(token.clone()));
            }
        }
        let has = |text: &str, adding: &[Token]| {
            present.iter().any(|token| token.content == text)
                || adding.iter().any(|token| token.text() == text)
        };
        let before = adding.clone();
        let special = self.special.iter().map(|(_, token)| token);
        for token in special.chain(&self.extra) {
            if !has(token.text(), &before) && !adding.contains(token) {
                adding.push(token.clone());
            }
        }
        let is_named = |text: &str| self.special.iter().any(|(_, token)| token.text() == text);
        let adding = adding.into_iter().map(|token| match token {
            Token::Text(text) => AddedToken::from(text, true),
            Token::Added(token) => {
                let special = token.special || is_named(&token.content);
                token.special(special)
            }
        });
        adding.collect()
    }
}

/// Whether a value of the options is a token of this text, or a list that has it.
fn names(value: &Value, text: &str) -> bool {
    match value {
        Value::String(value) => value == text,
        Value::Array(values) => values.iter().any(|value| names(value, text)),
        Value::Object(token) => token.get("content").is_some_and(|content| content == text),
        _ => false,
    }
}

/// A token with its properties.
fn added(token: &Map<String, Value>) -> Result<AddedToken, String> {
    let content = token.get("content").and_then(Value::as_str);
    let content = content.ok_or_else(|| "a token without `content`".to_string())?;
    let truth = |key: &str| match token.get(key) {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(_) => Err(format!("`{key}` of `{}` must be true or false", quotable(content))),
    };
    let known = ["content", "single_word", "lstrip", "rstrip", "normalized", "special"];
    let is_known =
        |key: &&String| known.contains(&key.as_str()) || ["__type", "id"].contains(&key.as_str());
    if let Some(key) = token.keys().find(|key| !is_known(key)) {
        return Err(format!("`{}` is no property of a token", quotable(key)));
    }
    let special = truth("special")?.unwrap_or(false);
    Ok(AddedToken::from(content, special)
        .single_word(truth("single_word")?.unwrap_or(false))
        .lstrip(truth("lstrip")?.unwrap_or(false))
        .rstrip(truth("rstrip")?.unwrap_or(false))
        .normalized(truth("normalized")?.unwrap_or(!special)))
}

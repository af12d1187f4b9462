//! What the environment says: the variables that Python's `huggingface_hub` reads, as it reads
//! them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Limits;
use super::address::Address;
use crate::{Error, Result, guard};

/// The hub's own address.
const ENDPOINT: &str = "https://huggingface.co";

/// Longest file with a token, in bytes.
const MAX_TOKEN: u64 = 64 << 10;

/// A variable that cannot be used. It is an error only where its value is needed: a run on local
/// directories needs none.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    variable: &'static str,
    reason: String,
}

impl Problem {
    fn new(variable: &'static str, reason: impl Into<String>) -> Self {
        Self { variable, reason: reason.into() }
    }
}

impl From<&Problem> for Error {
    fn from(problem: &Problem) -> Self {
        Self::Environment { variable: problem.variable, reason: problem.reason.clone() }
    }
}

/// A text that is not shown.
#[derive(Clone)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// What is needed to go online.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) endpoint: Address,
    pub(super) token: Option<Secret>,
    pub(super) limits: Limits,
}

/// The environment's answers.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    pub(super) cache: Result<PathBuf, Problem>,
    pub(super) network: Result<Network, Problem>,
    pub(super) is_offline: bool,
    pub(super) has_symlinks: bool,
}

/// Variables by name.
struct Variables<F>(F);

impl Environment {
    pub(super) fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let variables = Variables(variable);
        let is_on = |name| {
            let value = variables.text(name).ok().flatten().unwrap_or_default();
            ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str())
        };
        Self {
            cache: variables.cache(),
            network: variables.network(is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN")),
            is_offline: is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE"),
            has_symlinks: !is_on("HF_HUB_DISABLE_SYMLINKS"),
        }
    }
}

impl<F: Fn(&str) -> Option<OsString>> Variables<F> {
    /// A variable's value; an empty one counts as none.
    fn text(&self, name: &'static str) -> Result<Option<String>, Problem> {
        match (self.0)(name).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => match value.into_string() {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(Problem::new(name, "its value is not UTF-8 text")),
            },
        }
    }

    /// A variable's value as a path, with `~` and variables in it replaced.
    fn path(&self, name: &'static str) -> Result<Option<PathBuf>, Problem> {
        self.text(name)?.map(|value| self.expand(name, &value).map(PathBuf::from)).transpose()
    }

    fn home(&self) -> Result<Option<String>, Problem> {
        match self.text("HOME")? {
            Some(home) => Ok(Some(home)),
            None => self.text("USERPROFILE"),
        }
    }

    /// As Python's `expandvars(expanduser(value))`.
    fn expand(&self, name: &'static str, value: &str) -> Result<String, Problem> {
        let rest = match value.strip_prefix('~') {
            None => return Ok(self.expand_variables(value)),
            Some(rest) => rest,
        };
        if !rest.is_empty() && !rest.starts_with(std::path::is_separator) {
            let reason =
                "a `~` with a user's name after it is not known here; write the folder out";
            return Err(Problem::new(name, reason));
        }
        let home = self.home()?.ok_or_else(|| {
            Problem::new(name, "its `~` means the home folder, but HOME is not set; write it out")
        })?;
        let expanded = format!("{}{rest}", home.trim_end_matches(std::path::is_separator));
        Ok(self.expand_variables(if expanded.is_empty() { "/" } else { &expanded }))
    }

    /// Replaces `$NAME` and `${NAME}` by the variable's value. Names of unset variables are kept.
    fn expand_variables(&self, value: &str) -> String {
        let mut expanded = String::new();
        let mut rest = value;
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let (name, end) = match after.strip_prefix('{') {
                Some(inside) => match inside.split_once('}') {
                    Some((name, end)) => (name, end),
                    None => ("", after),
                },
                None => after.split_at(after.find(|c| !is_part(c)).unwrap_or(after.len())),
            };
            let found = Some(name).filter(|name| !name.is_empty()).and_then(|name| (self.0)(name));
            match found.and_then(|value| value.into_string().ok()) {
                Some(value) => {
                    expanded.push_str(&value);
                    rest = end;
                }
                None => {
                    expanded.push('$');
                    rest = after;
                }
            }
        }
        expanded + rest
    }

    /// The folder of everything from Hugging Face.
    fn hf_home(&self) -> Result<PathBuf, Problem> {
        if let Some(home) = self.path("HF_HOME")? {
            return Ok(home);
        }
        if let Some(cache) = self.path("XDG_CACHE_HOME")? {
            return Ok(cache.join("huggingface"));
        }
        // A folder that all users share would be no place for what is believed later.
        let home = self.home()?.ok_or_else(|| {
            Problem::new(
                "HF_HOME",
                "it is not set, nor is HOME, so there is no folder for the hub's cache; set HF_HOME",
            )
        })?;
        Ok(Path::new(&home).join(".cache").join("huggingface"))
    }

    fn cache(&self) -> Result<PathBuf, Problem> {
        match (self.path("HF_HUB_CACHE")?, self.path("HUGGINGFACE_HUB_CACHE")?) {
            (Some(cache), _) | (None, Some(cache)) => Ok(cache),
            (None, None) => Ok(self.hf_home()?.join("hub")),
        }
    }

    fn network(&self, is_without_token: bool) -> Result<Network, Problem> {
        let endpoint = self.text("HF_ENDPOINT")?.unwrap_or_else(|| ENDPOINT.to_string());
        let endpoint =
            Address::parse_base(&endpoint).map_err(|reason| Problem::new("HF_ENDPOINT", reason))?;
        let mut limits = Limits::default();
        if let Some(time) = self.seconds("HF_HUB_ETAG_TIMEOUT")? {
            limits.answer = time;
        }
        if let Some(time) = self.seconds("HF_HUB_DOWNLOAD_TIMEOUT")? {
            limits.stall = time;
        }
        let token = if is_without_token { None } else { self.token()? };
        Ok(Network { endpoint, token, limits })
    }

    fn seconds(&self, name: &'static str) -> Result<Option<Duration>, Problem> {
        let Some(value) = self.text(name)? else { return Ok(None) };
        match value.trim().parse::<u64>() {
            // Python takes 0 for the usual time.
            Ok(0) => Ok(None),
            Ok(seconds) if seconds <= 86_400 => Ok(Some(Duration::from_secs(seconds))),
            _ => Err(Problem::new(name, "it must be a whole number of seconds, up to 86400")),
        }
    }

    fn token(&self) -> Result<Option<Secret>, Problem> {
        let given = match self.text("HF_TOKEN")? {
            Some(token) => Some(("HF_TOKEN", token)),
            None => {
                self.text("HUGGING_FACE_HUB_TOKEN")?.map(|token| ("HUGGING_FACE_HUB_TOKEN", token))
            }
        };
        let given = match given {
            Some(given) => Some(given),
            None => self.token_file()?.map(|token| ("HF_TOKEN_PATH", token)),
        };
        let Some((variable, token)) = given else { return Ok(None) };
        let token: String = token.chars().filter(|c| !"\r\n".contains(*c)).collect();
        let token = token.trim();
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Problem::new(variable, "it has characters that no token has"));
        }
        Ok(Some(Secret(token.to_string())).filter(|token| !token.0.is_empty()))
    }

    fn token_file(&self) -> Result<Option<String>, Problem> {
        let path = match self.path("HF_TOKEN_PATH")? {
            Some(path) => path,
            None => match self.hf_home() {
                Ok(home) => home.join("token"),
                // Without a home there is no token; whoever needs the cache is told so.
                Err(_) => return Ok(None),
            },
        };
        match guard::read_text(&path, MAX_TOKEN) {
            Ok(token) => Ok(Some(token)),
            Err(Error::Io { reason, .. }) if is_absent(&reason) => Ok(None),
            Err(error) => Err(Problem::new("HF_TOKEN_PATH", error.to_string())),
        }
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        Environment::read(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    fn reason<T: std::fmt::Debug>(result: Result<T, Problem>) -> String {
        Error::from(&result.unwrap_err()).to_string()
    }

    #[test]
    fn variables_decide_where_the_cache_is() {
        let h = ("HOME", "/h");
        for (variables, expected) in [
            (vec![h], "/h/.cache/huggingface/hub"),
            (vec![h, ("HF_HOME", "/x")], "/x/hub"),
            (vec![h, ("HF_HOME", "/x"), ("HF_HUB_CACHE", "/y")], "/y"),
            (vec![h, ("HUGGINGFACE_HUB_CACHE", "/z")], "/z"),
            (vec![h, ("XDG_CACHE_HOME", "/c")], "/c/huggingface/hub"),
            (vec![h, ("XDG_CACHE_HOME", "~/c")], "/h/c/huggingface/hub"),
            (vec![h, ("HF_HOME", "~/hf")], "/h/hf/hub"),
            (vec![h, ("HF_HOME", "~")], "/h/hub"),
            (vec![h, ("HF_HOME", "$HOME/hf")], "/h/hf/hub"),
            (
                vec![h, ("HF_HOME", "${HOME}x/$A-$NO/${NO}/$"), ("A", "$HOME")],
                "/hx/$HOME-$NO/${NO}/$/hub",
            ),
            (vec![h, ("HF_HUB_CACHE", "~/hf/hub")], "/h/hf/hub"),
            (vec![h, ("HF_HOME", "/x/~/y")], "/x/~/y/hub"),
            (vec![("HF_HUB_CACHE", "/y")], "/y"),
            (vec![h, ("HF_HOME", "")], "/h/.cache/huggingface/hub"),
        ] {
            assert_eq!(read(&variables).cache.unwrap(), Path::new(expected), "{variables:?}");
        }
    }

    #[test]
    fn without_a_home_there_is_no_cache() {
        assert!(reason(read(&[]).cache).contains("set HF_HOME"));
        assert!(reason(read(&[("HF_HOME", "~/x")]).cache).contains("HOME is not set"));
        assert!(reason(read(&[("HOME", "/h"), ("HF_HOME", "~eve/x")]).cache).contains("HF_HOME"));
        // Whoever brings files along can go on.
        assert!(read(&[]).network.is_ok());
    }

    #[test]
    fn tokens_come_from_where_python_takes_them() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "of-home\n").unwrap();
        std::fs::write(folder.path().join("other"), " of-file\r\n").unwrap();
        let (home, other) = (folder.path().display().to_string(), folder.path().join("other"));
        let other = other.display().to_string();
        let token = |variables: &[(&str, &str)]| {
            read(variables).network.unwrap().token.map(|token| token.reveal().to_string())
        };
        let home = ("HF_HOME", home.as_str());
        assert_eq!(token(&[home]).as_deref(), Some("of-home"));
        assert_eq!(token(&[home, ("HF_TOKEN_PATH", &other)]).as_deref(), Some("of-file"));
        assert_eq!(token(&[home, ("HUGGING_FACE_HUB_TOKEN", "old")]).as_deref(), Some("old"));
        let both = [home, ("HUGGING_FACE_HUB_TOKEN", "old"), ("HF_TOKEN", " new\n")];
        assert_eq!(token(&both).as_deref(), Some("new"));
        assert_eq!(token(&[home, ("HF_TOKEN", "a"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        assert_eq!(token(&[("HF_HOME", "/no/such/folder")]), None);

        let bad = reason(read(&[("HF_TOKEN", "hf_se cret")]).network);
        assert!(bad.contains("HF_TOKEN") && !bad.contains("se cret"), "{bad}");
        let shown = format!("{:?}", read(&[("HF_TOKEN", "secret")]));
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn switches_times_and_addresses_are_read_or_refused() {
        for (value, offline) in
            [("1", true), ("TRUE", true), ("on", true), ("Yes", true), ("0", false), ("2", false)]
        {
            assert_eq!(read(&[("HF_HUB_OFFLINE", value)]).is_offline, offline, "{value}");
            assert_eq!(read(&[("TRANSFORMERS_OFFLINE", value)]).is_offline, offline, "{value}");
        }
        let network = |variables: &[(&str, &str)]| read(variables).network;
        let limits = network(&[("HF_HUB_ETAG_TIMEOUT", "3"), ("HF_HUB_DOWNLOAD_TIMEOUT", "5")])
            .unwrap()
            .limits;
        assert_eq!((limits.answer.as_secs(), limits.stall.as_secs()), (3, 5));
        assert!(
            reason(network(&[("HF_HUB_ETAG_TIMEOUT", "soon")])).contains("HF_HUB_ETAG_TIMEOUT")
        );
        let endpoint = network(&[("HF_ENDPOINT", "http://mirror/")]).unwrap().endpoint;
        assert_eq!(endpoint.below("/x").url(), "http://mirror/x");
        let bad = reason(network(&[("HF_ENDPOINT", "user:secret@mirror")]));
        assert!(bad.contains("HF_ENDPOINT") && !bad.contains("secret"), "{bad}");
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_no_text_is_refused_by_name() {
        use std::os::unix::ffi::OsStringExt;
        let environment = Environment::read(|name| {
            (name == "HF_HOME").then(|| OsString::from_vec(b"/x\xff".to_vec()))
        });
        assert!(reason(environment.cache).contains("HF_HOME"));
    }
}

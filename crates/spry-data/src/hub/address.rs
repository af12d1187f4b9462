//! Addresses of the web: where a request goes, and where a redirect leads.

use ureq::http::Uri;

/// An `http` or `https` address.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    is_secure: bool,
    /// `user:password`, as it stands in the address.
    credentials: Option<String>,
    host: String,
    port: Option<u16>,
    /// Path and query, beginning with a slash.
    path: String,
}

impl Address {
    /// # Errors
    ///
    /// What is wrong, without the address, which may have a password.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "it is not a web address")?;
        let is_secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("it does not begin with http:// or https://"),
        };
        let authority = uri.authority().ok_or("it names no host")?;
        let (credentials, rest) = match authority.as_str().rsplit_once('@') {
            Some((credentials, rest)) => (Some(credentials.to_string()), rest),
            None => (None, authority.as_str()),
        };
        let host = authority.host();
        if host.is_empty() {
            return Err("it names no host");
        }
        let port = authority.port_u16();
        if port.is_none() && rest.len() > host.len() + 1 {
            return Err("its port is no number up to 65535");
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            is_secure,
            credentials,
            host: host.to_ascii_lowercase(),
            port,
            path: if path.starts_with('/') { path.to_string() } else { format!("/{path}") },
        })
    }

    /// The same without a slash at its end, for paths to be appended; it has no query.
    ///
    /// # Errors
    ///
    /// What is wrong, as [`parse`](Self::parse).
    pub(super) fn parse_base(text: &str) -> Result<Self, &'static str> {
        let mut base = Self::parse(text)?;
        if base.path.contains('?') {
            return Err("it has a query");
        }
        base.path.truncate(base.path.trim_end_matches('/').len());
        Ok(base)
    }

    /// The address of a path, which begins with a slash, below this one.
    pub(super) fn below(&self, path: &str) -> Self {
        Self { path: format!("{}{path}", self.path), ..self.clone() }
    }

    /// Where a redirect leads. What it says of a user or password is left out; those of this
    /// address stay as long as scheme, host and port do.
    ///
    /// # Errors
    ///
    /// What is wrong with it: another protocol, or one that can be listened to after one that
    /// cannot.
    pub(super) fn join(&self, location: &str) -> Result<Self, &'static str> {
        let location = location.split('#').next().unwrap_or_default();
        let scheme = if self.is_secure { "https" } else { "http" };
        let is_absolute = location.split_once(':').is_some_and(|(scheme, _)| {
            scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        });
        let target = if let Some(rest) = location.strip_prefix("//") {
            Self::parse(&format!("{scheme}://{rest}"))?
        } else if is_absolute {
            Self::parse(location)?
        } else {
            let (folder, _) =
                self.path.split('?').next().unwrap_or("/").rsplit_once('/').unwrap_or_default();
            let path = match location {
                "" => return Err("it is empty"),
                query if query.starts_with('?') => {
                    format!("{}{query}", self.path.split('?').next().unwrap_or("/"))
                }
                path if path.starts_with('/') => path.to_string(),
                path => format!("{folder}/{path}"),
            };
            let path = without_dots(&path);
            Self::parse(&format!("{}{path}", self.origin()))?
        };
        if self.is_secure && !target.is_secure {
            return Err("it leads from https to http");
        }
        let credentials = self.credentials.clone().filter(|_| self.is_same_origin(&target));
        Ok(Self { credentials, ..target })
    }

    /// Whether scheme, host and port are the same.
    pub(super) fn is_same_origin(&self, other: &Self) -> bool {
        self.is_secure == other.is_secure && self.host == other.host && self.port() == other.port()
    }

    fn port(&self) -> u16 {
        self.port.unwrap_or(if self.is_secure { 443 } else { 80 })
    }

    /// Scheme, host and port: what may be shown.
    pub(super) fn origin(&self) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        let port = self.port.map_or(String::new(), |port| format!(":{port}"));
        format!("{scheme}://{}{port}", self.host)
    }

    /// The whole address without user and password.
    pub(super) fn url(&self) -> String {
        format!("{}{}", self.origin(), self.path)
    }

    /// The whole address with user and password, from which the HTTP client makes a header.
    pub(super) fn url_with_credentials(&self) -> String {
        let url = self.url();
        match (&self.credentials, url.split_once("://")) {
            (Some(credentials), Some((scheme, rest))) => format!("{scheme}://{credentials}@{rest}"),
            _ => url,
        }
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.url())
    }
}

/// A path with `.` and `..` resolved, as in RFC 3986, section 5.2.4.
fn without_dots(path: &str) -> String {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (path, String::new()),
    };
    let mut parts: Vec<&str> = Vec::new();
    let last = path.split('/').count() - 1;
    for (index, part) in path.split('/').enumerate().skip(1) {
        match part {
            "." | ".." => {
                if part == ".." {
                    parts.pop();
                }
                if index == last {
                    parts.push("");
                }
            }
            part => parts.push(part),
        }
    }
    format!("/{}{query}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn redirects_are_resolved_against_where_they_came_from() {
        let base = address("https://a.org:8443/x/y?z=1");
        for (location, expected) in [
            ("/p", "https://a.org:8443/p"),
            ("p", "https://a.org:8443/x/p"),
            ("../p?q=../r", "https://a.org:8443/p?q=../r"),
            ("../../../p/.", "https://a.org:8443/p/"),
            ("?q", "https://a.org:8443/x/y?q"),
            ("//b.org/p#f", "https://b.org/p"),
            ("https://u:p@B.org/p?s=t:u", "https://b.org/p?s=t:u"),
            ("https://b.org", "https://b.org/"),
        ] {
            let joined = base.join(location).unwrap();
            assert_eq!(joined.url_with_credentials(), expected);
        }
        for bad in [
            "",
            "#x",
            "http://a.org:8443/p",
            "ftp://a.org/",
            "file:///etc/passwd",
            "javascript:x",
            "https:///p",
            "https://a b/",
        ] {
            assert!(base.join(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let base = address("https://a.org/x");
        for (other, expected) in [
            ("https://A.org:443/y", true),
            ("http://a.org/x", false),
            ("http://a.org:443/x", false),
            ("https://a.org:444/x", false),
            ("https://b.a.org/x", false),
            ("https://a.org.b/x", false),
            ("https://a.org@b.org/x", false),
        ] {
            assert_eq!(base.is_same_origin(&address(other)), expected, "{other}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let base = Address::parse_base("https://user:secret@a.org/hub/").unwrap();
        let below = base.below("/x");
        assert_eq!(below.url_with_credentials(), "https://user:secret@a.org/hub/x");
        assert_eq!(below.join("/y").unwrap().url_with_credentials(), "https://user:secret@a.org/y");
        let away = below.join("https://b.org/y").unwrap();
        assert_eq!(away.join("https://a.org/y").unwrap().url_with_credentials(), "https://a.org/y");
        for shown in [below.url(), below.origin(), format!("{below:?}")] {
            assert!(!shown.contains("secret") && !shown.contains("user"), "{shown}");
        }
        for bad in [
            "a.org",
            "ftp://a.org",
            "http://",
            "https://a.org:99999",
            "https://a.org/?q",
            "https://:80/",
        ] {
            assert!(Address::parse_base(bad).is_err(), "{bad}");
        }
        assert_eq!(Address::parse_base("http://[::1]:80/").unwrap().origin(), "http://[::1]:80");
    }
}

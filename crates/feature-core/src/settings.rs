//! What every backend's settings share: store URLs, their parameters, and secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret;

use crate::error::{Error, Result};
use crate::time::parse_duration;

/// A password or token. Nothing prints it; its memory is overwritten when it goes.
///
/// ```
/// let secret = feature_core::Secret::from("hunter2");
/// assert!(!format!("{secret:?}").contains("hunter2"));
/// assert_eq!(secret.expose(), "hunter2");
/// ```
#[derive(Clone)]
pub struct Secret(secrecy::SecretString);

impl Secret {
    /// The text itself, for handing to a client and for nothing else.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl<S: Into<String>> From<S> for Secret {
    fn from(text: S) -> Self {
        Self(text.into().into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

/// A store's address: `scheme://user:password@host:port,host2:port/path?name=value&…`, or, for a store
/// without servers, `scheme:path?name=value&…`.
///
/// User, password and path are percent-decoded, parameters also turn `+` into a space; a `/`, `?` or `@`
/// in a user or password must be percent-encoded. Neither `Display` nor `Debug` shows the password or the
/// value of a parameter, and no error shows what may be part of a secret.
///
/// ```
/// use feature_core::StoreUrl;
/// let url = StoreUrl::parse("aerospike://app:s%40crat@a:3000,[::1]/features?timeout=20ms")?;
/// assert_eq!(url.scheme(), "aerospike");
/// assert_eq!(url.hosts(), [("a".to_owned(), Some(3000)), ("::1".to_owned(), None)]);
/// assert_eq!(url.password().unwrap().expose(), "s@crat");
/// assert_eq!(url.path(), "features");
/// assert_eq!(url.to_string(), "aerospike://app:***@a:3000,[::1]/features?timeout=…");
/// # Ok::<(), feature_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl {
    scheme: String,
    username: Option<String>,
    password: Option<Secret>,
    hosts: Vec<(String, Option<u16>)>,
    path: String,
    params: BTreeMap<String, Secret>,
}

impl StoreUrl {
    /// Takes a URL apart. Which schemes, parts and parameters make sense is each backend's to say.
    ///
    /// # Errors
    /// `InvalidArgument` that says which part is wrong, without repeating the URL.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::invalid_argument(format!(
                "the store URL has {what}; expected scheme://user:password@host:port/path?name=value or scheme:path"
            ))
        };
        let (scheme, rest) = text.split_once(':').ok_or_else(|| wrong("no scheme"))?;
        let is_scheme = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
        if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(is_scheme) {
            return Err(wrong("no scheme in lowercase letters"));
        }
        // An unescaped `/` or `?` in a password would make the rest of it a path, which is shown.
        if rest
            .strip_prefix("//")
            .and_then(|rest| rest.split_once(['/', '?']))
            .is_some_and(|(_, rest)| rest.contains('@'))
        {
            return Err(wrong(
                "an `@` after the host: write `/`, `?` and `@` in a user or password as %2F, %3F, %40",
            ));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match rest.strip_prefix("//") {
            None => (None, rest),
            Some(rest) => match rest.split_once('/') {
                // Without a host nothing comes between, and the path is absolute.
                Some(("", _)) => (None, rest),
                Some((authority, path)) => (Some(authority), path),
                None => (Some(rest), ""),
            },
        };
        let decode = |part: &str, what: &str| {
            let text = percent_decode_str(part).decode_utf8().map_err(|_| wrong(what))?;
            Ok::<_, Error>(text.into_owned())
        };
        let mut url = Self {
            scheme: scheme.to_owned(),
            username: None,
            password: None,
            hosts: Vec::new(),
            path: decode(path, "a path that is not UTF-8")?,
            params: BTreeMap::new(),
        };
        if let Some(authority) = authority {
            let hosts = match authority.rsplit_once('@') {
                None => authority,
                Some((login, hosts)) => {
                    let (user, password) = login.split_once(':').unwrap_or((login, ""));
                    url.username = Some(decode(user, "a user that is not UTF-8")?).filter(|u| !u.is_empty());
                    url.password = Some(decode(password, "a password that is not UTF-8")?)
                        .filter(|p| !p.is_empty())
                        .map(Secret::from);
                    hosts
                }
            };
            for host in hosts.split(',').filter(|_| !hosts.is_empty()) {
                url.hosts.push(parse_host(host).ok_or_else(|| wrong("a host or port that is none"))?);
            }
        }
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if url.params.insert(name.to_string(), Secret::from(value)).is_some() {
                return Err(wrong(&format!("the parameter `{name}` twice")));
            }
        }
        Ok(url)
    }

    /// What stands before the first colon.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The user's name, decoded.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The password, decoded.
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// Hosts and, where given, ports, in order. An IPv6 address comes without its brackets.
    pub fn hosts(&self) -> &[(String, Option<u16>)] {
        &self.hosts
    }

    /// The path, decoded: after the host without the slash between them; after `scheme:` as it is.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The parameters, to be taken one by one.
    pub fn params(&self) -> Params {
        Params { left: self.params.clone(), known: Vec::new() }
    }
}

fn parse_host(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map(str::parse).transpose().ok()?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme)?;
        if !self.hosts.is_empty() {
            f.write_str("//")?;
            let user = self.username.as_deref().unwrap_or_default();
            match &self.password {
                Some(_) => write!(f, "{user}:***@")?,
                None if !user.is_empty() => write!(f, "{user}@")?,
                None => {}
            }
            for (at, (host, port)) in self.hosts.iter().enumerate() {
                f.write_str(if at > 0 { "," } else { "" })?;
                if host.contains(':') {
                    write!(f, "[{host}]")?;
                } else {
                    f.write_str(host)?;
                }
                port.map_or(Ok(()), |port| write!(f, ":{port}"))?;
            }
            f.write_str(if self.path.is_empty() { "" } else { "/" })?;
        }
        f.write_str(&self.path)?;
        for (at, name) in self.params.keys().enumerate() {
            write!(f, "{}{name}=…", if at == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        Self::parse(s)
    }
}

/// The parameters of a [`StoreUrl`], taken one by one; what is left at the end is an error.
///
/// ```
/// use feature_core::StoreUrl;
/// let mut params = StoreUrl::parse("embedded:a.redb?cache_mb=64&sync=of")?.params();
/// assert_eq!(params.take("cache_mb")?, Some(64));
/// let error = params.finish().unwrap_err();
/// assert_eq!(error.message(), "unknown parameter `sync` in the store URL; known are cache_mb");
/// # Ok::<(), feature_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Params {
    left: BTreeMap<String, Secret>,
    known: Vec<&'static str>,
}

impl Params {
    fn take_text(&mut self, name: &'static str) -> Option<Secret> {
        self.known.push(name);
        self.left.remove(name)
    }

    /// Takes a parameter that is a secret.
    pub fn take_secret(&mut self, name: &'static str) -> Option<Secret> {
        self.take_text(name)
    }

    /// Takes a parameter, parsed.
    ///
    /// # Errors
    /// `InvalidArgument` that names the parameter and what is wrong with it.
    pub fn take<T: FromStr<Err: fmt::Display>>(&mut self, name: &'static str) -> Result<Option<T>> {
        self.take_with(name, |text| text.parse().map_err(|e: T::Err| e.to_string()))
    }

    /// Takes a parameter that is a duration, such as `20ms`.
    ///
    /// # Errors
    /// `InvalidArgument` that names the parameter and what is wrong with it.
    pub fn take_duration(&mut self, name: &'static str) -> Result<Option<Duration>> {
        self.take_with(name, |text| parse_duration(text).map_err(|e| e.message().to_owned()))
    }

    fn take_with<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>> {
        let parsed = self.take_text(name).map(|text| parse(text.expose())).transpose();
        parsed.map_err(|e| Error::invalid_argument(format!("the parameter `{name}` of the store URL: {e}")))
    }

    /// Checks that every parameter was taken.
    ///
    /// # Errors
    /// `InvalidArgument` that names what is unknown and what is known.
    pub fn finish(self) -> Result<()> {
        let Some(unknown) = self.left.keys().next() else { return Ok(()) };
        let known = if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") };
        Err(Error::invalid_argument(format!(
            "unknown parameter `{unknown}` in the store URL; known are {known}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let url = StoreUrl::parse("embedded:/var/lib/my%20store.redb?durability=off").unwrap();
        assert_eq!((url.scheme(), url.path(), url.hosts().len()), ("embedded", "/var/lib/my store.redb", 0));
        let url = StoreUrl::parse("redis://:p%3Ass@localhost/3").unwrap();
        assert_eq!((url.username(), url.path()), (None, "3"));
        assert_eq!(url.password().unwrap().expose(), "p:ss");
        let url = StoreUrl::parse("redis://u:p@ss@h:1").unwrap();
        assert_eq!(
            (url.username(), url.password().unwrap().expose(), url.hosts()),
            (Some("u"), "p@ss", &[("h".to_owned(), Some(1))][..])
        );
        assert_eq!(StoreUrl::parse("memory:").unwrap().to_string(), "memory:");
        assert_eq!(StoreUrl::parse("own+s3-v1.x:y").unwrap().scheme(), "own+s3-v1.x");
        for url in ["embedded:///var/x.redb", "embedded:/var/x.redb"] {
            assert_eq!(StoreUrl::parse(url).unwrap().path(), "/var/x.redb");
        }
    }

    #[test]
    fn nonsense_is_refused_without_repeating_secrets() {
        for text in [
            "",
            "redis",
            "://h",
            "Re:x",
            "2x:y",
            "x\u{e9}:y",
            "redis://h:x",
            "redis://h,:1",
            "redis://[::1",
            "r:?a=1&a=2",
            "r:%FF",
        ] {
            assert!(StoreUrl::parse(text).is_err(), "{text}");
        }
        for text in [
            "redis://u:hunter2@h:hunter",
            "redis://u:hunter2@h/?password=hunter2",
            "redis:?a=hunter2&a=1",
            "redis://u:a/hunter2@h",
            "redis://u:hunter2/a@h",
            "redis://u:hunter2?a@h",
            "redis://u:1?hunter2@h",
            "redis://u:hunter2",
        ] {
            let shown = format!("{:?}", StoreUrl::parse(text));
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let mut params = StoreUrl::parse("r:?timeout=hunter2").unwrap().params();
        assert!(params.take_duration("deadline").unwrap().is_none());
        assert!(params.finish().unwrap_err().message().contains("known are deadline"));
    }

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (text, shown) in [
            ("redis://u:p@h:1,[::1]:2/3?a=1&b=2", "redis://u:***@h:1,[::1]:2/3?a=…&b=…"),
            ("redis://:p@h", "redis://:***@h"),
            ("redis://u@h", "redis://u@h"),
            ("redis://h", "redis://h"),
            ("embedded:a.redb?b=1", "embedded:a.redb?b=…"),
        ] {
            let url: StoreUrl = text.parse().unwrap();
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), shown.to_owned()));
        }
    }

    #[test]
    fn secrets_are_equal_if_their_texts_are_and_never_shown() {
        assert!(Secret::from("a") == Secret::from("a") && Secret::from("a") != Secret::from("b"));
        assert_eq!(format!("{:?}", Secret::from("a")), "[secret]");
    }

    #[test]
    fn parameters_are_taken_one_by_one() {
        let mut params = StoreUrl::parse("r:?timeout=20ms&token=t&most=7").unwrap().params();
        assert_eq!(params.take_duration("timeout").unwrap(), Some(Duration::from_millis(20)));
        assert_eq!(params.take_secret("token").unwrap().expose(), "t");
        assert!(params.take_secret("token").is_none());
        assert_eq!(params.take("most").unwrap(), Some(7));
        params.finish().unwrap();
        let unknown = StoreUrl::parse("r:?a=1").unwrap().params().finish().unwrap_err();
        assert!(unknown.message().ends_with("known are none"), "{unknown}");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_url_or_an_error(text in "\\PC*", url in "[a-z]{1,5}:(//)?[a-z:@,0-9\\[\\]%/?&=.]{0,30}") {
            for text in [text, url] {
                let _ = StoreUrl::parse(&text).map(|url| url.to_string());
            }
        }
    }
}

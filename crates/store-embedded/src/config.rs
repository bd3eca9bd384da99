//! Settings.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use feature_core::{Error, Result, StoreUrl, format_duration};

const DEFAULT_INTERVAL: Duration = Duration::from_millis(100);
const MEMORY: &str = ":memory:";

/// When an acknowledged write is safe from a crash. Whatever the setting, a crash of the process or of
/// the machine never damages the file, and never leaves half of a record or of a group of writes: the
/// store opens as it was at some moment, with all writes acknowledged before it and none after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Before it is acknowledged. Neither a crash of the process nor of the machine loses an acknowledged
    /// write. Writes that arrive while the disk is busy share the next sync.
    #[default]
    EachWrite,
    /// At most this long after it is acknowledged. A crash of the process or of the machine loses the
    /// acknowledged writes since the last sync: they exist in the process's memory alone.
    Interval(Duration),
    /// When the store is closed or compacted, and each time some tens of megabytes have been written. A
    /// crash of the process or of the machine loses the acknowledged writes since then.
    Off,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EachWrite => f.write_str("each write"),
            Self::Interval(interval) => write!(f, "every {}", format_duration(*interval)),
            Self::Off => f.write_str("off"),
        }
    }
}

/// How to open an embedded store.
///
/// ```
/// use store_embedded::{Durability, EmbeddedConfig};
/// let url = "embedded:features.redb?durability=interval&interval=50ms&cache_mb=256".parse()?;
/// let config = EmbeddedConfig::from_url(&url)?;
/// assert_eq!(config.durability, Durability::Interval(std::time::Duration::from_millis(50)));
/// assert_eq!(config.cache_bytes, 256 << 20);
/// # Ok::<(), feature_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// The file, created when it does not exist; `None`, the default, is a store in memory, which lives as
    /// long as it is open.
    pub path: Option<PathBuf>,
    /// When an acknowledged write is safe from a crash. Default each write.
    pub durability: Durability,
    /// How much of the store may be kept in memory, in bytes: half as pages of the file, half as records that were
    /// read lately. Default 64 MiB.
    pub cache_bytes: usize,
    /// How often records past their expiry are looked for and removed. Default 60 s.
    pub reclaim_interval: Duration,
    /// Whether opening reads the whole file and verifies every checksum. Without it, damage done to the file
    /// behind the store's back shows when the damaged part is read. Default false.
    pub check_on_open: bool,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            path: None,
            durability: Durability::default(),
            cache_bytes: 64 << 20,
            reclaim_interval: Duration::from_secs(60),
            check_on_open: false,
        }
    }
}

impl EmbeddedConfig {
    /// A file, with the default settings.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), ..Self::default() }
    }

    /// Reads `embedded:PATH`, or `embedded::memory:` for a store in memory. Parameters:
    ///
    /// | | |
    /// |---|---|
    /// | `durability` | `each_write` (default), `interval` or `off` |
    /// | `interval` | with `durability=interval`; default `100ms` |
    /// | `cache_mb` | memory for pages and for records that were read lately, in MiB; default 64 |
    /// | `reclaim_interval` | default `60s` |
    /// | `check_on_open` | `true` or `false` (default) |
    ///
    /// # Errors
    /// `InvalidArgument` for another scheme, a host, no path, and unknown or impossible parameters.
    pub fn from_url(url: &StoreUrl) -> Result<Self> {
        let wrong = |what: String| Err(Error::invalid_argument(what));
        if url.scheme() != "embedded" {
            return wrong(format!("`{}:` is not the scheme of the embedded store: embedded:", url.scheme()));
        }
        if !url.hosts().is_empty() || url.username().is_some() || url.password().is_some() {
            return wrong(format!("`{url}` names a host, the embedded store has none: write embedded:PATH"));
        }
        let path = match url.path() {
            "" => {
                return wrong(
                    "the store URL names no file: write embedded:features.redb, or embedded::memory:"
                        .to_owned(),
                );
            }
            MEMORY => None,
            path => Some(PathBuf::from(path)),
        };
        let defaults = Self::default();
        let mut params = url.params();
        let durability: Option<String> = params.take("durability")?;
        let interval = params.take_duration("interval")?;
        let cache_mb: Option<u32> = params.take("cache_mb")?;
        let reclaim_interval = params.take_duration("reclaim_interval")?;
        let check_on_open = params.take("check_on_open")?;
        params.finish()?;

        let durability = match durability.as_deref() {
            None | Some("each_write") => Durability::EachWrite,
            Some("interval") => Durability::Interval(interval.unwrap_or(DEFAULT_INTERVAL)),
            Some("off") => Durability::Off,
            Some(other) => {
                return wrong(format!(
                    "the parameter `durability` of the store URL is `{other}`; known are each_write, interval, off"
                ));
            }
        };
        if interval.is_some() && !matches!(durability, Durability::Interval(_)) {
            return wrong("the parameter `interval` of the store URL needs durability=interval".to_owned());
        }
        let config = Self {
            path,
            durability,
            cache_bytes: match cache_mb {
                Some(mb) => usize::try_from(u64::from(mb) << 20).unwrap_or(usize::MAX),
                None => defaults.cache_bytes,
            },
            reclaim_interval: reclaim_interval.unwrap_or(defaults.reclaim_interval),
            check_on_open: check_on_open.unwrap_or(defaults.check_on_open),
        };
        config.validate()?;
        Ok(config)
    }

    /// Checks what the types do not rule out.
    pub(crate) fn validate(&self) -> Result<()> {
        let problem = if self.reclaim_interval.is_zero() {
            "the reclaim interval is zero; choose how often expired records are removed, such as 60s"
        } else if self.durability == Durability::Interval(Duration::ZERO) {
            "the durability interval is zero; choose durability for each write instead"
        } else if self.path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            "the path of the store's file is empty"
        } else {
            return Ok(());
        };
        Err(Error::invalid_argument(problem))
    }

    /// How errors and reports name the store.
    pub(crate) fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| MEMORY.to_owned(), |path| path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let ms = Duration::from_millis;
        let file = EmbeddedConfig::file;
        for (url, expected) in [
            ("embedded:features.redb", file("features.redb")),
            ("embedded:/var/lib/my%20store.redb", file("/var/lib/my store.redb")),
            ("embedded::memory:", EmbeddedConfig::default()),
            (
                "embedded:a?durability=interval",
                EmbeddedConfig { durability: Durability::Interval(ms(100)), ..file("a") },
            ),
            (
                "embedded:a?durability=interval&interval=7ms&reclaim_interval=5s",
                EmbeddedConfig {
                    durability: Durability::Interval(ms(7)),
                    reclaim_interval: ms(5_000),
                    ..file("a")
                },
            ),
            (
                "embedded:a?durability=off&cache_mb=0&check_on_open=true",
                EmbeddedConfig {
                    durability: Durability::Off,
                    cache_bytes: 0,
                    check_on_open: true,
                    ..file("a")
                },
            ),
            ("embedded:a?cache_mb=3", EmbeddedConfig { cache_bytes: 3 << 20, ..file("a") }),
            ("embedded:a?durability=each_write", file("a")),
        ] {
            assert_eq!(EmbeddedConfig::from_url(&url.parse().unwrap()).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn wrong_urls_say_what_is_wrong() {
        for (url, problem) in [
            ("redis:a", "`redis:`"),
            ("embedded:", "names no file"),
            ("embedded://host/a", "names a host"),
            ("embedded://user@/a", "names a host"),
            ("embedded://:secret@/a", "names a host"),
            ("embedded:a?durability=maybe", "known are each_write, interval, off"),
            ("embedded:a?durability=off&interval=1s", "needs durability=interval"),
            ("embedded:a?durability=interval&interval=0s", "interval is zero"),
            ("embedded:a?reclaim_interval=0s", "reclaim interval is zero"),
            ("embedded:a?cache_mb=-1", "`cache_mb`"),
            ("embedded:a?check_on_open=perhaps", "`check_on_open`"),
            ("embedded:a?cache=1", "unknown parameter `cache`"),
        ] {
            let error = EmbeddedConfig::from_url(&url.parse().unwrap()).unwrap_err();
            assert_eq!(error.kind(), feature_core::ErrorKind::InvalidArgument, "{url}");
            assert!(error.message().contains(problem), "{url}: {error}");
        }
    }
}

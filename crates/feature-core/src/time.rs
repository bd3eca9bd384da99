//! Instants, lifetimes and the clock.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// An instant: microseconds since 1970-01-01T00:00:00Z, UTC, without leap seconds.
///
/// ```
/// use feature_core::Timestamp;
/// let t: Timestamp = "2013-01-01T05:00:00Z".parse()?;
/// assert_eq!(t.as_micros(), 1_357_016_400_000_000);
/// assert_eq!(t.to_string(), "2013-01-01T05:00:00Z");
/// # Ok::<(), feature_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest instant that can be written down.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest instant that can be written down.
    pub const MAX: Self = Self(i64::MAX);

    /// The instant this many microseconds after (before, when negative) 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This instant moved into the future; stays at [`Timestamp::MAX`] rather than overflow.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// This instant moved into the past; stays at [`Timestamp::MIN`] rather than overflow.
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }

    /// The time from `earlier` to this instant; zero when `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        let micros = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

/// Whole microseconds of a duration, cut off at `i64::MAX` (292,000 years).
fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC; an instant outside the years -9999 to 9999 as its microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(t) => t.fmt(f),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    /// Reads RFC 3339, with a `T` or a space between date and time; without an offset the time is UTC, without
    /// a time it is midnight. Digits finer than microseconds are cut off. Also reads back the `…us` form that
    /// [`Display`](fmt::Display) writes for instants that RFC 3339 cannot express.
    fn from_str(s: &str) -> Result<Self> {
        if let Some(micros) = s.strip_suffix("us").and_then(|digits| digits.parse().ok()) {
            return Ok(Self(micros));
        }
        let utc = |local: jiff::civil::DateTime| jiff::tz::TimeZone::UTC.to_timestamp(local);
        s.parse::<jiff::Timestamp>()
            .or_else(|e| s.parse().and_then(utc).map_err(|_| e))
            .map(|t| Self(t.as_microsecond()))
            .map_err(|e| {
                Error::invalid_argument(format!(
                    "`{s}` is not a time: expected RFC 3339, such as 2013-01-01T05:00:00Z or 2013-01-01 05:00:00"
                ))
                .with_source(e)
            })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How long a written record lives, counted from the moment of the write by the handle's [`Clock`].
///
/// Not to be confused with a *max age*, which counts from a feature's event time and is applied when
/// the feature is read.
///
/// As text: `never`, or a number with a unit of `us`, `ms`, `s`, `m`, `h` or `d`; in a file also a plain
/// number of seconds.
///
/// ```
/// use feature_core::Ttl;
/// assert_eq!("7d".parse::<Ttl>()?, Ttl::from_secs(604_800));
/// assert_eq!("never".parse::<Ttl>()?, Ttl::Never);
/// # Ok::<(), feature_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ttl {
    /// The record stays until it is replaced, deleted or purged.
    #[default]
    Never,
    /// The record is gone this long after the write, to the microsecond. Never zero in a valid write.
    After(Duration),
}

impl Ttl {
    /// A lifetime of this many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self::After(Duration::from_secs(secs))
    }

    /// The instant at which a record written at `now` expires; `None` is never.
    ///
    /// # Errors
    /// `InvalidArgument` for a zero lifetime and for one that reaches beyond the range of [`Timestamp`].
    pub fn expires_at(self, now: Timestamp) -> Result<Option<Timestamp>> {
        let Self::After(lifetime) = self else { return Ok(None) };
        if lifetime < Duration::from_micros(1) {
            return Err(Error::invalid_argument(
                "a TTL must be at least 1 microsecond; use `never` for a record that stays, or delete it",
            ));
        }
        let at = now.saturating_add(lifetime);
        if at == Timestamp::MAX || at <= Timestamp::from_micros(0) {
            return Err(Error::invalid_argument(format!(
                "a TTL of {lifetime:?} from {now} ends outside the range of a timestamp; use `never`"
            )));
        }
        Ok(Some(at))
    }
}

impl From<Duration> for Ttl {
    fn from(lifetime: Duration) -> Self {
        Self::After(lifetime)
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::After(lifetime) => f.write_str(&format_duration(*lifetime)),
        }
    }
}

impl FromStr for Ttl {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        if s == "never" { Ok(Self::Never) } else { parse_duration(s).map(Self::After) }
    }
}

impl Serialize for Ttl {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        match SecondsOrText::deserialize(deserializer)? {
            SecondsOrText::Seconds(secs) => Ok(Self::from_secs(secs)),
            SecondsOrText::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// What a duration may look like in a file.
#[derive(Deserialize)]
#[serde(untagged)]
enum SecondsOrText {
    Seconds(u64),
    Text(String),
}

const UNITS: [(&str, u64); 6] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

/// Reads a duration such as `500ms`, `90s`, `15m`, `24h` or `7d`: a whole number and one unit.
///
/// # Errors
/// `InvalidArgument`, naming the text and the units.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .and_then(|(_, micros)| digits.parse::<u64>().ok()?.checked_mul(*micros))
        .map(Duration::from_micros)
        .ok_or_else(|| {
            Error::invalid_argument(format!(
                "`{text}` is not a duration: expected a whole number and one of us, ms, s, m, h, d, such as 90s"
            ))
        })
}

/// Writes a duration as [`parse_duration`] reads it, in the largest unit that is exact.
pub fn format_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    let (unit, size) =
        UNITS.iter().rev().find(|(_, size)| micros.is_multiple_of(u128::from(*size))).unwrap_or(&UNITS[0]);
    if micros == 0 { "0s".to_owned() } else { format!("{}{unit}", micros / u128::from(*size)) }
}

/// `#[serde(with = "optional_duration")]`: a duration as text, or a whole number of seconds.
pub(crate) mod optional_duration {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        duration.map(format_duration).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Option<Duration>, D::Error> {
        Option::<SecondsOrText>::deserialize(deserializer)?
            .map(|value| match value {
                SecondsOrText::Seconds(secs) => Ok(Duration::from_secs(secs)),
                SecondsOrText::Text(text) => parse_duration(&text).map_err(serde::de::Error::custom),
            })
            .transpose()
    }
}

/// Where the store takes "now" from. Injected, so that expiry can be tested to the microsecond.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The current instant. May stand still; should not run backwards.
    fn now(&self) -> Timestamp;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system's time")]
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_microsecond())
    }
}

/// A clock that moves only when told to. Clones share the same time.
///
/// ```
/// use std::time::Duration;
/// use feature_core::{Clock, ManualClock, Timestamp};
/// let clock = ManualClock::at(Timestamp::from_micros(5));
/// clock.advance(Duration::from_micros(2));
/// assert_eq!(clock.now().as_micros(), 7);
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(now.0)))
    }

    /// Moves the clock to `now`, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }

    /// Moves the clock forwards.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().saturating_add(by));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_timestamps_reads_back() {
        for micros in [0, 1, -1, 1_357_016_400_000_000, 1_357_016_400_000_001, i64::MIN, i64::MAX] {
            let t = Timestamp::from_micros(micros);
            assert_eq!(t.to_string().parse::<Timestamp>().unwrap(), t, "{t}");
            assert_eq!(format!("{t:?}"), t.to_string());
            assert_eq!(serde_json::from_value::<Timestamp>(serde_json::to_value(t).unwrap()).unwrap(), t);
        }
        let offset: Timestamp = "2013-01-01T00:00:00-05:00".parse().unwrap();
        assert_eq!(offset.to_string(), "2013-01-01T05:00:00Z");
    }

    #[test]
    fn a_time_without_an_offset_is_utc_and_a_date_its_midnight() {
        for (text, rfc3339) in [
            ("2024-01-01 12:00:00", "2024-01-01T12:00:00Z"),
            ("2024-01-01T12:00", "2024-01-01T12:00:00Z"),
            ("2024-01-01 12:00:00.123456789", "2024-01-01T12:00:00.123456Z"),
            ("2024-01-01", "2024-01-01T00:00:00Z"),
            ("2024-01-01 12:00:00+00:00", "2024-01-01T12:00:00Z"),
            ("2024-01-01T12:00:00+0000", "2024-01-01T12:00:00Z"),
            ("2024-01-01 12:00:00+02", "2024-01-01T10:00:00Z"),
        ] {
            assert_eq!(text.parse::<Timestamp>().map(|t| t.to_string()).unwrap(), rfc3339, "{text}");
        }
        // Which is the month, which the day? And what has no date, or a zone that may be any, is no instant.
        for text in
            ["01/02/2024", "01/02/2024 12:00", "12:00:00", "2024-13-01", "2024-01-01 12:00 CET", "", "2024"]
        {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_read_back_and_refuse_nonsense() {
        for text in ["1us", "1500us", "20ms", "90s", "15m", "36h", "7d"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["", "7", "d", "-1s", "1.5s", "7 d", "1w", "99999999999999999999s", "9999999999999d", "é"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_ttl_that_cannot_be_kept_is_refused() {
        let now = Timestamp::from_micros(1_000);
        assert_eq!(Ttl::from_secs(1).expires_at(now).unwrap(), Some(Timestamp::from_micros(1_001_000)));
        assert_eq!(Ttl::Never.expires_at(now).unwrap(), None);
        assert!(Ttl::After(Duration::ZERO).expires_at(now).is_err());
        assert!(Ttl::After(Duration::MAX).expires_at(now).is_err());
    }
    #[test]
    fn a_ttl_may_be_as_short_as_a_microsecond_and_as_long_as_there_is_time() {
        let expires_at = |ttl, now| Ttl::After(ttl).expires_at(Timestamp::from_micros(now));
        let micro = Duration::from_micros(1);
        assert_eq!(expires_at(micro, 0).unwrap(), Some(Timestamp::from_micros(1)));
        assert!(expires_at(micro - Duration::from_nanos(1), 0).is_err());
        assert!(expires_at(micro, i64::MAX - 2).is_ok() && expires_at(micro, i64::MAX - 1).is_err());
        assert!(expires_at(micro, -1).is_err() && expires_at(micro, -2).is_err());
        assert_eq!(Ttl::from(micro), Ttl::After(micro));
    }

    #[test]
    fn between_instants_there_is_time_or_none() {
        let t = Timestamp::from_micros;
        assert_eq!((t(7).since(t(2)), t(2).since(t(7))), (Duration::from_micros(5), Duration::ZERO));
        assert_eq!(Timestamp::MAX.since(Timestamp::MIN), Duration::from_micros(u64::MAX));
    }

    #[test]
    fn clocks_tell_the_time() {
        let clock = ManualClock::at(Timestamp::from_micros(5));
        clock.advance(Duration::from_micros(2));
        assert_eq!(clock.now().as_micros(), 7);
        clock.set(Timestamp::from_micros(3));
        assert_eq!(Arc::new(clock.clone()).now(), clock.now());
        assert_eq!(clock.now().as_micros(), 3);
        // The year in which this was written is over.
        assert!(SystemClock.now() > "2026-01-01".parse().unwrap());
    }
}

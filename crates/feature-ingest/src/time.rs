//! Event times as files have them.

use std::fmt;
use std::str::FromStr;

use feature_core::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::TimeZone;

use crate::error::IngestError;

/// The unit of a time that is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds.
    Second,
    /// Milliseconds.
    Millisecond,
    /// Microseconds.
    Microsecond,
    /// Nanoseconds.
    Nanosecond,
}

/// What numbers need to be times.
pub(crate) const NEEDS_UNIT: &str = "numbers are times only with a timestamp unit: s, ms, us or ns";

/// An instant, and whether digits finer than a microsecond were cut off it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instant {
    pub(crate) time: Timestamp,
    pub(crate) cut: bool,
}

impl Instant {
    pub(crate) fn exact(time: Timestamp) -> Self {
        Self { time, cut: false }
    }
}

impl TimeUnit {
    /// The instant so many units after 1970.
    pub(crate) fn instant(self, count: i64) -> Result<Instant, String> {
        let micros = match self {
            Self::Second => count.checked_mul(1_000_000),
            Self::Millisecond => count.checked_mul(1_000),
            Self::Microsecond => Some(count),
            Self::Nanosecond => Some(count.div_euclid(1_000)),
        };
        let cut = self == Self::Nanosecond && count.rem_euclid(1_000) != 0;
        let micros = micros.ok_or_else(|| format!("{count} is beyond the range of times"))?;
        Ok(Instant { time: Timestamp::from_micros(micros), cut })
    }

    /// The same of a number with a fraction, to the nearest microsecond.
    pub(crate) fn instant_of_float(self, count: f64) -> Result<Instant, String> {
        let micros = match self {
            Self::Second => count * 1e6,
            Self::Millisecond => count * 1e3,
            Self::Microsecond => count,
            Self::Nanosecond => count / 1e3,
        };
        // The limits themselves are no floats; what lies just inside is.
        if !(micros > i64::MIN as f64 && micros < i64::MAX as f64) {
            return Err(format!("{count} is beyond the range of times"));
        }
        let time = Timestamp::from_micros(micros.round() as i64);
        // Seconds since 1970 have no digits in a float that are finer than this.
        let cut = matches!(self, Self::Microsecond | Self::Nanosecond) && micros.fract() != 0.0;
        Ok(Instant { time, cut })
    }

    /// The same of a number that is written down.
    pub(crate) fn instant_of_text(self, text: &str) -> Option<Result<Instant, String>> {
        if let Ok(count) = text.parse::<i64>() {
            return Some(self.instant(count));
        }
        let count = text.parse::<f64>().ok().filter(|_| text.bytes().any(|b| b.is_ascii_digit()))?;
        Some(self.instant_of_float(count))
    }
}

impl FromStr for TimeUnit {
    type Err = IngestError;

    fn from_str(name: &str) -> Result<Self, IngestError> {
        match name {
            "s" => Ok(Self::Second),
            "ms" => Ok(Self::Millisecond),
            "us" => Ok(Self::Microsecond),
            "ns" => Ok(Self::Nanosecond),
            other => Err(IngestError::Request(format!(
                "`{other}` is not a unit of time; known are s, ms, us and ns"
            ))),
        }
    }
}

/// A zone for times that state none, by its IANA name (`Europe/Berlin`) or its offset (`+02:00`).
///
/// ```
/// use feature_ingest::Timezone;
/// assert!("Europe/Berlin".parse::<Timezone>().is_ok());
/// assert!("Mars".parse::<Timezone>().is_err());
/// ```
#[derive(Clone, PartialEq)]
pub struct Timezone(Option<TimeZone>);

impl Timezone {
    /// UTC.
    pub const fn utc() -> Self {
        Self(None)
    }

    /// The instant of an RFC 3339 text, whose offset counts if it has one.
    pub(crate) fn instant(&self, text: &str) -> Result<Instant, String> {
        let time = match &self.0 {
            None => text.parse::<Timestamp>(),
            Some(zone) => match local(text) {
                Some(local) => shown(zone, local).map_or_else(|| text.parse(), Ok),
                None => text.parse(),
            },
        };
        let time = time.map_err(|e| e.message().to_owned())?;
        Ok(Instant { time, cut: finer_than_micros(text) })
    }

    /// The instant at which a clock of this zone shows what a clock of UTC shows at `local`.
    pub(crate) fn of_local(&self, local: Timestamp) -> Result<Timestamp, String> {
        let Some(zone) = &self.0 else { return Ok(local) };
        let utc = jiff::Timestamp::from_microsecond(local.as_micros()).ok();
        utc.and_then(|utc| shown(zone, TimeZone::UTC.to_datetime(utc)))
            .ok_or_else(|| format!("{local} is beyond the range of times"))
    }
}

/// A time without an offset.
fn local(text: &str) -> Option<DateTime> {
    if text.parse::<jiff::Timestamp>().is_ok() {
        return None;
    }
    text.parse().ok().or_else(|| Some(text.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight())))
}

/// When a clock of the zone shows this time: where clocks are set back the first of two instants, where they are set forward the later side of the gap.
fn shown(zone: &TimeZone, local: DateTime) -> Option<Timestamp> {
    let instant = zone.to_ambiguous_timestamp(local).compatible().ok()?;
    Some(Timestamp::from_micros(instant.as_microsecond()))
}

/// Whether a time has a digit behind the sixth of its fraction that is not zero.
fn finer_than_micros(text: &str) -> bool {
    let Some((_, fraction)) = text.split_once(['.', ',']) else { return false };
    fraction.bytes().take_while(u8::is_ascii_digit).skip(6).any(|digit| digit != b'0')
}

impl FromStr for Timezone {
    type Err = IngestError;

    fn from_str(name: &str) -> Result<Self, IngestError> {
        if matches!(name, "UTC" | "Z") {
            return Ok(Self::utc());
        }
        DateTimeParser::new().parse_time_zone(name).map(|zone| Self(Some(zone))).map_err(|_| {
            IngestError::Request(format!(
                "`{name}` is not a time zone; expected a name such as Europe/Berlin, or an offset such as +02:00"
            ))
        })
    }
}

impl fmt::Debug for Timezone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("UTC"),
            Some(zone) => f.write_str(zone.iana_name().unwrap_or("offset")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_time_as_number_and_as_text() {
        use TimeUnit as U;
        for (count, unit, micros, cut) in [
            (2, U::Second, 2_000_000, false),
            (2, U::Millisecond, 2_000, false),
            (2, U::Microsecond, 2, false),
            (-1, U::Nanosecond, -1, true),
            (1_999, U::Nanosecond, 1, true),
            (-2_000, U::Nanosecond, -2, false),
        ] {
            let expected = Instant { time: Timestamp::from_micros(micros), cut };
            assert_eq!(unit.instant(count), Ok(expected));
            assert_eq!(unit.instant_of_text(&count.to_string()), Some(Ok(expected)));
        }
        assert!(U::Second.instant(i64::MAX).is_err());
        assert_eq!(U::Second.instant_of_text("never"), None);
        assert_eq!(U::Second.instant_of_text("inf"), None);
    }

    #[test]
    fn seconds_with_a_fraction_are_exact_to_the_microsecond() {
        let exact = Instant::exact(Timestamp::from_micros(1_704_110_400_123_457));
        assert_eq!(TimeUnit::Second.instant_of_float(1_704_110_400.123_457), Ok(exact));
        assert_eq!(TimeUnit::Second.instant_of_text("1704110400.123457"), Some(Ok(exact)));
        for beyond in [f64::NAN, f64::INFINITY, 1e300, -1e13] {
            assert!(TimeUnit::Second.instant_of_float(beyond).is_err(), "{beyond}");
        }
    }

    #[test]
    fn a_zone_counts_where_the_text_has_none() {
        let berlin: Timezone = "Europe/Berlin".parse().unwrap();
        let two: Timezone = "+02:00".parse().unwrap();
        for (zone, text, rfc3339) in [
            (&berlin, "2024-01-01 12:00:00", "2024-01-01T11:00:00Z"),
            (&berlin, "2024-07-01", "2024-06-30T22:00:00Z"),
            (&berlin, "2024-07-01T00:00:00Z", "2024-07-01T00:00:00Z"),
            // Shown twice, and not at all.
            (&berlin, "2024-10-27 02:30:00", "2024-10-27T00:30:00Z"),
            (&berlin, "2024-03-31 02:30:00", "2024-03-31T01:30:00Z"),
            (&two, "2024-01-01 12:00:00", "2024-01-01T10:00:00Z"),
            (&Timezone::utc(), "2024-01-01 12:00:00", "2024-01-01T12:00:00Z"),
        ] {
            assert_eq!(zone.instant(text).unwrap().time.to_string(), rfc3339, "{zone:?} {text}");
        }
        let noon: Timestamp = "2024-01-01T12:00:00Z".parse().unwrap();
        assert_eq!(berlin.of_local(noon).unwrap().to_string(), "2024-01-01T11:00:00Z");
        assert_eq!(Timezone::utc().of_local(noon), Ok(noon));
        assert!(berlin.instant("01/02/2024 12:00").is_err());
    }

    #[test]
    fn digits_behind_the_microsecond_are_noticed() {
        for (text, cut) in [
            ("2024-01-01T00:00:00.123456789Z", true),
            ("2024-01-01T00:00:00.123456000Z", false),
            ("2024-01-01T00:00:00.5", false),
            ("2024-01-01", false),
        ] {
            assert_eq!(Timezone::utc().instant(text).unwrap().cut, cut, "{text}");
        }
    }
}

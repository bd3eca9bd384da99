//! What stands between a store and its callers: `retry`, `hedge`, `circuit`, `limit`, a route's
//! `fallback`, and `migration`.

use std::time::Duration;

use feature_core::format_duration;

use super::reader::{Field, Section};
use crate::migration::MigrationSettings;
use crate::wrappers::{CircuitSettings, FallbackSettings, HedgeSettings, LimitSettings, RetrySettings};

/// The most that a count may be.
const MANY: u64 = 1_000_000;

pub(super) fn retry(field: &Field<'_>) -> Option<RetrySettings> {
    let mut section = field.section()?;
    let mut retry = RetrySettings::default();
    section.set("max_retries", &mut retry.max_retries, |field| field.count(1..=100));
    section.set("min_delay", &mut retry.min_delay, |field| field.duration_above_zero());
    let least = retry.min_delay;
    // Where only the shortest is stated the longest is no shorter.
    retry.max_delay = retry.max_delay.max(least);
    section.set("max_delay", &mut retry.max_delay, |field| field.duration_within(least..=Duration::MAX));
    section.set("max_extra", &mut retry.max_extra, |field| field.number(0.0..=1.0));
    section.finish();
    Some(retry)
}

pub(super) fn hedge(field: &Field<'_>) -> Option<HedgeSettings> {
    let mut section = field.section()?;
    let mut hedge = HedgeSettings::default();
    section.set("after", &mut hedge.after, |field| field.duration_above_zero());
    section.set("max_extra", &mut hedge.max_extra, |field| field.number(0.0..=1.0));
    section.finish();
    Some(hedge)
}

pub(super) fn circuit(field: &Field<'_>) -> Option<CircuitSettings> {
    let mut section = field.section()?;
    let mut circuit = CircuitSettings::default();
    section.set("in_a_row", &mut circuit.in_a_row, |field| field.count(1..=MANY));
    section.set("failure_rate", &mut circuit.failure_rate, |field| field.number(0.01..=1.0));
    section.set("slow", &mut circuit.slow, |field| field.duration_above_zero());
    section.set("probe_every", &mut circuit.probe_every, |field| field.duration_above_zero());
    section.set("probes", &mut circuit.probes, |field| field.count(1..=MANY));
    section.finish();
    Some(circuit)
}

pub(super) fn limit(field: &Field<'_>) -> Option<LimitSettings> {
    let mut section = field.section()?;
    let mut limit = LimitSettings::default();
    section.set("max_in_flight", &mut limit.max_in_flight, |field| field.count(1..=MANY));
    section.set("max_queued", &mut limit.max_queued, |field| field.count(0..=MANY));
    section.finish();
    Some(limit)
}

/// When a fallback is asked.
pub(super) fn fallback(section: &mut Section<'_>) -> FallbackSettings {
    let mut fallback = FallbackSettings::default();
    section.set("after", &mut fallback.after, |field| field.duration_above_zero());
    fallback
}

/// How closely migrations are followed. A write may be under way as long as the deadline lets it.
pub(super) fn migration(field: &Field<'_>, deadline: Duration) -> Option<MigrationSettings> {
    let mut section = field.section()?;
    let mut migration = MigrationSettings::default();
    section.set("lease", &mut migration.lease, |field| field.duration_above_zero());
    let lease = migration.lease;
    migration.refresh = migration.refresh.min(lease / 2);
    section.set("refresh", &mut migration.refresh, |field| {
        let refresh = field.duration_above_zero()?;
        if refresh >= lease {
            field.fail(format!("it must be shorter than the lease, which is {}", format_duration(lease)));
        }
        Some(refresh)
    });
    migration.longest_write = migration.longest_write.max(deadline);
    section.set("longest_write", &mut migration.longest_write, |field| {
        let longest = field.duration_above_zero()?;
        if longest < deadline {
            field.fail(format!(
                "it must not be shorter than the deadline, which is {}",
                format_duration(deadline)
            ));
        }
        Some(longest)
    });
    section.finish();
    Some(migration)
}

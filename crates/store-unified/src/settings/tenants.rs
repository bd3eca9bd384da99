//! `tenants`: what some tenants are, and how much each may do.

use std::num::NonZeroU32;
use std::time::Duration;

use super::reader::{Field, Section};
use super::routes::pattern;
use crate::store::TenantRule;
use crate::wrappers::Quota;

pub(super) fn read(field: &Field<'_>) -> Vec<TenantRule> {
    let mut rules: Vec<TenantRule> = Vec::new();
    let mut lines = Vec::new();
    for item in field.items() {
        let Some(rule) = item.section().and_then(tenant) else { continue };
        if let Some(earlier) = rules.iter().position(|earlier| earlier.tenant.covers(&rule.tenant)) {
            let line: usize = lines[earlier];
            item.fail(format!("it never counts, since the rule of line {line} has all that it is about"));
        }
        lines.push(item.line());
        rules.push(rule);
    }
    rules
}

fn tenant(mut section: Section<'_>) -> Option<TenantRule> {
    let tenant = pattern(&mut section, "tenant");
    let mut class = "default".to_owned();
    section.set("class", &mut class, |field| field.name().map(str::to_owned));
    let quota = section.take("quota").map_or(Some(Quota::default()), |field| quota(&field));
    section.finish();
    Some(TenantRule { tenant: tenant?, class, quota: quota? })
}

fn quota(field: &Field<'_>) -> Option<Quota> {
    let mut section = field.section()?;
    let mut quota = Quota::default();
    for (key, rate) in [
        ("reads_per_s", &mut quota.reads_per_s),
        ("writes_per_s", &mut quota.writes_per_s),
        ("rows_per_s", &mut quota.rows_per_s),
    ] {
        *rate = section
            .take(key)
            .and_then(|field| field.count(1..=u64::from(u32::MAX)))
            .and_then(NonZeroU32::new);
    }
    let longest = Duration::from_secs(86_400);
    section.set("burst", &mut quota.burst, |field| field.duration_within(Duration::from_micros(1)..=longest));
    section.finish();
    Some(quota)
}

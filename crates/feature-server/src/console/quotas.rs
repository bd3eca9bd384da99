//! What tenants may do, and who was over it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use axum::response::Response;
use maud::{Markup, html};
use store_unified::{Pattern, TenantRule};

use super::guard::Visit;
use super::page::{Here, search, table};
use super::paging::Paging;
use crate::auth::Right;
use crate::calls::shown;

/// How many rules or tenants are on a page.
const PAGE: usize = 50;

/// `GET /console/quotas`: of the tenants that the visitor may reach.
pub(super) async fn show(visit: Visit) -> Response {
    let text = visit.query.get("q").to_lowercase();
    let matches = |rule: &&TenantRule| {
        visit.principal.reaches(&rule.tenant)
            && (rule.tenant.to_string().to_lowercase().contains(&text)
                || rule.class.to_lowercase().contains(&text))
    };
    let rules: Vec<&TenantRule> = visit.live.loaded.tenants.iter().filter(matches).collect();
    let mut throttled: BTreeMap<String, u64> = BTreeMap::new();
    for view in visit.live.activity.views(|tenant| visit.may(Right::Read, tenant)) {
        *throttled.entry(view.tenant).or_default() += u64::from(view.whole.throttled);
    }
    throttled.retain(|_, count| *count > 0);
    let mut throttled: Vec<(String, u64)> = throttled.into_iter().collect();
    throttled.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let paging = Paging::new(visit.query.get("page"), rules.len(), PAGE);
    let body = html! {
        h2 { "Over their quota in the last 15 minutes" }
        @if throttled.is_empty() { p { "Nobody, as far as this process knows." } }
        ul {
            @for (tenant, count) in throttled.iter().take(PAGE) { li { code { (shown(tenant)) } ": " (count) @if *count == 1 { " call refused" } @else { " calls refused" } } }
        }
        h2 { "Quotas" }
        (search("/console/quotas", "Tenant or class", visit.query.get("q")))
        (paging.links("/console/quotas", &[("q", visit.query.get("q"))], ["rule for tenants", "rules for tenants"]))
        @if !rules.is_empty() { (quotas(&rules[paging.range()])) }
        p.hint { "Of several rules the first that matches a tenant counts. Each process counts for itself." }
    };
    visit.page(Here::Quotas, "Quotas", &body)
}

fn quotas(rules: &[&TenantRule]) -> Markup {
    let rate =
        |limit: Option<NonZeroU32>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    html! {
        (table("Rules for tenants", &["Tenants", "Class", "Reads/s", "Writes/s", "Rows/s"], &html! {
            @for TenantRule { tenant, class, quota } in rules {
                tr {
                    th scope="row" {
                        (shown(&tenant.to_string()))
                        @if let Pattern::Prefix(_) = tenant { span.hint { " each" } }
                    }
                    td.wrap { (shown(class)) }
                    td.number { (rate(quota.reads_per_s)) }
                    td.number { (rate(quota.writes_per_s)) }
                    td.number { (rate(quota.rows_per_s)) }
                }
            }
        }))
    }
}

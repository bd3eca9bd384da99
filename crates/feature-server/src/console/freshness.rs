//! How old what was served is, by view: what reads have seen, never a scan.

use std::cmp::Ordering;
use std::time::Duration;

use axum::response::Response;
use maud::{Markup, html};

use super::chart::{self, Line, seconds};
use super::format::{age, query};
use super::guard::Visit;
use super::page::{Here, search, table};
use super::paging::Paging;
use super::samples::{Samples, Series};
use crate::activity::{AGES, MINUTES, ViewActivity, quantile};
use crate::auth::Right;
use crate::calls::shown;

/// How many views are on a page.
const PAGE: usize = 50;
/// How many steps make a point of a line of quantiles.
const STRETCH: usize = 12;

/// `GET /console/freshness`.
pub(super) async fn show(visit: Visit) -> Response {
    let text = visit.query.get("q").to_lowercase();
    let mut views = visit.live.activity.views(|tenant| visit.may(Right::Read, tenant));
    views.retain(|view| {
        view.whole.reads > 0 && format!("{} {}", view.tenant, view.view).to_lowercase().contains(&text)
    });
    views.sort_by(|a, b| staleness(&visit, b).partial_cmp(&staleness(&visit, a)).unwrap_or(Ordering::Equal));
    let paging = Paging::new(visit.query.get("page"), views.len(), PAGE);
    let (tenant, name) = (visit.query.get("tenant"), visit.query.get("view"));
    let chosen = views.iter().find(|view| view.tenant == tenant && view.view == name);
    let body = html! {
        (visit.of_this_process())
        div data-live="15" {
            @match chosen {
                Some(view) => (over_time(view)),
                None => (whole(&visit.console.samples())),
            }
            p {
                "The age is the time from the newest event time to the read, of up to ten rows of each read, in the last "
                (MINUTES) " minutes, in this process. Stale views come first: those whose rows were outside their max age, then those "
                "that are nearest to it, then the oldest."
            }
        }
        (search("/console/freshness", "Tenant or view", visit.query.get("q")))
        (paging.links("/console/freshness", &[("q", visit.query.get("q"))], ["view that was read", "views that were read"]))
        @if !views.is_empty() { (by_view(&visit, &views[paging.range()])) }
    };
    visit.page(Here::Freshness, "Freshness", &body)
}

fn median(view: &ViewActivity) -> Option<Duration> {
    quantile(&AGES, &view.whole.ages, 0.5)
}

fn max_age(visit: &Visit, view: &ViewActivity) -> Option<Duration> {
    visit.live.store.registry()?.view(&view.view)?.max_age
}

/// The share of rows outside the max age; how much of the max age the median has used; the median itself.
fn staleness(visit: &Visit, view: &ViewActivity) -> (f64, f64, Duration) {
    let found = f64::from(view.whole.found.max(1));
    let median = median(view).unwrap_or_default();
    let used = max_age(visit, view).map_or(0.0, |most| median.as_secs_f64() / most.as_secs_f64().max(1e-6));
    (f64::from(view.whole.outside) / found, used, median)
}

fn by_view(visit: &Visit, views: &[ViewActivity]) -> Markup {
    let bound = |share: f64, view: &ViewActivity| {
        quantile(&AGES, &view.whole.ages, share).map_or("none".to_owned(), |found| {
            match found == AGES[AGES.len() - 1] {
                true => format!("> {}", age(AGES[AGES.len() - 2])),
                false => format!("≤ {}", age(found)),
            }
        })
    };
    html! {
        (table("Freshness by view", &["Tenant", "Feature view", "Median age", "95 %", "Max age", "Outside", "Absent", "Rows looked at"], &html! {
            @for view in views {
                tr {
                    th scope="row" { (shown(&view.tenant)) }
                    td.wrap { a href={ "/console/freshness?" (query(&[("tenant", &view.tenant), ("view", &view.view)])) } { (shown(&view.view)) } }
                    td { (bound(0.5, view)) }
                    td { (bound(0.95, view)) }
                    td { @if let Some(most) = max_age(visit, view) { (age(most)) } @else { "none" } }
                    td {
                        @if view.whole.outside > 0 { span.status.failed { (view.whole.outside) } } @else { "0" }
                    }
                    td.number { (view.whole.absent) }
                    td.number { (view.whole.found + view.whole.absent) }
                }
            }
        }))
    }
}

/// All reads together, from the metrics.
fn whole(samples: &Samples) -> Markup {
    let ages = |series: &Series| series.name == "fstore_freshness_seconds_bucket";
    let line = |(name, share)| Line { name, values: samples.quantiles(share, STRETCH, ages) };
    let lines = [("median", 0.5), ("95 %", 0.95)].map(line);
    chart::lines("Age of what was served, all reads", samples.span(), &lines, seconds)
}

/// One view, as a histogram over time.
fn over_time(view: &ViewActivity) -> Markup {
    let bounds: Vec<String> = AGES
        .iter()
        .map(|bound| format!("≤ {}", age(*bound)))
        .chain([format!("> {}", age(AGES[AGES.len() - 1]))])
        .collect();
    let minutes: Vec<&[u32]> = view.minutes.iter().map(|minute| &minute.ages[..]).collect();
    let title = format!("Age of what was served: {}, {}", shown(&view.tenant), shown(&view.view));
    chart::heat(&title, &bounds, &minutes)
}

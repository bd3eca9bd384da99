//! What goes on now, as far as this process counts it.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use feature_core::Scope;
use maud::{Markup, html};
use store_unified::MigrationStatus;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::chart::{self, Line, per_second, seconds};
use super::guard::Visit;
use super::page::{Here, table};
use super::samples::{Samples, Series};
use crate::activity::{MINUTES, TIMES, ViewActivity, quantile};
use crate::auth::Right;
use crate::calls::shown;

/// How many of the busiest views are shown.
const BUSIEST: usize = 25;
/// What counts as now, where one sample says too little.
const NOW: Duration = Duration::from_secs(60);
/// How many steps make a point of a line of quantiles.
const STRETCH: usize = 3;
/// How long what is known of migrations holds: however many pages are open, stores are asked no more often.
const MIGRATIONS: Duration = Duration::from_secs(10);

/// What stores remember of migrations.
type Remembered = Result<Vec<MigrationStatus>, String>;

#[derive(Default)]
pub(super) struct KnownMigrations(Mutex<Option<(Instant, Arc<Remembered>)>>);

impl KnownMigrations {
    async fn get(&self, visit: &Visit) -> Arc<Remembered> {
        let mut known = self.0.lock().await;
        if let Some((at, remembered)) = &*known
            && at.elapsed() < MIGRATIONS
        {
            return Arc::clone(remembered);
        }
        let asked = tokio::time::timeout(visit.live.deadline, visit.live.store.migrations().status()).await;
        let remembered = match asked {
            Ok(status) => status.map_err(|error| error.to_string()),
            Err(_) => Err("a store does not answer".to_owned()),
        };
        let remembered = Arc::new(remembered);
        *known = Some((Instant::now(), Arc::clone(&remembered)));
        remembered
    }
}

/// `GET /console/live`.
pub(super) async fn show(visit: Visit) -> Response {
    let samples = visit.console.samples();
    let migrations = visit.console.migrations.get(&visit).await;
    let body = html! {
        (visit.of_this_process())
        button.quiet type="button" data-pause="" aria-pressed="false" hidden { "Pause" }
        div data-live="5" {
            @if samples.steps() == 0 { p { "There is nothing to show yet: metrics are looked at every five seconds, where the program records them." } }
            (figures(&samples))
            div.grid { (rates(&samples)) (latencies(&samples)) }
            (outcomes(&samples))
            h2 { "Stores" }
            (stores(&visit, &samples))
            h2 { "Busiest views" }
            (busiest(&visit))
            h2 { "Streams" }
            (streams(&samples))
            h2 { "Migrations" }
            (running(&visit, &migrations))
            p.hint {
                "All of this is of this process alone. Metrics have no names of tenants; the busiest views are counted apart, "
                "for the tenants that you may read. The console asks no store for it, but for the migrations, once in ten seconds."
            }
        }
    };
    visit.page(Here::Live, "Live", &body)
}

fn requests(series: &Series) -> bool {
    series.name == "fstore_requests_total"
}

fn reads(series: &Series) -> bool {
    series.is("fstore_request_seconds_bucket", &[("operation", "read")])
}

fn rows(status: &'static str) -> impl Fn(&Series) -> bool {
    move |series| series.is("fstore_request_rows_total", &[("operation", "read"), ("status", status)])
}

fn figures(samples: &Samples) -> Markup {
    let since = samples.since(NOW);
    let rate = samples.rate(since, requests);
    let good = samples.rate(since, |series| series.is("fstore_requests_total", &[("status", "ok")]));
    let (found, absent) = (samples.growth(since, rows("found")), samples.growth(since, rows("absent")));
    let share = |part: f64, all: f64| {
        if all > 0.0 { format!("{:.1} %", 100.0 * part / all) } else { "none".to_owned() }
    };
    let time = |share| samples.quantile(share, since, reads).map_or("none".to_owned(), seconds);
    let each = [
        ("Requests", per_second(rate)),
        ("Failed", share(rate - good, rate)),
        ("Read, median", time(0.5)),
        ("Read, 95 %", time(0.95)),
        ("Read, 99 %", time(0.99)),
        ("Rows with a record", share(found, found + absent)),
    ];
    html! {
        h2 { "The last minute" }
        dl.figures { @for (name, value) in &each { div { dt { (name) } dd { (value) } } } }
    }
}

fn rates(samples: &Samples) -> Markup {
    let line = |name: &'static str| Line {
        name,
        values: samples.rates(|series| series.is("fstore_requests_total", &[("operation", name)])),
    };
    chart::lines("Requests a second", samples.span(), &["read", "write", "delete"].map(line), per_second)
}

fn latencies(samples: &Samples) -> Markup {
    let line = |(name, share)| Line { name, values: samples.quantiles(share, STRETCH, reads) };
    let lines = [("median", 0.5), ("95 %", 0.95), ("99 %", 0.99)].map(line);
    chart::lines("How long reads take", samples.span(), &lines, seconds)
}

/// What became of requests and rows, by kind.
fn outcomes(samples: &Samples) -> Markup {
    let requests = samples.growth_by("status", 0, requests);
    let read = samples
        .growth_by("status", 0, |series| series.is("fstore_request_rows_total", &[("operation", "read")]));
    let written = samples
        .growth_by("status", 0, |series| series.is("fstore_request_rows_total", &[("operation", "write")]));
    let refused = samples.growth_by("reason", 0, |series| series.name == "fstore_http_turned_away_total");
    html! {
        h2 { "What became of it" }
        (table("What became of requests", &["Of", "In the last minutes"], &html! {
            @for (name, counts) in [
                ("Requests, by kind", requests), ("Rows read", read), ("Rows written", written), ("Turned away", refused),
            ] {
                tr {
                    th scope="row" { (name) }
                    td.wrap {
                        @if counts.is_empty() { "none" }
                        @for (number, (kind, count)) in counts.iter().enumerate() {
                            @if number > 0 { ", " } (kind) " " (format!("{count:.0}"))
                        }
                    }
                }
            }
        }))
        p.hint { "A row that is absent was never written, was deleted, or has expired: counters do not tell these apart; a look-up does." }
    }
}

fn stores(visit: &Visit, samples: &Samples) -> Markup {
    let circuits = samples.now_by("store", "fstore_circuit_state");
    let since = samples.since(NOW);
    html! {
        (table("Stores", &["Store", "Backend", "Calls", "Failed", "Get, 99 %", "Circuit", "Retries", "Hedges (won)", "Refused", "From fallback"], &html! {
            @for (name, backend) in visit.live.store.stores() {
                @let count = |metric: &'static str| samples.growth(0, |series| series.is(metric, &[("store", name)]));
                @let calls = samples.rate(since, |series| series.is("fstore_store_calls_total", &[("store", name)]));
                @let good = samples.rate(since, |series| series.is("fstore_store_calls_total", &[("store", name), ("status", "ok")]));
                @let slow = samples.quantile(0.99, since, |series| {
                    series.is("fstore_store_call_seconds_bucket", &[("store", name), ("operation", "get")])
                });
                tr {
                    th scope="row" { (name) }
                    td { (backend.capabilities().backend) }
                    td.number { (per_second(calls)) }
                    td.number { (per_second(calls - good)) }
                    td.number { (slow.map_or("none".to_owned(), seconds)) }
                    td { (circuit(circuits.get(&**name).copied())) }
                    td.number { (count("fstore_retries_total")) }
                    td.number { (count("fstore_hedges_total")) " (" (count("fstore_hedge_wins_total")) ")" }
                    td.number { (count("fstore_sheds_total")) }
                    td.number { (count("fstore_fallback_rows_total")) }
                }
            }
        }))
    }
}

fn circuit(state: Option<f64>) -> Markup {
    match state {
        None => html! { "none" },
        Some(state) if state < 0.5 => html! { span.status.ok { "closed" } },
        Some(state) if state < 1.5 => html! { span.status.half { "half open" } },
        Some(_) => html! { span.status.failed { "open" } },
    }
}

fn busiest(visit: &Visit) -> Markup {
    let mut views = visit.live.activity.views(|tenant| visit.may(Right::Read, tenant));
    views.sort_by_key(|view| std::cmp::Reverse(view.whole.calls()));
    html! {
        p {
            @if views.len() == 1 { "1 view of a tenant was" } @else { (views.len()) " views of tenants were" }
            " asked for in the last " (MINUTES) " minutes."
        }
        @if !views.is_empty() {
            (table("Busiest views", &["Tenant", "Feature view", "Reads", "Writes", "Median", "99 %", "Failed", "Throttled"], &html! {
                @for ViewActivity { tenant, view, whole, .. } in views.iter().take(BUSIEST) {
                    @let time = |share| quantile(&TIMES, &whole.times, share)
                        .map_or("none".to_owned(), |time| format!("≤ {}", seconds(time.as_secs_f64())));
                    tr {
                        th scope="row" { (shown(tenant)) }
                        td.wrap { (shown(view)) }
                        td.number { (whole.reads) }
                        td.number { (whole.writes) }
                        td.number { (time(0.5)) }
                        td.number { (time(0.99)) }
                        td.number { (whole.failed) }
                        td.number { (whole.throttled) }
                    }
                }
            }))
        }
    }
}

fn streams(samples: &Samples) -> Markup {
    let up = samples.now_by("stream", "fstore_stream_up");
    let lag = samples.now_by("stream", "fstore_stream_lag");
    let count = |metric: &'static str| samples.growth_by("stream", 0, move |series| series.name == metric);
    let (written, dead) = (count("fstore_stream_written_total"), count("fstore_stream_dead_letters_total"));
    let troubles = count("fstore_stream_troubles_total");
    let number = |of: &std::collections::BTreeMap<&str, f64>, stream: &str| {
        of.get(stream).map_or("0".to_owned(), |value| format!("{value:.0}"))
    };
    html! {
        @if up.is_empty() {
            p { "This process follows no streams. " code { "fstore follow" } " may, elsewhere; " code { "fstore serve --follow" } " does here." }
        } @else {
            (table("Streams", &["Stream", "Followed", "Lag", "Written", "Dead letters", "Troubles"], &html! {
                @for (stream, up) in &up {
                    tr {
                        th scope="row" { (shown(stream)) }
                        td { @if *up > 0.5 { span.status.ok { "yes" } } @else { span.status.failed { "no" } } }
                        td.number { @match lag.get(stream) { Some(lag) => { (format!("{lag:.0}")) } None => "not told" } }
                        td.number { (number(&written, stream)) }
                        td.number { (number(&dead, stream)) }
                        td.number { (number(&troubles, stream)) }
                    }
                }
            }))
        }
    }
}

fn running(visit: &Visit, migrations: &Remembered) -> Markup {
    let all = match migrations {
        Ok(all) => all,
        Err(error) => return html! { p.problem { "It is not known which there are: " (error) } },
    };
    let may = |status: &&MigrationStatus| match &status.scope {
        Scope::View(view) => visit.may(Right::Read, view.tenant()),
        Scope::Tenant(tenant) => visit.may(Right::Read, tenant),
        Scope::Store => false,
    };
    let seen: Vec<&MigrationStatus> = all.iter().filter(may).collect();
    html! {
        @if seen.is_empty() { p { "The stores remember none, of the tenants that you may read." } }
        @else {
            (table("Migrations", &["Of", "From", "To", "Phase", "Since", "Looked at", "Copied", "Differing"], &html! {
                @for status in seen.iter().take(BUSIEST) {
                    tr {
                        th scope="row" {
                            @match &status.scope {
                                Scope::View(view) => { (shown(view.tenant())) ": " (shown(view.view())) }
                                Scope::Tenant(tenant) => { (shown(tenant)) }
                                Scope::Store => "",
                            }
                        }
                        td { (status.from) } td { (status.to) }
                        td { (status.phase) @if !status.followed { span.hint { " not yet followed everywhere" } } }
                        td { (status.since) }
                        td.number { (status.looked_at) } td.number { (status.copied) }
                        td.number { @match &status.verified { Some(verified) => { (verified.differing) } None => "not verified" } }
                    }
                }
            }))
        }
    }
}

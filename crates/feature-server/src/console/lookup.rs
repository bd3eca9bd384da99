//! Looks an entity up: each feature with its value, its status, and why.

use axum::response::Response;
use feature_core::{EntityKey, FeatureView, Timestamp, format_duration, parse_duration};
use hyper::StatusCode;
use maud::{Markup, html};
use store_unified::{CellStatus, Registry};

use super::format::{age, bytes, query, value};
use super::guard::Visit;
use super::page::{Here, error_page, problem, table};
use super::paging::Paging;
use super::record::{Cell, Seen};
use super::snippets::{self, Of};
use crate::auth::Right;
use crate::calls::{Refusal, Stored, shown};
use crate::http::status_of;

const PATH: &str = "/console/lookup";
/// How many features are on a page.
const PAGE: usize = 40;
/// How many names are offered while somebody types.
const OFFERED: usize = 100;

/// What was asked for.
pub(super) struct Asked<'a> {
    pub(super) tenant: &'a str,
    pub(super) view: &'a str,
    service: &'a str,
    pub(super) entity: &'a str,
    max_age: &'a str,
    page: &'a str,
}

impl<'a> Asked<'a> {
    fn of(visit: &'a Visit) -> Self {
        let get = |name| visit.query.get(name);
        Self {
            tenant: visit.tenant(),
            view: get("view"),
            service: get("service"),
            entity: get("entity"),
            max_age: get("max_age"),
            page: get("page"),
        }
    }

    fn fields(&self) -> [(&'a str, &'a str); 5] {
        [
            ("tenant", self.tenant),
            ("view", self.view),
            ("service", self.service),
            ("entity", self.entity),
            ("max_age", self.max_age),
        ]
    }
}

/// `GET /console/lookup`: its address says all that was asked for, and can be kept.
pub(super) async fn show(visit: Visit) -> Response {
    let asked = Asked::of(&visit);
    let form = form(&visit, &asked);
    let page = |status, body: &Markup| visit.page_as(status, Here::Lookup, "Look up", body);
    if asked.entity.is_empty() {
        return page(StatusCode::OK, &form);
    }
    let (status, found) = match look_up(&visit, &asked).await {
        Ok(found) => (StatusCode::OK, found),
        Err(refusal) if visit.address.len() > 16 << 10 => return error_page(&refusal, Some(&visit)),
        Err(refusal) => (status_of(&refusal), problem(&refusal)),
    };
    page(status, &html! { (form) (found) })
}

fn form(visit: &Visit, asked: &Asked<'_>) -> Markup {
    let registry = visit.live.store.registry();
    let views = registry.into_iter().flat_map(Registry::views).map(|view| &*view.name).take(OFFERED);
    let services =
        registry.into_iter().flat_map(Registry::services).map(|service| &*service.name).take(OFFERED);
    html! {
        form.card.fields method="get" action=(PATH) role="search" aria-label="Look an entity up" {
            div { label for="tenant" { "Tenant" } input #tenant name="tenant" required value=(shown(asked.tenant)); }
            div {
                label for="view" { "Feature view" }
                input #view name="view" list="views" value=(shown(asked.view));
                datalist #views { @for name in views { option value=(shown(name)); } }
            }
            div {
                label for="service" { "or feature service" }
                input #service name="service" list="services" value=(shown(asked.service));
                datalist #services { @for name in services { option value=(shown(name)); } }
            }
            div.wide {
                label for="entity" { "Entity" }
                input #entity name="entity" required value=(shown(asked.entity)) placeholder="customer_id=7"
                    aria-describedby="entity-hint";
                p.hint #entity-hint { "Join keys as name=value, several joined with |" }
            }
            div {
                label for="max_age" { "Max age (optional)" }
                input #max_age name="max_age" value=(shown(asked.max_age)) placeholder="1d";
            }
            div.actions { button type="submit" { "Look up" } }
        }
    }
}

async fn look_up(visit: &Visit, asked: &Asked<'_>) -> Result<Markup, Refusal> {
    let (mut call, _working) = visit.call()?;
    let on = call.on(asked.tenant, Right::Read)?;
    let entity = EntityKey::parse(asked.entity)?;
    let max_age = match asked.max_age {
        "" => None,
        text => Some(parse_duration(text)?),
    };
    let registry = visit.live.store.registry();
    let now = on.now();
    let of = match (asked.view, asked.service) {
        ("", "") => return Err(Refusal::invalid("say which feature view, or which feature service")),
        (view, "") => Of::View(view),
        ("", service) => Of::Service(service),
        _ => return Err(Refusal::invalid("say either a feature view or a feature service")),
    };
    let (stored, columns, paging) = match of {
        Of::View(view) => {
            let stored = on.inspect(&[view], &entity).await?;
            let declared = on.declared(view)?;
            let names: Vec<String> = stored
                .first()
                .map(|stored| Seen::new(stored, declared, now, max_age).names())
                .unwrap_or_default();
            let paging = Paging::new(asked.page, names.len(), PAGE);
            let columns: Vec<Column> = names
                .into_iter()
                .map(|name| Column { view: view.to_owned(), shown: name.clone(), name })
                .collect();
            (stored, columns[paging.range()].to_vec(), paging)
        }
        Of::Service(service) => {
            let columns = columns_of(service, registry)?;
            let paging = Paging::new(asked.page, columns.len(), PAGE);
            let columns = columns[paging.range()].to_vec();
            let mut views: Vec<&str> = Vec::new();
            for column in &columns {
                if !views.contains(&&*column.view) {
                    views.push(&column.view);
                }
            }
            (on.inspect(&views, &entity).await?, columns, paging)
        }
    };
    let declared = |view: &str| registry.and_then(|registry| registry.view(view));
    let seen: Vec<Seen<'_>> =
        stored.iter().map(|stored| Seen::new(stored, declared(&stored.view), now, max_age)).collect();
    let cells: Vec<(Cell, &Seen<'_>)> = columns
        .into_iter()
        .filter_map(|column| {
            let seen = seen.iter().find(|seen| seen.stored.view == column.view)?;
            Some((seen.cell(&column.name, column.shown), seen))
        })
        .collect();
    Ok(html! {
        h2 { "Features of " code { (shown(entity.canonical())) } }
        @if let Of::View(_) = of { @for seen in &seen { (verdict(seen)) } }
        (features(&cells, now))
        (paging.links(PATH, &asked.fields(), ["feature", "features"]))
        h2 { "The record in the store" }
        @for seen in &seen { (raw(visit, asked, seen, now)) }
        h2 { "The same request" }
        p.hint {
            "Or keep "
            a href={ (PATH) "?" (query(&asked.fields())) } { "the address of this page" }
            "."
        }
        div.snippets { (snippets::all(&visit.live.settings, asked.tenant, &of, &entity)) }
    })
}

/// A feature of the answer.
#[derive(Clone)]
pub(super) struct Column {
    pub(super) view: String,
    pub(super) name: String,
    /// What it is called in the answer.
    pub(super) shown: String,
}

/// What a service's answer has, in order.
pub(super) fn columns_of(service: &str, registry: Option<&Registry>) -> Result<Vec<Column>, Refusal> {
    let none = || Refusal::invalid("no feature view is declared, so there are no services: look one view up");
    let registry = registry.ok_or_else(none)?;
    let unknown = || Refusal::unknown_service(service, registry);
    let (declared, names) =
        registry.service(service).zip(registry.output_names(service)).ok_or_else(unknown)?;
    let features = declared.features.iter().flat_map(|feature| {
        let all = registry.view(feature.view()).into_iter().flat_map(|view| view.features.keys());
        let one = feature.feature().map(str::to_owned);
        let names: Vec<String> = match one {
            Some(name) => vec![name],
            None => all.cloned().collect(),
        };
        names.into_iter().map(|name| (feature.view().to_owned(), name))
    });
    let column =
        |((view, name), shown): ((String, String), &str)| Column { view, name, shown: shown.to_owned() };
    Ok(features.zip(names).map(column).collect())
}

fn verdict(seen: &Seen<'_>) -> Markup {
    let class = if seen.is_live() { "verdict good" } else { "verdict bad" };
    html! { p class=(class) role="status" { (seen.verdict()) } }
}

fn features(cells: &[(Cell, &Seen<'_>)], now: Timestamp) -> Markup {
    let titles = ["Feature", "Status", "Value", "Type", "Event time", "Age", "Max age", "Why"];
    table("Features", &titles, &html! { @for (cell, seen) in cells { (row(cell, seen, now)) } })
}

fn row(cell: &Cell, seen: &Seen<'_>, now: Timestamp) -> Markup {
    html! {
        tr {
            th scope="row" { (shown(&cell.name)) }
            td { span class={ "status " (cell.status.name()) } { (cell.status.name()) } }
            td.value {
                @match &cell.value {
                    Some(held) if cell.is_served() => (short(held)),
                    Some(held) if cell.status != CellStatus::Null => span.withheld { "withheld: " (short(held)) },
                    _ => "",
                }
            }
            td { @if let Some(value_type) = cell.value_type { (value_type) } }
            td { @if let Some(at) = cell.event_time { time datetime=(at) { (at) } } }
            td { @if let Some(at) = cell.event_time { (age(now.since(at))) } }
            td { @if let Some(max_age) = seen.max_age { (format_duration(max_age)) } @else { "none" } }
            td.why { (cell.why) }
        }
    }
}

fn short(held: &feature_core::FeatureValue) -> Markup {
    let (text, more) = value(held);
    html! { code { (text) } @if more > 0 { span.hint { " … and " (more) " more characters" } } }
}

fn raw(visit: &Visit, asked: &Asked<'_>, seen: &Seen<'_>, now: Timestamp) -> Markup {
    let Stored { view, entity, decision, from_fallback, bytes: stored } = seen.stored;
    let fallback = decision.to.fallback.as_ref().map(|(store, _)| store.as_str());
    let ttl = seen.view.and_then(|view: &FeatureView| view.ttl);
    let deletion = query(&[("tenant", asked.tenant), ("view", view), ("entity", entity.canonical())]);
    html! {
        section.card {
            h3 { "Feature view " code { (shown(view)) } }
            @if !asked.service.is_empty() { (verdict(seen)) }
            dl {
                dt { "Answered by" }
                dd {
                    @if *from_fallback { "the fallback " code { (fallback.unwrap_or_default()) } ", in place of " }
                    "store " code { (decision.to.store) }
                    @match decision.rule {
                        Some(rule) => { ", by route " (rule + 1) }
                        None => ", by default",
                    }
                }
                dt { "TTL of the view" } dd { @if let Some(ttl) = ttl { (ttl) } @else { "none" } }
                @if let Some(header) = &seen.header {
                    dt { "Newest event time" } dd { time datetime=(header.event_time) { (header.event_time) } }
                    dt { "TTL left" }
                    dd {
                        @match header.expires_at {
                            Some(at) if at > now => { (age(at.since(now))) ", until " (at) }
                            Some(at) => { "none: over since " (at) }
                            None => "for ever",
                        }
                    }
                    dt { "Features" } dd { (header.features) }
                    dt { "Floor" }
                    dd { @if let Some(floor) = seen.floor() { (floor) ", the newest replace" } @else { "none" } }
                    dt { "Shape" } dd { code { (format!("{:016x}", header.shape)) } }
                }
                @if let Ok(Some(stored)) = stored {
                    dt { "Size" }
                    dd {
                        (bytes(stored.len()))
                        @if let Some(format) = stored.first() { ", record format " (format) }
                    }
                    dt { "First bytes" } dd { code.hex { (hex(stored)) } }
                }
            }
            @if visit.may(Right::Admin, asked.tenant) {
                p { a.danger href={ "/console/delete?" (deletion) } { "Delete this entity…" } }
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let groups = bytes.iter().take(feature_core::RecordHeader::LEN).enumerate();
    groups.fold(String::new(), |mut text, (at, byte)| {
        if at > 0 && at % 4 == 0 {
            text.push(' ');
        }
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_are_grouped_by_four() {
        assert_eq!(super::hex(&[1, 2, 3, 4, 255]), "01020304 ff");
    }
}

//! The declared feature services.

use axum::response::Response;
use maud::{Markup, html};
use store_unified::{FeatureService, Registry};

use super::format::query;
use super::guard::Visit;
use super::lookup::columns_of;
use super::page::{Here, error_page, search, table};
use super::paging::Paging;
use super::{settings, views};
use crate::calls::{Refusal, shown};

/// How many services or features are on a page.
const PAGE: usize = 50;

/// `GET /console/services`.
pub(super) async fn list(visit: Visit) -> Response {
    let text = visit.query.get("q").to_lowercase();
    let matches = |service: &&FeatureService| {
        service.name.to_lowercase().contains(&text) || service.description.to_lowercase().contains(&text)
    };
    let registry = visit.live.store.registry();
    let services: Vec<&FeatureService> =
        registry.into_iter().flat_map(Registry::services).filter(matches).collect();
    let paging = Paging::new(visit.query.get("page"), services.len(), PAGE);
    let body = html! {
        (settings::notice(&visit).await)
        (search("/console/services", "Name or description", visit.query.get("q")))
        (paging.links("/console/services", &[("q", visit.query.get("q"))], ["feature service", "feature services"]))
        @if !services.is_empty() {
            (table("Feature services", &["Feature service", "Entries", "Description"], &html! {
                @for service in &services[paging.range()] {
                    tr {
                        th scope="row" { (link(&service.name)) }
                        td.number { (service.features.len()) }
                        td.wrap { (shown(&service.description)) }
                    }
                }
            }))
        }
    };
    visit.page(Here::Services, "Feature services", &body)
}

/// The way to the page of a service.
pub(super) fn link(service: &str) -> Markup {
    html! { a href={ "/console/service?" (query(&[("name", service)])) } { (shown(service)) } }
}

/// `GET /console/service`: one service.
pub(super) async fn one(visit: Visit) -> Response {
    match whole(&visit, visit.query.get("name")) {
        Ok(body) => {
            let title = format!("Feature service {}", shown(visit.query.get("name")));
            visit.page(Here::Services, &title, &body)
        }
        Err(refusal) => error_page(&refusal, Some(&visit)),
    }
}

fn whole(visit: &Visit, name: &str) -> Result<Markup, Refusal> {
    let registry = visit.live.store.registry();
    let columns = columns_of(name, registry)?;
    let declared = |view: &str| registry.and_then(|registry| registry.view(view));
    let description =
        registry.and_then(|registry| registry.service(name)).map(|service| &*service.description);
    let paging = Paging::new(visit.query.get("page"), columns.len(), PAGE);
    Ok(html! {
        p { (shown(description.unwrap_or_default())) }
        p { a href={ "/console/lookup?" (query(&[("service", name)])) } { "Look an entity up with it" } }
        (paging.links("/console/service", &[("name", name)], ["feature", "features"]))
        (table("Features", &["In the answer", "Feature view", "Feature", "Type"], &html! {
            @for column in &columns[paging.range()] {
                tr {
                    th scope="row" { (shown(&column.shown)) }
                    td.wrap { (views::link(&column.view)) }
                    td.wrap { (shown(&column.name)) }
                    td { @if let Some(of) = declared(&column.view).and_then(|view| view.features.get(&column.name)) { (of) } }
                }
            }
        }))
    })
}

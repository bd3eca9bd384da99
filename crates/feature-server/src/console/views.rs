//! The declared feature views, and where their records go.

use axum::response::Response;
use feature_core::{FeatureView, format_duration};
use maud::{Markup, html};
use store_unified::{Decision, FeatureService, Registry};

use super::format::{age, query};
use super::guard::Visit;
use super::page::{Here, error_page, problem, search, table};
use super::paging::Paging;
use super::settings;
use crate::auth::Right;
use crate::calls::{Refusal, shown};

/// How many views or features are on a page.
const PAGE: usize = 50;

/// `GET /console/views`.
pub(super) async fn list(visit: Visit) -> Response {
    let text = visit.query.get("q").to_lowercase();
    let registry = visit.live.store.registry();
    let matches = |view: &&FeatureView| {
        let has = |name: &str| name.to_lowercase().contains(&text);
        text.is_empty()
            || has(&view.name)
            || has(&view.description)
            || view.entities.iter().any(|name| has(name))
    };
    let views: Vec<&FeatureView> = registry.into_iter().flat_map(Registry::views).filter(matches).collect();
    let paging = Paging::new(visit.query.get("page"), views.len(), PAGE);
    let body = html! {
        (settings::notice(&visit).await)
        (search("/console/views", "Name, description or join key", visit.query.get("q")))
        @if registry.is_none() {
            p { "The settings declare no feature views: any view takes any features. Look one up by its name." }
        } @else {
            (paging.links("/console/views", &[("q", visit.query.get("q"))], ["feature view", "feature views"]))
            (table("Feature views", &["Feature view", "Join keys", "Features", "TTL", "Max age", "Description"], &html! {
                @for view in &views[paging.range()] { (row(view)) }
            }))
        }
    };
    visit.page(Here::Views, "Feature views", &body)
}

fn row(view: &FeatureView) -> Markup {
    html! {
        tr {
            th scope="row" { (link(&view.name)) }
            td.wrap { (shown(&view.entities.join(", "))) }
            td.number { (view.features.len()) }
            td { @if let Some(ttl) = view.ttl { (ttl) } @else { "none" } }
            td { @if let Some(max_age) = view.max_age { (format_duration(max_age)) } @else { "none" } }
            td.wrap { (shown(&view.description)) }
        }
    }
}

/// The way to the page of a view.
pub(super) fn link(view: &str) -> Markup {
    html! { a href={ "/console/view?" (query(&[("name", view)])) } { (shown(view)) } }
}

/// `GET /console/view`: one view.
pub(super) async fn one(visit: Visit) -> Response {
    let name = visit.query.get("name");
    let undeclared = || Refusal::invalid("the settings declare no feature views");
    let found = visit.live.store.registry().ok_or_else(undeclared).and_then(|registry| {
        let view = registry.view(name).ok_or_else(|| Refusal::unknown_view(name, registry))?;
        Ok((registry, view))
    });
    match found {
        Ok((registry, view)) => {
            let body = whole(&visit, registry, view);
            let title = format!("Feature view {}", shown(name));
            visit.page(Here::Views, &title, &body)
        }
        Err(refusal) => error_page(&refusal, Some(&visit)),
    }
}

fn whole(visit: &Visit, registry: &Registry, view: &FeatureView) -> Markup {
    let of_view = |service: &&FeatureService| service.features.iter().any(|own| own.view() == view.name);
    let services: Vec<&FeatureService> = registry.services().filter(of_view).collect();
    let paging = Paging::new(visit.query.get("page"), view.features.len(), PAGE);
    let tenant = visit.tenant();
    let fields = [("name", &*view.name), ("tenant", tenant)];
    html! {
        @if !view.description.is_empty() { p { (shown(&view.description)) } }
        section.card {
            dl {
                dt { "Join keys" } dd { (view.entities.join(", ")) }
                dt { "TTL" }
                dd { @if let Some(ttl) = view.ttl { (ttl) ", of a write that names none" } @else { "none: records stay" } }
                dt { "Max age" }
                dd {
                    @if let Some(max_age) = view.max_age { (format_duration(max_age)) ": older features are withheld" }
                    @else { "none: features of any age are served" }
                }
                dt { "Default of a feature" } dd { "none: what is missing is not_found, and the reader decides" }
                dt { "Used by" }
                dd {
                    @if services.is_empty() { "no feature service" }
                    @for (number, service) in services.iter().take(PAGE).enumerate() {
                        @if number > 0 { ", " }
                        (super::services::link(&service.name))
                    }
                    @if services.len() > PAGE { " and " (services.len() - PAGE) " more" }
                }
            }
        }
        h2 { "Where records go" }
        form.search method="get" action="/console/view" {
            input type="hidden" name="name" value=(view.name);
            label for="tenant" { "Tenant" }
            input #tenant name="tenant" value=(shown(tenant));
            button type="submit" { "Show the route" }
        }
        @if !tenant.is_empty() {
            @match route(visit, tenant, &view.name) {
                Ok(decision) => (destination(&decision)),
                Err(refusal) => (problem(&refusal)),
            }
        }
        h2 { "Features" }
        (paging.links("/console/view", &fields, ["feature", "features"]))
        (table("Features", &["Feature", "Type"], &html! {
            @for (name, value_type) in view.features.iter().skip(paging.range().start).take(PAGE) {
                tr { th scope="row" { (shown(name)) } td { (value_type) } }
            }
        }))
    }
}

fn route(visit: &Visit, tenant: &str, view: &str) -> Result<Decision, Refusal> {
    let (mut call, _working) = visit.call()?;
    call.on(tenant, Right::Read)?.route(view)
}

fn destination(decision: &Decision) -> Markup {
    let to = &decision.to;
    html! {
        section.card {
            dl {
                dt { "Store" } dd { code { (to.store) } }
                dt { "Because of" }
                dd { @if let Some(rule) = decision.rule { "route " (rule + 1) " of the settings" } @else { "the default" } }
                dt { "Fallback" }
                dd {
                    @if let Some((store, settings)) = &to.fallback { code { (store) } ", after " (age(settings.after)) }
                    @else { "none" }
                }
                dt { "Mirror" }
                dd {
                    @if let Some(mirror) = &to.mirror {
                        code { (mirror.to) } @if mirror.required { ", which every write needs" }
                    } @else { "none" }
                }
            }
        }
    }
}

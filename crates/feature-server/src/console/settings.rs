//! What the settings say by now that is not served.

use axum::response::Response;
use maud::{Markup, html};

use super::guard::Visit;
use super::page::{Here, table};
use super::paging::Paging;
use super::{services, views};
use crate::calls::shown;
use crate::settings::differences::{About, Difference, How, differences};

const PATH: &str = "/console/settings";
/// How many differences are on a page.
const PAGE: usize = 50;

/// What a visitor may know of the settings as they are kept.
enum Seen {
    /// They are kept nowhere.
    Nowhere,
    /// They cannot be used, and why, for those who may know.
    Wrong(Option<String>),
    /// How they differ from what is served.
    Read(Vec<Difference>),
}

impl Seen {
    async fn by(visit: &Visit) -> Self {
        let live = &visit.live;
        let Some(kept) = live.kept.get().await else { return Self::Nowhere };
        match &*kept {
            // It names tenants, stores and keys.
            Err(error) => Self::Wrong(visit.principal.runs_all().then(|| error.message().to_owned())),
            Ok((settings, server)) => {
                let mut all = differences((&live.loaded, &live.settings), (settings, server));
                all.retain(|one| may_know(visit, one));
                Self::Read(all)
            }
        }
    }
}

/// Views and services are shown to everybody who is let in, and rules to those whose tenants they are for.
fn may_know(visit: &Visit, difference: &Difference) -> bool {
    match &difference.about {
        About::View(_) | About::Service(_) => true,
        About::Tenants(tenants) => visit.principal.reaches(tenants),
        About::Operation => visit.principal.runs_all(),
    }
}

/// `GET /console/settings`.
pub(super) async fn show(visit: Visit) -> Response {
    let body = match Seen::by(&visit).await {
        Seen::Nowhere => {
            html! { p { "No file says what is served, so there is nothing to compare it with." } }
        }
        Seen::Wrong(why) => html! {
            p.problem role="alert" { "The settings cannot be used as they are now; what was loaded before is served." }
            @match why {
                Some(why) => pre tabindex="0" { code { (why) } },
                None => p.hint { "Whoever has the right " code { "admin" } " for every tenant sees why." },
            }
        },
        Seen::Read(all) if all.is_empty() => html! {
            p.verdict.good role="status" { "What is served is what the settings say" @if !visit.principal.runs_all() { ", as far as you may see" } "." }
        },
        Seen::Read(all) => listed(&visit, &all),
    };
    visit.page(Here::Settings, "Settings", &body)
}

fn listed(visit: &Visit, all: &[Difference]) -> Markup {
    let paging = Paging::new(visit.query.get("page"), all.len(), PAGE);
    html! {
        p {
            "What the settings say now, and what is served. A server takes a changed file within seconds. What stays here was refused, "
            "and its log says why, or needs a restart: " code { "server.listen" } ", " code { "server.admin" } " and " code { "server.tls" } "."
        }
        (paging.links(PATH, &[], ["difference", "differences"]))
        (table("Differences", &["Setting", "Difference"], &html! {
            @for Difference { about, path, how } in &all[paging.range()] {
                tr {
                    th scope="row" { (shown(path)) }
                    td.wrap {
                        @match how {
                            How::Added => "in the settings, and not served",
                            How::Removed => "served, and not in the settings any more",
                            How::Changed => "the settings say something else than what is served",
                        }
                        @match (about, how) {
                            (_, How::Added) => "",
                            (About::View(name), _) => { ": " (views::link(name)) }
                            (About::Service(name), _) => { ": " (services::link(name)) }
                            _ => "",
                        }
                    }
                }
            }
        }))
        @if !visit.principal.runs_all() {
            p.hint { "There may be more that you may not see: stores, routes, limits and keys, and rules for other tenants." }
        }
    }
}

/// On pages that show what was loaded: whether the settings say something else by now.
pub(super) async fn notice(visit: &Visit) -> Markup {
    let what = match Seen::by(visit).await {
        Seen::Wrong(_) => "cannot be used as they are now".to_owned(),
        Seen::Read(all) if !all.is_empty() => {
            format!(
                "differ from what is served, in {} {}",
                all.len(),
                if all.len() == 1 { "place" } else { "places" }
            )
        }
        _ => return Markup::default(),
    };
    html! { p.verdict.warn { a href=(PATH) { "The settings" } " " (what) "." } }
}

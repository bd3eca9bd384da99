//! What is around every page.

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use maud::{DOCTYPE, Markup, html};

use super::guard::Visit;
use crate::calls::{Refusal, shown};
use crate::http::status_of;

/// Everything comes from here, and nothing in the text of a page is a script or a style.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Which page it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    Lookup,
    Views,
    Services,
    Live,
    Freshness,
    Quotas,
    Settings,
    SignIn,
    Elsewhere,
}

const PLACES: [(Here, &str, &str); 7] = [
    (Here::Lookup, "/console/lookup", "Look up"),
    (Here::Views, "/console/views", "Views"),
    (Here::Services, "/console/services", "Services"),
    (Here::Live, "/console/live", "Live"),
    (Here::Freshness, "/console/freshness", "Freshness"),
    (Here::Quotas, "/console/quotas", "Quotas"),
    (Here::Settings, "/console/settings", "Settings"),
];

/// A page.
pub(super) struct Page<'a> {
    pub(super) title: &'a str,
    pub(super) here: Here,
    /// Who looks at it; `None` is somebody who has not signed in.
    pub(super) visit: Option<&'a Visit>,
}

impl Page<'_> {
    /// The page with what it is about.
    pub(super) fn whole(&self, body: &Markup) -> Markup {
        let version = env!("CARGO_PKG_VERSION");
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " · fstore" }
                    link rel="icon" href="data:,";
                    link rel="stylesheet" href={ "/console/assets/console.css?v=" (version) };
                    script src={ "/console/assets/console.js?v=" (version) } defer {}
                }
                body {
                    a.skip href="#main" { "Skip to the content" }
                    header.top {
                        a.brand href="/console/lookup" { "fstore" }
                        @if self.visit.is_some() { (self.navigation()) }
                        @if let Some(visit) = self.visit { (who(visit)) }
                    }
                    main #main tabindex="-1" {
                        h1 { (self.title) }
                        (body)
                    }
                    footer { "fstore " (version) " · times in UTC" }
                }
            }
        }
    }

    fn navigation(&self) -> Markup {
        html! {
            nav aria-label="Pages" {
                ul {
                    @for (place, address, name) in PLACES {
                        li { a href=(address) aria-current=[(place == self.here).then_some("page")] { (name) } }
                    }
                }
            }
        }
    }
}

fn who(visit: &Visit) -> Markup {
    html! {
        @if visit.signed_in {
            form.who method="post" action="/console/sign-out" {
                input type="hidden" name="csrf" value=(visit.csrf);
                span { (shown(visit.principal.name())) }
                button.quiet type="submit" { "Sign out" }
            }
        } @else {
            span.who title="server.auth is not set: whoever reaches this port may see and delete" { "no sign-in" }
        }
    }
}

/// A form that searches a list.
pub(super) fn search(path: &str, label: &str, text: &str) -> Markup {
    html! {
        form.search method="get" action=(path) role="search" {
            label for="q" { (label) }
            input #q type="search" name="q" value=(shown(text));
            button type="submit" { "Search" }
        }
    }
}

/// A table that scrolls by itself where it is wider than the page.
pub(super) fn table(label: &str, titles: &[&str], rows: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(label) {
            table {
                thead { tr { @for title in titles { th scope="col" { (title) } } } }
                tbody { (rows) }
            }
        }
    }
}

/// A page as an answer.
pub(super) fn respond(status: StatusCode, page: Markup) -> Response {
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    secure((status, headers, page.into_string()).into_response())
}

/// Leads to another page of the console.
pub(super) fn redirect(address: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(address) = HeaderValue::from_str(address) {
        response.headers_mut().insert(LOCATION, address);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    secure(response)
}

/// Why there is no such page.
pub(super) fn error_page(refusal: &Refusal, visit: Option<&Visit>) -> Response {
    let status = status_of(refusal);
    let title = status.canonical_reason().unwrap_or("Error");
    let page = Page { title, here: Here::Elsewhere, visit };
    respond(status, page.whole(&problem(refusal)))
}

/// Why something was not done.
pub(super) fn problem(refusal: &Refusal) -> Markup {
    html! { p.problem role="alert" { strong { (refusal.error().kind().name()) } " " (refusal.error().message()) } }
}

/// What every answer says to the browser.
pub(super) fn secure(mut response: Response) -> Response {
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

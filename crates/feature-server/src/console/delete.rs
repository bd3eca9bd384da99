//! Removes an entity's records: the only thing that the console changes. It asks first.

use axum::response::Response;
use feature_core::EntityKey;
use maud::{Markup, html};

use super::format::query;
use super::guard::{Fields, Sent, Visit};
use super::page::{Here, error_page};
use crate::auth::Right;
use crate::calls::{Refusal, shown};

const TITLE: &str = "Delete an entity";

/// `GET /console/delete`: what would be removed.
pub(super) async fn ask(visit: Visit) -> Response {
    answer(&visit, question(&visit))
}

/// `POST /console/delete`.
pub(super) async fn carry_out(Sent(visit, form): Sent) -> Response {
    answer(&visit, remove(&visit, &form).await)
}

fn answer(visit: &Visit, body: Result<Markup, Refusal>) -> Response {
    match body {
        Ok(body) => visit.page(Here::Elsewhere, TITLE, &body),
        Err(refusal) => error_page(&refusal, Some(visit)),
    }
}

fn question(visit: &Visit) -> Result<Markup, Refusal> {
    let get = |name| visit.query.get(name);
    let (tenant, view, entity) = (get("tenant"), get("view"), get("entity"));
    let (mut call, _working) = visit.call()?;
    call.on(tenant, Right::Admin)?.declared(view)?;
    EntityKey::parse(entity)?;
    let back = query(&[("tenant", tenant), ("view", view), ("entity", entity)]);
    Ok(html! {
        form.card method="post" action="/console/delete" {
            p {
                "Delete the records of " code { (shown(entity)) } " of tenant " code { (shown(tenant)) } "? "
                "They are removed at once, leave no trace, and cannot be had back. A late write makes them anew."
            }
            input type="hidden" name="csrf" value=(visit.csrf);
            input type="hidden" name="tenant" value=(tenant);
            input type="hidden" name="view" value=(view);
            input type="hidden" name="entity" value=(entity);
            fieldset {
                legend { "Where" }
                label { input type="radio" name="scope" value="view" checked; " in feature view " code { (shown(view)) } }
                @if visit.live.store.registry().is_some() {
                    label { input type="radio" name="scope" value="all"; " in every feature view of these join keys" }
                }
            }
            div.actions {
                button.danger type="submit" { "Delete" }
                a href={ "/console/lookup?" (back) } { "Keep it" }
            }
        }
    })
}

async fn remove(visit: &Visit, form: &Fields) -> Result<Markup, Refusal> {
    let (tenant, view) = (form.get("tenant"), form.get("view"));
    let (mut call, _working) = visit.call()?;
    let mut on = call.on(tenant, Right::Admin)?;
    let entity = EntityKey::parse(form.get("entity"))?;
    let entities = std::slice::from_ref(&entity);
    let removed: Vec<(String, feature_core::Result<bool>)> = match form.get("scope") {
        "view" => {
            let rows = on.delete(view, entities).await?;
            rows.into_iter().map(|row| (view.to_owned(), row)).collect()
        }
        "all" => {
            let views = on.forget(entities).await?;
            let rows = views.into_iter().map(|one| (one.view, one.rows.into_iter().map(|(_, row)| row)));
            rows.flat_map(|(view, rows)| rows.map(move |row| (view.clone(), row))).collect()
        }
        _ => return Err(Refusal::invalid("say where: in the feature view, or in all")),
    };
    let count = removed.iter().filter(|(_, row)| matches!(row, Ok(true))).count();
    // Whose features they were is not for the log.
    tracing::info!(
        target: "feature_server::console",
        principal = visit.principal.name(),
        tenant = &*shown(tenant),
        view = &*shown(view),
        records = count,
        "an entity was deleted"
    );
    let back = query(&[("tenant", tenant), ("view", view), ("entity", entity.canonical())]);
    Ok(html! {
        p.verdict role="status" {
            @if count == 1 { "1 record was deleted." } @else { (count) " records were deleted." }
        }
        ul {
            @for (view, row) in removed.iter().take(200) {
                li {
                    code { (shown(view)) } ": "
                    @match row {
                        Ok(true) => "deleted",
                        Ok(false) => "there was none",
                        Err(error) => (error),
                    }
                }
            }
        }
        p { a href={ "/console/lookup?" (back) } { "Look it up again" } }
    })
}

//! The console: pages for people, on the admin port. `docs/console.md` explains it.
//!
//! It shows what the server and its clients may know anyhow: whoever asks signs in with a key of the API and sees
//! what that key may read. Pages are made here, whole; nothing is fetched from elsewhere.

mod assets;
mod delete;
mod format;
mod guard;
mod lookup;
mod page;
mod paging;
mod record;
mod session;
mod snippets;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::live::State;
use session::{Sessions, random};

/// What all pages share.
pub(crate) struct Console {
    server: Arc<State>,
    sessions: Sessions,
    /// Stands in the forms of visitors who need not sign in.
    open_csrf: String,
}

impl Console {
    /// # Errors
    /// `Internal` where the system has no random numbers.
    pub(crate) fn new(server: Arc<State>) -> feature_core::Result<Self> {
        Ok(Self { server, sessions: Sessions::default(), open_csrf: random()? })
    }
}

/// Everything under `/console`.
pub(crate) fn router(console: Arc<Console>) -> Router {
    Router::new()
        .route("/console", get(first))
        .route("/console/", get(first))
        .route("/console/lookup", get(lookup::show))
        .route("/console/delete", get(delete::ask).post(delete::carry_out))
        .route("/console/sign-in", get(guard::sign_in_form).post(guard::sign_in))
        .route("/console/sign-out", post(guard::sign_out))
        .route("/console/assets/console.css", get(assets::style))
        .route("/console/assets/console.js", get(assets::script))
        .with_state(console)
}

async fn first() -> axum::response::Response {
    page::redirect("/console/lookup")
}

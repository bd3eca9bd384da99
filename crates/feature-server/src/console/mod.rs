//! The console: pages for people, on the admin port. `docs/console.md` explains it.
//!
//! It shows what the server and its clients may know anyhow: whoever asks signs in with a key of the API and sees
//! what that key may read. Pages are made here, whole; nothing is fetched from elsewhere.

mod assets;
mod chart;
mod delete;
mod format;
mod freshness;
mod guard;
mod live;
mod lookup;
mod page;
mod paging;
mod quotas;
mod record;
mod samples;
mod services;
mod session;
mod settings;
mod snippets;
mod views;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::routing::{get, post};
use tokio::time::Instant;

use crate::live::State;
use samples::Samples;
use session::{Sessions, random};

/// What all pages share.
pub(crate) struct Console {
    server: Arc<State>,
    /// Whether this process serves nothing else, so that there is little to count.
    alone: bool,
    sessions: Sessions,
    /// What metrics were in the last minutes.
    samples: Mutex<Samples>,
    migrations: live::KnownMigrations,
    /// Stands in the forms of visitors who need not sign in.
    open_csrf: String,
}

impl Console {
    /// # Errors
    /// `Internal` where the system has no random numbers.
    pub(crate) fn new(server: Arc<State>, alone: bool) -> feature_core::Result<Self> {
        Ok(Self {
            server,
            alone,
            sessions: Sessions::default(),
            samples: Mutex::default(),
            migrations: live::KnownMigrations::default(),
            open_csrf: random()?,
        })
    }

    /// Keeps what metrics are now, as Prometheus reads them.
    pub(crate) fn sample(&self, metrics: &str) {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).take(metrics, Instant::now());
    }

    fn samples(&self) -> Samples {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Everything under `/console`.
pub(crate) fn router(console: Arc<Console>) -> Router {
    Router::new()
        .route("/console", get(first))
        .route("/console/", get(first))
        .route("/console/lookup", get(lookup::show))
        .route("/console/views", get(views::list))
        .route("/console/view", get(views::one))
        .route("/console/services", get(services::list))
        .route("/console/service", get(services::one))
        .route("/console/live", get(live::show))
        .route("/console/freshness", get(freshness::show))
        .route("/console/quotas", get(quotas::show))
        .route("/console/settings", get(settings::show))
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

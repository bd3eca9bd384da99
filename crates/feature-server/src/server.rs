//! The server as a whole: from settings to a running one, and to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use feature_core::{Clock, Error, ErrorKind, Result};
use metrics_exporter_prometheus::PrometheusHandle;
use store_unified::{Settings, UnifiedFeatureStore};
use tokio::net::TcpListener;

use crate::auth::Authenticator;
use crate::console::Console;
use crate::kept::Kept;
use crate::live::{Live, State};
use crate::settings::ServerSettings;
use crate::{admin, http, listen};

/// How often samples of metrics are put into their buckets, so that they do not pile up.
const UPKEEP: Duration = Duration::from_secs(5);
/// How often it is looked whether keys of an issuer are old.
const KEYS: Duration = Duration::from_secs(1);

/// What a server serves, and how: what a reload replaces.
#[derive(Debug)]
pub struct Serving {
    store: UnifiedFeatureStore,
    deadline: Duration,
    longest_write: Duration,
    settings: ServerSettings,
    clock: Arc<dyn Clock>,
    loaded: Settings,
    kept: Kept,
}

impl Serving {
    /// This store, which was opened with these settings. Tokens are judged by this clock.
    pub fn new(
        store: UnifiedFeatureStore,
        settings: &Settings,
        server: ServerSettings,
        clock: impl Clock,
    ) -> Self {
        let deadline = settings.calls.deadline;
        Self {
            store,
            deadline,
            longest_write: settings.migration.longest_write.max(deadline),
            settings: server,
            clock: Arc::new(clock),
            loaded: settings.clone(),
            kept: Kept::default(),
        }
    }

    /// The console compares what is served with what this gives: the settings as they are kept now, or what
    /// is wrong with them, without a secret. It may wait for a file, and is asked once in two seconds at most.
    #[must_use]
    pub fn kept_by(
        self,
        read: impl Fn() -> Result<(Settings, ServerSettings)> + Send + Sync + 'static,
    ) -> Self {
        Self { kept: Kept::by(read), ..self }
    }

    fn live(self) -> Result<Live> {
        if let Some(problem) = self.settings.exposed() {
            return Err(Error::invalid_argument(problem));
        }
        let Self { store, deadline, longest_write, settings, clock, loaded, kept } = self;
        let authenticator = Authenticator::new(settings.auth.as_ref(), &clock)?;
        let activity = Arc::default();
        Ok(Live { store, deadline, longest_write, settings, clock, authenticator, loaded, kept, activity })
    }
}

/// A server that listens, and answers once it [runs](Self::run).
pub struct Server {
    state: Arc<State>,
    /// `None` is a console alone.
    listener: Option<TcpListener>,
    admin: Option<TcpListener>,
    metrics: Option<PrometheusHandle>,
}

impl Server {
    /// Listens where the settings say. Metrics are those of the recorder that is installed now; `metrics`
    /// shows them on the admin port.
    ///
    /// # Errors
    /// `InvalidArgument` when the settings would let anybody in from anywhere, without saying so;
    /// `Unavailable` when it cannot listen there.
    pub async fn bind(serving: Serving, metrics: Option<PrometheusHandle>) -> Result<Self> {
        let live = serving.live()?;
        // Without its keys an issuer's tokens are not accepted; everything else is.
        live.authenticator.keep_fresh().await;
        let settings = &live.settings;
        let tls = settings.tls.as_ref().map(listen::Tls::new).transpose()?;
        let listener = listen_on(settings.listen).await?;
        let admin = match settings.admin {
            Some(address) => Some(listen_on(address).await?),
            None => None,
        };
        if settings.auth.is_none() && !settings.listen.ip().is_loopback() {
            tracing::warn!(listen = %settings.listen, "insecure: anybody who reaches this address can read and write");
        }
        Ok(Self { state: Arc::new(State::new(live, tls)), listener: Some(listener), admin, metrics })
    }

    /// Listens on the admin port alone: the console, health and metrics, beside servers elsewhere.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); `InvalidArgument` where the settings have no admin port.
    pub async fn bind_console(serving: Serving, metrics: Option<PrometheusHandle>) -> Result<Self> {
        let live = serving.live()?;
        live.authenticator.keep_fresh().await;
        let address = live.settings.admin.ok_or_else(|| {
            Error::invalid_argument("the console is on the admin port, and `server.admin` is off")
        })?;
        let admin = Some(listen_on(address).await?);
        Ok(Self { state: Arc::new(State::new(live, None)), listener: None, admin, metrics })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// `InvalidArgument` of a console alone, which answers no requests for features; `Internal` when the
    /// system does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        let listener = self.listener.as_ref();
        listener.map_or_else(
            || Err(Error::invalid_argument("a console alone has no data port: ask a server")),
            address_of,
        )
    }

    /// Where metrics and health are.
    ///
    /// # Errors
    /// `Internal` when the system does not say.
    pub fn admin_address(&self) -> Result<Option<SocketAddr>> {
        self.admin.as_ref().map(address_of).transpose()
    }

    /// What it is told by while it runs.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle(Arc::clone(&self.state))
    }

    /// Answers requests until it is [stopped](ServerHandle::stop); then those in flight are finished, and the
    /// store is closed.
    ///
    /// # Errors
    /// What the store reports when it is closed.
    pub async fn run(self) -> Result<()> {
        let Self { state, listener, admin, metrics } = self;
        let alone = listener.is_none();
        let console = admin.is_some().then(|| Console::new(Arc::clone(&state), alone)).transpose()?;
        let console = console.map(Arc::new);
        let upkeep = metrics.clone().map(|metrics| tokio::spawn(look_after(metrics, console.clone())));
        let admin = admin.zip(console).map(|(listener, console)| {
            tokio::spawn(admin::run(listener, Arc::clone(&state), metrics, console))
        });
        let renewal =
            state.tls.as_ref().map(|_| tokio::spawn(listen::renew_certificates(Arc::clone(&state))));
        let keys = Some(tokio::spawn(keep_keys_fresh(Arc::clone(&state))));
        match listener {
            Some(listener) => {
                listen::run(listener, Arc::clone(&state), http::router(Arc::clone(&state))).await;
            }
            None => state.stopped().await,
        }
        let closed = state.live().store.close().await;
        for task in [admin, upkeep, renewal, keys].into_iter().flatten() {
            task.abort();
        }
        closed
    }
}

/// Tells a running server what to do. Clones tell the same one.
#[derive(Clone)]
pub struct ServerHandle(Arc<State>);

impl ServerHandle {
    /// Serves this from now on. Requests in flight go on with what was there when they came; the store that
    /// was there is not closed, since the new one may share its backends. What it says about listening and
    /// certificates of its own is not looked at: [`unchangeable`](Self::unchangeable) tells.
    ///
    /// # Errors
    /// As [`Server::bind`], and everything stays as it is.
    pub fn replace(&self, serving: Serving) -> Result<()> {
        let mut serving = serving;
        let now = self.0.live();
        serving.settings.listen = now.settings.listen;
        serving.settings.admin = now.settings.admin;
        serving.settings.tls = now.settings.tls.clone();
        let mut live = serving.live()?;
        live.authenticator.inherit(&now.authenticator);
        live.activity = Arc::clone(&now.activity);
        listen::renew(&self.0)?;
        self.0.replace(live);
        self.0.metrics.reloads.increment(1);
        Ok(())
    }

    /// What these settings say that only a restart can change.
    pub fn unchangeable(&self, settings: &ServerSettings) -> Vec<&'static str> {
        let now = self.0.live();
        let mut changed = Vec::new();
        for (what, same) in [
            ("server.listen", now.settings.listen == settings.listen),
            ("server.admin", now.settings.admin == settings.admin),
            ("server.tls", now.settings.tls == settings.tls),
        ] {
            if !same {
                changed.push(what);
            }
        }
        changed
    }

    /// Takes no more connections, and ends when all requests in flight have their answers.
    pub fn stop(&self) {
        self.0.stop();
    }
}

/// Keeps samples of metrics from piling up, and shows the console how they change, where there is one.
async fn look_after(metrics: PrometheusHandle, console: Option<Arc<Console>>) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
        if let Some(console) = &console {
            console.sample(&metrics.render());
        }
    }
}

/// Asks for the keys of an issuer now and then.
async fn keep_keys_fresh(state: Arc<State>) {
    loop {
        tokio::time::sleep(KEYS).await;
        state.live().authenticator.keep_fresh().await;
    }
}

async fn listen_on(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Error::new(ErrorKind::Unavailable, format!("cannot listen on {address}: {error}")).with_source(error)
    })
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(|error| {
        Error::new(ErrorKind::Internal, format!("the address of a listener is not known: {error}"))
    })
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerHandle").finish_non_exhaustive()
    }
}

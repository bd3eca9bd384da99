//! The state of the server that a reload replaces as a whole, and what stays.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use feature_core::Clock;
use store_unified::{Settings, UnifiedFeatureStore};
use tokio::sync::watch;

use crate::activity::Activity;
use crate::auth::{Authenticator, Principal, Throttle};
use crate::calls::{Budget, Client, Clients, Share};
use crate::kept::Kept;
use crate::listen::{Peer, Tls};
use crate::observe::ServerMetrics;
use crate::settings::ServerSettings;

/// What a reload replaces. A request works with the one that was there when it came.
pub(crate) struct Live {
    pub(crate) store: UnifiedFeatureStore,
    /// How long a call may take that does not say.
    pub(crate) deadline: Duration,
    /// How long a write may take, whatever it says: a migration waits no longer for one.
    pub(crate) longest_write: Duration,
    pub(crate) settings: ServerSettings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) authenticator: Authenticator,
    /// All that the settings said beside that of the server, when they were loaded.
    pub(crate) loaded: Settings,
    /// What they say now.
    pub(crate) kept: Kept,
    /// Stays when the rest is replaced.
    pub(crate) activity: Arc<Activity>,
}

/// What all connections and requests share.
pub(crate) struct State {
    live: ArcSwap<Live>,
    /// `None` is plain TCP.
    pub(crate) tls: Option<ArcSwap<Tls>>,
    pub(crate) throttle: Throttle,
    /// Requests and answers.
    pub(crate) whole: Share,
    clients: Clients,
    /// Streams of rows that are taken in over HTTP.
    pub(crate) ingests: Budget,
    pub(crate) metrics: ServerMetrics,
    stopping: watch::Sender<bool>,
}

impl State {
    pub(crate) fn new(live: Live, tls: Option<Tls>) -> Self {
        let limits = live.settings.limits;
        Self {
            whole: Share { memory: Budget::new(limits.memory), in_flight: Budget::new(limits.in_flight) },
            clients: Clients::default(),
            ingests: Budget::new(limits.ingests),
            live: ArcSwap::from_pointee(live),
            tls: tls.map(ArcSwap::from_pointee),
            throttle: Throttle::default(),
            metrics: ServerMetrics::new(),
            stopping: watch::Sender::new(false),
        }
    }

    /// What a client has of what all share.
    pub(crate) fn share(&self, live: &Live, principal: &Principal, peer: Option<&Peer>) -> Share {
        let client = match peer {
            Some(peer) if live.settings.auth.is_none() => Client::At(peer.address.ip()),
            _ => Client::Named(principal.name()),
        };
        self.clients.share(&self.whole, client)
    }

    /// What holds now.
    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// From now on this holds.
    pub(crate) fn replace(&self, live: Live) {
        self.whole.memory.set_limit(live.settings.limits.memory);
        self.whole.in_flight.set_limit(live.settings.limits.in_flight);
        self.ingests.set_limit(live.settings.limits.ingests);
        self.live.store(Arc::new(live));
    }

    /// Whether the server is about to stop: it is not ready, and takes no new connections.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Tells whether it is about to stop, and when that changes.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Waits until it is.
    pub(crate) async fn stopped(&self) {
        // The sender is here, so it cannot be gone.
        let _ = self.stopping().wait_for(|stopping| *stopping).await;
    }

    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }
}

//! Stores that are connected to with their first call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use feature_store::embedded::EmbeddedConfig;
use feature_store::unified::{Settings, SettingsFormat, SettingsReader};
use feature_store::{
    Connector, Error, ErrorKind, FeatureView, OnlineStore, Result, StoreSettings, StoreUrl,
    UnifiedFeatureStore,
};
use tokio::sync::OnceCell;

/// What a handle stands for.
enum Place {
    /// One store, with what is declared for it.
    Store { url: Box<StoreUrl>, views: Vec<FeatureView> },
    /// What settings describe.
    Described(Box<Settings>),
}

impl Place {
    /// Whether anything of it is in the memory of this process alone.
    fn is_in_memory(&self) -> bool {
        let is_memory = |url: &StoreUrl| EmbeddedConfig::from_url(url).is_ok_and(|own| own.path.is_none());
        match self {
            Self::Store { url, .. } => is_memory(url),
            Self::Described(settings) => settings.stores.iter().any(|store| is_memory(&store.url)),
        }
    }
}

/// A store that is connected to when it is first needed, since a constructor cannot wait.
pub(crate) struct Handle {
    place: Place,
    deadline: Option<Duration>,
    current: ArcSwapOption<Connection>,
    closed: AtomicBool,
}

/// A connection of one process: one that a fork has left behind is of no use.
struct Connection {
    process: u32,
    opened: OnceCell<Opened>,
}

/// A store that is connected to.
#[derive(Clone)]
pub(crate) enum Opened {
    One(OnlineStore),
    Several(UnifiedFeatureStore),
}

impl Opened {
    pub(crate) fn online(&self) -> &OnlineStore {
        match self {
            Self::One(store) => store,
            Self::Several(store) => store.online(),
        }
    }

    /// The unified store.
    ///
    /// # Errors
    /// `InvalidArgument` for one that is not.
    pub(crate) fn unified(&self) -> Result<&UnifiedFeatureStore> {
        match self {
            Self::Several(store) => Ok(store),
            Self::One(_) => Err(Error::invalid_argument(
                "this needs the feature views and services of a settings file: open the store with \
                 UnifiedFeatureStore or open_settings",
            )),
        }
    }
}

impl Handle {
    /// The store of a URL.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong URL, wrong views and a deadline of zero.
    pub(crate) fn of_url(url: &str, views: Vec<FeatureView>, deadline: Option<Duration>) -> Result<Self> {
        let url = Box::new(Connector::new().parse(url)?);
        Self::new(Place::Store { url, views }, deadline)
    }

    /// The stores of a settings file.
    ///
    /// # Errors
    /// `InvalidArgument` with every mistake in it.
    pub(crate) fn of_file(path: &str, deadline: Option<Duration>) -> Result<Self> {
        Self::new(Place::Described(Box::new(Connector::new().read_settings(path)?)), deadline)
    }

    /// The stores of settings in YAML, of which JSON is a part.
    ///
    /// # Errors
    /// As [`of_file`](Self::of_file).
    pub(crate) fn of_settings(text: &str, deadline: Option<Duration>) -> Result<Self> {
        let connector = Connector::new();
        let check = |url: &_| connector.check(url);
        let settings = SettingsReader::new(SettingsFormat::Yaml).check_urls(&check).read(text);
        let settings = settings.map_err(|problems| {
            Error::invalid_argument(format!("the settings cannot be used: {problems}"))
        })?;
        Self::new(Place::Described(Box::new(settings)), deadline)
    }

    fn new(place: Place, deadline: Option<Duration>) -> Result<Self> {
        if deadline.is_some_and(|deadline| deadline.is_zero()) {
            return Err(Error::invalid_argument("the deadline is zero: no call could ever succeed"));
        }
        Ok(Self { place, deadline, current: ArcSwapOption::empty(), closed: AtomicBool::new(false) })
    }

    /// What the store is, without its password.
    pub(crate) fn describe(&self) -> String {
        match &self.place {
            Place::Store { url, .. } => url.to_string(),
            Place::Described(_) => "several stores".to_owned(),
        }
    }

    /// The URL of the store, where it has one.
    pub(crate) fn url(&self) -> Option<&StoreUrl> {
        match &self.place {
            Place::Store { url, .. } => Some(url),
            Place::Described(_) => None,
        }
    }

    /// The declaration of a view, if there is one.
    pub(crate) fn view(&self, name: &str) -> Option<&FeatureView> {
        match &self.place {
            Place::Store { views, .. } => views.iter().find(|view| view.name == name),
            Place::Described(settings) => settings.registry.as_ref()?.view(name),
        }
    }

    /// The store, if it is connected to by now.
    pub(crate) fn connected(&self) -> Option<Opened> {
        let current = self.current.load();
        current.as_ref().filter(|own| own.process == std::process::id())?.opened.get().cloned()
    }

    /// The store; connects to it first, if need be.
    ///
    /// # Errors
    /// What connecting reports: the next call tries again. `Unavailable` when it was closed, and in a fork of the
    /// process that has it in memory.
    pub(crate) async fn store(&self) -> Result<Opened> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "the store was closed").with_retryable(false));
        }
        self.connection()?.opened.get_or_try_init(|| self.connect()).await.cloned()
    }

    /// Closes the connection, and for good.
    ///
    /// # Errors
    /// What the backend reports.
    pub(crate) async fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        match self.connected() {
            Some(opened) => opened.online().close().await,
            None => Ok(()),
        }
    }

    fn connection(&self) -> Result<Arc<Connection>> {
        let process = std::process::id();
        match self.current.load_full() {
            Some(own) if own.process == process => return Ok(own),
            Some(_) if self.place.is_in_memory() => {
                let message = "the store is in the memory of the process that this one was forked from: use a store \
                               in a file or on a server, or make one after the fork";
                return Err(Error::new(ErrorKind::Unavailable, message).with_retryable(false));
            }
            _ => {}
        }
        let new = Arc::new(Connection { process, opened: OnceCell::new() });
        let before = self.current.rcu(|current| match current {
            Some(own) if own.process == process => Arc::clone(own),
            _ => Arc::clone(&new),
        });
        Ok(match before {
            Some(own) if own.process == process => own,
            // The parent's: closing it here would disturb the parent.
            Some(old) => {
                std::mem::forget(old);
                new
            }
            None => new,
        })
    }

    async fn connect(&self) -> Result<Opened> {
        let connector = Connector::new();
        match &self.place {
            Place::Store { url, views } => {
                let settings = StoreSettings {
                    deadline: self.deadline.unwrap_or(StoreSettings::default().deadline),
                    ..StoreSettings::default()
                };
                let builder = OnlineStore::builder(connector.connect_to(url).await?);
                Ok(Opened::One(builder.views(views.iter().cloned()).settings(settings).build()?))
            }
            Place::Described(settings) => {
                let store = connector.open_described(settings).await?;
                Ok(Opened::Several(match self.deadline {
                    Some(deadline) => store.with_deadline(deadline),
                    None => store,
                }))
            }
        }
    }
}

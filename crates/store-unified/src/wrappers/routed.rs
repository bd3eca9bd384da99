//! Each tenant and view has its store.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use feature_core::{
    CallContext, Capabilities, Error, ErrorKind, Health, OnlineStoreBackend, PurgeProgress, PurgeReport,
    PutOutcome, RecordKey, RecordPut, Result, Scope, VersionedRecord, ViewKey,
};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::{self, BoxStream};

use super::rows::{by_place, in_order, only_place, pick};

/// Names that a route is about: one name, all that begin with a text (`eu-*`), or all (`*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This name alone.
    Name(String),
    /// Every name that begins so.
    Prefix(String),
}

impl Pattern {
    /// Every name.
    pub const fn any() -> Self {
        Self::Prefix(String::new())
    }

    /// Whether it is about this name.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let pattern = match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Name(text.to_owned()),
        };
        match &pattern {
            Self::Name(name) if name.is_empty() => Err(Error::invalid_argument("a pattern is empty")),
            Self::Name(name) | Self::Prefix(name) if name.contains('*') => Err(Error::invalid_argument(
                format!("`{text}` is not a pattern: a `*` stands at the end, as in `eu-*`, or alone"),
            )),
            _ => Ok(pattern),
        }
    }
}

/// Which tenants and views go to which place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route<T = usize> {
    /// The tenants.
    pub tenant: Pattern,
    /// The views.
    pub view: Pattern,
    /// Where they go.
    pub to: T,
}

impl<T> Route<T> {
    /// Whether the route is about this view of this tenant.
    pub fn matches(&self, view: &ViewKey) -> bool {
        self.tenant.matches(view.tenant()) && self.view.matches(view.view())
    }
}

/// Sends each record to the place that the first matching route names.
#[derive(Debug)]
pub struct Routed {
    places: Vec<Arc<dyn OnlineStoreBackend>>,
    routes: Vec<Route>,
    /// For what no route is about.
    default: usize,
    capabilities: Capabilities,
}

impl Routed {
    /// Routes to `places`, which the routes and the default name by number.
    ///
    /// # Errors
    /// `InvalidArgument` where there is no place of such a number.
    pub fn new(
        places: Vec<Arc<dyn OnlineStoreBackend>>,
        routes: Vec<Route>,
        default: usize,
    ) -> Result<Self> {
        let mut numbers = routes.iter().map(|route| route.to).chain([default]);
        if let Some(number) = numbers.find(|number| *number >= places.len()) {
            return Err(Error::invalid_argument(format!(
                "a route goes to store number {number}, there are {}",
                places.len()
            )));
        }
        let capabilities = strictest(places.iter().map(|place| place.capabilities()));
        Ok(Self { places, routes, default, capabilities })
    }

    /// Where records of a view go.
    pub fn place_of(&self, view: &ViewKey) -> usize {
        self.routes.iter().find(|route| route.matches(view)).map_or(self.default, |route| route.to)
    }

    /// The same for each of many keys, most of which have the view of the one before.
    fn place_by_key(&self) -> impl FnMut(&RecordKey) -> usize {
        let mut last: Option<(ViewKey, usize)> = None;
        move |key| match &last {
            Some((view, place)) if view == key.view() => *place,
            _ => {
                let place = self.place_of(key.view());
                last = Some((key.view().clone(), place));
                place
            }
        }
    }
}

/// What every one of several stores can do.
pub(crate) fn strictest(all: impl IntoIterator<Item = Capabilities>) -> Capabilities {
    fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
        a.into_iter().chain(b).min()
    }
    let meet = |a: Capabilities, b: Capabilities| {
        let mut both = a;
        if both.backend != b.backend {
            both.backend = "unified";
        }
        both.max_record_bytes = least(both.max_record_bytes, b.max_record_bytes);
        both.max_key_bytes = least(both.max_key_bytes, b.max_key_bytes);
        both.max_ttl = least(both.max_ttl, b.max_ttl);
        both.max_batch_rows = least(both.max_batch_rows, b.max_batch_rows);
        both.reclaim_granularity = both.reclaim_granularity.max(b.reclaim_granularity);
        both.durable &= b.durable;
        both
    };
    all.into_iter().reduce(meet).unwrap_or(Capabilities::new("unified"))
}

fn unanswered() -> Error {
    Error::new(ErrorKind::Internal, "a store did not answer with one row for each key; report it")
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl OnlineStoreBackend for Routed {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        if let Some(place) = only_place(keys, self.place_by_key()) {
            return self.places[place].get(keys, call).await;
        }
        let parts = by_place(keys, self.places.len(), self.place_by_key()).into_iter().zip(&self.places);
        let calls = parts.filter(|(numbers, _)| !numbers.is_empty()).map(|(numbers, place)| async move {
            let answers = place.get(&pick(keys, &numbers), call).await;
            (numbers, answers)
        });
        in_order(keys.len(), join_all(calls).await, || Err(unanswered()))
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        let mut place_of = self.place_by_key();
        let mut place = |put: &RecordPut| place_of(&put.key);
        if let Some(place) = only_place(&puts, &mut place) {
            return self.places[place].put(puts, call).await;
        }
        let parts = by_place(&puts, self.places.len(), place).into_iter().zip(&self.places);
        let calls = parts.filter(|(numbers, _)| !numbers.is_empty()).map(|(numbers, place)| {
            let puts = pick(&puts, &numbers);
            async move {
                let answers = place.put(puts, call).await;
                (numbers, answers)
            }
        });
        in_order(puts.len(), join_all(calls).await, || Err(unanswered().with_in_doubt(true)))
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        if let Some(place) = only_place(keys, self.place_by_key()) {
            return self.places[place].delete(keys, call).await;
        }
        let parts = by_place(keys, self.places.len(), self.place_by_key()).into_iter().zip(&self.places);
        let calls = parts.filter(|(numbers, _)| !numbers.is_empty()).map(|(numbers, place)| async move {
            let answers = place.delete(&pick(keys, &numbers), call).await;
            (numbers, answers)
        });
        in_order(keys.len(), join_all(calls).await, || Err(unanswered().with_in_doubt(true)))
    }

    /// A record counts where its route leads: what another route has left in a store is not given.
    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        if let Scope::View(view) = scope {
            return self.places[self.place_of(view)].scan(scope);
        }
        let routes = Arc::new((self.routes.clone(), self.default));
        let scans = self.places.iter().enumerate().map(|(place, store)| {
            let routes = Arc::clone(&routes);
            let own = move |row: &Result<(RecordKey, VersionedRecord)>| {
                let (routes, default) = &*routes;
                row.as_ref().map_or(true, |(key, _)| {
                    let route = routes.iter().find(|route| route.matches(key.view()));
                    route.map_or(*default, |route| route.to) == place
                })
            };
            store.scan(scope).filter(move |row| std::future::ready(own(row)))
        });
        stream::iter(scans.collect::<Vec<_>>()).flatten().boxed()
    }

    /// A view is removed where its route leads, a tenant from every store.
    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        if let Scope::View(view) = scope {
            return self.places[self.place_of(view)].purge(scope, progress).await;
        }
        let mut removed = 0;
        for place in &self.places {
            removed += place.purge(scope, progress).await?.removed;
        }
        Ok(PurgeReport { removed })
    }

    async fn check(&self) -> Result<Health> {
        let mut all = Health::default();
        for health in join_all(self.places.iter().map(|place| place.check())).await {
            let health = health?;
            all.facts.extend(health.facts);
            all.warnings.extend(health.warnings);
        }
        Ok(all)
    }

    async fn close(&self) -> Result<()> {
        join_all(self.places.iter().map(|place| place.close())).await.into_iter().collect()
    }
}

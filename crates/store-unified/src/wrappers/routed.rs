//! Each tenant and view has its store.

use std::sync::Arc;

use async_trait::async_trait;
use feature_core::{
    CallContext, Capabilities, Error, Health, OnlineStoreBackend, PurgeProgress, PurgeReport, PutOutcome,
    RecordKey, RecordPut, Result, Scope, VersionedRecord, ViewKey,
};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::{self, BoxStream};

use super::rows::{by_place, by_view, in_order, only_place, pick, unanswered};
use crate::pattern::Pattern;

/// Which tenants and views go to which place, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The tenants.
    pub tenant: Pattern,
    /// The views.
    pub view: Pattern,
    /// Where they go.
    pub place: usize,
}

/// Routes in order: the first that matches counts.
#[derive(Debug)]
struct Routes {
    routes: Vec<Route>,
    /// For records that no route matches.
    default: usize,
}

impl Routes {
    fn place_of(&self, view: &ViewKey) -> usize {
        let matches = |route: &&Route| route.tenant.matches(view.tenant()) && route.view.matches(view.view());
        self.routes.iter().find(matches).map_or(self.default, |route| route.place)
    }

    /// The places that records of a scope can go to, each once.
    fn places_of(&self, scope: &Scope) -> Vec<usize> {
        let tenant = match scope {
            Scope::View(view) => return vec![self.place_of(view)],
            Scope::Tenant(tenant) => Some(tenant),
            Scope::Store => None,
        };
        let mut places = Vec::new();
        let mut add = |place| {
            if !places.contains(&place) {
                places.push(place);
            }
        };
        let about = |route: &&Route| tenant.is_none_or(|tenant| route.tenant.matches(tenant));
        for route in self.routes.iter().filter(about) {
            add(route.place);
            if tenant.is_some() && route.view == Pattern::any() {
                return places;
            }
        }
        add(self.default);
        places
    }

    fn by_key(&self) -> impl FnMut(&RecordKey) -> usize {
        by_view(|view| self.place_of(view))
    }
}

/// Sends each record to the place that the first matching route names.
#[derive(Debug)]
pub struct Routed {
    places: Vec<Arc<dyn OnlineStoreBackend>>,
    /// By name, each once, however many places use it.
    stores: Vec<(String, Arc<dyn OnlineStoreBackend>)>,
    routes: Arc<Routes>,
    capabilities: Capabilities,
}

impl Routed {
    /// Routes to `places`, which the routes and the default name by number. `stores` are the stores that
    /// the places use, by name: those are what is checked and closed.
    ///
    /// # Errors
    /// `InvalidArgument` where there is no place of such a number.
    pub fn new(
        places: Vec<Arc<dyn OnlineStoreBackend>>,
        stores: Vec<(String, Arc<dyn OnlineStoreBackend>)>,
        routes: Vec<Route>,
        default: usize,
    ) -> Result<Self> {
        let mut numbers = routes.iter().map(|route| route.place).chain([default]);
        if let Some(number) = numbers.find(|number| *number >= places.len()) {
            return Err(Error::invalid_argument(format!(
                "a route goes to place number {number}, there are {}",
                places.len()
            )));
        }
        let capabilities = strictest(places.iter().map(|place| place.capabilities()));
        Ok(Self { places, stores, routes: Arc::new(Routes { routes, default }), capabilities })
    }

    /// The numbers of the places that records of a scope can go to, each once.
    pub fn places_of(&self, scope: &Scope) -> Vec<usize> {
        self.routes.places_of(scope)
    }

    /// Calls each place for the rows that go there, all at once, and puts the answers in order.
    async fn each<A: Clone, T, F: Future<Output = Vec<Result<T>>>>(
        &self,
        rows: &[A],
        place: impl FnMut(&A) -> usize,
        missing: Error,
        call: impl Fn(Arc<dyn OnlineStoreBackend>, Vec<A>) -> F,
    ) -> Vec<Result<T>> {
        let parts = by_place(rows, self.places.len(), place).into_iter().zip(&self.places);
        let calls = parts.filter(|(numbers, _)| !numbers.is_empty()).map(|(numbers, place)| {
            let answers = call(Arc::clone(place), pick(rows, &numbers));
            async move { (numbers, answers.await) }
        });
        in_order(rows.len(), join_all(calls).await, &missing)
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

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl OnlineStoreBackend for Routed {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        match only_place(keys, self.routes.by_key()) {
            Some(place) => self.places[place].get(keys, call).await,
            None => {
                let get = |place: Arc<dyn OnlineStoreBackend>, keys: Vec<RecordKey>| async move {
                    place.get(&keys, call).await
                };
                self.each(keys, self.routes.by_key(), unanswered(), get).await
            }
        }
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        let mut by_key = self.routes.by_key();
        let mut place = |put: &RecordPut| by_key(&put.key);
        match only_place(&puts, &mut place) {
            Some(place) => self.places[place].put(puts, call).await,
            None => {
                let put =
                    |place: Arc<dyn OnlineStoreBackend>, puts| async move { place.put(puts, call).await };
                self.each(&puts, place, unanswered().with_in_doubt(true), put).await
            }
        }
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        match only_place(keys, self.routes.by_key()) {
            Some(place) => self.places[place].delete(keys, call).await,
            None => {
                let delete = |place: Arc<dyn OnlineStoreBackend>, keys: Vec<RecordKey>| async move {
                    place.delete(&keys, call).await
                };
                self.each(keys, self.routes.by_key(), unanswered().with_in_doubt(true), delete).await
            }
        }
    }

    /// A record counts where its route leads: what another route has left in a store is not given.
    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        if let Scope::View(view) = scope {
            return self.places[self.routes.place_of(view)].scan(scope);
        }
        let scans = self.places.iter().enumerate().map(|(place, store)| {
            let routes = Arc::clone(&self.routes);
            let own = move |row: &Result<(RecordKey, VersionedRecord)>| {
                row.as_ref().map_or(true, |(key, _)| routes.place_of(key.view()) == place)
            };
            store.scan(scope).filter(move |row| std::future::ready(own(row)))
        });
        stream::iter(scans.collect::<Vec<_>>()).flatten().boxed()
    }

    /// A view is removed where its route leads, a tenant from every store.
    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        if let Scope::View(view) = scope {
            return self.places[self.routes.place_of(view)].purge(scope, progress).await;
        }
        let mut removed = 0;
        for place in &self.places {
            removed += place.purge(scope, progress).await?.removed;
        }
        Ok(PurgeReport { removed })
    }

    /// Facts and warnings of each store, under its name. A store that does not answer is a warning, unless
    /// none does.
    async fn check(&self) -> Result<Health> {
        let checks = join_all(self.stores.iter().map(|(_, store)| store.check())).await;
        let mut all = Health::default();
        let mut failures = Vec::new();
        for ((name, _), health) in self.stores.iter().zip(checks) {
            match health {
                Ok(health) => {
                    let named = |(fact, value)| (format!("{name}.{fact}"), value);
                    all.facts.extend(health.facts.into_iter().map(named));
                    all.warnings.extend(health.warnings.iter().map(|warning| format!("{name}: {warning}")));
                }
                Err(error) => {
                    all.warnings.push(format!("{name} does not answer: {error}"));
                    failures.push(error);
                }
            }
        }
        match failures.into_iter().next() {
            Some(error) if all.warnings.len() == self.stores.len() && all.facts.is_empty() => Err(error),
            _ => Ok(all),
        }
    }

    async fn close(&self) -> Result<()> {
        join_all(self.stores.iter().map(|(_, store)| store.close())).await.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use feature_core::{EntityKey, ErrorKind, FeatureWrite, ManualClock, OnlineStore, Timestamp};
    use store_testkit::{Call, Fault, FaultyBackend, MapStore, Operation};

    use super::*;

    type Backend = Arc<dyn OnlineStoreBackend>;

    fn map() -> Backend {
        Arc::new(MapStore::new(Arc::new(ManualClock::at(Timestamp::from_micros(1)))))
    }

    /// Tenants that begin with `eu-` go to the second place, of these the view `risk` to the third.
    fn routed(places: &[Backend]) -> Routed {
        let route = |tenant: &str, view: &str, place| Route {
            tenant: tenant.parse().unwrap(),
            view: view.parse().unwrap(),
            place,
        };
        let routes = vec![route("eu-*", "risk", 2), route("eu-*", "*", 1)];
        let names = ["us", "eu", "risk"].map(String::from);
        let stores = names.into_iter().zip(places.iter().cloned()).collect();
        Routed::new(places.to_vec(), stores, routes, 0).unwrap()
    }

    fn entity(n: usize) -> EntityKey {
        EntityKey::new("id", n as u64).unwrap()
    }

    fn keys() -> Vec<RecordKey> {
        let places =
            [("us-1", "risk"), ("eu-1", "risk"), ("eu-1", "trips"), ("eu-2", "risk"), ("eu", "risk")];
        let view = |n: usize| ViewKey::new(places[n % 5].0, places[n % 5].1).unwrap();
        (0..20).map(|n| RecordKey::new(view(n), entity(n))).collect()
    }

    async fn filled(places: &[Backend]) -> Routed {
        let routed = routed(places);
        let store = OnlineStore::new(Arc::new(routed));
        for (n, key) in keys().iter().enumerate() {
            let write = FeatureWrite::new(key.entity().clone(), [("n", n as i64)]);
            let report = store.batch_write(key.view().tenant(), key.view().view(), [write]).await.unwrap();
            assert_eq!(report.applied(), 1);
        }
        self::routed(places)
    }

    async fn count(store: &dyn OnlineStoreBackend, scope: &Scope) -> usize {
        store.scan(scope).filter(|row| std::future::ready(row.is_ok())).count().await
    }

    fn call() -> CallContext {
        CallContext::with_timeout(std::time::Duration::from_secs(1))
    }

    #[tokio::test]
    async fn rows_of_several_stores_come_back_in_the_order_of_the_keys() {
        let places = [map(), map(), map()];
        let routed = filled(&places).await;
        let mut keys = keys();
        keys.push(RecordKey::new(keys[1].view().clone(), entity(99)));
        keys.reverse();
        let rows = routed.get(&keys, call()).await;
        for (key, row) in keys.iter().zip(rows) {
            let alone = routed.get(std::slice::from_ref(key), call()).await.remove(0);
            assert_eq!(row.unwrap(), alone.unwrap(), "{key}");
        }
        let counts = [count(&*places[0], &Scope::Store), count(&*places[1], &Scope::Store)];
        let [us, eu] = join_all(counts).await[..] else { unreachable!() };
        assert_eq!((us, eu, count(&*places[2], &Scope::Store).await), (8, 4, 8));
        let deleted = routed.delete(&keys, call()).await;
        assert!(!deleted[0].as_ref().unwrap() && deleted[1..].iter().all(|row| *row.as_ref().unwrap()));
    }

    #[tokio::test]
    async fn a_failing_store_fails_its_own_rows_alone() {
        let fails = |call: Call| match call.operation {
            Operation::Get => Fault::Fail(Error::new(ErrorKind::Unavailable, "down")),
            _ => Fault::None,
        };
        let places = [map(), map(), map()];
        filled(&places).await;
        let broken: Backend = Arc::new(FaultyBackend::new(Arc::clone(&places[1]), fails));
        let routed = routed(&[Arc::clone(&places[0]), broken, Arc::clone(&places[2])]);
        for (key, row) in keys().iter().zip(routed.get(&keys(), call()).await) {
            let on_broken = key.view().tenant() == "eu-1" && key.view().view() == "trips";
            assert_eq!(row.is_err(), on_broken, "{key}");
        }
    }

    #[tokio::test]
    async fn a_scan_gives_what_its_routes_lead_to_and_a_purge_of_a_tenant_takes_all() {
        let places = [map(), map(), map()];
        let routed = filled(&places).await;
        // What a former route has left behind.
        let view = ViewKey::new("eu-1", "risk").unwrap();
        let old = OnlineStore::new(Arc::clone(&places[0]));
        old.write_features("eu-1", "risk", &entity(77), [("n", 1)], None, None).await.unwrap();
        assert_eq!(count(&routed, &Scope::Store).await, 20);
        assert_eq!(count(&routed, &Scope::tenant("eu-1").unwrap()).await, 8);
        assert_eq!(count(&routed, &Scope::View(view)).await, 4);
        let progress = PurgeProgress::default();
        let purged = routed.purge(&Scope::tenant("eu-1").unwrap(), &progress).await.unwrap();
        assert_eq!((purged.removed, progress.removed()), (9, 9));
        assert_eq!(count(&routed, &Scope::Store).await, 12);
        assert_eq!(count(&*places[0], &Scope::tenant("eu-1").unwrap()).await, 0);
    }

    #[tokio::test]
    async fn a_check_names_the_stores_and_fails_where_none_answers() {
        let fails = |_: Call| Fault::Fail(Error::new(ErrorKind::Unavailable, "down"));
        let down = || -> Backend { Arc::new(FaultyBackend::new(map(), fails)) };
        let health = routed(&[map(), down(), map()]).check().await.unwrap();
        assert_eq!(health.facts[0].0, "us.records");
        assert!(health.warnings[0].starts_with("eu does not answer: Unavailable"), "{:?}", health.warnings);
        let error = routed(&[down(), down(), down()]).check().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn what_several_stores_can_do_is_what_each_can() {
        let mut small = Capabilities::new("a");
        small.max_record_bytes = Some(10);
        small.durable = false;
        let mut short = Capabilities::new("b");
        short.max_key_bytes = Some(5);
        let both = strictest([small, short]);
        assert_eq!((both.max_record_bytes, both.max_key_bytes, both.max_ttl), (Some(10), Some(5), None));
        assert_eq!((both.durable, both.backend), (false, "unified"));
    }

    #[test]
    fn the_places_of_a_scope_are_those_of_its_records_and_no_other() {
        let stores: Vec<Backend> = (0..3).map(|_| map()).collect();
        let routed = routed(&stores);
        let tenant = |name| Scope::tenant(name).unwrap();
        assert_eq!(routed.places_of(&tenant("us-1")), [0]);
        assert_eq!(routed.places_of(&tenant("eu-1")), [2, 1]);
        assert_eq!(routed.places_of(&Scope::view("eu-1", "risk").unwrap()), [2]);
        assert_eq!(routed.places_of(&Scope::view("eu-1", "trips").unwrap()), [1]);
        assert_eq!(routed.places_of(&Scope::Store), [2, 1, 0]);
    }
}

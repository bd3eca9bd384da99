//! What a case is, and what it has to work with.

use std::fmt::{self, Debug, Display};
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use feature_core::{
    CallContext, EntityKey, Error, ErrorKind, FeatureRow, FeatureStatus, FeatureValue, FeatureView,
    FeatureWrite, Features, ManualClock, OnlineStore, OnlineStoreBackend, PutOutcome, Record, RecordHeader,
    RecordKey, RecordPut, Result, Timestamp, VersionedRecord, ViewKey, WriteOutcome, WriteReport,
};
use feature_core::{Precondition, Scope};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};

use crate::factory::{BackendFactory, Data};

/// 2026-01-01T00:00:00Z: where the clock of every case begins.
pub(crate) const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
/// The view that a case writes to unless it says otherwise.
pub(crate) const VIEW: &str = "customer_features";
/// More rows than any case writes; a scan that gives more would never end.
const ENDLESS: usize = 50_000;

/// How a case ends.
pub(crate) type Outcome = std::result::Result<(), Failure>;

/// Why a case did not pass, and where.
pub(crate) struct Failure {
    message: String,
    place: &'static Location<'static>,
    /// The store makes no promise of this kind, so there was nothing to check.
    pub(crate) skipped: bool,
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.skipped {
            true => f.write_str(&self.message),
            false => write!(f, "{}\n  at {}:{}", self.message, self.place.file(), self.place.line()),
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        Self { message: error.to_string(), place: Location::caller(), skipped: false }
    }
}

/// A failure with this message.
#[track_caller]
pub(crate) fn failure(message: impl Into<String>) -> Failure {
    Failure { message: message.into(), place: Location::caller(), skipped: false }
}

/// Ends a case that has nothing to check on this store.
#[track_caller]
pub(crate) fn skipped(reason: &str) -> Failure {
    Failure { skipped: true, ..failure(reason) }
}

/// Fails unless the two are equal.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "cases compare what they have just made")]
pub(crate) fn same<T: Debug + PartialEq>(found: T, expected: T) -> Outcome {
    if found == expected {
        return Ok(());
    }
    let shown = |value: &dyn Debug| -> String { format!("{value:?}").chars().take(2_000).collect() };
    Err(failure(format!("expected {}\n  found    {}", shown(&expected), shown(&found))))
}

/// Fails with `message` unless the condition holds.
#[track_caller]
pub(crate) fn holds(condition: bool, message: &str) -> Outcome {
    if condition { Ok(()) } else { Err(failure(message)) }
}

/// Fails unless the result is an error of this kind, which it returns.
#[track_caller]
pub(crate) fn refused<T: Debug>(result: Result<T>, kind: ErrorKind) -> std::result::Result<Error, Failure> {
    match result {
        Err(error) if error.kind() == kind => Ok(error),
        other => Err(failure(format!("expected an error of kind {kind}, found {other:?}"))),
    }
}

/// A named case.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) run: Arc<dyn Fn(Context) -> BoxFuture<'static, Outcome> + Send + Sync>,
}

/// The cases of one subject.
pub(crate) struct Subject<'a> {
    pub(crate) name: &'static str,
    pub(crate) cases: &'a mut Vec<Case>,
}

impl Subject<'_> {
    /// Adds a case. Its name reads as a statement about the store.
    pub(crate) fn case<F>(&mut self, name: impl Display, run: impl Fn(Context) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let run = Arc::new(move |context| -> BoxFuture<'static, Outcome> { Box::pin(run(context)) });
        self.cases.push(Case { name: format!("{}::{name}", self.name), run });
    }
}

/// What a case works with: a store of its own over the backend under test, and its own tenant and clock.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) store: OnlineStore,
    pub(crate) clock: ManualClock,
    pub(crate) tenant: String,
    factory: Arc<dyn BackendFactory>,
}

impl Context {
    pub(crate) async fn open(factory: Arc<dyn BackendFactory>) -> std::result::Result<Self, String> {
        let clock = ManualClock::at(START);
        let backend = factory.open(Arc::new(clock.clone())).await?;
        let store = handle(backend, &clock, Vec::new()).map_err(|e| e.to_string())?;
        Ok(Self { store, clock, tenant: format!("t{:016x}", fastrand::u64(..)), factory })
    }

    pub(crate) fn backend(&self) -> &Arc<dyn OnlineStoreBackend> {
        self.store.backend()
    }

    /// A second instance of the backend, over the same clock.
    pub(crate) async fn open_another(&self) -> std::result::Result<Self, Failure> {
        let mut other = Self::open(self.factory.clone()).await.map_err(failure)?;
        let backend = self.factory.open(Arc::new(self.clock.clone())).await.map_err(failure)?;
        other.store = handle(backend, &self.clock, Vec::new())?;
        Ok(other)
    }

    /// Where the data of the backend lie, for instances that are open one after the other or, unless `in_turns`,
    /// at once. Ends the case where that cannot be.
    pub(crate) async fn data(&self, in_turns: bool) -> std::result::Result<String, Failure> {
        match self.factory.data().await.map_err(failure)? {
            Data::Shared(place) => Ok(place),
            Data::Exclusive(_) if !in_turns => Err(skipped("one instance has the data to itself")),
            Data::Exclusive(_) if !self.backend().capabilities().durable => {
                Err(skipped("the store does not promise to be durable"))
            }
            Data::Exclusive(place) => Ok(place),
            Data::Private(why) => Err(skipped(&why)),
        }
    }

    /// The same case with a new instance over these data.
    pub(crate) async fn over_data(&self, place: &str) -> std::result::Result<Self, Failure> {
        let backend = self.factory.open_over(place, Arc::new(self.clock.clone())).await.map_err(failure)?;
        Ok(self.over(backend)?)
    }

    /// The backend's name, by which a process that is started again finds its factory.
    pub(crate) fn backend_name(&self) -> &'static str {
        self.factory.name()
    }

    /// The same case with a handle over another backend, usually a wrapper around its own.
    pub(crate) fn over(&self, backend: Arc<dyn OnlineStoreBackend>) -> Result<Self> {
        Ok(Self { store: handle(backend, &self.clock, Vec::new())?, ..self.clone() })
    }

    /// The same case with a handle that knows these views.
    pub(crate) fn declaring(&self, yaml: &str) -> Result<Self> {
        let views = FeatureView::from_yaml(yaml)?;
        Ok(Self { store: handle(self.backend().clone(), &self.clock, views)?, ..self.clone() })
    }

    /// The same case as another tenant of it.
    pub(crate) fn as_tenant(&self, tenant: impl Into<String>) -> Self {
        Self { tenant: tenant.into(), ..self.clone() }
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Merges features at an event time, without a TTL.
    pub(crate) async fn write<const N: usize>(
        &self,
        entity: &EntityKey,
        features: [(&str, i64); N],
        at: Timestamp,
    ) -> Result<WriteOutcome> {
        self.store.write_features(&self.tenant, VIEW, entity, features, Some(at), None).await
    }

    pub(crate) async fn send(&self, write: FeatureWrite) -> Result<WriteOutcome> {
        let report = self.batch([write]).await?.into_result()?;
        report.rows().first().cloned().unwrap_or_else(|| Err(Error::corrupt("the report has no row")))
    }

    pub(crate) async fn batch(&self, writes: impl IntoIterator<Item = FeatureWrite>) -> Result<WriteReport> {
        self.store.batch_write(&self.tenant, VIEW, writes).await
    }

    pub(crate) async fn read(&self, entity: &EntityKey) -> Result<Option<FeatureRow>> {
        self.store.read_features(&self.tenant, VIEW, entity, None).await
    }

    /// The features that a read gives, present and null; `None` without a record.
    pub(crate) async fn features(&self, entity: &EntityKey) -> Result<Option<Features>> {
        Ok(self.read(entity).await?.map(|row| features_of(&row)))
    }

    /// The row of an entity that must have one.
    pub(crate) async fn row(&self, entity: &EntityKey) -> std::result::Result<FeatureRow, Failure> {
        self.read(entity).await?.ok_or_else(|| failure(format!("there is no record of {entity}")))
    }

    /// The key of an entity of the case's own view.
    pub(crate) fn key(&self, entity: &EntityKey) -> Result<RecordKey> {
        Ok(RecordKey::new(ViewKey::new(&self.tenant, VIEW)?, entity.clone()))
    }

    /// The record as the backend holds it.
    pub(crate) async fn stored(&self, entity: &EntityKey) -> Result<Option<VersionedRecord>> {
        only(self.backend().get(&[self.key(entity)?], call()).await)
    }

    /// A put of one feature, as the handle would make it.
    pub(crate) fn put_of(
        &self,
        entity: &EntityKey,
        feature: &str,
        value: impl Into<FeatureValue>,
        at: Timestamp,
        precondition: Precondition,
    ) -> Result<RecordPut> {
        let record = Record::of_write(at, None, Features::new().with(feature, value));
        let bytes = record.encode()?;
        let shape = RecordHeader::parse(&bytes)?.shape;
        Ok(RecordPut {
            key: self.key(entity)?,
            bytes: bytes.into(),
            event_time: at,
            shape,
            ttl: None,
            precondition,
        })
    }

    /// Puts a record of one feature, whose value is the time.
    pub(crate) async fn put(
        &self,
        entity: &EntityKey,
        feature: &str,
        second: i64,
        precondition: Precondition,
    ) -> Result<PutOutcome> {
        let put = self.put_of(entity, feature, second, at(second), precondition)?;
        only(self.backend().put(vec![put], call()).await)
    }

    /// The view of the case, as a scope.
    pub(crate) fn scope(&self) -> Result<Scope> {
        Scope::view(&self.tenant, VIEW)
    }

    /// The rows of a scope, sorted by key; what the store gave twice, as it may, is listed once.
    pub(crate) async fn scan(&self, scope: &Scope) -> std::result::Result<Vec<(String, Features)>, Failure> {
        let rows = finite(self.store.scan(scope)).await?;
        let mut rows = rows
            .into_iter()
            .map(|row| row.map(|(key, row)| (key.to_string(), features_of(&row))))
            .collect::<Result<Vec<_>>>()?;
        rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        rows.dedup();
        Ok(rows)
    }
}

fn handle(
    backend: Arc<dyn OnlineStoreBackend>,
    clock: &ManualClock,
    views: Vec<FeatureView>,
) -> Result<OnlineStore> {
    let store = OnlineStore::builder(backend).clock(clock.clone()).views(views).build()?;
    // A slow machine must not fail a case.
    Ok(store.with_deadline(Duration::from_secs(60)))
}

/// A call without a deadline that matters.
pub(crate) fn call() -> CallContext {
    CallContext::with_timeout(Duration::from_secs(60))
}

/// The one row of an answer to a question about one row.
pub(crate) fn only<T>(mut rows: Vec<Result<T>>) -> Result<T> {
    let count = rows.len();
    let row = rows.pop().filter(|_| count == 1);
    row.unwrap_or_else(|| Err(Error::corrupt(format!("asked about 1 record, answered about {count}"))))
}

/// All that a stream gives, provided that it ends.
pub(crate) async fn finite<T>(stream: BoxStream<'static, T>) -> std::result::Result<Vec<T>, Failure> {
    let rows: Vec<T> = stream.take(ENDLESS).collect().await;
    if rows.len() < ENDLESS { Ok(rows) } else { Err(failure("the scan does not end")) }
}

/// The entity of this name.
pub(crate) fn entity(name: impl Display) -> Result<EntityKey> {
    EntityKey::new("customer_id", name.to_string())
}

/// This many seconds after the clock's start, or before it.
pub(crate) const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(START.as_micros() + seconds * 1_000_000)
}

/// What a row says is there.
pub(crate) fn features_of(row: &FeatureRow) -> Features {
    let there = |status| matches!(status, FeatureStatus::Present | FeatureStatus::Null);
    row.iter().filter(|(_, status, _)| there(*status)).map(|(name, _, value)| (name, value.clone())).collect()
}

/// Features with integer values.
pub(crate) fn ints<const N: usize>(features: [(&str, i64); N]) -> Option<Features> {
    Some(features.into())
}

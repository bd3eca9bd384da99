//! What the calls are about.

use std::collections::BTreeMap;
use std::ops::Range;

use feature_core::{
    EntityKey, FeatureValue, FeatureView, FeatureWrite, Features, Result, Timestamp, ValueType,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution as _, Zipf};

use super::measure::Kind;
use super::run::{Load, Progress};

/// How many elements a made-up list has, and how many letters a made-up text.
const ELEMENTS: usize = 16;
const LETTERS: usize = 12;

/// Which entities there are.
#[derive(Clone, Debug)]
pub(crate) enum Entities {
    /// So many: each join key has the numbers from 0.
    Numbered(u64),
    /// These. Each may have more join keys than a view needs.
    Listed(Vec<EntityKey>),
}

/// How often which entity is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Distribution {
    /// Each as often as the others.
    Uniform,
    /// The first most often, the n-th less often by n to this power.
    Zipf(f64),
}

/// A view that is read or written.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) name: String,
    /// As it is declared, if it is.
    pub(crate) declared: Option<FeatureView>,
    /// The keys of listed entities, as the view has them.
    keys: Vec<EntityKey>,
}

/// The user's own load: what a call does follows from its number.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) tenant: String,
    pub(crate) views: Vec<View>,
    /// How many entities there are.
    pub(crate) entities: u64,
    distribution: Distribution,
    /// How many entities a call is about.
    pub(crate) batch: usize,
    /// The share of calls that write.
    pub(crate) writes: f64,
}

impl Shape {
    /// Calls about these views and entities, that read.
    ///
    /// # Errors
    /// Why there can be none.
    pub(crate) fn new(
        tenant: &str,
        views: Vec<(String, Option<FeatureView>)>,
        entities: &Entities,
        distribution: Distribution,
        batch: usize,
    ) -> Result<Self, String> {
        let number = match entities {
            Entities::Numbered(number) => *number,
            Entities::Listed(keys) => keys.len() as u64,
        };
        if number == 0 || views.is_empty() {
            return Err("there is no entity to ask for".to_owned());
        }
        let view = |(name, declared): (String, Option<FeatureView>)| {
            let keys = match (entities, &declared) {
                (Entities::Numbered(_), Some(_)) => Vec::new(),
                (Entities::Numbered(_), None) => {
                    return Err(format!(
                        "feature view `{name}` is not declared, so its join keys are not known: list entities with \
                         --entities-from"
                    ));
                }
                (Entities::Listed(keys), None) => keys.clone(),
                (Entities::Listed(keys), Some(view)) => keys
                    .iter()
                    .map(|key| {
                        key.project(&view.entities).ok_or_else(|| {
                            let needed = view.entities.join(", ");
                            format!(
                                "`{key}` is no entity of feature view `{name}`, whose join keys are {needed}"
                            )
                        })
                    })
                    .collect::<Result<_, _>>()?,
            };
            Ok(View { name, declared, keys })
        };
        let views = views.into_iter().map(view).collect::<Result<_, _>>()?;
        Ok(Self { tenant: tenant.to_owned(), views, entities: number, distribution, batch, writes: 0.0 })
    }

    /// The same, of which this share writes.
    ///
    /// # Errors
    /// It is not known what to write.
    pub(crate) fn writing(mut self, share: f64) -> Result<Self, String> {
        self.writes = share;
        match self.views.iter().find(|view| view.declared.is_none()) {
            Some(View { name, .. }) => {
                Err(format!("feature view `{name}` is not declared, so it is not known what to write"))
            }
            None => Ok(self),
        }
    }

    /// What a call does.
    pub(crate) fn kind(&self, call: u64) -> Kind {
        let mut rng = SmallRng::seed_from_u64(!call);
        if rng.random::<f64>() < self.writes { Kind::Write } else { Kind::Read }
    }

    /// The entities that a call reads of each view.
    pub(crate) fn reads(&self, call: u64) -> Result<Vec<Vec<EntityKey>>> {
        let mut rng = SmallRng::seed_from_u64(call);
        let picked = self.pick(&mut rng);
        self.views.iter().map(|view| picked.iter().map(|at| view.key(*at)).collect()).collect()
    }

    /// The view that a call writes, and what.
    pub(crate) fn written(&self, call: u64) -> Result<(&View, Vec<FeatureWrite>)> {
        let mut rng = SmallRng::seed_from_u64(call);
        let view = &self.views[rng.random_range(0..self.views.len())];
        let picked = self.pick(&mut rng);
        let writes = picked.into_iter().map(|at| view.write(at, &mut rng)).collect::<Result<_>>()?;
        Ok((view, writes))
    }

    fn pick(&self, rng: &mut SmallRng) -> Vec<u64> {
        match self.distribution {
            Distribution::Uniform => (0..self.batch).map(|_| rng.random_range(0..self.entities)).collect(),
            Distribution::Zipf(exponent) => match Zipf::new(self.entities as f64, exponent) {
                Ok(zipf) => zipf.sample_iter(rng).take(self.batch).map(|rank| rank as u64 - 1).collect(),
                Err(_) => vec![0; self.batch],
            },
        }
    }
}

impl View {
    fn key(&self, at: u64) -> Result<EntityKey> {
        if let Some(key) = self.keys.get(at as usize) {
            return Ok(key.clone());
        }
        let names = self.declared.iter().flat_map(|view| &view.entities);
        names.fold(EntityKey::builder(), |key, name| key.with(name, at)).build()
    }

    /// Values for these entities.
    pub(crate) fn filling(&self, entities: Range<u64>) -> Result<Vec<FeatureWrite>> {
        let mut rng = SmallRng::seed_from_u64(entities.start);
        entities.map(|at| self.write(at, &mut rng)).collect()
    }

    fn write(&self, at: u64, rng: &mut SmallRng) -> Result<FeatureWrite> {
        let features = self.declared.iter().flat_map(|view| &view.features);
        let values: Features = features.map(|(name, kind)| (name, made_up(*kind, rng))).collect();
        Ok(FeatureWrite::new(self.key(at)?, values))
    }
}

/// A load that has a shape.
pub(crate) trait Shaped: Load {
    fn shape(&self) -> &Shape;

    /// A call that writes this to a view.
    fn fill(&self, view: &View, writes: Vec<FeatureWrite>) -> Self::Call;
}

/// Writes each entity to each view once, in batches of so many.
///
/// # Errors
/// The first that is not written.
pub(crate) async fn fill<L: Shaped>(load: &L, rows: u64, progress: &Progress) -> Result<(), String> {
    let shape = load.shape();
    for view in &shape.views {
        for from in (0..shape.entities).step_by(usize::try_from(rows).unwrap_or(usize::MAX)) {
            let writes = view.filling(from..shape.entities.min(from + rows)).map_err(|e| e.to_string())?;
            let sent = load.send(load.fill(view, writes)).await;
            progress.answered_one();
            if let Some(failure) = sent.failure {
                return Err(format!("feature view `{}` cannot be filled: {failure}", view.name));
            }
        }
    }
    Ok(())
}

/// A value of a type.
fn made_up(kind: ValueType, rng: &mut SmallRng) -> FeatureValue {
    let text = |rng: &mut SmallRng| (0..LETTERS).map(|_| rng.random_range('a'..='z')).collect::<String>();
    let time = |rng: &mut SmallRng| Timestamp::from_micros(rng.random_range(0..4_000_000_000_000_000));
    match kind {
        ValueType::Bool => rng.random::<bool>().into(),
        ValueType::Int32 => rng.random::<i32>().into(),
        ValueType::Int64 => rng.random::<i64>().into(),
        ValueType::Float32 => rng.random::<f32>().into(),
        ValueType::Float64 => rng.random::<f64>().into(),
        ValueType::String => text(rng).into(),
        ValueType::Bytes => text(rng).into_bytes().into(),
        ValueType::Timestamp => time(rng).into(),
        ValueType::BoolList => FeatureValue::BoolList(list(rng, RngExt::random)),
        ValueType::Int32List => FeatureValue::Int32List(list(rng, RngExt::random)),
        ValueType::Int64List => FeatureValue::Int64List(list(rng, RngExt::random)),
        ValueType::Float32List => FeatureValue::Float32List(list(rng, RngExt::random)),
        ValueType::Float64List => FeatureValue::Float64List(list(rng, RngExt::random)),
        ValueType::StringList => FeatureValue::StringList(list(rng, text)),
        ValueType::BytesList => FeatureValue::BytesList(list(rng, |rng| text(rng).into_bytes())),
        ValueType::TimestampList => FeatureValue::TimestampList(list(rng, time)),
        ValueType::Map => FeatureValue::Map(BTreeMap::from([(text(rng), rng.random::<f64>().into())])),
    }
}

fn list<T>(rng: &mut SmallRng, of: impl Fn(&mut SmallRng) -> T) -> Vec<T> {
    (0..ELEMENTS).map(|_| of(rng)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEWS: &str = "feature_views:
  - { name: customers, entities: [customer_id], features: { visits: int64, name: string, of: 'list<float32>' } }
  - { name: visits, entities: [customer_id, shop], features: { last: timestamp } }";

    fn views() -> Vec<(String, Option<FeatureView>)> {
        let views = FeatureView::from_yaml(VIEWS).unwrap();
        views.into_iter().map(|view| (view.name.clone(), Some(view))).collect()
    }

    fn shape(entities: &Entities, distribution: Distribution) -> Result<Shape, String> {
        Shape::new("t", views(), entities, distribution, 50)
    }

    #[test]
    fn a_call_is_the_same_at_every_run_and_reads_one_set_of_entities_from_all_views() {
        let shape = shape(&Entities::Numbered(100), Distribution::Uniform).unwrap();
        let reads = shape.reads(7).unwrap();
        assert_eq!(reads, shape.reads(7).unwrap());
        assert_ne!(reads, shape.reads(8).unwrap());
        for (customer, visit) in reads[0].iter().zip(&reads[1]) {
            assert_eq!(visit.project(&["customer_id"]).as_ref(), Some(customer));
            assert_eq!(visit.value_of("shop"), customer.value_of("customer_id"));
        }
    }

    #[test]
    fn what_is_written_conforms_to_the_view_and_is_the_share_that_was_asked_for() {
        let shape = shape(&Entities::Numbered(100), Distribution::Uniform).unwrap().writing(0.25).unwrap();
        for call in 0..20 {
            let (view, writes) = shape.written(call).unwrap();
            for FeatureWrite { entity_key, features, .. } in writes {
                view.declared.as_ref().unwrap().conform(&entity_key, features).unwrap();
            }
        }
        let writes = (0..10_000).filter(|call| shape.kind(*call) == Kind::Write).count();
        assert!((2_300..2_700).contains(&writes), "{writes}");
    }

    #[test]
    fn by_zipfs_law_the_first_entity_is_asked_for_most() {
        let shape = shape(&Entities::Numbered(1_000), Distribution::Zipf(1.0)).unwrap();
        let mut times = BTreeMap::<EntityKey, usize>::new();
        for call in 0..1_000 {
            for key in shape.reads(call).unwrap().swap_remove(0) {
                *times.entry(key).or_default() += 1;
            }
        }
        let of = |number: u64| times[&EntityKey::new("customer_id", number).unwrap()] as f64;
        // The harmonic number of 1,000 is 7.485.
        assert!((of(0) / 50_000.0 * 7.485 - 1.0).abs() < 0.1, "{}", of(0));
        assert!((of(0) / of(9) / 10.0 - 1.0).abs() < 0.3, "{}", of(9));
    }

    #[test]
    fn listed_entities_must_be_those_of_the_views() {
        let key = |text| EntityKey::parse(text).unwrap();
        let listed = Entities::Listed(vec![key("customer_id=7|shop=a"), key("customer_id=8|shop=b")]);
        let reads = shape(&listed, Distribution::Uniform).unwrap().reads(1).unwrap();
        assert!(reads[0].contains(&key("customer_id=8")) && reads[1].contains(&key("customer_id=8|shop=b")));
        let wrong = shape(&Entities::Listed(vec![key("customer_id=7")]), Distribution::Uniform).unwrap_err();
        assert_eq!(
            wrong,
            "`customer_id=7` is no entity of feature view `visits`, whose join keys are customer_id, shop"
        );
    }

    #[test]
    fn of_a_view_that_is_not_declared_listed_entities_can_be_read() {
        let undeclared = || vec![("v".to_owned(), None)];
        let of = |entities| Shape::new("t", undeclared(), &entities, Distribution::Uniform, 1);
        assert!(of(Entities::Numbered(7)).unwrap_err().contains("--entities-from"));
        let shape = of(Entities::Listed(vec![EntityKey::new("id", 7).unwrap()])).unwrap();
        assert_eq!(shape.reads(0).unwrap(), [[EntityKey::new("id", 7).unwrap()]]);
        assert!(shape.writing(0.5).unwrap_err().contains("not known what to write"));
    }
}

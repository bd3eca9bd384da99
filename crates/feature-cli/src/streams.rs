//! `streams` of a settings file: what is followed, and what its messages become.

use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use feature_core::{Secret, Ttl, WriteMode};
use feature_ingest::TimeUnit;
use feature_ingest::follow::{
    Avro, Encoding, Envelope, Feed, FieldPath, FollowOptions, Part, RedisStream, RedisStreamSettings,
    StreamFeatures, StreamMapping, StreamTime,
};
#[cfg(feature = "kafka")]
use feature_ingest::follow::{KafkaTopic, KafkaTopicSettings};
use feature_store::unified::{Field, Problems, Section, SettingsFormat, SettingsReader};

use crate::exit::{Failure, Result, say};

/// A stream as the file describes it.
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) source: Source,
    pub(crate) mapping: StreamMapping,
    pub(crate) options: FollowOptions,
}

/// Where messages come from.
pub(crate) enum Source {
    Redis(RedisStreamSettings),
    #[cfg(feature = "kafka")]
    Kafka(KafkaTopicSettings),
}

impl Source {
    /// The stream, ready to be followed.
    pub(crate) fn open(self) -> feature_core::Result<Arc<dyn Feed>> {
        Ok(match self {
            Self::Redis(settings) => Arc::new(RedisStream::new(settings)?),
            #[cfg(feature = "kafka")]
            Self::Kafka(settings) => Arc::new(KafkaTopic::new(settings)?),
        })
    }

    /// The stream in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Redis(settings) => format!("{} of Redis, as group {}", settings.stream, settings.group),
            #[cfg(feature = "kafka")]
            Self::Kafka(settings) => format!("{} of Kafka, as group {}", settings.topic, settings.group),
        }
    }
}

/// The streams of a settings file. Every mistake in them is shown, on a line of its own.
pub(crate) fn load(file: &Path) -> Result<Vec<Stream>> {
    read(file)?.map_err(|problems| {
        for problem in problems.iter() {
            say(format_args!("{}:{}: {problem}", file.display(), problem.line));
        }
        Failure::Usage(format!("there are mistakes in the settings file {}", file.display()))
    })
}

/// The same, or every mistake in it, for a log.
pub(crate) fn read(file: &Path) -> Result<Result<Vec<Stream>, Problems>> {
    let text = fs::read_to_string(file)
        .map_err(|e| Failure::Usage(format!("cannot read the settings file {}: {e}", file.display())))?;
    let reader = SettingsReader::new(SettingsFormat::of(file));
    let read = reader.read_with(&text, |root| match root.take("streams") {
        None => Some(Vec::new()),
        Some(field) => {
            let entries = field.entries()?;
            let streams: Vec<_> = entries.iter().map(|(name, field)| stream(name, field)).collect();
            streams.into_iter().collect()
        }
    });
    Ok(read.map(|(_, streams)| streams))
}

fn stream(name: &str, field: &Field<'_>) -> Option<Stream> {
    let mut section = field.section()?;
    let source = source(name, &mut section);
    let mapping = mapping(&mut section);
    let mut options = FollowOptions::default();
    section.set("batch_size", &mut options.batch_size, |field| field.count(1..=100_000));
    section.set("linger", &mut options.linger, |field| {
        field.duration_within(Duration::ZERO..=Duration::from_secs(10))
    });
    section.finish();
    if let (Some(Source::Redis(RedisStreamSettings { payload: None, .. })), Some(mapping)) =
        (&source, &mapping)
        && !matches!(mapping.encoding, Encoding::Json)
    {
        field.fail("say in `payload` which field of an entry has the Avro");
        return None;
    }
    Some(Stream { name: name.to_owned(), source: source?, mapping: mapping?, options })
}

fn source(name: &str, section: &mut Section<'_>) -> Option<Source> {
    match section.take("kafka") {
        Some(brokers) => kafka(name, &brokers, section),
        None => redis(name, section).map(Source::Redis),
    }
}

/// A text with a default.
fn text(section: &mut Section<'_>, key: &'static str, default: String) -> String {
    let mut value = default;
    section.set(key, &mut value, |field| field.name().map(str::to_owned));
    value
}

/// Whether a group that is made begins at the end.
fn from_end(section: &mut Section<'_>) -> bool {
    let mut from_end = false;
    section.set("from", &mut from_end, |field| one_of(&field, &[("beginning", false), ("end", true)]));
    from_end
}

#[cfg(not(feature = "kafka"))]
fn kafka(_: &str, brokers: &Field<'_>, _: &mut Section<'_>) -> Option<Source> {
    brokers.fail("this program was built without Kafka: build it with the feature `kafka`");
    None
}

#[cfg(feature = "kafka")]
fn kafka(name: &str, brokers: &Field<'_>, section: &mut Section<'_>) -> Option<Source> {
    let topic = text(section, "topic", name.to_owned());
    let properties = section.take("properties").and_then(|field| field.entries()).unwrap_or_default();
    let property =
        |(name, field): &(&str, Field<'_>)| Some(((*name).to_owned(), Secret::from(field.text()?)));
    let settings = KafkaTopicSettings {
        brokers: brokers.name()?.to_owned(),
        group: text(section, "group", "fstore".to_owned()),
        dead_letters: text(section, "dead_letters", format!("{topic}.dead")),
        topic,
        from_end: from_end(section),
        properties: properties.iter().map(property).collect::<Option<_>>()?,
    };
    Some(Source::Kafka(settings))
}

fn redis(name: &str, section: &mut Section<'_>) -> Option<RedisStreamSettings> {
    let url = section.need("redis");
    let stream = text(section, "stream", name.to_owned());
    let mut settings = RedisStreamSettings {
        url: Secret::from(""),
        group: text(section, "group", "fstore".to_owned()),
        // Unlike a host and a process number it is no other's, in whatever container.
        consumer: text(section, "consumer", format!("fstore-{:016x}", fastrand::u64(..))),
        payload: section.take("payload").and_then(|field| field.name().map(str::to_owned)),
        dead_letters: text(section, "dead_letters", format!("{stream}.dead")),
        stream,
        from_end: from_end(section),
        claim_after: Duration::from_secs(30),
    };
    section.set("claim_after", &mut settings.claim_after, |field| {
        field.duration_within(Duration::from_secs(1)..=Duration::MAX)
    });
    let url = url?;
    settings.url = Secret::from(url.name()?);
    if let Err(error) = RedisStream::new(settings.clone()) {
        url.fail(error.message());
        return None;
    }
    Some(settings)
}

fn mapping(section: &mut Section<'_>) -> Option<StreamMapping> {
    let encoding = match section.take("avro") {
        Some(field) => avro(&field).map(Encoding::Avro),
        None => Some(Encoding::Json),
    };
    let mut envelope = Envelope::default();
    section.set("envelope", &mut envelope, |field| parsed(&field, field.name()?));
    let tenant =
        section.need("tenant").and_then(|field| part(&field, |field| field.name().map(str::to_owned)));
    let view = section.need("view").and_then(|field| part(&field, |field| field.name().map(str::to_owned)));
    let entity = section.need("entity").and_then(|field| fields(&field));
    let event_time = section.take("event_time").map(|field| time(&field));
    let features = match section.take("features") {
        Some(field) => fields(&field).map(StreamFeatures::Named),
        None => Some(StreamFeatures::Others),
    };
    let ttl = section.take("ttl").map(|field| {
        part(&field, |field| match field.text_if_any() {
            Some("never") => Some(Ttl::Never),
            _ => field.seconds_or_duration().map(Ttl::After),
        })
    });
    let mut mode = Part::Constant(WriteMode::Merge);
    section.set("mode", &mut mode, |field| {
        part(&field, |field| one_of(field, &[("merge", WriteMode::Merge), ("replace", WriteMode::Replace)]))
    });
    Some(StreamMapping {
        encoding: encoding?,
        envelope,
        tenant: tenant?,
        view: view?,
        entity: entity?,
        // What is stated and wrong must not be taken for what is not stated.
        event_time: event_time.map_or(Some(None), |time| time.map(Some))?,
        features: features?,
        ttl: ttl.map_or(Some(None), |ttl| ttl.map(Some))?,
        mode,
    })
}

/// One schema for all messages, or a registry that has those that they name.
fn avro(field: &Field<'_>) -> Option<Avro> {
    let mut section = field.section()?;
    let (schema, registry) = (section.take("schema"), section.take("registry"));
    section.finish();
    let (field, avro) = match (schema, registry) {
        (Some(field), None) => {
            let avro = Avro::with_schema(field.name()?);
            (field, avro)
        }
        (None, Some(field)) => {
            let avro = Avro::with_registry(&Secret::from(field.name()?));
            (field, avro)
        }
        _ => {
            field.fail("expected either `schema`, with a schema in JSON, or `registry`, with a URL");
            return None;
        }
    };
    avro.map_err(|error| field.fail(error.to_string())).ok()
}

/// A constant, or `{ field: name }`.
fn part<T>(field: &Field<'_>, constant: impl Fn(&Field<'_>) -> Option<T>) -> Option<Part<T>> {
    if field.is_text() || !field.is_map() {
        return constant(field).map(Part::Constant);
    }
    let mut section = field.section()?;
    let path = section.need("field");
    section.finish();
    path.and_then(|field| parsed(&field, field.name()?)).map(Part::Field)
}

/// Names with the fields that they are in: a list of those that are named as their fields are, or a map.
fn fields(field: &Field<'_>) -> Option<Vec<(String, FieldPath)>> {
    let pairs: Vec<Option<(String, FieldPath)>> = match field.is_list() {
        true => field.items().iter().map(|item| named(item.name()?, item)).collect(),
        false => field.entries()?.iter().map(|(name, field)| named(name, field)).collect(),
    };
    if pairs.is_empty() {
        field.fail("it names no field");
        return None;
    }
    pairs.into_iter().collect()
}

fn named(name: &str, field: &Field<'_>) -> Option<(String, FieldPath)> {
    Some((name.to_owned(), parsed(field, field.name()?)?))
}

fn time(field: &Field<'_>) -> Option<StreamTime> {
    if field.is_text() {
        return Some(StreamTime { field: parsed(field, field.name()?)?, unit: None });
    }
    let mut section = field.section()?;
    let path = section.need("field").and_then(|field| parsed(&field, field.name()?));
    let unit = section.take("unit").map(|field| {
        let name = field.name()?;
        parsed::<TimeUnit>(&field, name)
    });
    section.finish();
    Some(StreamTime { field: path?, unit: unit.map_or(Some(None), |unit| unit.map(Some))? })
}

/// A text that says something of feature-ingest.
fn parsed<T: FromStr<Err = feature_ingest::IngestError>>(field: &Field<'_>, text: &str) -> Option<T> {
    text.parse().map_err(|error: feature_ingest::IngestError| field.fail(error.to_string())).ok()
}

fn one_of<T: Copy>(field: &Field<'_>, known: &[(&str, T)]) -> Option<T> {
    let name = field.name()?;
    let found = known.iter().find(|(own, _)| *own == name).map(|(_, value)| *value);
    if found.is_none() {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        field.unknown("such word here", name, &names);
    }
    found
}

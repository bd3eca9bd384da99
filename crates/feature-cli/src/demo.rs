//! `demo`: what the store does, told on a small sample of real flights.

use std::future::pending;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use feature_core::{
    EntityKey, FeatureRow, FeatureStatus, FeatureView, FeatureWrite, Features, ManualClock, OnlineStore,
    Timestamp, ViewRead, WriteOutcome,
};
use feature_ingest::{Ended, IngestOptions, Load, RejectsFile};
use feature_store::Connector;

use crate::exit::{Exit, Failure, Result};

const VIEWS: &str = include_str!("../demo/views.yaml");
const FLIGHTS: &[u8] = include_bytes!("../demo/flights.parquet");
const PLANES: &[u8] = include_bytes!("../demo/planes.csv");

const TENANT: &str = "acme";
/// When the demo takes place, in microseconds: 2014-01-01T00:00:00Z, after the last flight.
const NOW: Timestamp = Timestamp::from_micros(1_388_534_400_000_000);

/// Tells the story, in a temporary store that is gone afterwards.
pub(crate) async fn run() -> Result<Exit> {
    let directory = tempfile::tempdir().map_err(|e| temporary(&e))?;
    let clock = ManualClock::at(NOW);
    let url = format!("embedded:{}", escaped(&directory.path().join("demo.redb")));
    let connector = Connector::new().clock(clock.clone());
    let backend = connector.connect(&url).await?;
    let views = FeatureView::from_yaml(VIEWS)?;
    let catalog = connector.catalog(Arc::clone(&backend))?;
    for view in &views {
        catalog.declare(view).await?;
    }
    let store = OnlineStore::builder(backend).clock(clock.clone()).views(views).build()?;
    let mut story = Story { out: io::stdout(), store, clock };
    story.opening()?;
    story.load(directory.path()).await?;
    story.single().await?;
    story.batch().await?;
    story.several_views().await?;
    story.late_write().await?;
    story.null_and_missing().await?;
    story.expiry().await?;
    story.closing()?;
    story.store.close().await?;
    Ok(Exit::Done)
}

fn temporary(e: &io::Error) -> Failure {
    Failure::Other(format!("cannot make the temporary store: {e}"))
}

/// A path as it stands in a store's URL.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%25").replace('?', "%3F")
}

struct Story {
    out: io::Stdout,
    store: OnlineStore,
    clock: ManualClock,
}

impl Story {
    fn say(&mut self, text: &str) -> Result<()> {
        Ok(writeln!(self.out, "{text}")?)
    }

    fn opening(&mut self) -> Result<()> {
        self.say(
            "An online feature store answers one question fast: what do we know about these things, now?\n\
             This demo asks it about 20 aircraft that flew from New York in 2013. It runs in a temporary store,\n\
             and its clock stands at 2014-01-01T00:00:00Z.\n\n\
             1. Declare what there is: three feature views, each with its entity, typed features, a lifetime.",
        )?;
        let views = ["last_flight", "airframe", "gate"].map(|name| self.store.view(name).cloned());
        for view in views.into_iter().flatten() {
            let features: Vec<_> = view.features.iter().map(|(name, t)| format!("{name} {t}")).collect();
            let ttl = view.ttl.unwrap_or_default();
            writeln!(self.out, "     {:<12} by {}, ttl {ttl}", view.name, view.entities.join(", "))?;
            for line in features.chunks(4) {
                writeln!(self.out, "       {}", line.join(", "))?;
            }
        }
        Ok(())
    }

    async fn load(&mut self, directory: &Path) -> Result<()> {
        self.say("\n2. Load history from files. Rows may come in any order: the newest event time wins.")?;
        let files = [
            ("last_flight", "flights.parquet", FLIGHTS, Some("time_hour")),
            ("airframe", "planes.csv", PLANES, None),
        ];
        for (view, name, bytes, timestamp) in files {
            let path = directory.join(name);
            std::fs::write(&path, bytes).map_err(|e| temporary(&e))?;
            let rejects = directory.join(format!("{name}.rejects.ndjson"));
            let options = IngestOptions {
                entity: vec!["tailnum".to_owned()],
                timestamp: timestamp.map(str::to_owned),
                batch_size: 100,
                concurrency: 2,
                now: Some(NOW),
                ..IngestOptions::default()
            };
            let load = Load::open(&[path.display().to_string()], options, self.store.view(view)).await?;
            let load = load.rejects(RejectsFile::new(&rejects));
            let report = load.run(&self.store, TENANT, view, pending()).await;
            if let Ended::Failed(failure) = report.ended {
                return Err(failure.into());
            }
            let entities = report.entities.unwrap_or_default();
            writeln!(
                self.out,
                "     {name:<16} {} rows read, {} written, {} rejected: {entities} aircraft",
                report.progress.read, report.progress.written, report.progress.rejected
            )?;
            if let Some(first) = std::fs::read_to_string(rejects).unwrap_or_default().lines().next() {
                writeln!(self.out, "     A rejected row is kept with its reason: {first}")?;
            }
        }
        Ok(())
    }

    async fn single(&mut self) -> Result<()> {
        self.say("\n3. Read one aircraft's features. Each has a value, a status and the time of its event.")?;
        let row = self.read("N619AA", None).await?;
        self.show(&row, None)
    }

    async fn batch(&mut self) -> Result<()> {
        self.say(
            "\n4. Read many at once, as a model does: a row for each key, in the order asked, one round trip.\n   \
             Nobody knows N00000: that is no error but an empty row.",
        )?;
        let keys = ["N667UA", "N00000", "N273WN"].map(tailnum).into_iter().collect::<Result<Vec<_>>>()?;
        let names = ["dest", "distance", "dep_delay"];
        let rows = self.store.batch_read(TENANT, "last_flight", &keys, Some(&names)).await?;
        for (key, row) in keys.iter().zip(rows) {
            let text = row?.map_or_else(|| "(no record)".to_owned(), |row| in_a_line(&row));
            writeln!(self.out, "     {key:<15} {text}")?;
        }
        Ok(())
    }

    async fn several_views(&mut self) -> Result<()> {
        self.say("\n5. Read several views in one call: all that a model needs, still one round trip.")?;
        let keys = [tailnum("N386AA")?];
        let names = |names: &[&str]| Arc::new(names.iter().collect());
        let (flight, airframe) = (names(&["dest", "air_time"]), names(&["manufacturer", "model", "seats"]));
        let reads = [("last_flight", &flight), ("airframe", &airframe)].map(|(feature_view, names)| {
            ViewRead { feature_view, entity_keys: &keys, feature_names: Some(names) }
        });
        let rows = self.store.read_views(TENANT, &reads).await?;
        for (read, row) in reads.iter().zip(rows.into_iter().flatten()) {
            let text = row?.map_or_else(|| "(no record)".to_owned(), |row| in_a_line(&row));
            writeln!(self.out, "     {:<12} {text}", read.feature_view)?;
        }
        Ok(())
    }

    async fn late_write(&mut self) -> Result<()> {
        self.say(
            "\n6. A message about a flight in June arrives half a year late. It is older than what is stored, so it\n   \
             changes nothing; repeated or re-ordered writes never bring an old value back.",
        )?;
        let before = self.read("N619AA", Some(&["dest", "dep_delay"])).await?;
        let late = Features::from([("dest", "BOS")]).with("dep_delay", 99.0);
        let outcome = self.write("last_flight", late, "2013-06-01T12:00:00Z".parse()?).await?;
        writeln!(self.out, "     dest=BOS dep_delay=99 at 2013-06-01T12:00:00Z: {outcome}")?;
        let after = self.read("N619AA", Some(&["dest", "dep_delay"])).await?;
        let same = if before == after { "unchanged" } else { "changed" };
        writeln!(self.out, "     N619AA is {same}: {}", in_a_line(&after))?;
        self.say("   A newer write of one feature takes effect, and leaves its neighbours as they are:")?;
        let newer = Features::from([("delay_reason", "snow")]);
        let outcome = self.write("last_flight", newer, "2013-12-31T23:00:00Z".parse()?).await?;
        writeln!(self.out, "     delay_reason=snow at 2013-12-31T23:00:00Z: {outcome}")?;
        let now = self.read("N619AA", Some(&["delay_reason", "dest", "dep_delay"])).await?;
        writeln!(self.out, "     N619AA: {}", in_a_line(&now)).map_err(Into::into)
    }

    async fn null_and_missing(&mut self) -> Result<()> {
        self.say(
            "\n7. Null is not the same as missing. The last flight of N745SW was cancelled, so its delay was written\n   \
             as null; nobody ever wrote a reason.",
        )?;
        let names = ["dest", "dep_delay", "delay_reason"];
        let row = self.read("N745SW", Some(&names)).await?;
        self.show(&row, Some(&names))
    }

    async fn expiry(&mut self) -> Result<()> {
        self.say(
            "\n8. What is no longer true must not be served. A gate is good for two hours after it was written; the\n   \
             clock decides, to the microsecond.",
        )?;
        self.write("gate", Features::from([("gate", "B42")]), NOW).await?;
        for (after, label) in [
            (Duration::ZERO, "at once"),
            (Duration::from_micros(7_199_999_999), "a microsecond before two hours are over"),
            (Duration::from_micros(1), "a microsecond later"),
        ] {
            self.clock.advance(after);
            let row = self.store.read_features(TENANT, "gate", &tailnum("N619AA")?, None).await?;
            let text = row.map_or_else(|| "(no record)".to_owned(), |row| in_a_line(&row));
            writeln!(self.out, "     {label:<42} {text}")?;
        }
        Ok(())
    }

    fn closing(&mut self) -> Result<()> {
        self.say(
            "\nThe temporary store is gone now. The same in a file that stays, with the files in\n\
             crates/feature-cli/demo, or with your own:\n\
             \n    fstore apply views.yaml\
             \n    fstore ingest flights.parquet --tenant acme --view last_flight --timestamp time_hour\
             \n    fstore get --tenant acme --view last_flight tailnum=N619AA",
        )
    }

    async fn write(&self, view: &str, features: Features, at: Timestamp) -> Result<&'static str> {
        let write = FeatureWrite::new(tailnum("N619AA")?, features).at(at);
        let report = self.store.batch_write(TENANT, view, [write]).await?.into_result()?;
        Ok(match report.rows().first() {
            Some(Ok(WriteOutcome::Superseded)) => "superseded",
            _ => "applied",
        })
    }

    async fn read(&self, aircraft: &str, names: Option<&[&str]>) -> Result<FeatureRow> {
        let row = self.store.read_features(TENANT, "last_flight", &tailnum(aircraft)?, names).await?;
        row.ok_or_else(|| Failure::Other(format!("the sample has no {aircraft}")))
    }

    fn show(&mut self, row: &FeatureRow, names: Option<&[&str]>) -> Result<()> {
        writeln!(self.out, "     {}", row.entity_key)?;
        for (name, status, value) in
            row.iter().filter(|(name, ..)| names.is_none_or(|names| names.contains(name)))
        {
            let time = row.event_time(name).map(|time| time.to_string()).unwrap_or_default();
            let value = value.to_json().to_string();
            let value = if status == FeatureStatus::Present { value.as_str() } else { "" };
            writeln!(
                self.out,
                "{}",
                format!("       {name:<13} {value:<9} {:<10} {time}", status.name()).trim_end()
            )?;
        }
        Ok(())
    }
}

fn tailnum(aircraft: &str) -> Result<EntityKey> {
    Ok(EntityKey::new("tailnum", aircraft)?)
}

fn in_a_line(row: &FeatureRow) -> String {
    let feature = |(name, status, value): (&str, FeatureStatus, &feature_core::FeatureValue)| match status {
        FeatureStatus::Present => format!("{name}={}", value.to_json()),
        _ => format!("{name} {}", status.name()),
    };
    row.iter().map(feature).collect::<Vec<_>>().join("  ")
}

//! One settings file, two tenants, two stores, three views, one service: what the program writes the library
//! serves, and the reverse.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "every function here is a test's"
)]

mod program;

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use feature_core::{
    EntityKey, Error, ErrorKind, FeatureWrite, Features, OnlineStoreBackend, Result, SystemClock,
};
use program::fstore;
use serde_json::{Value, json};
use store_embedded::{EmbeddedConfig, EmbeddedOnlineStore};
use store_redis::{RedisConfig, RedisOnlineStore};
use store_testkit::servers::Server;
use store_testkit::{Fault, FaultyBackend};
use store_unified::{
    CellStatus, FeatureRequest, FeatureTable, Settings, SettingsFormat, SettingsReader, StoreEntry,
    UnifiedFeatureStore,
};
use tempfile::TempDir;

/// `{a}` lives in Redis, with a copy in the file that is read when Redis does not answer; `{b}` in the file
/// alone, and is limited.
const SETTINGS: &str = "\
stores:
  fast: { url: '${E2E_REDIS}', retry: {}, hedge: {}, circuit: {}, limit: { max_in_flight: 64 } }
  local: embedded:${E2E_FILE}
routes:
  - tenant: '{a}'
    store: fast
    fallback: { store: local, after: 200ms }
    mirror: { store: local, required: true }
default: { store: local }
deadline: 5s
tenants:
  - { tenant: '{b}', class: small, quota: { rows_per_s: 100, writes_per_s: 5 } }
cache: { ttl: 1m, views: { devices: off } }
feature_views:
  - { name: customers, entities: [customer_id], features: { orders: int64, country: string } }
  - { name: devices, entities: [device_id], features: { logins: int64, country: string }, max_age: 365d }
  - { name: regions, entities: [country, customer_id], features: { score: float64 } }
feature_services:
  - { name: fraud, features: ['customers:*', 'devices:logins', 'devices:country', 'regions:score'] }
";

const CUSTOMERS: &str =
    "customer_id,orders,country,at\n1,10,DE,2026-01-01T00:00:00Z\n2,20,,2026-01-01T00:00:00Z\n";

/// The file, with names of this run's own, and what its variables stand for.
struct World {
    folder: TempDir,
    redis: String,
    a: String,
    b: String,
}

impl World {
    fn new(redis: &str) -> Self {
        let run = format!("{:016x}", fastrand::u64(..));
        let (a, b) = (format!("a{run}"), format!("b{run}"));
        let folder = TempDir::new().expect("a folder");
        let text = SETTINGS.replace("{a}", &a).replace("{b}", &b);
        fs::write(folder.path().join("settings.yaml"), text).expect("the file is written");
        fs::write(folder.path().join("customers.csv"), CUSTOMERS).expect("the file is written");
        Self { folder, redis: redis.to_owned(), a, b }
    }

    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "E2E_REDIS" => Some(self.redis.clone()),
            "E2E_FILE" => Some(self.folder.path().join("local.redb").display().to_string()),
            _ => None,
        }
    }

    /// Runs the program, and gives its exit code, the objects it wrote, and what it said.
    fn run(&self, words: &str) -> (i32, Vec<Value>, String) {
        let words = words.replace("{a}", &self.a).replace("{b}", &self.b);
        let mut command = Command::new(fstore());
        command.current_dir(self.folder.path()).args(words.split_whitespace());
        command.env_remove("FSTORE_URL").env("FSTORE_CONFIG", "settings.yaml");
        for name in ["E2E_REDIS", "E2E_FILE"] {
            command.env(name, self.variable(name).expect("a variable"));
        }
        let output = command.output().expect("the program runs");
        let objects = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).expect("an object a line"))
            .collect();
        (output.status.code().unwrap_or(-1), objects, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The same, of a command that must succeed.
    fn objects(&self, words: &str) -> Vec<Value> {
        let (code, objects, said) = self.run(words);
        assert_eq!(code, 0, "{words}: {said}");
        objects
    }

    fn settings(&self) -> Settings {
        let text = fs::read_to_string(self.folder.path().join("settings.yaml")).expect("the file is there");
        let lookup = |name: &str| self.variable(name);
        SettingsReader::new(SettingsFormat::Yaml).env(&lookup).read(&text).expect("the file is right")
    }

    /// The library's handle. While `cut` is true Redis does not answer.
    async fn open(&self, cut: &Arc<AtomicBool>) -> UnifiedFeatureStore {
        let connect = async |entry: &StoreEntry| -> Result<Arc<dyn OnlineStoreBackend>> {
            let clock = Arc::new(SystemClock);
            if entry.url.scheme() == "embedded" {
                let config = EmbeddedConfig::from_url(&entry.url)?;
                return Ok(Arc::new(EmbeddedOnlineStore::connect(config, clock)?) as _);
            }
            let redis = RedisOnlineStore::connect(RedisConfig::from_url(&entry.url)?).await?;
            let cut = Arc::clone(cut);
            let line = move |_| match cut.load(Ordering::Relaxed) {
                true => Fault::Fail(Error::new(ErrorKind::Unavailable, "the line is cut")),
                false => Fault::None,
            };
            Ok(Arc::new(FaultyBackend::new(Arc::new(redis), line)) as _)
        };
        self.settings().open(connect, SystemClock).await.expect("the stores are there")
    }
}

fn entity(customer: &str, device: &str, country: &str) -> EntityKey {
    let key = EntityKey::builder().with("customer_id", customer).with("device_id", device);
    key.with("country", country).build().expect("a key")
}

async fn fraud(store: &UnifiedFeatureStore, tenant: &str) -> FeatureTable {
    let entities = [entity("1", "d", "DE"), entity("2", "e", "FR")];
    store.read(&FeatureRequest::service(tenant, "fraud", entities)).await.expect("the service is served")
}

/// What a table has, column by column: values where there are some, else the status.
fn cells(table: &FeatureTable) -> Vec<(String, Vec<Value>)> {
    let cell = |(value, status): (std::borrow::Cow<'_, feature_core::FeatureValue>, &CellStatus)| match status
    {
        CellStatus::Present => value.to_json(),
        status => json!(status.name()),
    };
    let column = |column: store_unified::FeatureColumn<'_>| {
        let cells = column.values().zip(column.statuses()).map(cell).collect();
        (column.name().to_owned(), cells)
    };
    table.columns().map(column).collect()
}

fn the_program_writes(world: &World) {
    let kinds = world.objects("config check");
    let count = |kind: &str| kinds.iter().filter(|row| row["kind"] == kind).count();
    assert_eq!((count("store"), count("feature view"), count("feature service")), (2, 3, 1));
    let routed = &world.objects("config route --tenant {a} --view customers")[0];
    let [fast, local] = ["fast", "local"].map(Value::from);
    assert_eq!((&routed["store"], &routed["fallback"], &routed["mirror"]), (&fast, &local, &local));
    assert_eq!(world.objects("config route --tenant {b} --view customers")[0]["store"], local);

    let ingest = "ingest customers.csv --view customers --timestamp at --tenant";
    for tenant in ["{a}", "{b}"] {
        assert_eq!(world.objects(&format!("{ingest} {tenant}"))[0]["written"], 2);
    }
    let time = "--timestamp 2026-01-02T00:00:00Z";
    for put in [
        format!("put --tenant {{a}} --view devices device_id=d logins=7 {time}"),
        format!("put --tenant {{a}} --view regions country=DE|customer_id=1 score=0.5 {time}"),
        // Too old to be served, by the view's max age.
        "put --tenant {a} --view devices device_id=e logins=8 --timestamp 2020-01-01T00:00:00Z".to_owned(),
    ] {
        assert_eq!(world.objects(&put)[0]["outcome"], "applied");
    }
    let refused = world.run("put --tenant {a} --view devices device_id=d logins=many");
    assert_eq!(refused.0, 2, "{}", refused.2);
}

/// How many records a store has by tenant, seen without the settings.
fn records(world: &World, store: &str, tenant: &str) -> u64 {
    let rows = world.objects(&format!("stats --store {store} --tenant {tenant}"));
    rows.iter().filter_map(|row| row["records"].as_u64()).sum()
}

fn each_store_has_its_own(world: &World) {
    let file = format!("embedded:{}", world.folder.path().join("local.redb").display());
    assert_eq!((records(world, &world.redis, "{a}"), records(world, &world.redis, "{b}")), (5, 0));
    assert_eq!((records(world, &file, "{a}"), records(world, &file, "{b}")), (5, 2), "with the mirror");
}

fn the_program_serves_the_service(world: &World) {
    let get = "get --service fraud --tenant";
    let a = world.objects(&format!("{get} {{a}} customer_id=1|device_id=d|country=DE"));
    assert_eq!(
        a[0]["features"],
        json!({"customers__country": "DE", "orders": 10, "logins": 7, "score": 0.5}),
        "{a:?}"
    );
    assert_eq!(a[0]["status"]["devices__country"], "not_found");
    let b = world.objects(&format!("{get} {{b}} customer_id=2|device_id=d|country=DE"));
    assert_eq!((&b[0]["features"]["orders"], &b[0]["status"]["logins"]), (&json!(20), &json!("not_found")));
    assert_eq!(b[0]["status"]["customers__country"], "null");
    assert_eq!(world.run(&format!("{get} {{b}} customer_id=9|device_id=d|country=DE")).0, 4);
}

async fn the_library_serves_the_service(world: &World, store: &UnifiedFeatureStore, cut: &AtomicBool) {
    let expected: Vec<(String, Vec<Value>)> = vec![
        ("customers__country".to_owned(), vec![json!("DE"), json!("null")]),
        ("orders".to_owned(), vec![json!(10), json!(20)]),
        ("logins".to_owned(), vec![json!(7), json!("outside_max_age")]),
        ("devices__country".to_owned(), vec![json!("not_found"), json!("not_found")]),
        ("score".to_owned(), vec![json!(0.5), json!("not_found")]),
    ];
    let table = fraud(store, &world.a).await;
    assert_eq!(cells(&table), expected);
    assert_eq!((table.from_fallback().count(), table.errors().len()), (0, 0));

    cut.store(true, Ordering::Relaxed);
    let table = fraud(store, &world.a).await;
    assert_eq!(cells(&table), expected, "from the cache and the mirror");
    let from_fallback: Vec<_> = table.from_fallback().map(|(view, rows)| (view, rows.to_vec())).collect();
    assert_eq!(from_fallback, [("devices", vec![0, 1])], "what is not cached");
    let report = store.batch_write(&world.a, "devices", [logins("d", 9)]).await.expect("a report");
    assert!(report.rows()[0].is_err(), "a write does not fall back");
    cut.store(false, Ordering::Relaxed);
}

fn logins(device: &str, logins: i64) -> FeatureWrite {
    FeatureWrite::new(
        EntityKey::new("device_id", device).expect("a key"),
        Features::from([("logins", logins)]),
    )
}

async fn the_small_tenant_has_a_quota(world: &World, store: &UnifiedFeatureStore) {
    let many: Vec<EntityKey> =
        (0..200).map(|n| EntityKey::new("device_id", n.to_string()).expect("a key")).collect();
    let refused =
        |rows: feature_core::BatchRows| rows.into_iter().filter_map(Result::err).collect::<Vec<_>>();
    let rows = store.batch_read(&world.b, "devices", &many, None).await.expect("a row each");
    let errors = refused(rows);
    assert_eq!(
        (errors.len(), errors[0].kind()),
        (200, ErrorKind::LimitExceeded),
        "more than ever pass at once"
    );
    let rows = store.batch_read(&world.a, "devices", &many, None).await.expect("a row each");
    assert_eq!(refused(rows).len(), 0, "the other tenant has none");

    // At five a second this would take a minute.
    let writes = (0..300).map(|n| store.batch_write(&world.b, "devices", [logins("d", n)]));
    let reports = futures::future::join_all(writes).await;
    let outcomes = || reports.iter().flatten().flat_map(feature_core::WriteReport::rows);
    let throttled = |error: &Error| error.kind() == ErrorKind::Throttled && error.retry_after().is_some();
    assert!(outcomes().any(|row| row.as_ref().is_err_and(throttled)), "{reports:?}");
    assert!(outcomes().any(Result::is_ok), "{reports:?}");
}

/// A process that starts while the first store is down.
fn the_program_starts_without_redis(world: &mut World) {
    let there = std::mem::replace(&mut world.redis, "redis://127.0.0.1:1".to_owned());
    let get = "get --service fraud --tenant {a} customer_id=1|device_id=d|country=DE";
    let (code, _, said) = world.run(get);
    assert!(code == 1 && said.contains("127.0.0.1:1"), "{code}: {said}");
    world.redis += "?connect_lazily=true";
    assert_eq!(world.objects(get)[0]["features"]["orders"], 10, "from the fallback");
    world.redis = there;
}

async fn story(redis: &str) {
    let mut world = World::new(redis);
    the_program_writes(&world);
    each_store_has_its_own(&world);
    the_program_serves_the_service(&world);

    let cut = Arc::new(AtomicBool::new(false));
    let store = world.open(&cut).await;
    assert_eq!(store.route(&world.a, "regions").expect("a route").to.store, "fast");
    the_library_serves_the_service(&world, &store, &cut).await;
    the_small_tenant_has_a_quota(&world, &store).await;
    let undeclared = store.batch_read(&world.a, "devises", &[], None).await.expect_err("it is not declared");
    assert_eq!(undeclared.kind(), ErrorKind::InvalidArgument);
    // The circuit has seen the cut; until it closes reads come from the mirror, and writes are refused.
    let write = || store.batch_write(&world.a, "devices", [logins("new", 1)]);
    while write().await.expect("a report").rows()[0].is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    store.close().await.expect("the stores close");

    let got = world.objects("get --tenant {a} --view devices device_id=new");
    assert_eq!(got[0]["features"]["logins"], 1, "what the library writes the program reads");
    the_program_starts_without_redis(&mut world);
    world.objects("purge --tenant {a} --yes");
    let file = format!("embedded:{}", world.folder.path().join("local.redb").display());
    assert_eq!((records(&world, redis, "{a}"), records(&world, &file, "{a}")), (0, 0), "everywhere");
    assert_ne!(records(&world, &file, "{b}"), 0, "the other tenant stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_settings_file_serves_two_tenants() {
    match Server::redis().await {
        Ok(server) => story(server.url()).await,
        Err(why) if std::env::var("FSTORE_REQUIRE").is_ok_and(|list| list.contains("redis")) => {
            panic!("{why}")
        }
        Err(why) => println!("skipped: {why}"),
    }
    store_testkit::servers::stop_all().await;
}

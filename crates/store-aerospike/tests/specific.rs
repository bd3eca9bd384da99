//! What only this backend has: connections, the server's limits and settings, sets, and TTLs reclaimed by the
//! server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod common;
mod connections;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use aerospike::{Bin, Bins, Client, ClientPolicy, Key, ReadPolicy, Value, WritePolicy};
use common::{TENANT, TestResult, VIEW, at, config, connect, entities, entity, holds, one, open};
use feature_core::{
    CallContext, Error, ErrorKind, FeatureWrite, Features, OnlineStore, OnlineStoreBackend, Precondition,
    PutOutcome, Record, RecordHeader, RecordKey, RecordPut, Scope, Ttl, ViewKey,
};
use futures::StreamExt;
use store_aerospike::{AerospikeConfig, AerospikeOnlineStore, SetLayout};
use store_testkit::ServerTests;
use store_testkit::servers::{AerospikeOptions, Server};
use tokio::time::Instant;

/// How long to wait for what the server does in its own time.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    ServerTests::new("aerospike", "asd")
        .test("connecting_is_bounded_in_time_and_says_what_is_wrong", connections::connecting)
        .test("a_store_that_connects_lazily_opens_before_its_server", connections::opened_before_its_server)
        .test("an_unknown_namespace_is_refused_with_those_there_are", an_unknown_namespace)
        .test("a_dropped_store_gives_its_connections_back", connections::a_dropped_store)
        .test("scans_that_are_dropped_give_their_connections_back", connections::dropped_scans)
        .test("a_closed_store_says_so_and_has_no_connections", connections::a_closed_store)
        .test("calls_wait_for_a_server_that_is_away_as_long_as_they_have_time", connections::patience)
        .test("a_check_reports_what_an_operator_should_know", a_check)
        .test("a_namespace_that_refuses_ttls_is_found_and_says_what_to_set", ttl_refused)
        .test("the_server_reclaims_what_has_expired_and_nothing_else", reclaimed)
        .test("a_record_too_large_in_a_batch_fails_alone", too_large)
        .test("a_request_with_too_many_rows_fails_every_row", too_many_rows)
        .test("a_namespace_without_room_for_sets_says_so", too_many_sets)
        .test("views_with_long_names_are_scanned_and_purged_like_others", long_names)
        .test("a_purge_is_followed_by_writes_at_once", purge_and_write)
        .test("records_of_other_programs_are_errors_of_their_rows", foreign_records)
        .test("a_put_leaves_nothing_of_what_other_programs_have_added", foreign_bins)
        .test("a_record_written_after_a_delete_is_another", generations)
        .test("a_read_of_one_entity_is_no_batch", reads_of_one)
        .test("a_durable_delete_is_for_the_enterprise_edition", durable_deletes)
        .run()
}

async fn server() -> TestResult<Server> {
    Ok(Server::start_aerospike(&AerospikeOptions::default()).await?)
}

async fn write(store: &OnlineStore, id: i64, ttl: Ttl) -> Result<(), Error> {
    store.write_features(TENANT, VIEW, &entity(id), one(id), Some(at(0)), Some(ttl)).await.map(|_| ())
}

/// A number in what the server says about something.
async fn statistic(server: &Server, command: &str, name: &str) -> TestResult<u64> {
    let text = server.info(command).await?;
    let found = text.split([';', ':']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    Ok(found.and_then(|number| number.parse().ok()).ok_or_else(|| format!("no {name} in {text}"))?)
}

/// Waits until such a number is no more than that.
async fn until(server: &Server, command: &str, name: &str, most: u64) -> TestResult {
    let start = Instant::now();
    loop {
        let found = statistic(server, command, name).await?;
        if found <= most {
            return Ok(());
        }
        holds(start.elapsed() < PATIENCE, || format!("{name} stays at {found}"))?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A client of another program.
async fn other_client(server: &Server) -> TestResult<Client> {
    let host = format!("127.0.0.1:{}", server.port().unwrap_or_default());
    Ok(Client::new(&ClientPolicy::default(), &host).await.map_err(|error| error.to_string())?)
}

async fn an_unknown_namespace() -> TestResult {
    let server = server().await?;
    let url = server.url().replace("/features", "/nowhere");
    let error = AerospikeOnlineStore::connect(config(&url)?).await.expect_err("there is no such namespace");
    assert_eq!(error.kind(), ErrorKind::NotConfigured, "{error}");
    assert!(error.message().contains("`nowhere`") && error.message().contains("features"), "{error}");
    Ok(())
}

async fn a_check() -> TestResult {
    let server = server().await?;
    let store = open(server.url()).await?;
    write(&store, 1, Ttl::Never).await?;
    let health = store.check().await?;
    let fact = |name: &str| health.facts.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    assert_eq!(health.warnings, Vec::<String>::new());
    for (name, value) in [
        ("namespace", "features"),
        ("servers", "1"),
        ("cluster_size", "1"),
        ("records", "1"),
        ("sets", "1 of 4095"),
        ("ttl", "taken"),
        ("stop_writes", "false"),
        ("max_record_size_bytes", "1048576"),
        ("batch_max_requests", "unlimited"),
        ("durable", "false"),
    ] {
        assert_eq!(fact(name), Some(value), "{name}");
    }
    assert!(fact("edition").is_some_and(|edition| edition.contains("Community")), "{health:?}");
    assert!(fact("data_available_percent").is_some_and(|percent| percent.parse::<u8>().is_ok()));
    server.info("set-config:context=service;batch-max-requests=10").await?;
    let warnings = store.check().await?.warnings.join("; ");
    assert!(warnings.contains("batch-max-requests is 10"), "{warnings}");
    Ok(())
}

async fn ttl_refused() -> TestResult {
    let server = Server::start_aerospike(&AerospikeOptions::default().with(["nsup-period 0"])).await?;
    let store = open(server.url()).await?;
    let warnings = store.check().await?.warnings.join("; ");
    assert!(warnings.contains("nsup-period"), "{warnings}");
    let error = write(&store, 1, Ttl::from_secs(60)).await.expect_err("the namespace takes no TTL");
    assert_eq!(error.kind(), ErrorKind::NotConfigured, "{error}");
    assert!(error.message().contains("nsup-period") && !error.in_doubt(), "{error}");
    // A row with a TTL does not take its neighbours with it.
    let ttl = |id, ttl| FeatureWrite::new(entity(id), one(id)).at(at(0)).with_ttl(ttl);
    let rows = [ttl(1, Ttl::Never), ttl(2, Ttl::from_secs(1)), ttl(3, Ttl::Never)];
    let report = store.batch_write(TENANT, VIEW, rows).await?;
    assert_eq!((report.applied(), report.failures().count()), (2, 1));
    server.info("set-config:context=namespace;namespace=features;nsup-period=1").await?;
    write(&store, 1, Ttl::from_secs(60)).await?;
    assert_eq!(store.check().await?.warnings, Vec::<String>::new());
    Ok(())
}

async fn reclaimed() -> TestResult {
    let server = server().await?;
    let store = open(server.url()).await?;
    let objects = async || statistic(&server, "namespace/features", "objects").await;
    for id in 0..20 {
        write(&store, id, if id < 10 { Ttl::from_secs(1) } else { Ttl::Never }).await?;
    }
    // A newer write without a TTL lets its record stay, one with a TTL lets it go.
    for (id, ttl) in [(0, Ttl::Never), (19, Ttl::from_secs(1))] {
        store.write_features(TENANT, VIEW, &entity(id), one(id), Some(at(1)), Some(ttl)).await?;
    }
    assert_eq!(objects().await?, 20);
    until(&server, "namespace/features", "objects", 10).await?;
    assert_eq!(objects().await?, 10);
    let found = store.batch_read(TENANT, VIEW, &entities(20), None).await?;
    let there: Vec<usize> = (0..20).filter(|id| matches!(found[*id], Ok(Some(_)))).collect();
    assert_eq!(there, [0, 10, 11, 12, 13, 14, 15, 16, 17, 18]);
    // An older write onto what has expired starts afresh.
    store.write_features(TENANT, VIEW, &entity(1), one(5), Some(at(-5)), None).await?;
    assert!(store.read_features(TENANT, VIEW, &entity(1), None).await?.is_some());
    Ok(())
}

async fn too_large() -> TestResult {
    let server = server().await?;
    let store = open(server.url()).await?;
    // Lowered behind the store's back: what it knows of the limit no longer holds.
    server.info("set-config:context=namespace;namespace=features;max-record-size=65536").await?;
    let row = |id, bytes: usize| {
        let features = Features::new().with("blob", vec![7u8; bytes]);
        FeatureWrite::new(entity(id), features).at(at(0))
    };
    let report = store.batch_write(TENANT, VIEW, [row(1, 10), row(2, 100_000), row(3, 10)]).await?;
    let (failed, error) = report.failures().next().ok_or("nothing failed")?;
    assert_eq!((report.applied(), failed), (2, 1));
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
    assert!(error.message().contains("max-record-size") && !error.is_retryable(), "{error}");
    // A store that connects now knows, and does not even send it.
    let limit = open(server.url()).await?.capabilities().max_record_bytes;
    assert!(limit.is_some_and(|limit| limit < 65_536), "{limit:?}");
    Ok(())
}

async fn too_many_rows() -> TestResult {
    let server = server().await?;
    let store = open(server.url()).await?;
    server.info("set-config:context=service;batch-max-requests=10").await?;
    let keys = entities(100);
    let writes = || keys.iter().map(|key| FeatureWrite::new(key.clone(), one(1)).at(at(0)));
    let report = store.batch_write(TENANT, VIEW, writes()).await?;
    assert_eq!((report.applied(), report.failures().count()), (0, 100));
    for (_, error) in report.failures() {
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
        assert!(error.message().contains("batch_rows"), "{error}");
    }
    for row in store.batch_read(TENANT, VIEW, &keys, None).await? {
        assert_eq!(row.expect_err("nothing was answered").kind(), ErrorKind::LimitExceeded);
    }
    for row in store.delete(TENANT, VIEW, &keys).await? {
        assert_eq!(row.expect_err("nothing was answered").kind(), ErrorKind::LimitExceeded);
    }
    let smaller = connect(AerospikeConfig { batch_rows: 10, ..config(server.url())? }).await?;
    assert_eq!(smaller.batch_write(TENANT, VIEW, writes()).await?.applied(), 100);
    assert!(
        smaller.batch_read(TENANT, VIEW, &keys, None).await?.iter().all(|row| matches!(row, Ok(Some(_))))
    );
    Ok(())
}

async fn too_many_sets() -> TestResult {
    let server = server().await?;
    let store = open(server.url()).await?;
    let view = |number: usize| format!("view_{number}");
    let write = async |store: &OnlineStore, number: usize| {
        store.write_features(TENANT, &view(number), &entity(1), one(1), Some(at(0)), None).await
    };
    for number in 0..4_095 {
        write(&store, number).await?;
    }
    let error = write(&store, 4_095).await.expect_err("there is no room for the set");
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
    assert!(error.message().contains("4095") && error.message().contains("layout=single"), "{error}");
    let warnings = store.check().await?.warnings.join("; ");
    assert!(warnings.contains("4095 of 4095 sets"), "{warnings}");
    // The other views go on, and so does a store with all views in one of the sets.
    store.write_features(TENANT, &view(7), &entity(2), one(1), Some(at(0)), None).await?;
    let layout = SetLayout::Single("t_view_0".to_owned());
    let single = connect(AerospikeConfig { layout, ..config(server.url())? }).await?;
    write(&single, 4_095).await?;
    assert!(single.read_features(TENANT, &view(4_095), &entity(1), None).await?.is_some());
    // A purge of a tenant finds all of its sets.
    assert_eq!(store.purge(&Scope::tenant("nobody")?).await?.removed, 0);
    Ok(())
}

async fn long_names() -> TestResult {
    let server = server().await?;
    let store = open(server.url()).await?;
    let long =
        |end: &str| format!("{}{end}", "a_view_with_a_name_that_is_much_too_long_for_a_set_".repeat(2));
    let long_tenant = "tenant".repeat(20);
    let views = [
        (TENANT, long("1")),
        (TENANT, long("2")),
        ("tt", long("1")),
        (TENANT, "short".to_owned()),
        (&*long_tenant, "short".to_owned()),
        (&*long_tenant, long("1")),
    ];
    for (number, (tenant, view)) in views.iter().enumerate() {
        let rows =
            entities(10 + number as i64).into_iter().map(|key| FeatureWrite::new(key, one(1)).at(at(0)));
        store.batch_write(tenant, view, rows).await?.into_result()?;
    }
    let count = async |scope: &Scope| {
        let rows: Vec<_> = store.scan(scope).collect().await;
        rows.into_iter().collect::<Result<Vec<_>, _>>().map(|rows| rows.len())
    };
    for (number, (tenant, view)) in views.iter().enumerate() {
        assert_eq!(count(&Scope::view(tenant, view)?).await?, 10 + number, "{tenant} {view}");
    }
    assert_eq!(count(&Scope::tenant(TENANT)?).await?, 10 + 11 + 13);
    assert_eq!(count(&Scope::tenant(&long_tenant)?).await?, 14 + 15);
    assert_eq!(count(&Scope::Store).await?, 75);
    assert_eq!(store.purge(&Scope::view(TENANT, &views[0].1)?).await?.removed, 10);
    assert_eq!(store.purge(&Scope::tenant(&long_tenant)?).await?.removed, 29);
    assert_eq!(count(&Scope::Store).await?, 36);
    Ok(())
}

async fn purge_and_write() -> TestResult {
    let server = server().await?;
    let store = open(server.url()).await?;
    for round in 0..20 {
        let rows = entities(50).into_iter().map(|key| FeatureWrite::new(key, one(round)).at(at(-round)));
        // Older than what the purge before has removed: nothing of that is remembered.
        assert_eq!(store.batch_write(TENANT, VIEW, rows).await?.applied(), 50);
        assert_eq!(store.purge(&Scope::view(TENANT, VIEW)?).await?.removed, 50);
    }
    Ok(())
}

async fn foreign_records() -> TestResult {
    let server = server().await?;
    let store = open(server.url()).await?;
    let other = other_client(&server).await?;
    let key = |text: &str| Key::new("features", "t_v", Value::from(text)).map_err(|error| error.to_string());
    let put = async |key: Key, bin: &str, send_key: bool| {
        let policy = WritePolicy { send_key, ..WritePolicy::default() };
        other
            .put(&policy, &key, &[Bin::new(bin, Value::from("theirs"))])
            .await
            .map_err(|error| error.to_string())
    };
    put(key("customer_id=1")?, "name", true).await?;
    put(key("customer_id=2")?, "v", true).await?;
    put(key("who knows")?, "name", true).await?;
    put(key("customer_id=3")?, "name", false).await?;
    // A set of another program: no view has one of this name.
    put(Key::new("features", "accounts", Value::from("me")).map_err(|e| e.to_string())?, "name", true)
        .await?;
    write(&store, 4, Ttl::Never).await?;

    let rows = store.batch_read(TENANT, VIEW, &entities(5), None).await?;
    for id in [1, 2, 3] {
        assert_eq!(rows[id].as_ref().expect_err("a foreign record").kind(), ErrorKind::Corrupt);
        let error = write(&store, id as i64, Ttl::Never).await.expect_err("a foreign record is in the way");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    assert!(matches!(rows[4], Ok(Some(_))) && matches!(rows[0], Ok(None)));
    let rows: Vec<_> = store.scan(&Scope::Store).collect().await;
    let errors = rows.iter().filter_map(|row| row.as_ref().err());
    assert!(errors.clone().all(|error| error.kind() == ErrorKind::Corrupt), "{rows:?}");
    assert_eq!((rows.len(), errors.count()), (5, 4));
    // A delete, as the errors advise, makes room.
    store.delete(TENANT, VIEW, &entities(5)).await?.into_iter().collect::<Result<Vec<_>, _>>()?;
    write(&store, 1, Ttl::Never).await?;
    Ok(())
}

async fn foreign_bins() -> TestResult {
    let server = server().await?;
    let store = open(server.url()).await?;
    let other = other_client(&server).await?;
    let key = Key::new("features", "t_v", Value::from("customer_id=1")).map_err(|e| e.to_string())?;
    let bins = async || {
        let record = other.get(&ReadPolicy::default(), &key, Bins::All).await.map_err(|e| e.to_string())?;
        Ok::<Vec<String>, String>(record.bins.keys().cloned().collect())
    };
    write(&store, 1, Ttl::Never).await?;
    let theirs = [Bin::new("name", Value::from("theirs"))];
    other.put(&WritePolicy::default(), &key, &theirs).await.map_err(|error| error.to_string())?;
    assert_eq!(bins().await?, ["v", "name"]);
    assert!(store.read_features(TENANT, VIEW, &entity(1), None).await?.is_some());
    store.write_features(TENANT, VIEW, &entity(1), one(2), Some(at(1)), None).await?;
    assert_eq!(bins().await?, ["v"]);
    Ok(())
}

async fn generations() -> TestResult {
    let server = server().await?;
    let backend = AerospikeOnlineStore::connect(config(server.url())?).await?;
    let backend: Arc<dyn OnlineStoreBackend> = Arc::new(backend);
    let call = CallContext::with_timeout(PATIENCE);
    let keys = [RecordKey::new(ViewKey::new(TENANT, VIEW)?, entity(1))];
    let put = async |value: i64, precondition| {
        let bytes = Record::of_write(at(0), None, one(value)).encode()?;
        let RecordHeader { event_time, shape, .. } = RecordHeader::parse(&bytes)?;
        let put = RecordPut {
            key: keys[0].clone(),
            bytes: bytes.into(),
            event_time,
            shape,
            ttl: None,
            precondition,
        };
        backend.put(vec![put], call).await.remove(0)
    };
    put(1, Precondition::NotNewer).await?;
    let first = backend.get(&keys, call).await.remove(0)?.ok_or("there is no record")?;
    assert!(backend.delete(&keys, call).await.remove(0)?);
    put(2, Precondition::NotNewer).await?;
    let second = backend.get(&keys, call).await.remove(0)?.ok_or("there is no record")?;
    // The server has started to count again; time and shape are the same, too.
    assert_eq!(first.version, second.version);
    let outcome = put(3, Precondition::Unchanged(Some(first))).await?;
    holds(matches!(outcome, PutOutcome::Refused(_)), || "a write after a delete was overwritten".to_owned())?;
    assert_eq!(put(3, Precondition::Unchanged(Some(second))).await?, PutOutcome::Stored);
    Ok(())
}

async fn reads_of_one() -> TestResult {
    let server = server().await?;
    let store = open(server.url()).await?;
    write(&store, 1, Ttl::Never).await?;
    assert!(store.read_features(TENANT, VIEW, &entity(1), None).await?.is_some());
    assert!(store.read_features(TENANT, VIEW, &entity(2), None).await?.is_none());
    for (name, expected) in [
        ("client_read_success", 1),
        ("client_read_not_found", 1),
        ("batch_sub_read_success", 0),
        ("batch_sub_read_not_found", 0),
    ] {
        assert_eq!(statistic(&server, "namespace/features", name).await?, expected, "{name}");
    }
    Ok(())
}

async fn durable_deletes() -> TestResult {
    let server = server().await?;
    let durable = connect(AerospikeConfig { durable_delete: true, ..config(server.url())? }).await?;
    write(&durable, 1, Ttl::Never).await?;
    let error = durable.delete(TENANT, VIEW, &entities(2)).await?.remove(1).expect_err("it is refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let store = open(server.url()).await?;
    assert!(store.delete(TENANT, VIEW, &entities(2)).await?.remove(1)?);
    Ok(())
}

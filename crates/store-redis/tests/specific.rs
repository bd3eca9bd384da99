//! What is particular to Redis: keys, times to live, round trips, neighbours, encryption, health.

mod common;

use std::process::ExitCode;
use std::time::Duration;

use common::{VIEW, entity, open, read, write};
use feature_core::{
    EntityKey, ErrorKind, FeatureWrite, OnlineStore, Scope, Timestamp, Ttl, ViewRead, WriteOutcome,
};
use futures::StreamExt;
use futures::future::join_all;
use store_testkit::servers::{RedisCluster, RedisOptions, Server};
use store_testkit::{ServerTests, TestFailure};

type Outcome = Result<(), TestFailure>;

fn main() -> ExitCode {
    ServerTests::new("redis", "redis-server")
        .test("a_key_is_the_published_one_and_expires_with_its_record", key_and_expiry)
        .test("a_batch_is_one_round_trip_however_many_views", round_trips)
        .test("a_batch_on_a_cluster_is_one_round_trip_to_each_node", round_trips_to_nodes)
        .test("a_purge_spares_other_prefixes_and_other_programs", neighbours)
        .test("a_purge_and_a_scan_go_page_by_page", pages)
        .test("check_warns_of_what_will_hurt", check)
        .test("check_of_a_cluster_sums_its_nodes_up", check_of_a_cluster)
        .test("a_user_without_a_right_learns_which_one_is_missing", without_rights)
        .test("a_closed_store_has_no_connections", closed)
        .test("the_set_up_of_a_store_that_nobody_serves_ends_in_time", nobody_there)
        .test("rows_of_a_batch_expire_each_in_its_own_time", several_ttls)
        .test("a_batch_of_large_records_is_cut_into_several_commands", large_batch)
        .test("a_write_that_too_few_replicas_confirm_is_in_doubt", unconfirmed)
        .test("single_writes_at_the_same_time_share_commands_and_not_outcomes", single_writes)
        .test("who_may_not_write_does_not_keep_others_from_it", writers_without_rights)
        .run()
}

async fn server() -> Result<Server, String> {
    Server::start_redis(&RedisOptions::default()).await
}

async fn key_and_expiry() -> Outcome {
    let server = server().await?;
    let store = open(server.url()).await?;
    let customer = EntityKey::new("customer_id", "cust-123")?;
    let ttl = Ttl::from_secs(604_800);
    store.write_features("acme-corp", VIEW, &customer, [("total_purchases", 42.0)], None, Some(ttl)).await?;
    let key = "feast:acme-corp:customer_features:customer_id=cust-123";
    let left: u64 = server.command(&["PTTL", key]).await?.to_string().parse().unwrap_or(0);
    if !(604_000_000..=604_800_000).contains(&left) {
        return Err(format!("the key lives for {left} ms").into());
    }
    // The next write has no TTL, and so has the key.
    store.write_features("acme-corp", VIEW, &customer, [("total_purchases", 43.0)], None, None).await?;
    match server.command(&["PTTL", key]).await?.to_string().as_str() {
        "-1" => Ok(()),
        left => Err(format!("a record without TTL lives for {left} ms").into()),
    }
}

/// How often a server has carried out each of these commands since the last reset.
async fn calls(server: &Server, commands: &[&str]) -> Result<Vec<u64>, String> {
    let stats = server.command(&["INFO", "commandstats"]).await?;
    let count = |command: &&str| {
        let name = format!("cmdstat_{command}:calls=");
        let line = stats.text().lines().find_map(|line| line.strip_prefix(&name));
        line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
    };
    Ok(commands.iter().map(count).collect())
}

/// Reads ten entities of each of so many views in one call; all must be there.
async fn read_views(store: &OnlineStore, views: usize) -> Outcome {
    let names: Vec<String> = (0..views).map(|view| format!("view_{view}")).collect();
    let entity_keys = (0..10).map(entity).collect::<Result<Vec<_>, _>>()?;
    let read = |name| ViewRead { feature_view: name, entity_keys: &entity_keys, feature_names: None };
    let reads: Vec<_> = names.iter().map(|name| read(name.as_str())).collect();
    let rows = store.read_views("acme", &reads).await?;
    match rows.iter().flatten().all(|row| matches!(row, Ok(Some(_)))) && rows.len() == views {
        true => Ok(()),
        false => Err("a record is missing".into()),
    }
}

async fn write_views(store: &OnlineStore, views: usize) -> Outcome {
    for view in 0..views {
        let writes = (0..10).map(|n| Ok(FeatureWrite::new(entity(n)?, [("orders", 1)])));
        let writes = writes.collect::<Result<Vec<_>, feature_core::Error>>()?;
        store.batch_write("acme", &format!("view_{view}"), writes).await?.into_result()?;
    }
    Ok(())
}

async fn round_trips() -> Outcome {
    let server = server().await?;
    let store = open(&format!("{}?batch_chunk=1000", server.url())).await?;
    write_views(&store, 50).await?;
    for views in [1, 10, 50] {
        server.command(&["CONFIG", "RESETSTAT"]).await?;
        read_views(&store, views).await?;
        let found = calls(&server, &["mget", "get", "exists", "type"]).await?;
        if found != [1, 0, 0, 0] {
            return Err(format!("{views} views: MGET, GET, EXISTS, TYPE were called {found:?} times").into());
        }
    }
    // The first records that are missing are asked for again; from then on one request tells, for a while.
    for expected in [[1, 2, 0, 0], [1, 0, 1, 0], [1, 0, 1, 0]] {
        server.command(&["CONFIG", "RESETSTAT"]).await?;
        let entities = [entity(0)?, entity(100)?, entity(1)?, entity(101)?];
        let rows = store.batch_read("acme", "view_0", &entities, None).await?;
        if !rows.iter().map(|row| row.as_ref().is_ok_and(Option::is_some)).eq([true, false, true, false]) {
            return Err(format!("{rows:?}").into());
        }
        let found = calls(&server, &["mget", "get", "exists", "type"]).await?;
        if found != expected {
            return Err(format!("missing: MGET, GET, EXISTS, TYPE were called {found:?} times").into());
        }
    }
    server.command(&["CONFIG", "RESETSTAT"]).await?;
    write_views(&store, 1).await?;
    let found = calls(&server, &["evalsha", "eval", "script|load", "get", "wait"]).await?;
    match found == [1, 0, 0, 0, 0] {
        true => Ok(()),
        false => Err(format!("EVALSHA, EVAL, SCRIPT LOAD, GET, WAIT were called {found:?} times").into()),
    }
}

async fn round_trips_to_nodes() -> Outcome {
    let cluster = RedisCluster::start(3, 0).await?;
    let store = open(&cluster.url()).await?;
    write_views(&store, 50).await?;
    for views in [1, 10, 50] {
        for node in cluster.nodes() {
            node.command(&["CONFIG", "RESETSTAT"]).await?;
        }
        read_views(&store, views).await?;
        let mut gets = 0;
        for node in cluster.nodes() {
            // Each key is asked for once, where it is; nothing is asked elsewhere or again.
            gets += calls(node, &["get"]).await?[0];
            let reads = node.command(&["INFO", "stats"]).await?;
            if !reads.text().contains("\r\ntotal_error_replies:0\r\n") {
                return Err(format!("a node was asked for what it does not have: {reads}").into());
            }
        }
        if gets != views as u64 * 10 {
            return Err(format!("{views} views of 10 entities took {gets} GETs").into());
        }
    }
    cluster.stop().await;
    Ok(())
}

async fn neighbours() -> Outcome {
    let server = server().await?;
    let store = open(server.url()).await?;
    let other = open(&format!("{}?key_prefix=other:", server.url())).await?;
    for number in 0..10 {
        write(&store, number, 1).await?;
        write(&other, number, 2).await?;
    }
    for key in
        ["feast", "feast:", "feast:acme", "feast:acme:", "feast:acme:x", "session:acme:customer_features:a=1"]
    {
        server.command(&["SET", key, "mine"]).await?;
    }
    // What looks like a record of the tenant and is none.
    let rows: Vec<_> = store.scan(&Scope::tenant("acme")?).collect().await;
    let wrong = rows.iter().filter(|row| row.is_err()).count();
    if (rows.len(), wrong) != (12, 2) {
        return Err(format!("{wrong} of {} rows are errors: {rows:?}", rows.len()).into());
    }
    let removed = store.purge(&Scope::tenant("acme")?).await?.removed;
    if removed != 10 || read(&store, 1).await?.is_some() {
        return Err(format!("{removed} of 10 records were removed").into());
    }
    if read(&other, 1).await? != Some(2) {
        return Err("a record under another prefix is gone".into());
    }
    match server.command(&["DBSIZE"]).await?.to_string().as_str() {
        "16" => Ok(()),
        size => Err(format!("{size} keys are left, of 10 records and 6 keys of others").into()),
    }
}

async fn pages() -> Outcome {
    let server = server().await?;
    let store = open(server.url()).await?;
    for chunk in 0..20 {
        let writes = (0..500).map(|n| Ok(FeatureWrite::new(entity(chunk * 500 + n)?, [("orders", 1)])));
        let writes = writes.collect::<Result<Vec<_>, feature_core::Error>>()?;
        store.batch_write("acme", VIEW, writes).await?.into_result()?;
    }
    let scope = Scope::view("acme", VIEW)?;
    server.command(&["CONFIG", "RESETSTAT"]).await?;
    let rows: Vec<_> = store.scan(&scope).collect().await;
    let found = calls(&server, &["keys", "scan", "get"]).await?;
    let read = rows.iter().filter(|row| row.is_ok()).count();
    if (read, rows.len()) != (10_000, 10_000) || found[0] > 0 || found[1] < 10 || found[2] != 10_000 {
        return Err(format!("{read} of {} rows read; KEYS, SCAN, GET: {found:?}", rows.len()).into());
    }
    server.command(&["CONFIG", "RESETSTAT"]).await?;
    let removed = store.purge(&scope).await?.removed;
    let found = calls(&server, &["keys", "scan", "unlink", "del"]).await?;
    match removed == 10_000 && found[0] == 0 && found[1] >= 10 && found[2] == 10_000 && found[3] == 0 {
        true => Ok(()),
        false => Err(format!("{removed} removed; KEYS, SCAN, UNLINK, DEL: {found:?}").into()),
    }
}

async fn check() -> Outcome {
    let server = server().await?;
    let warnings = async |url: &str| {
        let health = open(url).await?.check().await?;
        Ok::<_, feature_core::Error>(health.warnings.join("\n"))
    };
    let has = |warnings: &str, parts: &[&str]| match parts.iter().find(|part| !warnings.contains(**part)) {
        None => Ok(()),
        Some(part) => Err(format!("nothing is said of {part}: {warnings}")),
    };
    has(&warnings(server.url()).await?, &["maxmemory is not set"])?;
    let trusted = format!("{}?source_of_truth=true", server.url());
    has(&warnings(&trusted).await?, &["appendonly is off"])?;
    server.command(&["CONFIG", "SET", "maxmemory", "1gb"]).await?;
    server.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await?;
    has(&warnings(server.url()).await?, &["allkeys-lru may evict"])?;
    server.command(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]).await?;
    has(&warnings(&trusted).await?, &["volatile-ttl may evict"])?;
    server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await?;
    let quiet = warnings(server.url()).await?;
    if !quiet.is_empty() {
        return Err(format!("a server without faults is warned of: {quiet}").into());
    }
    server.command(&["CONFIG", "SET", "maxmemory", "1mb"]).await?;
    has(&warnings(server.url()).await?, &["of its memory are used"])?;
    server.command(&["CONFIG", "SET", "maxmemory", "1gb"]).await?;
    server.command(&["REPLICAOF", "127.0.0.1", "1"]).await?;
    has(&warnings(server.url()).await?, &["takes no writes"])?;
    Ok(())
}

async fn check_of_a_cluster() -> Outcome {
    let cluster = RedisCluster::start(3, 0).await?;
    let store = open(&cluster.url()).await?;
    write_views(&store, 50).await?;
    let facts = store.check().await?.facts;
    cluster.stop().await;
    for (name, value) in
        [("primaries", "3"), ("replicas", "0"), ("keys in the database, other programs' included", "500")]
    {
        if !facts.iter().any(|(own, said)| own == name && said == value) {
            return Err(format!("{name} are not {value}: {facts:?}").into());
        }
    }
    Ok(())
}

/// A store of a user who may do everything but this.
async fn without(server: &Server, right: &str) -> Result<OnlineStore, TestFailure> {
    server.command(&["ACL", "SETUSER", "limited", "reset", "on", ">secret", "~*", "+@all", right]).await?;
    Ok(open(&server.url().replacen("redis://", "redis://limited:secret@", 1)).await?)
}

async fn without_rights() -> Outcome {
    let server = server().await?;
    write(&open(server.url()).await?, 1, 1).await?;
    let mut errors = Vec::new();
    for right in ["-info", "-dbsize"] {
        errors.push((right, without(&server, right).await?.check().await.err()));
    }
    let purged = without(&server, "-unlink").await?.purge(&Scope::tenant("acme")?).await;
    errors.push(("-unlink", purged.err()));
    let scanned = without(&server, "-scan").await?.scan(&Scope::tenant("acme")?).next().await;
    errors.push(("-scan", scanned.and_then(Result::err)));
    let read = without(&server, "-get").await?.scan(&Scope::tenant("acme")?).next().await;
    errors.push(("-get", read.and_then(Result::err)));
    for (right, error) in errors {
        let error = error.ok_or_else(|| format!("{right} is not missed"))?;
        if error.kind() != ErrorKind::PermissionDenied || !error.message().contains(&right[1..]) {
            return Err(format!("{right}: not the error of a missing right: {error:?}").into());
        }
    }
    Ok(())
}

async fn closed() -> Outcome {
    let server = server().await?;
    let connections =
        async || Ok::<_, String>(server.command(&["CLIENT", "LIST"]).await?.text().lines().count());
    for closes in [true, false] {
        let store = open(server.url()).await?;
        for number in 0..4 {
            write(&store, number, 1).await?;
        }
        if connections().await? < 2 {
            return Err("an open store has no connection".into());
        }
        if closes {
            store.close().await?;
        } else {
            drop(store);
        }
        let start = tokio::time::Instant::now();
        // The one that asks is left.
        while connections().await? > 1 {
            if start.elapsed() > Duration::from_secs(30) {
                return Err(format!("connections stay (closed: {closes})").into());
            }
        }
    }
    Ok(())
}

async fn nobody_there() -> Outcome {
    // A port that answers to nobody, since nothing listens there any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let error = open(&format!("redis://127.0.0.1:{port}")).await.err().ok_or("nobody serves it")?;
    if error.kind() != ErrorKind::Unavailable || !error.is_retryable() {
        return Err(format!("not the error of a server that is gone: {error:?}").into());
    }
    // One that takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = silent.local_addr()?.port();
    let url = format!("redis://127.0.0.1:{port}?connect_timeout=200ms");
    let error = tokio::time::timeout(Duration::from_secs(5), open(&url))
        .await
        .map_err(|_| "connecting is not bounded in time")?
        .err()
        .ok_or("nobody serves it")?;
    match error.kind() {
        ErrorKind::Unavailable if error.message().contains("connect_timeout") => Ok(()),
        _ => Err(format!("not the error of a silent server: {error:?}").into()),
    }
}

async fn several_ttls() -> Outcome {
    let server = server().await?;
    let store = open(server.url()).await?;
    let ttls = [None, Some(100), Some(200), None, Some(100)];
    let writes = ttls.iter().enumerate().map(|(number, ttl)| {
        let write = FeatureWrite::new(entity(number)?, [("orders", 1)]);
        Ok(ttl.map_or(write.clone(), |seconds| write.with_ttl(Ttl::from_secs(seconds))))
    });
    let writes = writes.collect::<Result<Vec<_>, feature_core::Error>>()?;
    store.batch_write("acme", VIEW, writes).await?.into_result()?;
    for (number, ttl) in ttls.iter().enumerate() {
        let key = format!("feast:acme:{VIEW}:customer_id={number}");
        let left: i64 = server.command(&["TTL", &key]).await?.to_string().parse().unwrap_or(i64::MIN);
        let expected = ttl.map_or(-1..=-1, |seconds: u64| seconds as i64 - 5..=seconds as i64);
        if !expected.contains(&left) {
            return Err(format!("record {number} lives for {left} s, not {expected:?}").into());
        }
    }
    Ok(())
}

async fn large_batch() -> Outcome {
    let server = server().await?;
    let store = open(&format!("{}?batch_chunk_bytes=1048576", server.url())).await?;
    let blob = vec![7u8; 300 << 10];
    let writes = (0..10).map(|number| Ok(FeatureWrite::new(entity(number)?, [("blob", blob.clone())])));
    let writes = writes.collect::<Result<Vec<_>, feature_core::Error>>()?;
    store.batch_write("acme", VIEW, writes).await?.into_result()?;
    server.command(&["CONFIG", "RESETSTAT"]).await?;
    let again = (0..10).map(|number| {
        Ok(FeatureWrite::new(entity(number)?, [("blob", blob.clone())]).at(Timestamp::from_micros(1)))
    });
    let report =
        store.batch_write("acme", VIEW, again.collect::<Result<Vec<_>, feature_core::Error>>()?).await?;
    // Three of them are nearly a MiB.
    match (calls(&server, &["evalsha"]).await?[0], report.superseded()) {
        (4, 10) => {}
        found => return Err(format!("calls and superseded rows: {found:?}").into()),
    }
    Ok(())
}

/// Writes an entity at this second.
async fn write_at(store: &OnlineStore, second: i64, value: i64) -> Result<WriteOutcome, feature_core::Error> {
    let at = Some(Timestamp::from_micros(second * 1_000_000));
    store.write_features("acme", VIEW, &entity(1)?, [("orders", value)], at, None).await
}

async fn unconfirmed() -> Outcome {
    let primary = server().await?;
    let store = open(&format!("{}?wait_replicas=1&wait_timeout=50ms", primary.url())).await?;
    // It is there; what it has superseded is as much in doubt.
    for (second, value) in [(20, 7), (10, 8)] {
        let error = write_at(&store, second, value).await.err().ok_or("there is no replica")?;
        if error.kind() != ErrorKind::Unavailable || !error.in_doubt() || !error.is_retryable() {
            return Err(format!("not the error of too few replicas: {error:?}").into());
        }
        if !error.message().contains("0 of the 1 replicas in wait_replicas") {
            return Err(format!("the error does not say what is missing: {error}").into());
        }
    }
    if read(&store, 1).await? != Some(7) {
        return Err("a write in doubt is not there".into());
    }
    let deleted = store.delete("acme", VIEW, &[entity(2)?]).await?;
    if !matches!(&deleted[..], [Err(error)] if error.in_doubt()) {
        return Err(format!("a delete that nobody confirms is not in doubt: {deleted:?}").into());
    }
    let port = primary.port().ok_or("the server has no port")?.to_string();
    let options = RedisOptions::default().with(["--replicaof", "127.0.0.1", &port]);
    let replica = Server::start_redis(&options).await?;
    let start = tokio::time::Instant::now();
    while let Err(error) = write_at(&store, 30, 9).await {
        if start.elapsed() > Duration::from_secs(30) {
            return Err(error.into());
        }
    }
    let superseded = write_at(&store, 25, 10).await?;
    if superseded != WriteOutcome::Superseded {
        return Err(format!("an older write was {superseded:?}").into());
    }
    // A key that the replica has lost: what stands in the way of an older write is sent to it again.
    let key = format!("feast:acme:{VIEW}:customer_id=1");
    replica.command(&["CONFIG", "SET", "replica-read-only", "no"]).await?;
    replica.command(&["DEL", &key]).await?;
    write_at(&store, 25, 10).await?;
    match replica.command(&["EXISTS", &key]).await?.to_string().as_str() {
        "1" => Ok(()),
        _ => Err("a superseded write was acknowledged, and the replica lacks what superseded it".into()),
    }
}

/// Writes by many callers at the same time, each of one record, with their outcomes.
async fn write_at_once(store: &OnlineStore, writes: Vec<FeatureWrite>) -> Vec<String> {
    let outcome = |write| async {
        match store.batch_write("acme", VIEW, [write]).await {
            Ok(report) if report.applied() == 1 => "applied".to_owned(),
            Ok(report) if report.superseded() == 1 => "superseded".to_owned(),
            report => format!("{:?}", report.map(|report| report.into_result().map(drop))),
        }
    };
    join_all(writes.into_iter().map(outcome)).await
}

async fn single_writes() -> Outcome {
    // How many share a command is a matter of milliseconds, which a busy machine does not always have.
    let mut calls = Vec::new();
    while calls.len() < 20 {
        calls.push(calls_for_single_writes().await?);
        if calls.last().is_some_and(|calls| *calls < 32) {
            return Ok(());
        }
    }
    Err(format!("64 writes at the same time were each time this many calls: {calls:?}").into())
}

/// How many calls 64 writes at the same time are, whose outcomes and records must be right.
async fn calls_for_single_writes() -> Result<u64, TestFailure> {
    let server = server().await?;
    let store = open(server.url()).await?;
    // Without a pattern, so that an outcome that goes to another's caller is a wrong one.
    let is_newer = |number: usize| number * number % 7 < 3;
    for number in (0..64).filter(|number| is_newer(*number)) {
        write(&store, number, 1).await?;
    }
    server.command(&["CONFIG", "RESETSTAT"]).await?;
    // Some records are newer than what is written, and half of the writes live longer than others.
    let writes = (0..64).map(|number| {
        let ttl = Ttl::from_secs(if number % 4 < 2 { 1_000 } else { 2_000 });
        let write = FeatureWrite::new(entity(number)?, [("orders", number as i64)]);
        Ok(write.at(Timestamp::from_micros(1)).with_ttl(ttl))
    });
    let outcomes = write_at_once(&store, writes.collect::<Result<Vec<_>, feature_core::Error>>()?).await;
    let calls = calls(&server, &["evalsha"]).await?[0];
    for (number, outcome) in outcomes.iter().enumerate() {
        let (expected, value) = if is_newer(number) { ("superseded", 1) } else { ("applied", number as i64) };
        if outcome != expected || read(&store, number).await? != Some(value) {
            return Err(format!("write {number} is {outcome}, not {expected}").into());
        }
        let key = format!("feast:acme:{VIEW}:customer_id={number}");
        let left: i64 = server.command(&["TTL", &key]).await?.to_string().parse().unwrap_or(i64::MIN);
        let lives = match number % 4 {
            _ if is_newer(number) => -1..=-1,
            0 | 1 => 990..=1_000,
            _ => 1_990..=2_000,
        };
        if !lives.contains(&left) {
            return Err(format!("record {number} lives for {left} s, not {lives:?}").into());
        }
    }
    Ok(calls)
}

async fn writers_without_rights() -> Outcome {
    let server = server().await?;
    // The names of entities that this user may write begin with 1.
    let user = ["ACL", "SETUSER", "writer", "on", ">secret", "+@all"];
    let keys = ["~feast:acme:customer_features:customer_id=1*"];
    server.command(&[&user[..], &keys].concat()).await?;
    let store = open(&server.url().replacen("redis://", "redis://writer:secret@", 1)).await?;
    // The script is there, and every eighth of those who then come may not call it for their key.
    write(&store, 100, 1).await?;
    let may = |number: usize| number % 8 != 7;
    let writes = (0..64).map(|number| {
        let entity = entity(if may(number) { 100 + number } else { 200 + number })?;
        Ok(FeatureWrite::new(entity, [("orders", 1)]))
    });
    let outcomes = write_at_once(&store, writes.collect::<Result<Vec<_>, feature_core::Error>>()?).await;
    let is_right = |(number, outcome): (usize, &String)| match may(number) {
        true => outcome == "applied",
        false => outcome.contains("NOPERM"),
    };
    match outcomes.iter().enumerate().all(is_right) {
        true => Ok(()),
        false => Err(format!("not what each may do: {outcomes:?}").into()),
    }
}

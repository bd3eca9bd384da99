//! How the servers are, and what needs attention.

use std::sync::Arc;
use std::time::Duration;

use feature_core::Health;
use tokio::time::Instant;

use crate::connect::Node;
use crate::error::{Failure, from_server};
use crate::resp::{Reply, Request};
use crate::router::Router;

/// How long each server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The oldest version whose commands are enough.
const OLDEST: (u32, u32) = (6, 2);
/// A replica further behind than this many bytes lags.
const LAG_BYTES: u64 = 1 << 20;

/// What `INFO` says: names and values, line by line.
struct Info(String);

impl Info {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name).and_then(|value| value.parse().ok()).unwrap_or_default()
    }
}

pub(crate) async fn check(router: &Arc<Router>) -> Result<Health, Failure> {
    let mut health = Health::default();
    router.learn(Instant::now() + PATIENCE).await?;
    let mut records = 0;
    let primaries = router.primaries();
    for node in &primaries {
        let (info, keys) = ask(node).await?;
        records += keys;
        look_at(&info, &node.name, router.config().source_of_truth, &mut health);
    }
    let replicas = router.replicas().len();
    let mut fact = |name: &str, value: String| health.facts.push((name.to_owned(), value));
    fact("primaries", primaries.len().to_string());
    fact("replicas", replicas.to_string());
    fact("keys in the database, other programs' included", records.to_string());
    Ok(health)
}

async fn ask(node: &Node) -> Result<(Info, u64), Failure> {
    let mut questions = Request::of([&b"INFO"[..]]);
    questions.push([&b"DBSIZE"[..]]);
    let mut replies = node.send(questions, Instant::now() + PATIENCE).await?;
    let info = match replies.next() {
        Some(Reply::Text(text)) => String::from_utf8_lossy(&text).into_owned(),
        Some(Reply::Error(error)) => return Err(from_server(&error, &node.name)),
        _ => return Err(Failure::garbled(&node.name)),
    };
    match replies.next() {
        Some(Reply::Int(keys)) => Ok((Info(info), u64::try_from(keys).unwrap_or_default())),
        Some(Reply::Error(error)) => Err(from_server(&error, &node.name)),
        _ => Err(Failure::garbled(&node.name)),
    }
}

fn look_at(info: &Info, name: &str, source_of_truth: bool, health: &mut Health) {
    // Valkey calls itself 7.2 for the sake of old clients, and says its own version besides.
    let software = info.get("server_name").unwrap_or("redis");
    let version = info.get("valkey_version").or(info.get("redis_version")).unwrap_or("of unknown version");
    let memory = info.get("used_memory_human").unwrap_or("unknown");
    let limit = info.number("maxmemory");
    let policy = info.get("maxmemory_policy").unwrap_or("unknown");
    let role = info.get("role").unwrap_or("unknown");
    health.facts.push((
        name.to_owned(),
        format!(
            "{software} {version}, {role}, {memory} used of {}, {policy}",
            if limit == 0 { "no limit" } else { info.get("maxmemory_human").unwrap_or("a limit") }
        ),
    ));
    let mut warn = |what: String| health.warnings.push(format!("{name}: {what}"));

    let mut numbers = info.get("redis_version").unwrap_or_default().split('.').map(str::parse::<u32>);
    if let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next())
        && (major, minor) < OLDEST
    {
        warn(format!("version {version} is too old: update to {}.{} or later", OLDEST.0, OLDEST.1));
    }
    if policy.starts_with("allkeys") {
        warn(format!(
            "maxmemory-policy {policy} may evict records that have not expired, which reads then call missing, \
             and after which older writes count again; set noeviction, or volatile-ttl where that is meant"
        ));
    } else if source_of_truth && policy.starts_with("volatile") {
        warn(format!("maxmemory-policy {policy} may evict records before their TTL; set noeviction"));
    }
    if limit == 0 {
        warn("maxmemory is not set: a full machine ends the server, rather than a refused write".to_owned());
    } else if info.number("used_memory") >= limit / 10 * 9 {
        warn(format!("{memory} of its memory are used; raise maxmemory or remove records"));
    }
    let saves = info.number("aof_enabled") == 1;
    if source_of_truth && !saves {
        warn("appendonly is off: a restart loses what was written since the last snapshot".to_owned());
    }
    for (field, what) in
        [("rdb_last_bgsave_status", "snapshot"), ("aof_last_write_status", "append-only file")]
    {
        if info.get(field).is_some_and(|status| status != "ok") {
            warn(format!("the last write of the {what} has failed; see the server's log"));
        }
    }
    if role != "master" {
        warn(format!("it is a {role}, and takes no writes"));
    }
    lagging(info, &mut warn);
}

/// `slave0:ip=127.0.0.1,port=6380,state=online,offset=100,lag=0`.
fn lagging(info: &Info, warn: &mut impl FnMut(String)) {
    let written = info.number("master_repl_offset");
    for line in info.0.lines().filter(|line| line.starts_with("slave")) {
        let Some((_, fields)) = line.split_once(':').filter(|(_, fields)| fields.contains("offset=")) else {
            continue;
        };
        let field =
            |name| fields.split(',').find_map(|field| field.trim().strip_prefix(name)).unwrap_or_default();
        let behind = written.saturating_sub(field("offset=").parse().unwrap_or_default());
        if field("state=") != "online" || behind > LAG_BYTES {
            let (ip, port, state) = (field("ip="), field("port="), field("state="));
            warn(format!("its replica {ip}:{port} is {state} and {behind} bytes behind"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that is well, if only just.
    const WELL: &str = "redis_version:6.2.0\r\nrole:master\r\nused_memory:899\r\nused_memory_human:899B\r\n\
        maxmemory:1000\r\nmaxmemory_human:1000B\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n\
        rdb_last_bgsave_status:ok\r\naof_last_write_status:ok\r\nslave_expires_tracked_keys:0\r\n\
        slave0:ip=h,port=2,state=online,offset=951424,lag=0\r\nmaster_repl_offset:2000000\r\n";

    /// What is said of such a server with one thing changed.
    fn health(from: &str, to: &str, source_of_truth: bool) -> Health {
        assert!(WELL.contains(from), "{from}");
        let mut health = Health::default();
        look_at(&Info(WELL.replace(from, to)), "h:1", source_of_truth, &mut health);
        health
    }

    #[test]
    fn what_needs_attention_is_warned_of_and_nothing_else() {
        for (from, to, words) in [
            ("redis_version:6.2", "redis_version:6.1", "too old"),
            ("redis_version:6.2", "redis_version:5.9", "too old"),
            ("noeviction", "allkeys-lru", "have not expired"),
            ("noeviction", "volatile-ttl", "before their TTL"),
            ("maxmemory:1000", "maxmemory:0", "maxmemory is not set"),
            ("used_memory:899", "used_memory:900", "of its memory"),
            ("aof_enabled:1", "aof_enabled:0", "appendonly is off"),
            ("rdb_last_bgsave_status:ok", "rdb_last_bgsave_status:err", "the snapshot has failed"),
            ("aof_last_write_status:ok", "aof_last_write_status:err", "the append-only file has failed"),
            ("role:master", "role:slave", "takes no writes"),
            ("state=online", "state=wait_bgsave", "h:2 is wait_bgsave"),
            ("offset=951424", "offset=951423", "1048577 bytes behind"),
        ] {
            let warnings = health(from, to, true).warnings;
            assert!(matches!(&warnings[..], [warning] if warning.contains(words)), "{to}: {warnings:?}");
            assert!(warnings[0].starts_with("h:1: "), "{warnings:?}");
        }
        for (from, to) in
            [("redis", "redis"), ("redis_version:6.2", "redis_version:7.0"), ("redis_version:6.2.0", "")]
        {
            assert_eq!(health(from, to, true).warnings, [""; 0], "{to}");
        }
        for (from, to) in [("noeviction", "volatile-ttl"), ("aof_enabled:1", "aof_enabled:0")] {
            assert_eq!(health(from, to, false).warnings, [""; 0], "{to}");
        }
    }

    #[test]
    fn a_server_is_described_in_a_line() {
        for (from, to, line) in [
            ("redis", "redis", "redis 6.2.0, master, 899B used of 1000B, noeviction"),
            ("maxmemory:1000", "maxmemory:0", "redis 6.2.0, master, 899B used of no limit, noeviction"),
            (
                "role",
                "server_name:valkey\r\nvalkey_version:8.1.0\r\nrole",
                "valkey 8.1.0, master, 899B used of 1000B, noeviction",
            ),
        ] {
            assert_eq!(health(from, to, true).facts, [("h:1".to_owned(), line.to_owned())]);
        }
    }
}

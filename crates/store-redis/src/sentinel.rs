//! Where the primary is, according to Sentinel.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use feature_core::{ErrorKind, Result};
use futures::future::{FutureExt, select_ok};
use tokio::time::Instant;

use crate::config::SentinelConfig;
use crate::connect::{Node, Role};
use crate::dial::Dialer;
use crate::error::{Failure, Next, from_server};
use crate::resp::{Reply, Request};

/// Sentinels, and what they have said.
pub(crate) struct Sentinel {
    dialer: Arc<Dialer>,
    service_name: String,
    sentinels: Vec<Arc<Node>>,
    found: Mutex<Found>,
    /// When the Sentinels last answered. Held while they are asked.
    learned: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Clone, Default)]
struct Found {
    primary: Option<Arc<Node>>,
    replicas: Vec<Arc<Node>>,
}

impl Sentinel {
    pub(crate) fn new(dialer: &Arc<Dialer>, config: &SentinelConfig) -> Self {
        let sentinels = dialer
            .config
            .hosts()
            .into_iter()
            .map(|(host, port)| Node::new(dialer, &host, port, Role::Sentinel));
        Self {
            dialer: Arc::clone(dialer),
            service_name: config.service_name.clone(),
            sentinels: sentinels.collect(),
            found: Mutex::default(),
            learned: tokio::sync::Mutex::default(),
        }
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn primary(&self) -> Option<Arc<Node>> {
        self.found().primary.clone()
    }

    pub(crate) fn replicas(&self) -> Vec<Arc<Node>> {
        self.found().replicas.clone()
    }

    /// A replica, or the primary where there is none.
    pub(crate) fn reader(&self) -> Option<Arc<Node>> {
        let found = self.found();
        fastrand::choice(&found.replicas).or(found.primary.as_ref()).cloned()
    }

    /// Asks where the primary and the replicas are. A caller that comes while another does so waits for it.
    pub(crate) async fn learn(&self, deadline: Instant) -> Result<(), Failure> {
        let since = Instant::now();
        let mut learned = self.learned.lock().await;
        if learned.is_some_and(|learned| learned > since) {
            return Ok(());
        }
        let asked = self.sentinels.iter().map(|sentinel| self.ask(sentinel, deadline).boxed());
        let (found, _) = select_ok(asked).await?;
        *self.found() = found;
        *learned = Some(Instant::now());
        Ok(())
    }

    async fn ask(&self, sentinel: &Node, deadline: Instant) -> Result<Found, Failure> {
        let mut questions = Request::default();
        for question in ["GET-MASTER-ADDR-BY-NAME", "REPLICAS"] {
            questions.push([b"SENTINEL", question.as_bytes(), self.service_name.as_bytes()]);
        }
        let mut replies = sentinel.send(questions, deadline).await?;
        let unknown = || {
            let message = format!(
                "{}: Sentinel watches no primary named `{}`; see `service_name`",
                sentinel.name, self.service_name
            );
            Failure::new(ErrorKind::NotConfigured, message, Next::Fail)
        };
        let mut reply = || match replies.next() {
            Some(Reply::Error(error)) => Err(from_server(&error, &sentinel.name)),
            Some(Reply::Array(parts)) => Ok(parts),
            _ => Ok(Vec::new()),
        };
        let (host, port) = address(&reply()?).ok_or_else(unknown)?;
        let before = self.found().clone();
        let known: Vec<_> = before.primary.into_iter().chain(before.replicas).collect();
        let keep = |host: &str, port| {
            let known = known.iter().find(|node| node.is_at(host, port));
            known.map_or_else(|| Node::new(&self.dialer, host, port, Role::Primary), Arc::clone)
        };
        let primary = keep(&host, port);
        confirm(&primary, deadline).await?;
        let replicas = reply()?.iter().filter_map(replica).map(|(host, port)| keep(&host, port)).collect();
        Ok(Found { primary: Some(primary), replicas })
    }

    pub(crate) fn end(&self) {
        let found = self.found();
        self.sentinels.iter().chain(&found.primary).chain(&found.replicas).for_each(|node| node.end());
    }
}

/// Makes sure that a server is a primary: in the middle of a failover a Sentinel may not know yet.
async fn confirm(node: &Node, deadline: Instant) -> Result<(), Failure> {
    match node.send(Request::of([&b"ROLE"[..]]), deadline).await?.next() {
        Some(Reply::Array(parts)) if parts.first().and_then(Reply::text) == Some("master") => Ok(()),
        // Without the right to ask, Sentinel's word has to do.
        Some(Reply::Error(error)) if error.starts_with(b"NOPERM") => Ok(()),
        Some(Reply::Error(error)) => Err(from_server(&error, &node.name)),
        _ => {
            node.reset();
            let message = format!("{}: the server is no primary; wait for the failover", node.name);
            Err(Failure::new(ErrorKind::Unavailable, message, Next::Locate))
        }
    }
}

/// Host and port, as two texts.
fn address(parts: &[Reply]) -> Option<(String, u16)> {
    let [host, port] = parts else { return None };
    Some((host.text()?.to_owned(), port.text()?.parse().ok()?))
}

/// The address of a replica that is well, from its names and values in turn.
fn replica(fields: &Reply) -> Option<(String, u16)> {
    let Reply::Array(fields) = fields else { return None };
    let (pairs, _) = fields.as_chunks::<2>();
    let value =
        |name| pairs.iter().find(|[own, _]| own.text() == Some(name)).and_then(|[_, value]| value.text());
    let well = value("master-link-status") == Some("ok")
        && !value("flags")?.split(',').any(|flag| ["s_down", "o_down", "disconnected"].contains(&flag));
    well.then_some((value("ip")?.to_owned(), value("port")?.parse().ok()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join;

    use super::*;
    use crate::config::RedisConfig;
    use crate::connect::tests::{is_open, local, node, soon};
    use crate::dial::tests::server;

    #[test]
    fn a_replica_that_is_down_or_behind_is_left_out() {
        let fields = |flags: &str, link: &str| {
            let fields = ["ip", "a", "port", "1", "flags", flags, "master-link-status", link];
            Reply::Array(fields.map(|text| Reply::Text(text.to_owned().into())).to_vec())
        };
        assert_eq!(replica(&fields("slave", "ok")), Some(("a".to_owned(), 1)));
        assert_eq!(replica(&fields("slave", "err")), None);
        assert_eq!(replica(&fields("s_down,slave", "ok")), None);
    }

    /// An array of texts as servers send it, for ever.
    fn words(words: &[&str]) -> &'static str {
        let texts: Vec<_> = words.iter().map(|word| format!("${}\r\n{word}", word.len())).collect();
        format!("*{}\r\n{}", words.len(), texts.join("\r\n")).leak()
    }

    /// Settings for a Sentinel that answers so.
    async fn says(answer: impl Fn(usize) -> Option<&'static str> + Copy + Send + 'static) -> RedisConfig {
        let service_name = "features".to_owned();
        RedisConfig {
            sentinel: Some(SentinelConfig { service_name, username: None, password: None }),
            ..local(server(answer).await)
        }
    }

    /// Settings for a Sentinel that watches a primary with a replica, and how often it has been asked something.
    pub(crate) async fn watching() -> (RedisConfig, &'static AtomicUsize) {
        let asked: &AtomicUsize = Box::leak(Box::default());
        let port = server(|_| Some("*1\r\n$6\r\nmaster")).await;
        let primary = words(&["127.0.0.1", &port.to_string()]);
        let replica = words(&["ip", "replica", "port", "7", "flags", "slave", "master-link-status", "ok"]);
        let replicas: &str = format!("*1\r\n{replica}").leak();
        let answer = move |number: usize| {
            asked.fetch_add(1, Ordering::Relaxed);
            Some(if number.is_multiple_of(2) { primary } else { replicas })
        };
        (says(answer).await, asked)
    }

    fn sentinel(config: RedisConfig) -> Sentinel {
        let settings = config.sentinel.clone().unwrap();
        Sentinel::new(&Arc::new(Dialer::new(config).unwrap()), &settings)
    }

    #[tokio::test]
    async fn who_comes_while_sentinel_is_asked_waits_for_that_answer() {
        let (config, asked) = watching().await;
        let sentinel = sentinel(config);
        assert!(sentinel.reader().is_none());
        let (first, second) = join(sentinel.learn(soon()), sentinel.learn(soon())).await;
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        let replicas = sentinel.replicas();
        assert!(matches!(&replicas[..], [replica] if replica.is_at("replica", 7)));
        assert!(Arc::ptr_eq(&sentinel.reader().unwrap(), &replicas[0]));

        // Later it is asked again, and what has stayed keeps its connections.
        let primary = sentinel.primary().unwrap();
        sentinel.learn(soon()).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 4);
        assert!(Arc::ptr_eq(&sentinel.primary().unwrap(), &primary));
        assert!(Arc::ptr_eq(&sentinel.replicas()[0], &replicas[0]));
        let all = [&primary, &replicas[0], &sentinel.sentinels[0]];
        assert!(all.iter().all(|node| is_open(node)));
        sentinel.end();
        assert!(!all.iter().any(|node| is_open(node)));
    }

    #[tokio::test]
    async fn without_replicas_the_primary_is_read() {
        let (config, _) = watching().await;
        let sentinel = sentinel(config);
        sentinel.learn(soon()).await.unwrap();
        sentinel.found().replicas.clear();
        assert!(Arc::ptr_eq(&sentinel.reader().unwrap(), &sentinel.primary().unwrap()));
    }

    #[tokio::test]
    async fn what_sentinel_does_not_know_says_so() {
        for (answer, kind) in [
            ("*-1", ErrorKind::NotConfigured),
            (words(&["h", "no port"]), ErrorKind::NotConfigured),
            (words(&["h"]), ErrorKind::NotConfigured),
            ("-LOADING soon", ErrorKind::Unavailable),
        ] {
            let sentinel = sentinel(says(move |_| Some(answer)).await);
            assert_eq!(sentinel.learn(soon()).await.unwrap_err().error.kind(), kind, "{answer}");
        }
    }

    #[tokio::test]
    async fn a_server_is_a_primary_where_it_says_so_or_may_not_be_asked() {
        for (role, kind) in [
            (words(&["master"]), None),
            ("-NOPERM no rights", None),
            (words(&["slave"]), Some(ErrorKind::Unavailable)),
            ("*0", Some(ErrorKind::Unavailable)),
            ("-OOM no room", Some(ErrorKind::Throttled)),
        ] {
            let node = node(RedisConfig::default(), server(move |_| Some(role)).await);
            let failure = confirm(&node, soon()).await.err();
            assert_eq!(failure.map(|failure| failure.error.kind()), kind, "{role}");
        }
    }
}

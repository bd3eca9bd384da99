//! Where rows go: one server, the primary that Sentinel names, or the nodes of a cluster.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use feature_core::Result;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::config::RedisConfig;
use crate::connect::{Node, Role};
use crate::dial::Dialer;
use crate::error::Failure;
use crate::sentinel::Sentinel;

/// Where reads go to replicas, they are looked up this often: nothing announces a new one.
const REPLICAS_ANEW: Duration = Duration::from_secs(5);

/// The servers of a store.
pub(crate) struct Router {
    dialer: Arc<Dialer>,
    topology: Topology,
    /// When the replicas were last looked up.
    learned: Mutex<Instant>,
}

enum Topology {
    Single(Arc<Node>),
    Sentinel(Sentinel),
    Cluster(Cluster),
}

/// Finds the node for a key.
type ByKey<'a> = Box<dyn Fn(&[u8]) -> Option<Arc<Node>> + Send + Sync + 'a>;

/// The nodes for keys, where they are known.
pub(crate) enum Locate<'a> {
    /// All keys have the same.
    Same(Option<Arc<Node>>),
    ByKey(ByKey<'a>),
}

impl Locate<'_> {
    pub(crate) fn of(&self, key: &[u8]) -> Option<Arc<Node>> {
        match self {
            Self::Same(node) => node.clone(),
            Self::ByKey(locate) => locate(key),
        }
    }
}

impl Router {
    pub(crate) fn new(config: RedisConfig) -> Result<Self> {
        let dialer = Arc::new(Dialer::new(config)?);
        let RedisConfig { host, port, cluster_mode, sentinel, .. } = &dialer.config;
        let topology = match sentinel {
            Some(sentinel) => Topology::Sentinel(Sentinel::new(&dialer, sentinel)),
            None if *cluster_mode => Topology::Cluster(Cluster::new(&dialer)),
            None => Topology::Single(Node::new(&dialer, host, *port, Role::Primary)),
        };
        Ok(Self { dialer, topology, learned: Mutex::new(Instant::now()) })
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.dialer.config
    }

    /// Learns where everything is.
    pub(crate) async fn learn(&self, deadline: Instant) -> Result<(), Failure> {
        match &self.topology {
            Topology::Single(node) => node.open().await,
            Topology::Sentinel(sentinel) => sentinel.learn(deadline).await,
            Topology::Cluster(cluster) => cluster.learn(deadline).await,
        }
    }

    /// Learns it without making anyone wait. Failing does no harm: the next call that needs it asks again.
    pub(crate) fn learn_in_background(self: &Arc<Self>) {
        let router = Arc::clone(self);
        let deadline = Instant::now() + self.config().connect_timeout;
        tokio::spawn(async move { router.learn(deadline).await });
    }

    /// Finds the node for each key; for reads that is a replica where the settings allow that.
    pub(crate) fn locator(self: &Arc<Self>, reads: bool) -> Locate<'_> {
        let replicas = reads && self.config().replica_reads;
        if replicas && self.is_time_to_learn() {
            self.learn_in_background();
        }
        match &self.topology {
            Topology::Single(node) => Locate::Same(Some(Arc::clone(node))),
            Topology::Sentinel(sentinel) if replicas => Locate::Same(sentinel.reader()),
            Topology::Sentinel(sentinel) => Locate::Same(sentinel.primary()),
            Topology::Cluster(cluster) => Locate::ByKey(Box::new(cluster.locator(replicas))),
        }
    }

    fn is_time_to_learn(&self) -> bool {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        let due = learned.elapsed() >= REPLICAS_ANEW;
        if due {
            *learned = Instant::now();
        }
        due
    }

    /// The node at an address that another node has named; `None` where the settings say nothing of a
    /// cluster.
    pub(crate) fn at(&self, host: &str, port: u16) -> Option<Arc<Node>> {
        match &self.topology {
            Topology::Cluster(cluster) => Some(cluster.at(host, port)),
            Topology::Single(_) | Topology::Sentinel(_) => None,
        }
    }

    /// Whether a command must not have more than one key.
    pub(crate) fn each_key_alone(&self) -> bool {
        matches!(self.topology, Topology::Cluster(_))
    }

    pub(crate) fn primaries(&self) -> Vec<Arc<Node>> {
        match &self.topology {
            Topology::Single(node) => vec![Arc::clone(node)],
            Topology::Sentinel(sentinel) => sentinel.primary().into_iter().collect(),
            Topology::Cluster(cluster) => cluster.primaries(),
        }
    }

    pub(crate) fn replicas(&self) -> Vec<Arc<Node>> {
        match &self.topology {
            Topology::Single(_) => Vec::new(),
            Topology::Sentinel(sentinel) => sentinel.replicas(),
            Topology::Cluster(cluster) => cluster.replicas(),
        }
    }

    /// Ends every connection for good.
    pub(crate) fn end(&self) {
        match &self.topology {
            Topology::Single(node) => node.end(),
            Topology::Sentinel(sentinel) => sentinel.end(),
            Topology::Cluster(cluster) => cluster.end(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cluster::tests::SLOTS_OF_TWO;
    use crate::connect::tests::{is_open, local, soon};
    use crate::dial::tests::server;
    use crate::sentinel::tests::watching;

    pub(crate) fn router(config: RedisConfig) -> Arc<Router> {
        Arc::new(Router::new(config).unwrap())
    }

    #[tokio::test]
    async fn replicas_are_looked_up_anew_by_reads_that_go_to_them_from_time_to_time() {
        let (config, _) = watching().await;
        for replica_reads in [false, true] {
            let router = router(RedisConfig { replica_reads, ..config.clone() });
            let is_due = || router.learned.lock().unwrap().elapsed() >= REPLICAS_ANEW;
            assert!(!router.is_time_to_learn());
            *router.learned.lock().unwrap() = Instant::now().checked_sub(REPLICAS_ANEW).unwrap();
            router.locator(false);
            assert!(is_due());
            router.locator(true);
            assert_eq!(is_due(), !replica_reads);
            assert_eq!(router.is_time_to_learn(), !replica_reads);
            assert!(!router.is_time_to_learn());
        }
    }

    #[tokio::test]
    async fn reads_go_to_a_replica_that_sentinel_names_where_they_may() {
        let (config, _) = watching().await;
        for replica_reads in [false, true] {
            let router = router(RedisConfig { replica_reads, ..config.clone() });
            router.learn(soon()).await.unwrap();
            for reads in [false, true] {
                let node = router.locator(reads).of(b"key").unwrap();
                assert_eq!(node.is_at("replica", 7), reads && replica_reads);
            }
            assert_eq!((router.primaries().len(), router.replicas().len()), (1, 1));
            let node = router.locator(false).of(b"key").unwrap();
            assert!(is_open(&node) && router.at("h", 1).is_none() && !router.each_key_alone());
            router.end();
            assert!(!is_open(&node));
        }
    }

    #[tokio::test]
    async fn what_is_learned_in_the_background_is_known_soon() {
        let port = server(|_| Some(SLOTS_OF_TWO)).await;
        let router = router(RedisConfig { cluster_mode: true, ..local(port) });
        assert!(router.primaries().is_empty() && router.locator(true).of(b"key").is_none());
        router.learn_in_background();
        let known = async {
            while router.primaries().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout_at(soon(), known).await.unwrap();
        assert!(router.locator(true).of(b"key").unwrap().is_at("primary", 1));
        assert!(router.each_key_alone() && router.at("h", 1).is_some());
    }

    #[test]
    fn a_single_server_is_where_everything_is() {
        let router = router(RedisConfig::default());
        let node = router.locator(true).of(b"key").unwrap();
        assert!(Arc::ptr_eq(&node, &router.primaries()[0]) && router.replicas().is_empty());
        router.end();
        assert!(!is_open(&node));
    }
}

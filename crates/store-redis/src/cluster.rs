//! Which node of a cluster owns which slot.

use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError, RwLock};

use feature_core::ErrorKind;
use futures::future::{FutureExt, select_ok};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::connect::{Node, Role};
use crate::dial::Dialer;
use crate::error::{Failure, Next};
use crate::resp::{Reply, Request};

/// Slots of a cluster; a constant of Redis.
const SLOTS: usize = 16_384;
/// This many nodes are asked for the map at a time; the first answer counts.
const ASKED: usize = 5;

/// The slot of a key. Keys have no hash tag: the key text escapes braces, and the prefix has none.
fn slot(key: &[u8]) -> usize {
    usize::from(crc16::State::<crc16::XMODEM>::calculate(key)) % SLOTS
}

/// A primary and its replicas.
#[derive(Debug)]
struct Shard {
    primary: Arc<Node>,
    replicas: Vec<Arc<Node>>,
}

/// Who owns which slot, as a node of the cluster saw it.
#[derive(Debug, Default)]
struct Map {
    shards: Vec<Shard>,
    /// For each slot the number of its shard.
    owners: Vec<Option<u16>>,
}

impl Map {
    fn shard(&self, key: &[u8]) -> Option<&Shard> {
        let owner = self.owners.get(slot(key)).copied().flatten()?;
        self.shards.get(usize::from(owner))
    }

    fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.shards.iter().flat_map(|shard| shard.replicas.iter().chain([&shard.primary]))
    }
}

/// A cluster, as far as it is known.
pub(crate) struct Cluster {
    dialer: Arc<Dialer>,
    seeds: Vec<Arc<Node>>,
    map: RwLock<Arc<Map>>,
    /// Nodes that others have named and the map does not have yet.
    named: StdMutex<Vec<Arc<Node>>>,
    /// Held while the map is learned again.
    learning: Mutex<()>,
}

impl Cluster {
    pub(crate) fn new(dialer: &Arc<Dialer>) -> Self {
        let seeds = dialer
            .config
            .hosts()
            .into_iter()
            .map(|(host, port)| Node::new(dialer, &host, port, Role::Primary));
        Self {
            dialer: Arc::clone(dialer),
            seeds: seeds.collect(),
            map: RwLock::default(),
            named: StdMutex::default(),
            learning: Mutex::default(),
        }
    }

    fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The nodes that rows are for, by their keys; `None` where nobody is known to own a slot.
    pub(crate) fn locator(&self, replicas: bool) -> impl Fn(&[u8]) -> Option<Arc<Node>> {
        let map = self.map();
        // One replica of each shard a call, so that its rows stay together.
        let turn = if replicas { fastrand::usize(..) } else { 0 };
        move |key| {
            let shard = map.shard(key)?;
            let replica = (replicas && !shard.replicas.is_empty())
                .then(|| &shard.replicas[turn % shard.replicas.len()]);
            Some(Arc::clone(replica.unwrap_or(&shard.primary)))
        }
    }

    /// The node at this address, to which another has sent a row.
    pub(crate) fn at(&self, host: &str, port: u16) -> Arc<Node> {
        let map = self.map();
        let mut named = self.named();
        let mut known = map.shards.iter().map(|shard| &shard.primary).chain(&*named);
        if let Some(node) = known.find(|node| node.is_at(host, port)) {
            return Arc::clone(node);
        }
        let node = Node::new(&self.dialer, host, port, Role::Primary);
        named.push(Arc::clone(&node));
        node
    }

    fn named(&self) -> MutexGuard<'_, Vec<Arc<Node>>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn primaries(&self) -> Vec<Arc<Node>> {
        self.map().shards.iter().map(|shard| Arc::clone(&shard.primary)).collect()
    }

    pub(crate) fn replicas(&self) -> Vec<Arc<Node>> {
        self.map().shards.iter().flat_map(|shard| shard.replicas.iter().cloned()).collect()
    }

    /// Learns the map again. A caller that comes while another does so waits for it.
    pub(crate) async fn learn(&self, deadline: Instant) -> Result<(), Failure> {
        let before = self.map();
        let _learning = self.learning.lock().await;
        if !Arc::ptr_eq(&before, &self.map()) {
            return Ok(());
        }
        let mut nodes: Vec<_> = before.nodes().cloned().collect();
        fastrand::shuffle(&mut nodes);
        nodes.truncate(ASKED);
        nodes.extend(self.seeds.iter().cloned());
        let asked = nodes.into_iter().map(|node| self.ask(node, &before, deadline).boxed());
        let (map, _) = select_ok(asked).await?;
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
        self.named().clear();
        Ok(())
    }

    async fn ask(&self, node: Arc<Node>, known: &Map, deadline: Instant) -> Result<Map, Failure> {
        let question = Request::of([&b"CLUSTER"[..], b"SLOTS"]);
        let ranges = match node.ask(question, deadline).await? {
            Reply::Array(ranges) => ranges,
            _ => Vec::new(),
        };
        let mut map = Map { shards: Vec::new(), owners: vec![None; SLOTS] };
        for range in ranges {
            // What is not understood owns nothing.
            let Some((slots, mut servers)) = read_range(range, &node.host) else { continue };
            let (host, port) = servers.remove(0);
            let found = map.shards.iter().position(|shard| shard.primary.is_at(&host, port));
            let number = found.unwrap_or_else(|| {
                let primary = self.keep(known, &host, port, Role::Primary);
                let replicas =
                    servers.iter().map(|(host, port)| self.keep(known, host, *port, Role::ClusterReplica));
                map.shards.push(Shard { primary, replicas: replicas.collect() });
                map.shards.len() - 1
            });
            map.owners[slots].fill(u16::try_from(number).ok());
        }
        if map.shards.is_empty() {
            let message = format!("{}: the cluster has no slots assigned; create it first", node.name);
            return Err(Failure::new(ErrorKind::NotConfigured, message, Next::Wait));
        }
        Ok(map)
    }

    /// The node at this address in this role, with the connections it already has.
    fn keep(&self, known: &Map, host: &str, port: u16, role: Role) -> Arc<Node> {
        let named = self.named();
        let mut known = known.nodes().chain(&*named);
        let known = known.find(|node| node.is_at(host, port) && node.role() == role);
        known.map_or_else(|| Node::new(&self.dialer, host, port, role), Arc::clone)
    }

    pub(crate) fn end(&self) {
        let map = self.map();
        map.nodes().chain(&self.seeds).chain(&*self.named()).for_each(|node| node.end());
    }
}

type Servers = Vec<(String, u16)>;

/// An entry of `CLUSTER SLOTS`: first slot, last slot, then the servers, the primary first.
fn read_range(range: Reply, asked: &str) -> Option<(std::ops::RangeInclusive<usize>, Servers)> {
    let Reply::Array(parts) = range else { return None };
    let mut parts = parts.into_iter();
    let mut number = || match parts.next()? {
        Reply::Int(slot) => usize::try_from(slot).ok().filter(|slot| *slot < SLOTS),
        _ => None,
    };
    let slots = number()?..=number()?;
    let server = |server: Reply| {
        let Reply::Array(server) = server else { return None };
        let port = match server.get(1)? {
            Reply::Int(port) => u16::try_from(*port).ok()?,
            _ => return None,
        };
        // A node that does not know its own address leaves it out: it is where it was asked.
        let host = match server.first()? {
            Reply::Text(host) => String::from_utf8_lossy(host).into_owned(),
            _ => String::new(),
        };
        Some((if host.is_empty() || host == "?" { asked.to_owned() } else { host }, port))
    };
    let servers: Servers = parts.map_while(server).collect();
    (!servers.is_empty()).then_some((slots, servers))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::RedisConfig;
    use crate::connect::tests::is_open;

    /// What a primary and its replica say of their slots.
    pub(crate) const SLOTS_OF_TWO: &str =
        "*1\r\n*4\r\n:0\r\n:16383\r\n*2\r\n$7\r\nprimary\r\n:1\r\n*2\r\n$7\r\nreplica\r\n:2";

    #[test]
    fn slots_are_those_of_redis() {
        // From the specification of Redis Cluster, and from `CLUSTER KEYSLOT foo`.
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"123456789"), 0x31C3);
    }

    #[test]
    fn a_range_names_its_servers_the_primary_first() {
        let server = |host: &str, port| {
            Reply::Array(vec![Reply::Text(host.to_owned().into()), Reply::Int(port), Reply::Nil])
        };
        let range =
            |servers: Vec<Reply>| Reply::Array([vec![Reply::Int(5), Reply::Int(9)], servers].concat());
        let (slots, servers) = read_range(range(vec![server("a", 1), server("", 2)]), "b").unwrap();
        assert_eq!((slots, servers), (5..=9, vec![("a".to_owned(), 1), ("b".to_owned(), 2)]));
        let nowhere = Reply::Array(vec![Reply::Nil, Reply::Int(3)]);
        let (_, servers) = read_range(range(vec![server("?", 1), nowhere]), "b").unwrap();
        assert_eq!(servers, [("b".to_owned(), 1), ("b".to_owned(), 3)]);
        let from = |slot| Reply::Array(vec![Reply::Int(slot), Reply::Int(slot), server("a", 1)]);
        assert_eq!(read_range(from(16_383), "b").unwrap().0, 16_383..=16_383);
        for nonsense in [
            Reply::Nil,
            range(vec![]),
            Reply::Array(vec![Reply::Int(5)]),
            range(vec![Reply::Nil]),
            from(16_384),
            from(-1),
        ] {
            assert!(read_range(nonsense, "b").is_none());
        }
    }

    fn hosts(nodes: &[Arc<Node>]) -> Vec<&str> {
        nodes.iter().map(|node| node.host.as_str()).collect()
    }

    /// A cluster of two shards, of which one has two replicas and the slot of `foo`, the other that of `bar`.
    fn cluster() -> Cluster {
        let dialer = Arc::new(Dialer::new(RedisConfig::default()).unwrap());
        let node = |host, port, role| Node::new(&dialer, host, port, role);
        let replicas = [("b", 2), ("c", 3)].map(|(host, port)| node(host, port, Role::ClusterReplica));
        let shards = vec![
            Shard { primary: node("a", 1, Role::Primary), replicas: replicas.to_vec() },
            Shard { primary: node("d", 4, Role::Primary), replicas: Vec::new() },
        ];
        let mut owners = vec![None; SLOTS];
        owners[slot(b"foo")] = Some(0);
        owners[slot(b"bar")] = Some(1);
        let cluster = Cluster::new(&dialer);
        *cluster.map.write().unwrap() = Arc::new(Map { shards, owners });
        cluster
    }

    #[test]
    fn a_key_is_found_at_the_primary_of_its_slot_or_at_one_of_its_replicas() {
        let cluster = cluster();
        assert_eq!(hosts(&cluster.primaries()), ["a", "d"]);
        assert_eq!(hosts(&cluster.replicas()), ["b", "c"]);
        let found = |key: &[u8], replicas| cluster.locator(replicas)(key).map(|node| node.host.clone());
        assert_eq!(found(b"foo", false).as_deref(), Some("a"));
        let mut read = BTreeSet::new();
        for _ in 0..64 {
            read.extend(found(b"foo", true));
            assert_eq!(found(b"bar", true).as_deref(), Some("d"));
        }
        assert_eq!(read, ["b", "c"].map(str::to_owned).into());
        assert_eq!(found(b"nobody's", false), None);
    }

    #[test]
    fn a_node_keeps_its_connections_as_long_as_its_address_and_role_stay() {
        let cluster = cluster();
        let map = cluster.map();
        let named = cluster.at("e", 5);
        assert!(Arc::ptr_eq(&cluster.at("e", 5), &named));
        assert!(Arc::ptr_eq(&cluster.at("a", 1), &map.shards[0].primary));
        for (host, port, role, known) in [
            ("a", 1, Role::Primary, Some(&map.shards[0].primary)),
            ("b", 2, Role::ClusterReplica, Some(&map.shards[0].replicas[0])),
            ("e", 5, Role::Primary, Some(&named)),
            ("b", 2, Role::Primary, None),
            ("a", 1, Role::ClusterReplica, None),
            ("a", 2, Role::Primary, None),
            ("z", 1, Role::Primary, None),
        ] {
            let kept = cluster.keep(&map, host, port, role);
            let found = map.nodes().chain([&named]).find(|node| Arc::ptr_eq(node, &kept));
            assert_eq!(found.map(Arc::as_ptr), known.map(Arc::as_ptr), "{host}:{port} {role:?}");
        }
    }

    #[test]
    fn every_node_that_is_known_ends() {
        let cluster = cluster();
        let named = cluster.at("e", 5);
        let map = cluster.map();
        let all: Vec<_> = map.nodes().chain(&cluster.seeds).chain([&named]).collect();
        assert!(all.len() == 6 && all.iter().all(|node| is_open(node)));
        cluster.end();
        assert!(!all.iter().any(|node| is_open(node)));
    }
}

//! A Redis Cluster of processes.

use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::{Instant, sleep};

use super::network::{Network, Place};
use super::process::free_ports;
use super::{RedisOptions, Server};

/// How many slots a cluster has.
const SLOTS: usize = 16_384;
/// The largest cluster that can be started.
const MAX_NODES: usize = 12;
/// How long a cluster may take to come together, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(50);

/// A Redis Cluster whose nodes are processes of this machine. A node that stays silent for a second is
/// taken for dead, and one of its replicas takes over a second or two later.
pub struct RedisCluster {
    nodes: Vec<Server>,
    primaries: usize,
}

impl RedisCluster {
    /// Starts a cluster: this many primaries, which share the slots evenly, each with this many replicas.
    ///
    /// # Errors
    /// No `redis-server` on the `PATH`; why a node does not start or the cluster does not come together.
    pub async fn start(primaries: usize, replicas_each: usize) -> Result<Self, String> {
        Self::start_with(primaries, replicas_each, &RedisOptions::default()).await
    }

    /// The same with options for every node.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub async fn start_with(
        primaries: usize,
        replicas_each: usize,
        options: &RedisOptions,
    ) -> Result<Self, String> {
        Self::start_at(|_| Ok(Place::HERE), primaries, replicas_each, options).await
    }

    /// The same on a network: each node at a member of its own, from the first on.
    ///
    /// # Errors
    /// As for [`start`](Self::start), and a network with too few members.
    pub async fn start_on(
        network: &Network,
        primaries: usize,
        replicas_each: usize,
        options: &RedisOptions,
    ) -> Result<Self, String> {
        Self::start_at(|number| network.place(number), primaries, replicas_each, options).await
    }

    async fn start_at(
        place: impl Fn(usize) -> Result<Place, String>,
        primaries: usize,
        replicas_each: usize,
        options: &RedisOptions,
    ) -> Result<Self, String> {
        let count = primaries * (1 + replicas_each);
        if primaries == 0 || count > MAX_NODES {
            return Err(format!("a cluster has 1 to {MAX_NODES} nodes, not {count}"));
        }
        let ports: [u16; 2 * MAX_NODES] = free_ports()?;
        let places = (0..count).map(place).collect::<Result<Vec<_>, _>>()?;
        let (ports, bus_ports) = (&ports[..count], &ports[MAX_NODES..MAX_NODES + count]);
        let node = |((place, port), bus_port): ((&Place, &u16), &u16)| {
            let bus_port = bus_port.to_string();
            let options = options.clone().with([
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus_port,
                "--cluster-node-timeout",
                "1000",
                // A replica takes over however long ago it last heard from its primary.
                "--cluster-replica-validity-factor",
                "0",
                "--cluster-allow-replica-migration",
                "no",
                "--repl-diskless-sync-delay",
                "0",
            ]);
            let (place, port) = (place.clone(), *port);
            async move { Server::start_redis_at(&place, port, &options).await }
        };
        let nodes = try_join_all(places.iter().zip(ports).zip(bus_ports).map(node)).await?;
        let cluster = Self { nodes, primaries };
        cluster.form(replicas_each, ports, bus_ports).await?;
        cluster.wait_until_whole(PATIENCE).await?;
        Ok(cluster)
    }

    /// Makes one cluster of the nodes.
    async fn form(&self, replicas_each: usize, ports: &[u16], bus_ports: &[u16]) -> Result<(), String> {
        let (primaries, replicas) = self.nodes.split_at(self.primaries);
        for (number, node) in primaries.iter().enumerate() {
            let epoch = (number + 1).to_string();
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await?;
            let slot = |number: usize| SLOTS * number / self.primaries;
            let (first, last) = (slot(number).to_string(), (slot(number + 1) - 1).to_string());
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await?;
        }
        for ((node, port), bus_port) in self.nodes.iter().zip(ports).zip(bus_ports).skip(1) {
            let (address, port) = (node.place.address.to_string(), port.to_string());
            let bus_port = bus_port.to_string();
            primaries[0].command(&["CLUSTER", "MEET", &address, &port, &bus_port]).await?;
        }
        for (number, replica) in replicas.iter().enumerate() {
            let primary = primaries[number / replicas_each].command(&["CLUSTER", "MYID"]).await?;
            let start = Instant::now();
            // A replica cannot follow a primary before it has heard of it.
            while let Err(error) = replica.command(&["CLUSTER", "REPLICATE", primary.text()]).await {
                if start.elapsed() > PATIENCE {
                    return Err(format!("node {} of the cluster: {error}", self.primaries + number));
                }
                sleep(ASK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Waits until every node runs, knows all others, says that the cluster is well, and, where it is a
    /// replica, has caught up.
    ///
    /// # Errors
    /// It took longer. Says what is missing.
    pub async fn wait_until_whole(&self, within: Duration) -> Result<(), String> {
        let start = Instant::now();
        while let Err(missing) = self.is_whole().await {
            if start.elapsed() > within {
                return Err(format!("the cluster is not whole after {within:?}: {missing}"));
            }
            sleep(ASK_EVERY).await;
        }
        Ok(())
    }

    async fn is_whole(&self) -> Result<(), String> {
        let known = format!("cluster_known_nodes:{}\r\n", self.nodes.len());
        for (number, node) in self.nodes.iter().enumerate() {
            let mut answers = node.command(&["CLUSTER", "INFO"]).await?.text().to_owned();
            answers.push_str("\r\n");
            answers.push_str(node.command(&["INFO", "replication"]).await?.text());
            let replica = answers.contains("role:slave");
            for needed in ["cluster_state:ok", "cluster_slots_ok:16384", &known] {
                if !answers.contains(needed) {
                    return Err(format!("node {number} does not say {}", needed.trim()));
                }
            }
            if replica && !answers.contains("master_link_status:up") {
                return Err(format!("node {number} is not linked to its primary"));
            }
            // What it thinks of the others: "fail" and "fail?" are flags of a node.
            let nodes = node.command(&["CLUSTER", "NODES"]).await?;
            if let Some(line) = nodes.text().lines().find(|line| line.contains("fail")) {
                return Err(format!("node {number} takes another for dead: {line}"));
            }
        }
        let replicas = self.nodes.len() - self.primaries;
        let nodes = self.nodes[0].command(&["CLUSTER", "NODES"]).await?;
        match nodes.text().lines().filter(|line| line.contains("slave")).count() {
            count if count == replicas => Ok(()),
            count => Err(format!("{count} of {replicas} replicas are known")),
        }
    }

    /// The nodes as they were at the start: the primaries, then the replicas of the first, of the second,
    /// and so on. Who is what after a failover, `ROLE` tells.
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// The nodes that were primaries at the start.
    pub fn primaries(&self) -> &[Server] {
        &self.nodes[..self.primaries]
    }

    /// `redis-cluster://` with the primaries of the start.
    pub fn url(&self) -> String {
        let first = self.nodes[0].url().trim_start_matches("redis://");
        let user = first.split_once('@').map_or(String::new(), |(user, _)| format!("{user}@"));
        let hosts: Vec<String> = self
            .primaries()
            .iter()
            .map(|node| node.url().rsplit(['/', '@']).next().unwrap_or_default().to_owned())
            .collect();
        format!("redis-cluster://{user}{}", hosts.join(","))
    }

    /// Where the servers come from, for messages.
    pub fn how(&self) -> String {
        format!("cluster of {}: {}", self.nodes.len(), self.nodes[0].how())
    }

    /// Ends the servers, and returns when they are gone.
    pub async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}

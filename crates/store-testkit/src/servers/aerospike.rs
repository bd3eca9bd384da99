//! Aerospike servers as processes, alone and in clusters.

use std::fs;
use std::net::SocketAddrV4;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::network::{Network, Place};
use super::process::{Launch, folder, free_ports, program};
use super::{Held, Server, Software};

/// The namespace of every server that is started here.
const NAMESPACE: &str = "features";
/// How a server is configured, as the tests in Python have it too.
const CONFIGURATION: &str = include_str!("aerospike.conf");
/// The largest cluster that can be started.
const MAX_NODES: usize = 8;
/// How long an answer may take, and how often a cluster is asked for its state.
const PATIENCE: Duration = Duration::from_secs(20);
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long a cluster may take to come together.
const FORMED_WITHIN: Duration = Duration::from_secs(60);
const FLUSH_MILLIS: u64 = 100;
/// Version 2, type 1: questions in text, for a protocol whose other messages are binary.
const INFO: u64 = 2 << 56 | 1 << 48;

/// How a dedicated Aerospike server runs, as a process of this machine. It has a namespace `features`.
///
/// ```no_run
/// # async fn example() -> Result<(), String> {
/// use store_testkit::servers::{AerospikeOptions, Server};
///
/// let no_ttl = AerospikeOptions::default().with(["nsup-period 0"]);
/// let server = Server::start_aerospike(&no_ttl).await?;
/// server.info("set-config:context=service;batch-max-requests=10").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AerospikeOptions {
    /// Whether records are kept in a file, so that they survive the server's end. They are there a tenth
    /// of a second after they are acknowledged; a server that is killed loses what is younger. (To write
    /// them before is for the Enterprise edition.)
    pub persistent: bool,
    /// Lines of the namespace's configuration. They come after `nsup-period 1`, which one of them may
    /// replace.
    pub namespace: Vec<String>,
}

impl AerospikeOptions {
    /// How long after it is acknowledged a record is in the file.
    pub const fn flushed_after(&self) -> Duration {
        Duration::from_millis(FLUSH_MILLIS)
    }

    /// Adds lines to the namespace's configuration: `max-record-size 128K`, say.
    #[must_use]
    pub fn with<'a>(mut self, lines: impl IntoIterator<Item = &'a str>) -> Self {
        self.namespace.extend(lines.into_iter().map(str::to_owned));
        self
    }
}

/// What tells one server of a cluster from another.
struct Spot<'a> {
    place: &'a Place,
    /// From 1.
    number: usize,
    service: u16,
    fabric: u16,
    /// Where servers hear each other, all of them.
    heartbeats: &'a [SocketAddrV4],
}

impl Server {
    /// Starts a dedicated Aerospike server, as a process. It can be killed, started again and paused.
    ///
    /// # Errors
    /// Why it is not available: no `asd` on the `PATH`, or what its log says.
    pub async fn start_aerospike(options: &AerospikeOptions) -> Result<Self, String> {
        let [service, fabric, heartbeat] = free_ports()?;
        let heartbeats = &[SocketAddrV4::new(Place::HERE.address, heartbeat)];
        let spot = Spot { place: &Place::HERE, number: 1, service, fabric, heartbeats };
        Self::start_aerospike_at(&spot, options).await
    }

    async fn start_aerospike_at(spot: &Spot<'_>, options: &AerospikeOptions) -> Result<Self, String> {
        let facts = Software::Aerospike.facts();
        let program = program(facts.program)?;
        let folder = folder()?;
        let failed = |e| format!("the server's folder cannot be filled: {e}");
        for part in ["smd", "usr/udf/lua"] {
            fs::create_dir_all(folder.path().join(part)).map_err(failed)?;
        }
        let file = folder.path().join("aerospike.conf");
        fs::write(&file, configuration(spot, options, folder.path())).map_err(failed)?;
        let arguments =
            vec!["--foreground".to_owned(), "--config-file".to_owned(), file.display().to_string()];
        let launch = Launch { program, arguments, ready: facts.ready, folder, place: spot.place.clone() };
        let how = launch.how();
        let held = Held::Process(launch.start().await?);
        let place = spot.place.clone();
        let url = format!("{}://{}:{}/{NAMESPACE}", facts.scheme, place.address, spot.service);
        Ok(Self { url, how, held, place })
    }

    /// Asks an Aerospike server something, or gives it an order, in the words of its info protocol:
    /// `namespace/features`, `set-config:context=service;batch-max-requests=10`.
    ///
    /// # Errors
    /// What the server answers as an error; no connection.
    pub async fn info(&self, command: &str) -> Result<String, String> {
        let failed = |e: &dyn std::fmt::Display| format!("`{command}` was not answered: {e}");
        let port = self.port().ok_or_else(|| failed(&"the server's address names no port"))?;
        let ask = async {
            let mut socket = self.place.connect(port).await?;
            socket.write_u64(INFO | (command.len() as u64 + 1)).await?;
            socket.write_all(format!("{command}\n").as_bytes()).await?;
            let length = socket.read_u64().await? & 0xffff_ffff_ffff;
            let mut answer = String::new();
            socket.take(length).read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = timeout(PATIENCE, ask).await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
        // The question is repeated before the answer.
        let answer = answer.trim_end().trim_start_matches(command).trim_start().to_owned();
        let word = answer.split([':', '=', ';']).next().unwrap_or_default();
        let is_error = ["error", "fail"].iter().any(|error| word.eq_ignore_ascii_case(error));
        if is_error { Err(failed(&answer)) } else { Ok(answer) }
    }
}

/// The server reads its configuration line by line.
fn configuration(spot: &Spot<'_>, options: &AerospikeOptions, folder: &Path) -> String {
    let Spot { place, number, service, fabric, heartbeats } = spot;
    let heartbeat = heartbeats[number - 1].port();
    let seeds: Vec<String> = heartbeats
        .iter()
        .map(|at| format!("        mesh-seed-address-port {} {}", at.ip(), at.port()))
        .collect();
    // Every part of the data is on two servers, where there are two.
    let replicas = heartbeats.len().min(2);
    let mut lines = vec!["nsup-period 1".to_owned()];
    for line in &options.namespace {
        let name = line.split_whitespace().next();
        lines.retain(|other| other.split_whitespace().next() != name);
        lines.push(line.clone());
    }
    let storage = if options.persistent {
        let file = folder.join("data");
        let file = file.display();
        format!("device {{\n        file {file}\n        filesize 1G\n        flush-max-ms {FLUSH_MILLIS}")
    } else {
        "memory {\n        data-size 1G".to_owned()
    };
    let parts = [
        ("$number", number.to_string()),
        ("$folder", folder.display().to_string()),
        ("$address", place.address.to_string()),
        ("$service", service.to_string()),
        ("$fabric", fabric.to_string()),
        ("$heartbeat", heartbeat.to_string()),
        ("$seeds", seeds.join("\n")),
        ("$replicas", replicas.to_string()),
        ("$namespace", lines.join("\n    ")),
        ("$storage", storage),
    ];
    parts.iter().fold(CONFIGURATION.to_owned(), |text, (name, own)| text.replace(name, own))
}

/// An Aerospike cluster whose servers are processes of this machine, with every record on two of them. A
/// server that stays silent for a second and a half is taken for dead.
pub struct AerospikeCluster {
    nodes: Vec<Server>,
}

impl AerospikeCluster {
    /// Starts a cluster of this many servers.
    ///
    /// # Errors
    /// No `asd` on the `PATH`; why a server does not start or the cluster does not come together.
    pub async fn start(nodes: usize) -> Result<Self, String> {
        Self::start_with(nodes, &AerospikeOptions::default()).await
    }

    /// The same with options for every server.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub async fn start_with(nodes: usize, options: &AerospikeOptions) -> Result<Self, String> {
        Self::start_at(|_| Ok(Place::HERE), nodes, options).await
    }

    /// The same on a network: each server at a member of its own, from the first on.
    ///
    /// # Errors
    /// As for [`start`](Self::start), and a network with too few members.
    pub async fn start_on(
        network: &Network,
        nodes: usize,
        options: &AerospikeOptions,
    ) -> Result<Self, String> {
        Self::start_at(|number| network.place(number), nodes, options).await
    }

    async fn start_at(
        place: impl Fn(usize) -> Result<Place, String>,
        nodes: usize,
        options: &AerospikeOptions,
    ) -> Result<Self, String> {
        if nodes == 0 || nodes > MAX_NODES {
            return Err(format!("a cluster has 1 to {MAX_NODES} servers, not {nodes}"));
        }
        let ports: [u16; 3 * MAX_NODES] = free_ports()?;
        let places = (0..nodes).map(place).collect::<Result<Vec<_>, _>>()?;
        let heartbeat = |(place, port): (&Place, &u16)| SocketAddrV4::new(place.address, *port);
        let heartbeats: Vec<_> = places.iter().zip(&ports).map(heartbeat).collect();
        let (places, heartbeats) = (&places, &heartbeats[..]);
        let start = |number: usize| {
            let (service, fabric) = (ports[MAX_NODES + number], ports[2 * MAX_NODES + number]);
            async move {
                let place = &places[number];
                let spot = Spot { place, number: number + 1, service, fabric, heartbeats };
                Server::start_aerospike_at(&spot, options).await
            }
        };
        let cluster = Self { nodes: try_join_all((0..nodes).map(start)).await? };
        cluster.wait_until_whole(FORMED_WITHIN).await?;
        Ok(cluster)
    }

    /// Waits until every server runs, knows all others, and has the data that it should have.
    ///
    /// # Errors
    /// It took longer. Says what is missing.
    pub async fn wait_until_whole(&self, within: Duration) -> Result<(), String> {
        self.wait_until_alone(0..self.nodes.len(), within).await
    }

    /// Waits until these servers are a cluster without the others, with the data that they should have.
    ///
    /// # Errors
    /// It took longer. Says what is missing.
    pub async fn wait_until_alone(&self, servers: Range<usize>, within: Duration) -> Result<(), String> {
        let start = Instant::now();
        let command = format!("cluster-stable:size={};ignore-migrations=false", servers.len());
        let servers =
            self.nodes.get(servers).ok_or_else(|| format!("the cluster has {}", self.nodes.len()))?;
        loop {
            let answers = try_join_all(servers.iter().map(|node| node.info(&command))).await;
            let missing = match answers {
                // All name the same state of the cluster.
                Ok(keys) if keys.windows(2).all(|pair| pair[0] == pair[1]) => return Ok(()),
                Ok(keys) => format!("the servers see clusters of their own: {}", keys.join(", ")),
                Err(error) => error,
            };
            if start.elapsed() > within {
                return Err(format!("{} servers are no cluster after {within:?}: {missing}", servers.len()));
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// The servers.
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// `aerospike://` with all servers.
    pub fn url(&self) -> String {
        let host = |node: &Server| {
            let port = node.port()?;
            Some(format!("{}:{port}", node.place.address))
        };
        let hosts: Vec<String> = self.nodes.iter().filter_map(host).collect();
        format!("aerospike://{}/{NAMESPACE}", hosts.join(","))
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

//! Gets the servers that backends need for their tests: from an address in the environment, a container,
//! or a program on the `PATH`, in this order.
//!
//! | | Redis | Valkey | Aerospike |
//! |---|---|---|---|
//! | address in | `FSTORE_TEST_REDIS_URL` | `FSTORE_TEST_VALKEY_URL` | `FSTORE_TEST_AEROSPIKE_URL` |
//! | image in | `FSTORE_TEST_REDIS_IMAGE` | `FSTORE_TEST_VALKEY_IMAGE` | `FSTORE_TEST_AEROSPIKE_IMAGE` |
//! | else | `fstore-redis:local` | `fstore-valkey:local` | `fstore-aerospike:local` |
//! | else | `redis:7.2` | `valkey/valkey:8.1` | `aerospike/aerospike-server:latest` |
//! | program | `redis-server` | `valkey-server` | `asd` |
//!
//! Servers that are started listen on the loopback interface alone, keep nothing on disk, and end with the
//! [`Server`], with [`stop_all`], or, for programs, with this process in whatever way it ends.
//!
//! Tests that do harm start servers of their own, as processes: [`Server::start_redis`]. These can be
//! [killed](Server::kill), [restarted](Server::restart), [paused](Server::pause) and given
//! [orders](Server::command).

mod aerospike;
mod cluster;
#[cfg(feature = "containers")]
mod container;
mod control;
mod network;
mod process;
mod redis;
mod resp;
mod sentinel;
mod tls;

use std::collections::HashMap;
use std::env;
use std::fmt;
use std::sync::{Arc, LazyLock};

use feature_core::StoreUrl;
use tokio::sync::Mutex;

use network::Place;

pub use aerospike::{AerospikeCluster, AerospikeOptions};
pub use cluster::RedisCluster;
pub use network::{Network, NetworkClient};
pub use process::{describe, program};
pub use redis::RedisOptions;
pub use resp::{Reply, RespClient};
pub use sentinel::RedisSentinel;
pub use tls::{Certificates, RedisTls};

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Software {
    /// Redis or a server that speaks its protocol.
    Redis,
    /// Valkey, which speaks it.
    Valkey,
    /// Aerospike, with a namespace `features` in memory.
    Aerospike,
}

/// A way to get a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One that runs already, by its address in the environment.
    Address,
    /// A container, where Docker answers.
    Container,
    /// A program on the `PATH`.
    Process,
}

/// What is known of each kind of server.
#[cfg_attr(not(feature = "containers"), expect(dead_code, reason = "some of it is about containers"))]
struct Facts {
    scheme: &'static str,
    port: u16,
    url_variable: &'static str,
    image_variable: &'static str,
    images: [&'static str; 2],
    program: &'static str,
    /// What the server writes to its log when it takes connections.
    ready: &'static str,
}

impl Software {
    const fn facts(self) -> Facts {
        match self {
            Self::Redis => Facts {
                scheme: "redis",
                port: 6379,
                url_variable: "FSTORE_TEST_REDIS_URL",
                image_variable: "FSTORE_TEST_REDIS_IMAGE",
                images: ["fstore-redis:local", "redis:7.2"],
                program: "redis-server",
                ready: "Ready to accept connections",
            },
            Self::Valkey => Facts {
                scheme: "redis",
                port: 6379,
                url_variable: "FSTORE_TEST_VALKEY_URL",
                image_variable: "FSTORE_TEST_VALKEY_IMAGE",
                images: ["fstore-valkey:local", "valkey/valkey:8.1"],
                program: "valkey-server",
                ready: "Ready to accept connections",
            },
            Self::Aerospike => Facts {
                scheme: "aerospike",
                port: 3000,
                url_variable: "FSTORE_TEST_AEROSPIKE_URL",
                image_variable: "FSTORE_TEST_AEROSPIKE_IMAGE",
                images: ["fstore-aerospike:local", "aerospike/aerospike-server:latest"],
                program: "asd",
                // It takes connections a little earlier, but has no data to offer before.
                ready: "rebalanced: expected-migrations",
            },
        }
    }
}

/// A server for tests. One that was started here ends when this is stopped or dropped.
pub struct Server {
    url: String,
    how: String,
    held: Held,
    place: Place,
}

/// What keeps the server running.
enum Held {
    /// Somebody else.
    Nothing,
    #[cfg(feature = "containers")]
    Container(Box<container::Container>),
    Process(process::Process),
}

impl Server {
    /// The Redis server of this process, started or found at the first call.
    ///
    /// # Errors
    /// Why each way failed.
    pub async fn redis() -> Result<Arc<Self>, String> {
        Self::shared(Software::Redis).await
    }

    /// The Valkey server of this process, started or found at the first call.
    ///
    /// # Errors
    /// Why each way failed.
    pub async fn valkey() -> Result<Arc<Self>, String> {
        Self::shared(Software::Valkey).await
    }

    /// The Aerospike server of this process, started or found at the first call.
    ///
    /// # Errors
    /// Why each way failed.
    pub async fn aerospike() -> Result<Arc<Self>, String> {
        Self::shared(Software::Aerospike).await
    }

    async fn shared(software: Software) -> Result<Arc<Self>, String> {
        let mut shared = SHARED.lock().await;
        if let Some(known) = shared.get(&software) {
            return known.clone();
        }
        let got = Self::get(software).await.map(Arc::new);
        shared.insert(software, got.clone());
        got
    }

    /// Gets a dedicated server, in whatever way works.
    ///
    /// # Errors
    /// Why each way failed.
    pub async fn get(software: Software) -> Result<Self, String> {
        let mut reasons = Vec::new();
        for way in [Way::Address, Way::Container, Way::Process] {
            match Self::start(software, way).await {
                Ok(server) => return Ok(server),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(format!("no {software:?} server: {}", reasons.join("; ")))
    }

    /// Gets a dedicated server, in this way.
    ///
    /// # Errors
    /// Why it is not available in this way.
    pub async fn start(software: Software, way: Way) -> Result<Self, String> {
        let facts = software.facts();
        match way {
            Way::Address => {
                let name = facts.url_variable;
                let url = env::var(name).map_err(|_| format!("{name} is not set"))?;
                Ok(Self { url, how: format!("address from {name}"), held: Held::Nothing, place: Place::HERE })
            }
            #[cfg(feature = "containers")]
            Way::Container => {
                let (container, port, how) = container::start(&facts).await?;
                let url = format!("{}://127.0.0.1:{port}", facts.scheme);
                Ok(Self { url, how, held: Held::Container(Box::new(container)), place: Place::HERE })
            }
            #[cfg(not(feature = "containers"))]
            Way::Container => Err("the kit was built without the feature `containers`".to_owned()),
            Way::Process => match software {
                Software::Redis | Software::Valkey => {
                    let program = facts.program.to_owned();
                    Self::start_redis(&RedisOptions { program, ..RedisOptions::default() }).await
                }
                Software::Aerospike => Self::start_aerospike(&AerospikeOptions::default()).await,
            },
        }
    }

    /// The server's address: `redis://127.0.0.1:PORT`, or what the environment says. May hold a password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port that the server listens on, if its address names one.
    pub fn port(&self) -> Option<u16> {
        StoreUrl::parse(&self.url).ok()?.hosts().first()?.1
    }

    /// Where the server comes from, for messages: `container fstore-redis:local`.
    pub fn how(&self) -> &str {
        &self.how
    }

    /// Ends a server that was started here, and returns when it is gone.
    pub async fn stop(self) {
        match self.held {
            Held::Nothing => {}
            #[cfg(feature = "containers")]
            Held::Container(container) => container::stop(*container).await,
            Held::Process(process) => process.stop().await,
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("how", &self.how).finish_non_exhaustive()
    }
}

type Shared = HashMap<Software, Result<Arc<Server>, String>>;

static SHARED: LazyLock<Mutex<Shared>> = LazyLock::new(Mutex::default);

/// Stops the servers that are shared in this process ([`Server::redis`] and so on) and that nothing holds any
/// more. [`conformance`](crate::conformance) does so at its end.
pub async fn stop_all() {
    let all: Vec<_> = SHARED.lock().await.drain().collect();
    for server in all.into_iter().filter_map(|(_, server)| Arc::into_inner(server.ok()?)) {
        server.stop().await;
    }
}

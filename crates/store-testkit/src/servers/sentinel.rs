//! A Redis primary with replicas, and the Sentinels that watch them.

use std::fs;
use std::net::SocketAddrV4;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::{Instant, sleep};

use super::network::{Network, Place};
use super::process::{Launch, folder, free_ports, program};
use super::{Held, RedisOptions, Server};

/// What the Sentinels call the service.
const SERVICE: &str = "fstore";
const SENTINELS: usize = 3;
const REPLICAS: usize = 2;
/// How long the Sentinels may take to find each other, and how often they are asked.
const PATIENCE: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(50);

/// A primary, two replicas, and three Sentinels, as processes of this machine. A primary that stays silent
/// for a second is taken for dead, and a replica is promoted a second or two later.
pub struct RedisSentinel {
    sentinels: Vec<Server>,
    /// The primary of the start, then the replicas.
    servers: Vec<Server>,
}

impl RedisSentinel {
    /// Starts them, and waits until the Sentinels know each other and the replicas follow.
    ///
    /// # Errors
    /// No `redis-server` on the `PATH`; why one does not start or they do not come together.
    pub async fn start() -> Result<Self, String> {
        Self::start_with(&RedisOptions::default()).await
    }

    /// The same with options for the primary and the replicas.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub async fn start_with(options: &RedisOptions) -> Result<Self, String> {
        Self::start_at([Place::HERE; SENTINELS], options).await
    }

    /// The same on a network: a server and a Sentinel at each of its first three members.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub async fn start_on(network: &Network, options: &RedisOptions) -> Result<Self, String> {
        Self::start_at([network.place(0)?, network.place(1)?, network.place(2)?], options).await
    }

    async fn start_at(places: [Place; SENTINELS], options: &RedisOptions) -> Result<Self, String> {
        let [primary_port, ports @ ..]: [u16; 1 + REPLICAS + SENTINELS] = free_ports()?;
        let [place, followers @ ..] = &places;
        let address = place.address.to_string();
        let options = options.clone().with(["--repl-diskless-sync-delay", "0"]);
        let mut servers = vec![Server::start_redis_at(place, primary_port, &options).await?];
        let primary_at = primary_port.to_string();
        let options_of_replica = options.clone().with(["--replicaof", &address, &primary_at]);
        let replica = |(place, port): (_, &u16)| Server::start_redis_at(place, *port, &options_of_replica);
        servers.extend(try_join_all(followers.iter().zip(&ports).map(replica)).await?);
        let primary = SocketAddrV4::new(place.address, primary_port);
        let sentinel = |(place, port): (_, &u16)| start_sentinel(place, *port, primary, &options);
        let sentinels = try_join_all(places.iter().zip(&ports[REPLICAS..]).map(sentinel)).await?;
        let whole = Self { sentinels, servers };
        whole.wait_until_whole(PATIENCE).await?;
        Ok(whole)
    }

    /// Waits until every Sentinel runs, knows the others, and sees a primary that all replicas follow.
    ///
    /// # Errors
    /// It took longer. Says what is missing.
    pub async fn wait_until_whole(&self, within: Duration) -> Result<(), String> {
        let start = Instant::now();
        while let Err(missing) = self.is_whole().await {
            if start.elapsed() > within {
                return Err(format!("the Sentinels are not content after {within:?}: {missing}"));
            }
            sleep(ASK_EVERY).await;
        }
        Ok(())
    }

    async fn is_whole(&self) -> Result<(), String> {
        for (number, sentinel) in self.sentinels.iter().enumerate() {
            let known = sentinel.command(&["SENTINEL", "MASTER", SERVICE]).await?;
            let fact = |name: &str| {
                let at = known.items().iter().step_by(2).position(|item| item.text() == name)?;
                known.items().get(2 * at + 1).map(|item| item.text().to_owned())
            };
            for (name, expected) in [
                ("flags", "master".to_owned()),
                ("num-other-sentinels", (SENTINELS - 1).to_string()),
                ("num-slaves", REPLICAS.to_string()),
            ] {
                let found = fact(name).unwrap_or_default();
                if found != expected {
                    return Err(format!("Sentinel {number} says {name} = {found}, not {expected}"));
                }
            }
        }
        let primary = self.current_primary().await?.port();
        let followed = format!("master_port:{}\r\n", primary.unwrap_or_default());
        for (number, server) in self.servers.iter().enumerate() {
            let replication = server.command(&["INFO", "replication"]).await?;
            let needed = match server.port() == primary {
                true => &["role:master"][..],
                false => &["role:slave", &followed, "master_link_status:up"],
            };
            if let Some(missing) = needed.iter().find(|needed| !replication.text().contains(**needed)) {
                return Err(format!("server {number} does not say {}", missing.trim()));
            }
        }
        Ok(())
    }

    /// The Sentinels.
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// Where the Sentinels listen: `127.0.0.1:PORT` of each, or their addresses on the network.
    pub fn addresses(&self) -> Vec<String> {
        let address = |server: &Server| server.url.trim_start_matches("redis://").to_owned();
        self.sentinels.iter().map(address).collect()
    }

    /// What the Sentinels call the service: `fstore`.
    pub fn service_name(&self) -> &'static str {
        SERVICE
    }

    /// The server that was the primary at the start.
    pub fn primary(&self) -> &Server {
        &self.servers[0]
    }

    /// The servers that were replicas at the start.
    pub fn replicas(&self) -> &[Server] {
        &self.servers[1..]
    }

    /// The server that the first Sentinel names as the primary now.
    ///
    /// # Errors
    /// It does not answer, or names a server that is not one of these.
    pub async fn current_primary(&self) -> Result<&Server, String> {
        let address = self.sentinels[0].command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]).await?;
        let port = address.items().get(1).and_then(|port| port.text().parse().ok());
        let named = self.servers.iter().find(|server| server.port() == port);
        named.ok_or_else(|| format!("the Sentinels name a primary that is none of these: {address}"))
    }

    /// Where the servers come from, for messages.
    pub fn how(&self) -> String {
        format!("{SENTINELS} Sentinels, {} servers: {}", self.servers.len(), self.servers[0].how())
    }

    /// Ends the servers, and returns when they are gone.
    pub async fn stop(self) {
        for server in self.sentinels.into_iter().chain(self.servers) {
            server.stop().await;
        }
    }
}

async fn start_sentinel(
    place: &Place,
    port: u16,
    primary: SocketAddrV4,
    options: &RedisOptions,
) -> Result<Server, String> {
    let folder = folder()?;
    // A Sentinel keeps what it learns in its configuration.
    let mut configuration = format!(
        "port {port}
bind {address}
dir {path}
sentinel monitor {SERVICE} {host} {primary_port} 2
sentinel down-after-milliseconds {SERVICE} 1000
sentinel failover-timeout {SERVICE} 3000
",
        address = place.address,
        host = primary.ip(),
        primary_port = primary.port(),
        path = folder.path().display()
    );
    if let Some(password) = &options.password {
        configuration.push_str(&format!("sentinel auth-pass {SERVICE} {password}\n"));
    }
    let file = folder.path().join("sentinel.conf");
    fs::write(&file, configuration).map_err(|e| format!("a Sentinel's folder cannot be filled: {e}"))?;
    let launch = Launch {
        program: program(&options.program)?,
        arguments: vec![file.display().to_string(), "--sentinel".to_owned()],
        ready: "+monitor master",
        folder,
        place: place.clone(),
    };
    let how = launch.how();
    let held = Held::Process(launch.start().await?);
    Ok(Server { url: format!("redis://{}:{port}", place.address), how, held, place: place.clone() })
}

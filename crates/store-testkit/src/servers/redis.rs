//! Redis servers with custom options.

use super::network::Place;
use super::process::{Launch, folder, free_ports, program};
use super::{Held, Server, Software};

/// How a dedicated Redis server runs, as a process of this machine.
///
/// ```no_run
/// # async fn example() -> Result<(), String> {
/// use store_testkit::servers::{RedisOptions, Server};
///
/// let small = RedisOptions::default().with(["--maxmemory", "8mb"]);
/// let server = Server::start_redis(&RedisOptions { appendonly: true, ..small }).await?;
/// server.kill().await?;
/// server.restart().await?;
/// server.command(&["CONFIG", "SET", "maxmemory", "16mb"]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// The program, on the `PATH` or with its folder: `redis-server`, `valkey-server`.
    pub program: String,
    /// Keep every write in the append-only file before it is acknowledged, so that a server that is
    /// killed and started again has it. Otherwise nothing survives.
    pub appendonly: bool,
    /// The password of the default user. It becomes part of the server's URL.
    pub password: Option<String>,
    /// More arguments: `--maxmemory`, `8mb`, …
    pub arguments: Vec<String>,
}

impl Default for RedisOptions {
    fn default() -> Self {
        let program = Software::Redis.facts().program.to_owned();
        Self { program, appendonly: false, password: None, arguments: Vec::new() }
    }
}

impl RedisOptions {
    /// The same with more arguments.
    #[must_use]
    pub fn with<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments.extend(arguments.into_iter().map(str::to_owned));
        self
    }
}

impl Server {
    /// Starts a dedicated Redis server, as a process. It can be killed, started again and paused.
    ///
    /// # Errors
    /// Why it is not available: no such program, or what its log says.
    pub async fn start_redis(options: &RedisOptions) -> Result<Self, String> {
        let [port] = free_ports()?;
        Self::start_redis_at(&Place::HERE, port, options).await
    }

    pub(super) async fn start_redis_at(
        place: &Place,
        port: u16,
        options: &RedisOptions,
    ) -> Result<Self, String> {
        let program = program(&options.program)?;
        let folder = folder()?;
        let appendonly = if options.appendonly { "yes" } else { "no" };
        let (address, at) = (place.address.to_string(), port.to_string());
        let path = folder.path().display().to_string();
        let mut arguments: Vec<String> = [
            ["--bind", &address],
            ["--port", &at],
            ["--dir", &path],
            ["--save", ""],
            ["--appendonly", appendonly],
            ["--appendfsync", "always"],
            // A server that is told to end does not wait for its replicas.
            ["--shutdown-timeout", "0"],
            // Others than this machine's own reach it on a network of a test alone.
            ["--protected-mode", "no"],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
        let mut user = String::new();
        if let Some(password) = &options.password {
            arguments.extend(["--requirepass", password, "--masterauth", password].map(str::to_owned));
            user = format!(":{password}@");
        }
        arguments.extend(options.arguments.iter().cloned());
        let launch =
            Launch { program, arguments, ready: Software::Redis.facts().ready, folder, place: place.clone() };
        let how = launch.how();
        let held = Held::Process(launch.start().await?);
        Ok(Self { url: format!("redis://{user}{address}:{port}"), how, held, place: place.clone() })
    }
}

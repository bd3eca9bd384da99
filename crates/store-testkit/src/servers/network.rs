//! A network of this machine whose members can be cut off from each other: each a network namespace with an
//! address of its own.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::{Command, Output, Stdio, id};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::process::program;
use crate::TestFailure;

/// What the tests that need a network of their own are called in `FSTORE_REQUIRE`.
const NAME: &str = "partitions";
/// Names of namespaces begin so; then come the process, the number of the network and that of the member.
const PREFIX: &str = "fstore-test-";
/// Where namespaces have their names.
const NAMESPACES: &str = "/var/run/netns";
/// How long it may take to connect.
const PATIENCE: Duration = Duration::from_secs(20);
/// Threads of a client.
const THREADS: usize = 2;
/// More do not fit the addresses.
const MOST: usize = 200;

static NETWORKS: AtomicUsize = AtomicUsize::new(0);

/// Where a server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: Ipv4Addr,
    /// The network namespace; `None` is that of this process.
    namespace: Option<String>,
}

impl Place {
    /// The loopback interface of this machine.
    pub(super) const HERE: Self = Self { address: Ipv4Addr::LOCALHOST, namespace: None };

    /// The words to put before a command so that it runs there.
    pub(super) fn command(&self) -> Vec<&str> {
        self.namespace.as_deref().map_or(Vec::new(), |name| vec!["ip", "netns", "exec", name])
    }

    /// A connection from this place to itself: nothing that happens on the network is in its way.
    pub(super) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let address = SocketAddrV4::new(self.address, port);
        let Some(name) = self.namespace.clone() else { return TcpStream::connect(address).await };
        let (tell, told) = oneshot::channel();
        // A socket belongs to the namespace of the thread that makes it, for good.
        std::thread::spawn(move || {
            let connect = || std::net::TcpStream::connect_timeout(&address.into(), PATIENCE);
            // Nobody waits any more where that fails.
            let _ = tell.send(enter(&name).and_then(|()| connect()));
        });
        let stream = told.await.map_err(io::Error::other)??;
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }
}

/// Members with addresses of their own, joined by a bridge. Each may be a server or a client. Nothing of it
/// can be seen outside, and it goes when dropped.
///
/// ```no_run
/// # async fn example() -> Result<(), store_testkit::TestFailure> {
/// use store_testkit::servers::{Network, RedisOptions, RedisSentinel};
///
/// let network = Network::new(4)?;
/// let sentinel = RedisSentinel::start_on(&network, &RedisOptions::default()).await?;
/// let client = network.client(3)?;
/// // The primary is alone with the client.
/// network.cut(&[0, 3], &[1, 2])?;
/// network.heal()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Network {
    /// What the names of its namespaces have in common.
    name: String,
    members: usize,
}

impl Network {
    /// Makes a network with this many members.
    ///
    /// # Errors
    /// This machine or this user cannot: no `ip` or `nft`, no right. The failure is that of a test that is
    /// ignored, unless `FSTORE_REQUIRE` names `partitions`.
    pub fn new(members: usize) -> Result<Self, TestFailure> {
        sweep();
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let network = Self { name: format!("{PREFIX}{}-{number}", id()), members: members.min(MOST) };
        // What was made before it failed goes with the network.
        network
            .make()
            .map_err(|why| TestFailure::unavailable(format!("no network for the test: {why}")).of(NAME))?;
        Ok(network)
    }

    fn make(&self) -> Result<(), String> {
        for tool in ["ip", "nft"] {
            program(tool)?;
        }
        let hub = self.hub();
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "add", "hub", "type", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "hub", "up"])?;
        for member in 0..self.members {
            let (name, port) = (self.namespace(member), format!("to{member}"));
            let address = format!("{}/24", address(member));
            ip(&["netns", "add", &name])?;
            let ends = ["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name];
            ip(&[&["-n", &hub][..], &ends].concat())?;
            ip(&["-n", &hub, "link", "set", &port, "master", "hub", "up"])?;
            ip(&["-n", &name, "address", "add", &address, "dev", "eth0"])?;
            for interface in ["lo", "eth0"] {
                ip(&["-n", &name, "link", "set", interface, "up"])?;
            }
        }
        self.heal()
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn namespace(&self, member: usize) -> String {
        format!("{}-{member}", self.name)
    }

    pub(super) fn place(&self, member: usize) -> Result<Place, String> {
        match member < self.members {
            true => Ok(Place { address: address(member), namespace: Some(self.namespace(member)) }),
            false => Err(format!("the network has {} members, and no member {member}", self.members)),
        }
    }

    /// A client at the place of a member.
    ///
    /// # Errors
    /// No such member; threads cannot be made.
    pub fn client(&self, member: usize) -> Result<NetworkClient, String> {
        let Place { namespace, .. } = self.place(member)?;
        let namespace = namespace.unwrap_or_default();
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_all()
            .on_thread_start(move || {
                // A thread that is elsewhere reaches nobody, which the test notices.
                let _ = enter(&namespace);
            })
            .build();
        Ok(NetworkClient { runtime: Some(runtime.map_err(|e| e.to_string())?) })
    }

    /// Cuts the network in two: nothing goes from one side to the other. Members of neither reach both.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn cut(&self, one: &[usize], other: &[usize]) -> Result<(), String> {
        self.lose(one, other, 100)?;
        self.lose(other, one, 100)
    }

    /// Loses this share of what one of `from` sends to one of `to`, chosen at random; 100 is all of it. What
    /// comes back is not concerned.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn lose(&self, from: &[usize], to: &[usize], percent: u8) -> Result<(), String> {
        let chance = if percent < 100 { format!("numgen random mod 100 < {percent}") } else { String::new() };
        let rule =
            |from: &usize| format!("add rule ip fstore in ip saddr {} {chance} drop\n", address(*from));
        let rules: String = from.iter().map(rule).collect();
        to.iter().try_for_each(|member| self.nft(*member, &rules))
    }

    /// Delays all that a member sends.
    ///
    /// # Errors
    /// The kernel has no `netem`; no `tc`. The failure is that of a test that is ignored.
    pub fn delay(&self, member: usize, delay: Duration) -> Result<(), TestFailure> {
        let name = self.namespace(member);
        let delay = format!("{}us", delay.as_micros());
        let netem = ["tc", "-n", &name, "qdisc", "replace", "dev", "eth0", "root", "netem", "delay", &delay];
        let delayed = program("tc").and_then(|_| run(&netem, ""));
        delayed.map(drop).map_err(|why| TestFailure::unavailable(format!("no delay: {why}")).of("netem"))
    }

    /// Ends every loss.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn heal(&self) -> Result<(), String> {
        // A table that is there must go, and one that is not cannot: so it is made first.
        const ANEW: &str = "add table ip fstore\ndelete table ip fstore\nadd table ip fstore\n\
                            add chain ip fstore in { type filter hook input priority 0; }\n";
        (0..self.members).try_for_each(|member| self.nft(member, ANEW))
    }

    fn nft(&self, member: usize, commands: &str) -> Result<(), String> {
        run(&["ip", "netns", "exec", &self.namespace(member), "nft", "-f", "-"], commands).map(drop)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in (0..self.members).map(|member| self.namespace(member)).chain([self.hub()]) {
            // One that could not be made cannot be removed.
            let _ = ip(&["netns", "delete", &name]);
        }
    }
}

/// A client at a place of a [`Network`]: what it does, it does from there.
#[derive(Debug)]
pub struct NetworkClient {
    runtime: Option<Runtime>,
}

impl NetworkClient {
    /// Does something from there. Tasks that it starts, and connections that it makes, stay there.
    ///
    /// # Errors
    /// It panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String> {
        let runtime = self.runtime.as_ref().ok_or("the client has ended")?;
        runtime.spawn(work).await.map_err(|e| e.to_string())
    }
}

impl Drop for NetworkClient {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn address(member: usize) -> Ipv4Addr {
    // At most `MOST` members.
    Ipv4Addr::new(10, 99, 0, u8::try_from(member + 1).unwrap_or(u8::MAX))
}

/// Moves this thread to a network namespace.
#[cfg(target_os = "linux")]
fn enter(namespace: &str) -> io::Result<()> {
    use std::os::fd::AsFd;

    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

    let file = File::open(Path::new(NAMESPACES).join(namespace))?;
    Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
}

#[cfg(not(target_os = "linux"))]
fn enter(_: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Removes the namespaces of test programs that were killed.
fn sweep() {
    let names = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            // Another test program may have been faster.
            let _ = ip(&["netns", "delete", &name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<Output, String> {
    run(&[&["ip"], arguments].concat(), "")
}

fn run(words: &[&str], input: &str) -> Result<Output, String> {
    let failed = |why: &dyn std::fmt::Display| format!("`{}`: {why}", words.join(" "));
    let [name, arguments @ ..] = words else { return Err(failed(&"no command")) };
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| failed(&e))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read it says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|e| failed(&e))?;
    match output.status.success() {
        true => Ok(output),
        false => Err(failed(&String::from_utf8_lossy(&output.stderr).trim())),
    }
}

//! A server as a process of this machine.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use super::network::Place;

/// How often the log is looked at, and how many times, before a server counts as failed: 20 s.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOKS: usize = 1_000;

/// Runs the server until its own input ends, and sends it the signals that it reads. So the server goes
/// when this process does, even if that is killed and runs no destructor; a paused one is woken to end.
/// Asking for its jobs makes a shell forget one that has ended, which then no signal reaches.
/// A pause takes a moment to reach every thread, and until then the server may still answer.
const SUPERVISOR: &str = r#"log=$1; shift; "$@" >>"$log" 2>&1 &
trap '' HUP INT PIPE
while read -r signal && jobs >/dev/null && kill -s "$signal" $!; do
    while [ "$signal" = STOP ] && cat /proc/$!/task/*/stat 2>/dev/null | grep -q ') [RSD] '; do sleep 0.01; done
    echo sent
done
kill $!; kill -s CONT $!; wait"#;

/// What to run, and where.
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    /// What the server writes to its log when it takes connections.
    pub(super) ready: &'static str,
    /// The folder the server works in; goes with it.
    pub(super) folder: TempDir,
    pub(super) place: Place,
}

/// A server, running or killed, and the folder it works in.
pub(super) struct Process {
    launch: Launch,
    supervisor: Mutex<Option<Supervisor>>,
}

struct Supervisor {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Launch {
    /// Starts the program and waits until it is ready.
    pub(super) async fn start(self) -> Result<Process, String> {
        let supervisor = self.run().await?;
        Ok(Process { launch: self, supervisor: Mutex::new(Some(supervisor)) })
    }

    /// Where the server comes from, for messages.
    pub(super) fn how(&self) -> String {
        how(&self.program)
    }

    async fn run(&self) -> Result<Supervisor, String> {
        let name = self.program.display();
        let failed = |e: io::Error| format!("{name} cannot be run: {e}");
        let log = self.folder.path().join("log");
        // What an earlier run has said must not be taken for this one's.
        fs::write(&log, "").map_err(failed)?;
        let mut child = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .arg(&log)
            .args(self.place.command())
            .arg(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{name} cannot be run: its supervisor has no pipes"));
        };
        let mut supervisor = Supervisor { child, orders, answers: BufReader::new(answers) };
        for _ in 0..LOOKS {
            if fs::read_to_string(&log).is_ok_and(|text| text.contains(self.ready)) {
                return Ok(supervisor);
            }
            if supervisor.signal("0").is_err() {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        supervisor.end().await;
        let log = fs::read_to_string(&log).unwrap_or_default();
        let from = log.len().saturating_sub(2_000);
        let last = log.get(from..).unwrap_or_default();
        Err(format!("{name} does not become ready; its log ends with:\n{last}"))
    }
}

impl Supervisor {
    /// Sends a signal to the server.
    fn signal(&mut self, name: &str) -> io::Result<()> {
        writeln!(self.orders, "{name}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        match answer.trim() {
            "sent" => Ok(()),
            _ => Err(io::Error::other("the server has ended by itself")),
        }
    }

    /// Ends the server and waits until it is gone.
    async fn end(self) {
        let Self { mut child, orders, answers } = self;
        drop((orders, answers));
        // Nothing is left to be done if waiting fails: without a supervisor there is no server.
        let _ = tokio::task::spawn_blocking(move || child.wait()).await;
    }
}

impl Process {
    /// Ends the server and waits until it is gone.
    pub(super) async fn stop(self) {
        if let Some(supervisor) = self.supervisor.into_inner().unwrap_or_else(PoisonError::into_inner) {
            supervisor.end().await;
        }
    }

    /// Kills the server and waits until it is gone. One that is gone stays so.
    pub(super) async fn kill(&self) {
        let supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut supervisor) = supervisor {
            // A server that has ended by itself needs no signal.
            let _ = supervisor.signal("KILL");
            supervisor.end().await;
        }
    }

    /// Starts the server again, with the same arguments and in the same folder.
    pub(super) async fn restart(&self) -> Result<(), String> {
        self.kill().await;
        let supervisor = self.launch.run().await?;
        *self.supervisor.lock().unwrap_or_else(PoisonError::into_inner) = Some(supervisor);
        Ok(())
    }

    /// Sends a signal to the running server.
    pub(super) fn signal(&self, name: &str) -> Result<(), String> {
        let failed = |e: &dyn std::fmt::Display| format!("no signal {name} to {}: {e}", self.launch.how());
        match self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(supervisor) => supervisor.signal(name).map_err(|e| failed(&e)),
            None => Err(failed(&"it is not running")),
        }
    }

    /// The folder the server works in.
    pub(super) fn folder(&self) -> &Path {
        self.launch.folder.path()
    }
}

/// Where a program is on the `PATH`; a path with folders in it is taken as it is.
///
/// # Errors
/// It is not there.
pub fn program(name: &str) -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| format!("no {name} on the PATH"))
}

/// Which program has this name, for messages: `process /usr/bin/redis-server 7.0.15`.
///
/// # Errors
/// It is not there.
pub fn describe(name: &str) -> Result<String, String> {
    program(name).map(|path| how(&path))
}

/// Where a server comes from, given its program. The version is in a line such as `Redis server v=7.0.15
/// sha=…`.
fn how(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut words = text.split_whitespace().map(|word| word.trim_start_matches("v="));
    let version = words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    format!("process {} {}", program.display(), version.unwrap_or("of unknown version"))
}

/// Ports that nobody listens on, all different.
pub(super) fn free_ports<const N: usize>() -> Result<[u16; N], String> {
    let failed = |e: io::Error| format!("there is no free port: {e}");
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        // All are held until the last is found, so that they differ.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        *port = listener.local_addr().map_err(failed)?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

/// A folder for a server to work in.
pub(super) fn folder() -> Result<TempDir, String> {
    tempfile::tempdir().map_err(|e| format!("no folder for a server can be made: {e}"))
}

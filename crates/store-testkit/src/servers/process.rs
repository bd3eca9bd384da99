//! A server as a process of this machine.

use std::env;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{Facts, Software};

/// How often the log is looked at, and how many times, before a server counts as failed: 20 s.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOKS: usize = 1_000;

/// Runs the server until its own input ends. So the server goes when this process does, even if that is
/// killed and runs no destructor.
const SUPERVISOR: &str = r#"log=$1; shift; "$@" >"$log" 2>&1 & read -r _; kill $!; wait"#;

/// A running server and the folder it works in.
pub(super) struct Process {
    supervisor: Child,
    _folder: TempDir,
}

impl Process {
    /// Ends the server and waits until it is gone.
    pub(super) fn stop(mut self) {
        drop(self.supervisor.stdin.take());
        // Without a supervisor there is no server to wait for.
        let _ = self.supervisor.wait();
    }
}

/// Starts the program; with it the port it listens on, and how it was got.
pub(super) async fn start(software: Software, facts: &Facts) -> Result<(Process, u16, String), String> {
    let program = on_path(facts.program).ok_or_else(|| format!("no {} on the PATH", facts.program))?;
    let failed = |e: io::Error| format!("{} cannot be run: {e}", program.display());
    let folder = tempfile::tempdir().map_err(failed)?;
    let ports = free_ports().map_err(failed)?;
    let arguments = match software {
        Software::Redis => redis(folder.path(), ports),
        Software::Aerospike => aerospike(folder.path(), ports).map_err(failed)?,
    };
    let log = folder.path().join("log");
    let supervisor = Command::new("sh")
        .args(["-c", SUPERVISOR, "sh"])
        .arg(&log)
        .arg(&program)
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let process = Process { supervisor, _folder: folder };
    for _ in 0..LOOKS {
        if fs::read_to_string(&log).is_ok_and(|text| text.contains(facts.ready)) {
            let how = format!("process {} {}", program.display(), version(&program));
            return Ok((process, ports[0], how));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    process.stop();
    Err(format!("{} does not become ready", program.display()))
}

fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The version, from a line such as `Redis server v=7.0.15 sha=…`.
fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut words = text.split_whitespace().map(|word| word.trim_start_matches("v="));
    words
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .unwrap_or("of unknown version")
        .to_owned()
}

/// Three ports that nobody listens on.
fn free_ports() -> io::Result<[u16; 3]> {
    // All are held at once, so that they differ.
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners = [listen()?, listen()?, listen()?];
    let port = |at: usize| listeners[at].local_addr().map(|address| address.port());
    Ok([port(0)?, port(1)?, port(2)?])
}

fn redis(folder: &Path, [port, ..]: [u16; 3]) -> Vec<String> {
    let folder = folder.display().to_string();
    let port = port.to_string();
    let options =
        ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no", "--dir", &folder];
    options.map(str::to_owned).to_vec()
}

fn aerospike(folder: &Path, [service, fabric, heartbeat]: [u16; 3]) -> io::Result<Vec<String>> {
    for part in ["smd", "usr/udf/lua"] {
        fs::create_dir_all(folder.join(part))?;
    }
    let path = folder.display();
    // The server reads its configuration line by line.
    let configuration = format!(
        "service {{
    cluster-name fstore
    proto-fd-max 1024
    work-directory {path}
}}
mod-lua {{
    user-path {path}/usr/udf/lua
}}
logging {{
    console {{
        context any info
    }}
}}
network {{
    service {{
        address 127.0.0.1
        port {service}
    }}
    fabric {{
        address 127.0.0.1
        port {fabric}
    }}
    heartbeat {{
        mode mesh
        address 127.0.0.1
        port {heartbeat}
        interval 150
        timeout 10
    }}
}}
namespace features {{
    replication-factor 1
    nsup-period 1
    storage-engine memory {{
        data-size 1G
    }}
}}
"
    );
    let file = folder.join("aerospike.conf");
    fs::write(&file, configuration)?;
    Ok(vec!["--foreground".to_owned(), "--config-file".to_owned(), file.display().to_string()])
}

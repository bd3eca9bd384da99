//! `fstore serve` as a process that follows a stream, and what it takes of the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::Outcome;
use crate::program::fstore;

const PATIENCE: Duration = Duration::from_secs(30);

/// The server; it is begun again at another port.
pub(crate) struct Server {
    settings: PathBuf,
    /// The data port and the admin port.
    addresses: Mutex<(String, String)>,
    process: tokio::sync::Mutex<Option<Child>>,
    /// Writes that were answered with 200 since it was begun.
    pub(crate) written: AtomicU64,
}

/// What a process takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) memory_mb: f64,
    pub(crate) files: f64,
    pub(crate) sockets: f64,
    pub(crate) threads: f64,
}

impl Server {
    pub(crate) fn new(settings: &Path) -> Self {
        Self {
            settings: settings.to_owned(),
            addresses: Mutex::default(),
            process: tokio::sync::Mutex::default(),
            written: AtomicU64::new(0),
        }
    }

    /// Begins it, and waits until it listens.
    pub(crate) async fn start(&self) -> Outcome {
        let mut process = Command::new(fstore())
            .args(["serve", "--follow", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config"])
            .arg(&self.settings)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let log = process.stderr.take().ok_or("the server has no log")?;
        let mut lines = BufReader::new(log).lines();
        let said = timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await? {
                let entry: Value = serde_json::from_str(&line).unwrap_or_default();
                if let ("serving", Some(listen), Some(admin)) = (
                    entry["message"].as_str().unwrap_or_default(),
                    entry["listen"].as_str(),
                    entry["admin"].as_str(),
                ) {
                    return Ok((listen.to_owned(), admin.to_owned()));
                }
            }
            Outcome::Err("the server has ended".into())
        });
        let addresses = said.await.map_err(|_| "the server does not say where it listens")??;
        // Its log is read on, so that it never waits for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
        self.written.store(0, Relaxed);
        *self.process.lock().await = Some(process);
        Ok(())
    }

    pub(crate) fn address(&self) -> String {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Kills it with SIGKILL.
    pub(crate) async fn kill(&self) -> Outcome {
        if let Some(mut process) = self.process.lock().await.take() {
            process.kill().await?;
        }
        Ok(())
    }

    /// Sends it a signal; with TERM it is waited for, and must end well.
    pub(crate) async fn signal(&self, signal: &str) -> Outcome {
        let mut process = self.process.lock().await;
        let Some(child) = process.as_mut() else { return Err("the server does not run".into()) };
        let id = child.id().ok_or("the server has ended")?.to_string();
        Command::new("kill").args([&format!("-{signal}"), &id]).status().await?;
        if signal == "TERM" {
            let ended = timeout(PATIENCE, child.wait()).await.map_err(|_| "the server does not end")??;
            // 3 says that there were dead letters.
            if !matches!(ended.code(), Some(0 | 3)) {
                return Err(format!("the server ended with {ended}").into());
            }
        }
        Ok(())
    }

    /// The sum of the metrics of this name whose labels have all of these.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> Outcome<u64> {
        let admin = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
        let mut stream = TcpStream::connect(admin).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let is_wanted = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        };
        let values =
            text.lines().filter(is_wanted).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(values.sum::<f64>() as u64)
    }

    /// What it takes now, where the system tells.
    pub(crate) async fn taken(&self) -> Option<Taken> {
        let id = self.process.lock().await.as_ref()?.id()?;
        let folder = PathBuf::from(format!("/proc/{id}"));
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let number = |name: &str| -> Option<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let files: Vec<_> = fs::read_dir(folder.join("fd")).ok()?.flatten().collect();
        let is_socket = |file: &&fs::DirEntry| {
            fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        };
        Some(Taken {
            memory_mb: number("VmRSS:")? / 1024.0,
            files: files.len() as f64,
            sockets: files.iter().filter(is_socket).count() as f64,
            threads: number("Threads:")?,
        })
    }
}

/// Asks the server over one connection, which is made again when it is lost.
pub(crate) struct Client<'a> {
    server: &'a Server,
    stream: Option<TcpStream>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(server: &'a Server) -> Self {
        Self { server, stream: None }
    }

    /// The status and the body of an answer; 0 without one.
    async fn post(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let answer = timeout(PATIENCE, self.exchange(path, &body.to_string())).await;
        let answer = answer.ok().and_then(std::io::Result::ok);
        if answer.is_none() {
            self.stream = None;
        }
        answer.unwrap_or_default()
    }

    async fn exchange(&mut self, path: &str, body: &str) -> std::io::Result<(u16, Value)> {
        if self.stream.is_none() {
            self.stream = Some(TcpStream::connect(self.server.address()).await?);
        }
        let Some(stream) = self.stream.as_mut() else { return Err(std::io::ErrorKind::NotConnected.into()) };
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-request-timeout: 2s\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + body).as_bytes()).await?;
        let mut read = Vec::new();
        loop {
            if let Some(answer) = whole(&read) {
                return Ok(answer);
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Writes a row until it is acknowledged; how often that took.
    pub(crate) async fn write(&mut self, tenant: &str, view: &str, row: &Value) -> Outcome<u64> {
        let path = format!("/v1/tenants/{tenant}/views/{view}/write");
        for attempts in 1..=1_000 {
            let (status, answer) = self.post(&path, &json!({ "rows": [row] })).await;
            match status {
                200 => {
                    self.server.written.fetch_add(1, Relaxed);
                    return Ok(attempts);
                }
                0 | 429 | 503 | 504 | 409 => tokio::time::sleep(Duration::from_millis(20)).await,
                _ => return Err(format!("a write of {row} was answered {status} {answer}").into()),
            }
        }
        Err(format!("{row} could not be written").into())
    }

    /// The features of entities that have any, each entity's in its place.
    pub(crate) async fn read(
        &mut self,
        tenant: &str,
        view: &str,
        ids: &[String],
        features: &[&str],
    ) -> Outcome<Vec<Vec<Option<i64>>>> {
        let path = format!("/v1/tenants/{tenant}/views/{view}/read");
        let body = json!({ "entities": { "id": ids }, "features": features });
        for _ in 0..1_000 {
            let (status, answer) = self.post(&path, &body).await;
            let errors = answer["errors"].as_array().is_some_and(|errors| !errors.is_empty());
            match status {
                200 if !errors => {
                    let columns = answer["columns"].as_array().ok_or("no columns")?;
                    let value = |column: &Value, row: usize| match column["statuses"][row].as_str() {
                        Some("not_found") => Ok(None),
                        None if column["statuses"].is_null() => Ok(column["values"][row].as_i64()),
                        Some("present") => Ok(column["values"][row].as_i64()),
                        _ => Err(format!("{} of {path}", column["statuses"][row])),
                    };
                    let row =
                        |row| columns.iter().map(|column| value(column, row)).collect::<Result<Vec<_>, _>>();
                    return Ok((0..ids.len()).map(row).collect::<Result<_, _>>()?);
                }
                0 | 200 | 207 | 429 | 503 | 504 => tokio::time::sleep(Duration::from_millis(20)).await,
                _ => return Err(format!("a read was answered {status} {answer}").into()),
            }
        }
        Err(format!("{path} could not be read").into())
    }
}

/// An answer, once all of it is there.
fn whole(read: &[u8]) -> Option<(u16, Value)> {
    let text = std::str::from_utf8(read).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    let body = serde_json::from_str(body.get(..length)?).ok()?;
    Some((head.get(9..12)?.parse().ok()?, body))
}

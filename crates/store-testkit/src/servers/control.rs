//! Harm, and its end: killing, pausing and restarting a server, and giving it orders.

use std::path::Path;

use super::{Held, Reply, RespClient, Server};

impl Server {
    /// Kills the server (`SIGKILL`) and waits until it is gone. One that is gone stays so.
    ///
    /// # Errors
    /// The server was not started here.
    pub async fn kill(&self) -> Result<(), String> {
        match &self.held {
            Held::Nothing => Err(self.not_ours("killed")),
            #[cfg(feature = "containers")]
            Held::Container(container) => super::container::kill(container).await,
            Held::Process(process) => {
                process.kill().await;
                Ok(())
            }
        }
    }

    /// Starts the server again, on the same port and with what its files have kept, after killing it if
    /// it runs, and waits until it is ready.
    ///
    /// # Errors
    /// The server was not started here as a process, or it does not become ready.
    pub async fn restart(&self) -> Result<(), String> {
        match &self.held {
            Held::Nothing => Err(self.not_ours("restarted")),
            #[cfg(feature = "containers")]
            Held::Container(_) => Err(format!(
                "{} cannot be restarted: a container would come back on another port; start a process",
                self.how
            )),
            Held::Process(process) => process.restart().await,
        }
    }

    /// Stops the server where it stands (`SIGSTOP`): connections stay open and nothing is answered.
    ///
    /// # Errors
    /// The server was not started here, or it does not run.
    pub async fn pause(&self) -> Result<(), String> {
        match &self.held {
            Held::Nothing => Err(self.not_ours("paused")),
            #[cfg(feature = "containers")]
            Held::Container(container) => container.pause().await.map_err(|e| e.to_string()),
            Held::Process(process) => process.signal("STOP"),
        }
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    /// The server was not started here, or it does not run.
    pub async fn resume(&self) -> Result<(), String> {
        match &self.held {
            Held::Nothing => Err(self.not_ours("paused")),
            #[cfg(feature = "containers")]
            Held::Container(container) => container.unpause().await.map_err(|e| e.to_string()),
            Held::Process(process) => process.signal("CONT"),
        }
    }

    /// Gives a Redis server an order, on a connection of its own, with the password of its URL.
    ///
    /// # Errors
    /// What the server answers as an error; no connection.
    pub async fn command(&self, words: &[&str]) -> Result<Reply, String> {
        RespClient::connect_at(&self.place, &self.url).await?.command(words).await
    }

    /// The folder that a process works in: its files, and `log`.
    pub fn folder(&self) -> Option<&Path> {
        match &self.held {
            Held::Process(process) => Some(process.folder()),
            _ => None,
        }
    }

    fn not_ours(&self, done: &str) -> String {
        format!("the server at the {} is not ours to be {done}", self.how)
    }
}

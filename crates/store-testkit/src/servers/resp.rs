//! Just enough of the Redis protocol to give orders to a server.

use std::fmt;
use std::time::Duration;

use feature_core::StoreUrl;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::network::Place;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where Redis listens unless told otherwise.
const PORT: u16 = 6379;

/// What a Redis server answers. An error is the `Err` of the command, even inside an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing: there is no such thing.
    Nil,
    /// A status or a value; bytes that are not UTF-8 are replaced.
    Text(String),
    /// A number.
    Integer(i64),
    /// Several answers.
    Array(Vec<Reply>),
}

impl Reply {
    /// The text, or the empty text of what has none.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    /// The elements of an array, none of anything else.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }
}

/// As people read it: the elements of an array are separated by blanks.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Array(items) => items.iter().enumerate().try_for_each(|(at, item)| {
                f.write_str(if at > 0 { " " } else { "" })?;
                write!(f, "{item}")
            }),
        }
    }
}

/// A connection to a Redis server, for orders that belong together (`ASKING`, `MULTI`, `CLIENT ID`).
pub struct RespClient {
    socket: BufReader<TcpStream>,
}

impl RespClient {
    /// Connects to the first host of a store URL, with its user and password.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(url: &str) -> Result<Self, String> {
        let parsed = StoreUrl::parse(url).map_err(|e| e.to_string())?;
        let (host, port) = parsed.hosts().first().ok_or_else(|| format!("{parsed} names no host"))?;
        let socket = TcpStream::connect((host.as_str(), port.unwrap_or(PORT)));
        Self::over(socket, &parsed).await
    }

    /// Connects from the place where the server is, whatever its network is like.
    pub(super) async fn connect_at(place: &Place, url: &str) -> Result<Self, String> {
        let url = StoreUrl::parse(url).map_err(|e| e.to_string())?;
        let port = url.hosts().first().and_then(|(_, port)| *port);
        Self::over(place.connect(port.unwrap_or(PORT)), &url).await
    }

    async fn over(
        socket: impl Future<Output = std::io::Result<TcpStream>>,
        url: &StoreUrl,
    ) -> Result<Self, String> {
        let socket = tokio::time::timeout(PATIENCE, socket)
            .await
            .map_err(|_| format!("{url} does not answer within {PATIENCE:?}"))?
            .map_err(|e| format!("no connection to {url}: {e}"))?;
        let mut client = Self { socket: BufReader::new(socket) };
        if let Some(password) = url.password() {
            let user = url.username().unwrap_or("default");
            client.command(&["AUTH", user, password.expose()]).await?;
        }
        Ok(client)
    }

    /// Gives an order and waits for the answer.
    ///
    /// # Errors
    /// What the server answers as an error, and a connection that fails or stays silent, with the order.
    pub async fn command(&mut self, words: &[&str]) -> Result<Reply, String> {
        let mut order = format!("*{}\r\n", words.len());
        for word in words {
            order.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        // Of an AUTH no more than its name may be shown.
        let shown = if words.first() == Some(&"AUTH") { "AUTH".to_owned() } else { words.join(" ") };
        let exchange = async {
            self.socket.write_all(order.as_bytes()).await.map_err(|e| e.to_string())?;
            self.reply().await
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(answer) => answer.map_err(|e| format!("{shown}: {e}")),
            Err(_) => Err(format!("{shown}: no answer within {PATIENCE:?}")),
        }
    }

    fn reply(&mut self) -> BoxFuture<'_, Result<Reply, String>> {
        async {
            let mut line = String::new();
            self.socket.read_line(&mut line).await.map_err(|e| e.to_string())?;
            let Some(line) = line.strip_suffix("\r\n") else {
                return Err("the server has closed the connection".to_owned());
            };
            let Some((kind, rest)) = line.split_at_checked(1) else { return Err("an empty line".to_owned()) };
            let number = || rest.parse::<i64>().map_err(|_| format!("not understood: {line}"));
            match kind {
                "+" => Ok(Reply::Text(rest.to_owned())),
                "-" => Err(rest.to_owned()),
                ":" => Ok(Reply::Integer(number()?)),
                "$" => match usize::try_from(number()?) {
                    Err(_) => Ok(Reply::Nil),
                    Ok(length) => {
                        let mut bytes = vec![0; length + 2];
                        self.socket.read_exact(&mut bytes).await.map_err(|e| e.to_string())?;
                        bytes.truncate(length);
                        Ok(Reply::Text(String::from_utf8_lossy(&bytes).into_owned()))
                    }
                },
                "*" => match usize::try_from(number()?) {
                    Err(_) => Ok(Reply::Nil),
                    Ok(count) => {
                        let mut items = Vec::new();
                        for _ in 0..count {
                            items.push(self.reply().await?);
                        }
                        Ok(Reply::Array(items))
                    }
                },
                _ => Err(format!("not understood: {line}")),
            }
        }
        .boxed()
    }
}

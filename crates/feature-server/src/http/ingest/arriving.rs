//! A body as a reader: a task takes it from the connection as it comes, not faster than it is read.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::{Buf, Bytes};
use feature_core::{Error, ErrorKind, format_duration};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::lines::Lines;
use crate::live::State as Server;

/// How many pieces of the body wait for the reader.
const AHEAD: usize = 4;

/// A body that is taken in.
pub(super) struct Body {
    /// Until somebody reads.
    reader: Mutex<Option<Reader>>,
    failure: Arc<OnceLock<Error>>,
    /// Takes it in until this is dropped.
    _task: JoinSet<()>,
}

impl Body {
    /// Takes the body in, as long as the lines of the answer are taken too.
    pub(super) fn of(body: axum::body::Body, server: Arc<Server>, lines: Lines) -> Self {
        let (sender, pieces) = mpsc::channel(AHEAD);
        let failure = Arc::<OnceLock<Error>>::default();
        let kept = Arc::clone(&failure);
        let mut task = JoinSet::new();
        task.spawn(async move {
            tokio::select! {
                // Nobody reads any more.
                () = sender.closed() => {}
                taken = take_in(body, &server, &lines, &sender) => {
                    if let Err(error) = taken {
                        let _ = sender.send(Err(io::Error::other(error.message().to_owned()))).await;
                        let _ = kept.set(error);
                    }
                }
            }
        });
        let reader = Reader { pieces: Some(pieces), piece: Bytes::new() };
        Self { reader: Mutex::new(Some(reader)), failure, _task: task }
    }

    /// What reads it; of a second one there is nothing to read.
    pub(super) fn reader(&self) -> Reader {
        let own = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        own.unwrap_or(Reader { pieces: None, piece: Bytes::new() })
    }

    /// Why it did not come to its end, where that is not the reader's doing.
    pub(super) fn failure(&self) -> Option<Error> {
        self.failure.get().cloned()
    }
}

async fn take_in(
    mut body: axum::body::Body,
    server: &Server,
    lines: &Lines,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), Error> {
    loop {
        lines.taken().await;
        let idle = server.live().settings.timeouts.idle;
        let frame = match tokio::time::timeout(idle, body.frame()).await {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => return Err(Error::invalid_argument("the body ended before it was whole")),
            Err(_) => {
                let message = format!("nothing came for {} (timeouts.idle)", format_duration(idle));
                return Err(Error::new(ErrorKind::DeadlineExceeded, message));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        server.metrics.received(data.len());
        if sender.send(Ok(data)).await.is_err() {
            return Ok(());
        }
    }
}

/// Reads a body, on a thread that may wait for it.
pub(super) struct Reader {
    pieces: Option<mpsc::Receiver<io::Result<Bytes>>>,
    piece: Bytes,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.as_mut().and_then(mpsc::Receiver::blocking_recv) {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

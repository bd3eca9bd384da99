//! An object, and its bytes as a stream.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectMeta};

use super::explain::{CHANGED, explain};
use super::store::Store;

/// How often reading goes on after a broken connection that brought nothing.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// An object that has been found.
#[derive(Clone)]
pub(crate) struct Object(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    path: Path,
    bytes: u64,
    /// Of the first answer. All others must be of the same: half of one and half of another would be neither.
    version: OnceLock<Version>,
}

#[derive(PartialEq, Eq)]
enum Version {
    Tag(String),
    /// Seconds since 1970, from a server that gives no tags.
    Modified(i64),
}

impl Version {
    fn of(meta: &ObjectMeta) -> Self {
        match &meta.e_tag {
            Some(tag) => Self::Tag(tag.clone()),
            None => Self::Modified(meta.last_modified.timestamp()),
        }
    }
}

impl Object {
    /// One that a list has, or whose size is known otherwise.
    pub(super) fn new(store: Arc<Store>, path: Path, bytes: u64) -> Self {
        Self(Arc::new(Inner { store, path, bytes, version: OnceLock::new() }))
    }

    /// One that was named. The request is that for reading, since a signed URL is signed for one method and
    /// only its answer has a body that says why it is refused; the object itself is not read.
    pub(super) fn named(store: &Arc<Store>, path: Path) -> Result<Self, object_store::Error> {
        let mut found = None;
        let asked = store.wait(async {
            found = Some(store.objects.get_opts(&path, GetOptions::default()).await);
            Ok(())
        });
        let closed = |e: io::Error| object_store::Error::Generic { store: "closed", source: Box::new(e) };
        asked.map_err(closed)?;
        let meta = match found {
            Some(found) => found?.meta,
            None => return Err(closed(io::Error::other("no answer"))),
        };
        let object = Self::new(Arc::clone(store), path, meta.size);
        let _ = object.0.version.set(Version::of(&meta));
        Ok(object)
    }

    /// How many bytes it has.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// All of it, as a stream that needs little memory.
    pub(crate) fn read(&self) -> Box<dyn Read + Send> {
        Box::new(self.body(0..self.0.bytes))
    }

    /// A part of it.
    #[cfg(feature = "parquet")]
    pub(super) fn part(&self, range: Range<u64>) -> io::Result<Bytes> {
        let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(length);
        self.body(range).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }

    fn body(&self, range: Range<u64>) -> Body {
        Body { object: self.clone(), range, stream: None, chunk: Bytes::new(), failures: 0 }
    }

    /// The answer to a request for a part, if it is still the object that was found.
    async fn get(&self, range: &Range<u64>) -> io::Result<GetResult> {
        let Inner { store, path, bytes, version } = &*self.0;
        let strong = |tag: &&String| !tag.starts_with("W/");
        let options = GetOptions {
            range: (*range != (0..*bytes)).then(|| GetRange::Bounded(range.clone())),
            if_match: match version.get() {
                Some(Version::Tag(tag)) => Some(tag).filter(strong).cloned(),
                _ => None,
            },
            ..GetOptions::default()
        };
        let found = store.objects.get_opts(path, options).await;
        let found = found.map_err(|e| io::Error::other(explain(store.kind, &e)))?;
        let now = Version::of(&found.meta);
        let is_same = match version.get() {
            Some(version) => *version == now,
            None => version.set(now).is_ok(),
        };
        match is_same && found.meta.size == *bytes {
            true => Ok(found),
            false => Err(io::Error::other(CHANGED)),
        }
    }
}

/// A part of an object, read piece by piece. After a broken connection it goes on where it was.
struct Body {
    object: Object,
    /// What has not been received.
    range: Range<u64>,
    stream: Option<BoxStream<'static, object_store::Result<Bytes>>>,
    /// What has been received and not been read.
    chunk: Bytes,
    /// How often in a row the connection broke and brought nothing.
    failures: u32,
}

impl Body {
    /// The next piece; `None` when the connection ended.
    async fn next(&mut self) -> io::Result<Option<object_store::Result<Bytes>>> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => self.stream.insert(self.object.get(&self.range).await?.into_stream()),
        };
        Ok(stream.next().await)
    }

    /// Receives something, or fails for good.
    async fn receive(&mut self) -> io::Result<Bytes> {
        loop {
            let why = match self.next().await? {
                Some(Ok(bytes)) if bytes.is_empty() => continue,
                Some(Ok(bytes)) => {
                    self.failures = 0;
                    self.range.start += bytes.len() as u64;
                    return Ok(bytes);
                }
                Some(Err(e)) => explain(self.object.0.store.kind, &e),
                None => "the answer is shorter than the object".to_owned(),
            };
            self.stream = None;
            self.failures += 1;
            if self.failures > ATTEMPTS {
                let at = self.range.start;
                return Err(io::Error::other(format!(
                    "the connection broke again and again at byte {at}: {why}"
                )));
            }
            tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(self.failures - 1)).await;
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() && !self.range.is_empty() && !buffer.is_empty() {
            let store = Arc::clone(&self.object.0.store);
            self.chunk = store.wait(self.receive())?;
        }
        let part = self.chunk.split_to(self.chunk.len().min(buffer.len()));
        buffer[..part.len()].copy_from_slice(&part);
        Ok(part.len())
    }
}

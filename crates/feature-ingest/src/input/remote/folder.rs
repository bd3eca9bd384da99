//! A folder of an object store in which a program keeps files of its own.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use object_store::path::Path;
use object_store::{Error, PutMultipartOptions, PutOptions, PutPayload};

use super::explain::explain;
use super::object::Object;
use super::store::{Kind, Location, Store, environment};
use crate::error::{IngestError, Result};

/// How large the parts are that a file is sent in; a smaller file is sent at once.
const PART: usize = 8 << 20;

/// A folder of S3, Google Cloud Storage or Azure Blob Storage. Its methods block, and wait for the store on a
/// runtime of their own: they must not be called by a task.
#[derive(Clone)]
pub struct ObjectFolder {
    store: Arc<Store>,
    url: String,
    prefix: String,
}

impl ObjectFolder {
    /// Whether a text is the URL of something in such a store.
    pub fn is_named(text: &str) -> bool {
        Location::parse(text).is_ok_and(|location| location.kind != Kind::Http)
    }

    /// The folder of a URL such as `s3://bucket/backups/monday`, with credentials from the environment.
    ///
    /// # Errors
    /// `Request` for a URL that names none.
    pub fn open(url: &str) -> Result<Self> {
        Self::open_with(url, environment())
    }

    /// The same with these environment variables.
    pub(super) fn open_with(url: &str, variables: impl Iterator<Item = (String, String)>) -> Result<Self> {
        let location = Location::parse(url)?;
        if location.kind == Kind::Http {
            return Err(IngestError::Request(format!(
                "{} is a web server, which does not keep files: name a folder of s3, gs or az",
                location.root
            )));
        }
        let prefix = location.key.trim_end_matches('/').to_owned();
        let url = location.name(&prefix).trim_end_matches('/').to_owned();
        location.path(&prefix)?;
        Ok(Self { store: Store::open(&location, variables)?, url, prefix })
    }

    /// Its URL, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The objects in it: names and bytes.
    ///
    /// # Errors
    /// Why the store does not tell.
    pub fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let prefix = Path::parse(&self.prefix).map_err(io::Error::other)?;
        let found = self.store.wait(async {
            let found = self.store.objects.list_with_delimiter(Some(&prefix)).await;
            found.map_err(|e| self.failure(&e))
        })?;
        let named = |meta: object_store::ObjectMeta| Some((meta.location.filename()?.to_owned(), meta.size));
        Ok(found.objects.into_iter().filter_map(named).collect())
    }

    /// Writes an object somewhere; `false` where there is none. After a broken connection it goes on.
    ///
    /// # Errors
    /// Why it cannot be read, or written.
    pub fn get(&self, name: &str, to: &mut impl Write) -> io::Result<bool> {
        match Object::named(&self.store, self.path(name)?) {
            Ok(object) => io::copy(&mut object.read(), to).map(|_| true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(self.failure(&e)),
        }
    }

    /// Makes an object of what is read, as a whole or not at all.
    ///
    /// # Errors
    /// Why it cannot be read, or the store does not take it.
    pub fn put(&self, name: &str, from: &mut impl Read) -> io::Result<()> {
        let path = self.path(name)?;
        let objects = &self.store.objects;
        let first = part(from)?;
        if first.len() < PART {
            return self.store.wait(async {
                let put = objects.put_opts(&path, first.into(), PutOptions::default()).await;
                put.map(drop).map_err(|e| self.failure(&e))
            });
        }
        self.store.wait(async {
            let begun = objects.put_multipart_opts(&path, PutMultipartOptions::default()).await;
            let mut upload = begun.map_err(|e| self.failure(&e))?;
            let mut next = Ok(first);
            let sent = loop {
                match next {
                    Err(e) => break Err(e),
                    Ok(bytes) if bytes.is_empty() => break Ok(()),
                    Ok(bytes) => {
                        if let Err(e) = upload.put_part(PutPayload::from(bytes)).await {
                            break Err(self.failure(&e));
                        }
                    }
                }
                next = part(from);
            };
            match sent {
                Ok(()) => upload.complete().await.map(drop).map_err(|e| self.failure(&e)),
                Err(e) => {
                    // Parts that stay behind are never seen as an object.
                    let _ = upload.abort().await;
                    Err(e)
                }
            }
        })
    }

    fn path(&self, name: &str) -> io::Result<Path> {
        let key = if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Path::parse(key).map_err(io::Error::other)
    }

    fn failure(&self, error: &Error) -> io::Error {
        io::Error::other(explain(self.store.kind, error))
    }
}

impl fmt::Debug for ObjectFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectFolder").field(&self.url).finish()
    }
}

/// The next bytes, as many as a part has unless they end before.
fn part(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(PART as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

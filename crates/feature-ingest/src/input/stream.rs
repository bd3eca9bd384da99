//! A stream of bytes, decompressed on the way.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::options::Format;

const BUFFER: usize = 1 << 16;

/// The bytes of an input, and how many of them have been read.
pub(crate) struct Stream {
    pub(crate) reader: BufReader<Box<dyn Read + Send>>,
    pub(crate) count: Count,
    compressed: bool,
}

/// How many bytes were read, before they were decompressed.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicU64>);

impl Count {
    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Counted<R> {
    inner: R,
    count: Count,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.0.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    fn of(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }
}

impl Stream {
    /// Decompresses what begins as compressed bytes do.
    pub(crate) fn new(raw: Box<dyn Read + Send>) -> io::Result<Self> {
        let count = Count::default();
        let raw = whole_start(Counted { inner: raw, count: count.clone() })?;
        let mut raw = BufReader::with_capacity(BUFFER, raw);
        let compression = Compression::of(fill(&mut raw)?);
        let reader = match compression {
            None => Box::new(raw) as Box<dyn Read + Send>,
            #[cfg(feature = "compression")]
            Some(Compression::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(raw)),
            #[cfg(feature = "compression")]
            Some(Compression::Zstd) => Box::new(zstd::stream::read::Decoder::with_buffer(raw)?),
            #[cfg(not(feature = "compression"))]
            Some(_) => {
                let message = "it is compressed; compile with the feature `compression` of feature-ingest";
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
        };
        let reader: Box<dyn Read + Send> = Box::new(whole_start(reader)?);
        Ok(Self {
            reader: BufReader::with_capacity(BUFFER, reader),
            count,
            compressed: compression.is_some(),
        })
    }

    /// Whether the input is compressed.
    pub(crate) fn is_compressed(&self) -> bool {
        self.compressed
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&mut self) -> io::Result<bool> {
        fill(&mut self.reader).map(<[u8]>::is_empty)
    }

    /// Whether it begins with these bytes.
    pub(crate) fn starts_with(&mut self, start: &[u8]) -> io::Result<bool> {
        Ok(fill(&mut self.reader)?.starts_with(start))
    }

    /// What the first bytes say it is.
    pub(crate) fn sniff(&mut self) -> io::Result<Option<Format>> {
        let start = fill(&mut self.reader)?;
        let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
        Ok(match start {
            [b'P', b'A', b'R', b'1', ..] => Some(Format::Parquet),
            [b'A', b'R', b'R', b'O', b'W', b'1', ..] | [0xff, 0xff, 0xff, 0xff, ..] => Some(Format::Arrow),
            _ if matches!(text.first(), Some(b'{' | b'[')) => Some(Format::Json),
            _ => None,
        })
    }
}

/// The same bytes, the first of which come together although a pipe may bring them one by one.
fn whole_start<R: Read>(mut reader: R) -> io::Result<impl Read> {
    let mut start = Vec::with_capacity(8);
    reader.by_ref().take(8).read_to_end(&mut start)?;
    Ok(io::Cursor::new(start).chain(reader))
}

/// Some bytes of the start.
fn fill<R: Read>(reader: &mut BufReader<R>) -> io::Result<&[u8]> {
    loop {
        match reader.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
            Ok(_) => break,
        }
    }
    Ok(reader.buffer())
}

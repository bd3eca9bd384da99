//! What is asked of a store, counted: a store in memory whose lists have pages.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Int64Array, RecordBatch};
use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::Encoding;
use parquet::file::properties::WriterProperties;

use super::super::find::Found;
use super::super::object::Object;
use super::super::ranges::Ranges;
use super::super::store::{Kind, Location, Store};
use super::random;

#[derive(Clone, Debug, Default)]
struct Memory {
    inner: Arc<InMemory>,
    requests: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

#[async_trait]
impl ObjectStore for Memory {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let found = self.inner.get_opts(location, options).await?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(found.range.end - found.range.start, Ordering::Relaxed);
        Ok(found)
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Two objects a page.
#[async_trait]
impl PaginatedListStore for Memory {
    async fn list_paginated(
        &self,
        prefix: Option<&str>,
        options: PaginatedListOptions,
    ) -> Result<PaginatedListResult> {
        let all = self.inner.list_with_delimiter(None).await?;
        let mut objects = all.objects;
        for folder in all.common_prefixes {
            objects.extend(self.inner.list_with_delimiter(Some(&folder)).await?.objects);
        }
        objects.retain(|meta| meta.location.as_ref().starts_with(prefix.unwrap_or_default()));
        objects.sort_by(|a, b| b.location.cmp(&a.location));
        let page: usize = options.page_token.map_or(0, |token| token.parse().unwrap());
        let rest = objects.split_off(objects.len().min(page * 2));
        let page_token = (rest.len() > 2).then(|| (page + 1).to_string());
        let objects = rest.into_iter().take(2).collect();
        let result = ListResult { objects, common_prefixes: Vec::new(), extensions: Default::default() };
        Ok(PaginatedListResult { result, page_token })
    }
}

impl Memory {
    fn store(&self) -> Arc<Store> {
        Store::new(Kind::S3, Box::new(self.clone()), Some(Box::new(self.clone()))).unwrap()
    }

    fn put(&self, store: &Store, key: &str, bytes: Vec<u8>) {
        let put = async {
            self.inner.put(&Path::parse(key).unwrap(), bytes.into()).await.map_err(std::io::Error::other)
        };
        store.wait(put).unwrap();
    }
}

#[test]
fn a_folder_may_be_named_without_its_slash_and_marked_and_long() {
    let memory = Memory::default();
    let store = memory.store();
    memory.put(&store, "day", Vec::new());
    memory.put(&store, "day2/0.csv", b"x".to_vec());
    for n in 0..7 {
        memory.put(&store, &format!("day/{n}.csv"), b"x".to_vec());
    }
    memory.put(&store, "day/empty.csv", Vec::new());
    let names = |key: &str| {
        let location = Location::parse(&format!("s3://lake/{key}")).unwrap();
        let found = Found { location, store: Arc::clone(&store), format: None };
        found.inputs().map(|inputs| inputs.iter().map(|input| input.name().to_owned()).collect::<Vec<_>>())
    };
    let mut all: Vec<_> = (0..7).map(|n| format!("s3://lake/day/{n}.csv")).collect();
    all.push("s3://lake/day/empty.csv".to_owned());
    assert_eq!(names("day/").unwrap(), all);
    assert_eq!(names("day*/").unwrap().len(), 9);
    assert_eq!(names("day2").unwrap(), ["s3://lake/day2/0.csv"]);
    assert!(names("day3").unwrap_err().to_string().contains("there is no such object"));
}

/// A file with all rows in one row group and numbers that do not compress.
fn one_group(columns: usize, rows: usize) -> Vec<u8> {
    let mut next = random(1);
    let names: Vec<_> = (0..columns).map(|n| format!("c{n}")).collect();
    let column = |_| Int64Array::from_iter_values((0..rows).map(|_| (next() << 33 ^ next()) as i64));
    let arrays: Vec<_> = (0..columns).map(column).collect();
    let pairs = names.iter().zip(arrays).map(|(name, array)| (name, Arc::new(array) as _));
    let batch = RecordBatch::try_from_iter(pairs).unwrap();
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::PLAIN)
        .set_data_page_size_limit(16 << 10)
        .set_max_row_group_row_count(Some(usize::MAX))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn only_wanted_columns_are_fetched_in_large_parts_and_little_is_kept() {
    const ROWS: usize = 50_000;
    let memory = Memory::default();
    let store = memory.store();
    let bytes = one_group(10, ROWS);
    memory.put(&store, "a.parquet", bytes.clone());
    let column = 8 * ROWS as u64;
    for (wanted, limit) in [(vec![0, 4, 9], 1 << 20), (vec![0, 4, 9], 64 << 20), ((0..10).collect(), 1 << 20)]
    {
        memory.requests.store(0, Ordering::Relaxed);
        memory.bytes.store(0, Ordering::Relaxed);
        let object = Object::new(Arc::clone(&store), Path::from("a.parquet"), bytes.len() as u64);
        let ranges = Ranges::with_memory(&object, limit).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(ranges.clone()).unwrap();
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.clone());
        ranges.expect(builder.metadata(), |leaf| mask.leaf_included(leaf));
        let read = builder.with_projection(mask.clone()).with_batch_size(1000).build().unwrap();
        let local = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes.clone())).unwrap();
        let local = local.with_projection(mask).with_batch_size(1000).build().unwrap();
        for (read, local) in read.zip(local) {
            assert_eq!(read.unwrap(), local.unwrap());
            assert!(ranges.kept() <= limit, "{} of {limit}", ranges.kept());
        }
        let n = wanted.len() as u64;
        let (requests, fetched) =
            (memory.requests.load(Ordering::Relaxed), memory.bytes.load(Ordering::Relaxed));
        // All of every wanted column, and not much twice: where a window ends in the midst of a page.
        let all = n * column;
        assert!((all..all + all / 3).contains(&(fetched - (64 << 10))), "{wanted:?}: {fetched} of {all}");
        let windows = n * column.div_ceil(limit / 2 / n).max(1);
        assert!(requests <= 1 + windows * 4 / 3 + n, "{wanted:?} {limit}: {requests} requests for {windows}");
    }
}

//! Objects of a real S3 server, read through the whole library.

mod memory;
mod server;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::ipc::writer::FileWriter;
use feature_core::{OnlineStore, Scope, SystemClock};
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::signer::Signer;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use server::{BUCKET, KEY, S3, SECRET, plain};
use store_testkit::{MapStore, Proxy};

use super::explain::CHANGED;
use super::find::find_with;
use super::folder::ObjectFolder;
use crate::input::{Input, find};
use crate::{Ended, IngestOptions, Load, Report};

const ROWS: usize = 3000;

type Variables = Vec<(String, String)>;

/// The inputs that a URL stands for.
async fn inputs(url: &str, variables: &Variables) -> crate::Result<Vec<Input>> {
    let (url, variables) = (url.to_owned(), variables.clone());
    tokio::task::spawn_blocking(move || find_with(&url, None, variables.into_iter())).await.unwrap()
}

async fn names(url: &str, variables: &Variables) -> Vec<String> {
    let inputs = inputs(url, variables).await.unwrap();
    inputs.iter().map(|input| input.name().rsplit_once(BUCKET).unwrap().1.to_owned()).collect()
}

async fn open(inputs: Vec<Input>) -> crate::Result<Load> {
    let options = IngestOptions {
        entity: vec!["id".to_owned()],
        timestamp: Some("seen".to_owned()),
        ..IngestOptions::default()
    };
    tokio::task::spawn_blocking(move || Load::of(inputs, options, None)).await.unwrap()
}

/// What a load does, and what is in the store afterwards.
async fn run(load: Load) -> (Report, Vec<String>) {
    let store = OnlineStore::new(Arc::new(MapStore::new(Arc::new(SystemClock))));
    let report = load.run(&store, "acme", "things", std::future::pending()).await;
    let scope = Scope::tenant("acme").unwrap();
    let rows: Vec<_> = store.scan(&scope).try_collect().await.unwrap();
    let mut rows: Vec<_> = rows.iter().map(|row| format!("{row:?}")).collect();
    rows.sort();
    (report, rows)
}

async fn load(inputs: Vec<Input>) -> (Report, Vec<String>) {
    let (report, rows) = run(open(inputs).await.unwrap()).await;
    assert!(matches!(report.ended, Ended::Complete), "{:?}", report.ended);
    (report, rows)
}

/// Text that does not compress, so that files are as large as they look.
fn noise(seed: usize) -> String {
    let mut next = random(seed as u64);
    (0..40).map(|_| char::from(b'a' + (next() % 26) as u8)).collect()
}

/// Numbers that are the same in each run.
fn random(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}

fn batch(rows: usize) -> RecordBatch {
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from_iter_values((0..rows).map(|n| (n % 500) as i64))) as _),
        ("seen", Arc::new(StringArray::from_iter_values((0..rows).map(time))) as _),
        ("amount", Arc::new(Float64Array::from_iter_values((0..rows).map(|n| n as f64 / 8.0))) as _),
        ("note", Arc::new(StringArray::from_iter_values((0..rows).map(noise))) as _),
    ])
    .unwrap()
}

fn time(n: usize) -> String {
    format!("2026-01-01T{:02}:{:02}:{:02}Z", n / 3600, n / 60 % 60, n % 60)
}

fn parquet_bytes(rows: usize, group: usize) -> Vec<u8> {
    let (batch, mut bytes) = (batch(rows), Vec::new());
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn csv_text(rows: std::ops::Range<usize>) -> String {
    let lines = rows.map(|n| format!("{},{},{},{}\n", n % 500, time(n), n as f64 / 8.0, noise(n)));
    "id,seen,amount,note\n".to_owned() + &lines.collect::<String>()
}

fn json_text(rows: usize) -> String {
    let line = |n| {
        let row =
            serde_json::json!({"id": n % 500, "seen": time(n), "amount": n as f64 / 8.0, "note": noise(n)});
        format!("{row}\n")
    };
    (0..rows).map(line).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn arrow_bytes(rows: usize) -> Vec<u8> {
    let (batch, mut bytes) = (batch(rows), Vec::new());
    let mut writer = FileWriter::try_new(&mut bytes, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_gives_the_rows_of_the_local_file() {
    let server = S3::start(false).await;
    let variables = S3::environment(server.port);
    server.put("a.parquet", parquet_bytes(ROWS, ROWS));
    server.put("groups.parquet", parquet_bytes(ROWS, 700));
    server.put("a.csv", csv_text(0..ROWS));
    server.put("a.csv.gz", gzip(&csv_text(0..ROWS)));
    server.put("a.ndjson.zst", zstd::encode_all(json_text(ROWS).as_bytes(), 3).unwrap());
    server.put("a.arrow", arrow_bytes(ROWS));
    server.put("whatever", parquet_bytes(ROWS, ROWS));
    let mut first = None;
    for key in ["a.parquet", "groups.parquet", "a.csv", "a.csv.gz", "a.ndjson.zst", "a.arrow", "whatever"] {
        let path = server.path(key);
        let local = find(&[path.display().to_string()], None).unwrap();
        let remote = inputs(&format!("s3://{BUCKET}/{key}"), &variables).await.unwrap();
        assert_eq!(remote[0].name(), format!("s3://{BUCKET}/{key}"));
        assert_eq!(remote[0].bytes(), Some(path.metadata().unwrap().len()), "{key}");
        let ((local, local_rows), (remote, rows)) = (load(local).await, load(remote).await);
        assert_eq!(remote.progress.written as usize, ROWS, "{key}");
        assert_eq!(remote.progress.written, local.progress.written, "{key}");
        assert_eq!(rows, local_rows, "{key}");
        assert_eq!(first.get_or_insert_with(|| rows.clone()), &rows, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_and_patterns_stand_for_their_objects_without_notes() {
    let server = S3::start(false).await;
    let variables = S3::environment(server.port);
    let day = "id,seen,amount\n";
    for (at, key) in [
        "events/country=US/part-0.csv",
        "events/country=US/_SUCCESS",
        "events/country=S%C3%A3o/part-1.csv",
        "events/_tmp/part-9.csv",
        "events2/part-0.csv",
        "day-1.csv",
        "day-2.csv",
        "day-[3].csv",
        "odd name+&=%41.csv",
    ]
    .into_iter()
    .enumerate()
    {
        server.put(key, format!("{day}{at},2026-01-01,1\n"));
    }
    let events = ["/events/country=S%C3%A3o/part-1.csv", "/events/country=US/part-0.csv"];
    for (url, expected) in [
        ("events/", &events[..]),
        ("events/country=*", &events),
        ("events/*/part-*.csv", &events),
        ("**/part-1.csv", &events[..1]),
        ("events/_tmp/*", &["/events/_tmp/part-9.csv"]),
        ("events/_*/*.csv", &["/events/_tmp/part-9.csv"]),
        ("day-?.csv", &["/day-1.csv", "/day-2.csv"]),
        ("day-[3].csv", &["/day-[3].csv"]),
        ("day-[12].csv", &["/day-1.csv", "/day-2.csv"]),
        ("odd name+&=%41.csv", &["/odd name+&=%41.csv"]),
        ("*.parquet", &[]),
        ("*.csv", &["/day-1.csv", "/day-2.csv", "/day-[3].csv", "/odd name+&=%41.csv"]),
    ] {
        assert_eq!(names(&format!("s3://{BUCKET}/{url}"), &variables).await, expected, "{url}");
    }
    assert_eq!(names(&format!("s3://{BUCKET}"), &variables).await.len(), 7);

    let (report, rows) = load(inputs(&format!("s3://{BUCKET}/events/"), &variables).await.unwrap()).await;
    assert_eq!((report.progress.written, rows.len()), (2, 2));
    assert!(rows[0].contains("US") && rows[1].contains("São"), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_with_what_to_do_and_without_secrets() {
    let server = S3::start(false).await;
    server.put("a.csv", "id,seen\n1,2026-01-01\n");
    let good = S3::environment(server.port);
    let with = |name: &str, value: &str| {
        let mut variables = good.clone();
        variables.retain(|(variable, _)| variable != name);
        variables.push((name.to_owned(), value.to_owned()));
        variables
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let anonymous: Variables = vec![
        ("AWS_METADATA_ENDPOINT".to_owned(), format!("http://{closed}")),
        ("AWS_ENDPOINT_URL".to_owned(), format!("http://127.0.0.1:{}", server.port)),
    ];
    for (url, variables, expected) in [
        ("s3://lake/b.csv", good.clone(), "cannot read s3://lake/b.csv: there is no such object"),
        ("s3://pond/*.csv", good.clone(), "cannot list s3://pond/: there is no such bucket"),
        (
            "s3://lake/a.csv",
            with("AWS_SECRET_ACCESS_KEY", "an0ther"),
            "the credentials are wrong (SignatureDoesNotMatch)",
        ),
        ("s3://lake/a.csv", with("AWS_ACCESS_KEY_ID", "AKIAOTHER"), "access is denied"),
        ("s3://lake/a.csv", with("AWS_SKIP_SIGNATURE", "true"), "access is denied"),
        ("s3://lake/a.csv", with("AWS_SECRET_ACCESS_KEY", ""), "with the variables AWS_…: Missing Secret"),
        ("s3://lake/a.csv", with("AWS_ENDPOINT_URL", &format!("http://{closed}")), "Connection refused"),
        ("s3://lake/a.csv", with("AWS_ENDPOINT_URL", "no url"), "AWS_ENDPOINT_URL is not a URL"),
        ("s3://lake/a.csv", with("AWS_REGION", "no region"), "AWS_REGION is not a name"),
        ("s3://no bucket/a.csv", good.clone(), "`s3://no bucket` does not name a bucket"),
        ("http://no host/a.csv", good.clone(), "http://no host cannot be opened"),
        ("s3://lake/a.csv", anonymous, "there are no credentials: set AWS_ACCESS_KEY_ID"),
        ("s3://user:s3cr3t-of-the-tests@lake/a.csv", good.clone(), "environment variables AWS_"),
        ("s3:///a.csv", good.clone(), "`s3://` does not name a bucket"),
        ("ftp://lake/a.csv", good.clone(), "`ftp` is not a scheme"),
        ("s3://lake/a//b.csv", good.clone(), "is not the name of an object"),
    ] {
        let error = inputs(url, &variables).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{url}: {error}");
        assert!(
            ![KEY, SECRET, "an0ther", "AKIAOTHER"].iter().any(|secret| error.contains(secret)),
            "{error}"
        );
    }
    let found = inputs("s3://lake/a.csv", &good).await.unwrap();
    assert!(!format!("{found:?}").contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_is_taken_up_where_it_was() {
    let server = S3::start(false).await;
    let proxy = Proxy::start(server.port).await.unwrap();
    let variables = S3::environment(proxy.port());
    server.put("a.csv", csv_text(0..20_000));
    server.put("a.parquet", parquet_bytes(20_000, 20_000));
    for key in ["a.csv", "a.parquet"] {
        let url = format!("s3://{BUCKET}/{key}");
        let (_, expected) = load(inputs(&url, &variables).await.unwrap()).await;
        let load = open(inputs(&url, &variables).await.unwrap()).await.unwrap();
        let before = proxy.resets();
        proxy.reset_after(100_000);
        let (report, rows) = run(load).await;
        proxy.reset_after(0);
        assert!(matches!(report.ended, Ended::Complete), "{key}: {:?}", report.ended);
        assert!(rows == expected, "{key}: other rows");
        // More often than a single request is repeated.
        assert!(proxy.resets() - before > 6, "{key}: {}", proxy.resets() - before);
    }
    // One that is cut off again and again, without a byte in between, ends.
    let load = open(inputs(&format!("s3://{BUCKET}/a.csv"), &variables).await.unwrap()).await.unwrap();
    proxy.reset_after(10);
    let (report, _) = run(load).await;
    assert!(matches!(report.ended, Ended::Failed(_)), "{:?}", report.ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_changes_is_refused() {
    let server = S3::start(false).await;
    let proxy = Proxy::start(server.port).await.unwrap();
    let variables = S3::environment(proxy.port());
    for (key, one) in
        [("a.csv", csv_text(0..20_000).into_bytes()), ("a.parquet", parquet_bytes(20_000, 20_000))]
    {
        // Of the same size, as far as a list can tell the same object.
        let mut other = one.clone();
        other[one.len() / 2] ^= 1;
        // Between a look at its columns and its rows.
        server.put(key, &one);
        let load = open(inputs(&format!("s3://{BUCKET}/{key}"), &variables).await.unwrap()).await.unwrap();
        server.put(key, &other);
        let (report, rows) = run(load).await;
        let Ended::Failed(e) = report.ended else { panic!("{key}: {:?}", report.ended) };
        assert!(e.to_string().contains(CHANGED), "{e}");
        assert!(rows.is_empty());
    }

    // In the midst of its bytes.
    server.put("b.csv", csv_text(0..40_000));
    let found = inputs(&format!("s3://{BUCKET}/b.csv"), &variables).await.unwrap();
    proxy.reset_after(300_000);
    let read = tokio::task::spawn_blocking(move || {
        let mut stream = found[0].stream().unwrap();
        let mut start = vec![0; 100_000];
        stream.reader.read_exact(&mut start).unwrap();
        server.put("b.csv", csv_text(0..40_000).replace(".125,", ".250,"));
        stream.reader.read_to_end(&mut start).map_err(|e| e.to_string())
    });
    assert_eq!(read.await.unwrap(), Err(CHANGED.to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_of_web_servers_name_one_object() {
    let server = S3::start(true).await;
    server.put("a.csv", csv_text(0..ROWS));
    server.put("a.parquet", parquet_bytes(ROWS, ROWS));
    let root = format!("http://127.0.0.1:{}/{BUCKET}", server.port);
    let (_, expected) = load(find(&[server.path("a.csv").display().to_string()], None).unwrap()).await;
    for key in ["a.csv", "a.parquet", "a.parquet?x-id=GetObject#top"] {
        let found = inputs(&format!("{root}/{key}"), &Vec::new()).await.unwrap();
        assert_eq!(found[0].name(), format!("{root}/{}", key.split('?').next().unwrap()));
        let (_, rows) = load(found).await;
        assert!(rows == expected, "{key}");
    }
    let error = inputs(&format!("{root}/b.csv"), &Vec::new()).await.unwrap_err().to_string();
    assert!(error.contains("there is no such object"), "{error}");
    let error = inputs("http://me:s3cr3t@127.0.0.1/b.csv", &Vec::new()).await.unwrap_err().to_string();
    assert!(error.contains("no user and no password") && !error.contains("s3cr3t"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_url_is_read_and_never_shown() {
    let server = S3::start(false).await;
    server.put("a.parquet", parquet_bytes(ROWS, ROWS));
    let signer = AmazonS3Builder::new()
        .with_endpoint(format!("http://127.0.0.1:{}", server.port))
        .with_allow_http(true)
        .with_bucket_name(BUCKET)
        .with_access_key_id(KEY)
        .with_secret_access_key(SECRET)
        .build()
        .unwrap();
    let path = Path::from("a.parquet");
    let url =
        signer.signed_url(reqwest::Method::GET, &path, Duration::from_secs(600)).await.unwrap().to_string();
    let found = inputs(&url, &Vec::new()).await.unwrap();
    assert!(!format!("{found:?}").contains("X-Amz"), "{found:?}");
    let (report, _) = load(found).await;
    assert_eq!(report.progress.written as usize, ROWS);

    let forged = url.replace("X-Amz-Expires=600", "X-Amz-Expires=601");
    let error = inputs(&forged, &Vec::new()).await.unwrap_err().to_string();
    assert!(
        error.contains("SignatureDoesNotMatch") && !error.contains("X-Amz") && !error.contains(KEY),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_server_without_parts_or_tags_is_read_as_a_whole() {
    let csv: &[u8] = csv_text(0..ROWS).leak().as_bytes();
    let parquet: &[u8] = parquet_bytes(ROWS, ROWS).leak();
    for (name, body) in [("a.csv", csv), ("a.parquet", parquet)] {
        let length = format!("Content-Length: {}\r\n", body.len()).leak();
        let (port, _server) = plain(body, length).await;
        let (report, _) =
            load(inputs(&format!("http://127.0.0.1:{port}/{name}"), &Vec::new()).await.unwrap()).await;
        assert_eq!(report.progress.written as usize, ROWS, "{name}");
    }
    let (port, _server) = plain(csv, "").await;
    let error = inputs(&format!("http://127.0.0.1:{port}/a.csv"), &Vec::new()).await.unwrap_err().to_string();
    assert!(error.contains("does not say how long it is"), "{error}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_load_may_be_dropped_by_a_task() {
    let server = S3::start(false).await;
    server.put("a.csv", csv_text(0..ROWS));
    let load =
        open(inputs(&format!("s3://{BUCKET}/a.csv"), &S3::environment(server.port)).await.unwrap()).await;
    drop(load);
}

/// Runs work that blocks, as a program does that keeps files there.
async fn in_folder<T: Send + 'static>(
    url: &str,
    variables: Variables,
    work: impl FnOnce(ObjectFolder) -> T + Send + 'static,
) -> T {
    let url = url.to_owned();
    let opened = move || work(ObjectFolder::open_with(&url, variables.into_iter()).unwrap());
    tokio::task::spawn_blocking(opened).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_keeps_files_whatever_their_size() {
    let s3 = S3::start(false).await;
    s3.put("backups/elsewhere", "not in it");
    let url = format!("s3://{BUCKET}/backups/monday/");
    in_folder(&url, S3::environment(s3.port), |folder| {
        assert_eq!(folder.url(), format!("s3://{BUCKET}/backups/monday"));
        assert_eq!(folder.list().unwrap(), []);
        let mut got = Vec::new();
        assert!(!folder.get("missing", &mut got).unwrap());
        // At once, in parts, and at the edge between them.
        let mut expected = Vec::new();
        for (name, bytes) in [("empty", 0), ("small", 1_000), ("edge", 8 << 20), ("large", (17 << 20) + 5)] {
            let mut next = random(bytes as u64);
            let content: Vec<u8> = (0..bytes).map(|_| next() as u8).collect();
            folder.put(name, &mut &content[..]).unwrap();
            let mut got = Vec::new();
            assert!(folder.get(name, &mut got).unwrap());
            assert!(got == content, "{name}");
            expected.push((name.to_owned(), bytes as u64));
        }
        let mut listed = folder.list().unwrap();
        listed.sort();
        expected.sort();
        assert_eq!(listed, expected);
        folder.put("small", &mut &b"anew"[..]).unwrap();
        let mut got = Vec::new();
        assert!(folder.get("small", &mut got).unwrap());
        assert_eq!(got, b"anew");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_folder_from_being_used_is_said_without_secrets() {
    let s3 = S3::start(false).await;
    let mut wrong = S3::environment(s3.port);
    wrong[1].1 = "n0t-the-s3cret".to_owned();
    in_folder(&format!("s3://{BUCKET}/x"), wrong, |folder| {
        for error in [folder.list().unwrap_err(), folder.put("a", &mut &b"1"[..]).unwrap_err()] {
            let error = error.to_string();
            assert!(error.contains("the credentials are wrong"), "{error}");
            assert!(!error.contains("n0t-the-s3cret"), "{error}");
        }
    })
    .await;
    let refused = ObjectFolder::open_with("https://host/folder", std::iter::empty()).unwrap_err();
    assert!(refused.to_string().contains("a web server, which does not keep files"), "{refused}");
    assert!(ObjectFolder::is_named("gs://lake/x") && !ObjectFolder::is_named("redis://localhost"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_to_its_end_becomes_no_object() {
    struct Breaks(usize);
    impl Read for Breaks {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0 > 10 << 20 {
                return Err(std::io::Error::other("the disk is gone"));
            }
            self.0 += buffer.len();
            Ok(buffer.len())
        }
    }
    let s3 = S3::start(false).await;
    in_folder(&format!("s3://{BUCKET}/x"), S3::environment(s3.port), |folder| {
        let broken = folder.put("a", &mut Breaks(0)).unwrap_err();
        assert!(broken.to_string().contains("the disk is gone"), "{broken}");
        assert_eq!(folder.list().unwrap(), []);
    })
    .await;
}

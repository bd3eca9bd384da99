//! Speed and memory of `fstore ingest` as a process of its own, on a Parquet file of the shape of the
//! flights data: 336,776 rows, 4,043 entities, 7 features, in no order of time. `FSTORE_BENCH_FILE` names
//! a real file with the same columns to take instead; `FSTORE_BENCH_URL` names a store to load into, each run
//! as a tenant of its own, instead of fresh embedded ones.
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use store_testkit::bench::{BenchOptions, BenchResult, report};

const ENTITIES: i64 = 4_043;

fn generate(file: &Path, rows: i64) -> Result<(), Box<dyn Error>> {
    let mut rng = fastrand::Rng::with_seed(2013);
    let rows: Vec<(i64, i64)> = (0..rows).map(|_| (rng.i64(..ENTITIES), rng.i64(..365 * 24))).collect();
    let mut number = |share_of_nulls: f64| -> Vec<Option<f64>> {
        rows.iter().map(|_| (rng.f64() >= share_of_nulls).then(|| f64::from(rng.i32(-30..300)))).collect()
    };
    let floats = |values: Vec<Option<f64>>| Arc::new(Float64Array::from(values)) as ArrayRef;
    let (dep_delay, arr_delay, air_time) = (number(0.02), number(0.03), number(0.03));
    let text = |pick: &dyn Fn(i64, i64) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(entity, hour)| pick(*entity, *hour))))
    };
    let hours = rows.iter().map(|(_, hour)| 1_356_998_400_000_000 + hour * 3_600_000_000);
    let batch = RecordBatch::try_from_iter([
        ("tailnum", text(&|entity, _| format!("N{entity:05}"))),
        (
            "time_hour",
            Arc::new(TimestampMicrosecondArray::from_iter_values(hours).with_timezone("UTC")) as ArrayRef,
        ),
        ("dep_delay", floats(dep_delay)),
        ("arr_delay", floats(arr_delay)),
        ("air_time", floats(air_time)),
        ("distance", Arc::new(Int64Array::from_iter_values(rows.iter().map(|(e, h)| 100 + (e * h) % 4_900)))),
        ("origin", text(&|entity, hour| ["EWR", "JFK", "LGA"][((entity + hour) % 3) as usize].to_owned())),
        ("dest", text(&|entity, hour| format!("D{:02}", (entity * 7 + hour) % 105))),
        ("carrier", text(&|entity, _| format!("C{}", entity % 16))),
    ])?;
    let mut writer = ArrowWriter::try_new(File::create(file)?, batch.schema(), None)?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}

/// Runs one ingest into a store that has nothing of the tenant yet: its time, and its peak memory in bytes where the system tells.
fn ingest(
    file: &Path,
    url: &str,
    tenant: &str,
    rejects: &Path,
) -> Result<(Duration, Option<u64>), Box<dyn Error>> {
    let start = Instant::now();
    let mut run = Command::new(env!("CARGO_BIN_EXE_fstore"))
        .args(["ingest", "--tenant", tenant, "--view", "aircraft", "--entity", "tailnum"])
        .args(["--timestamp", "time_hour"])
        .args(["--features", "dep_delay,arr_delay,air_time,distance,origin,dest,carrier"])
        .args(["--store", url])
        .arg("--rejects")
        .arg(rejects)
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let status = PathBuf::from(format!("/proc/{}/status", run.id()));
    let mut peak = None;
    let exit = loop {
        // The high-water mark only rises, so the last look before the end is the peak.
        let kib = std::fs::read_to_string(&status).ok().and_then(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        });
        peak = kib.map(|kib| kib * 1024).or(peak);
        match run.try_wait()? {
            Some(exit) => break exit,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    // Rows without an entity are rejected, which the exit code 3 says.
    if !matches!(exit.code(), Some(0 | 3)) {
        return Err(format!("the ingest failed: {exit}").into());
    }
    Ok((start.elapsed(), peak))
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(options) = BenchOptions::from_args() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let (file, rows) = match std::env::var_os("FSTORE_BENCH_FILE") {
        Some(file) => {
            let metadata = parquet::file::reader::SerializedFileReader::new(File::open(&file)?)?;
            (
                PathBuf::from(file),
                parquet::file::reader::FileReader::metadata(&metadata).file_metadata().num_rows(),
            )
        }
        None => {
            let rows = if options.quick { 40_000 } else { 336_776 };
            let file = folder.path().join("flights.parquet");
            generate(&file, rows)?;
            (file, rows)
        }
    };
    let mut runs = Vec::new();
    let given = std::env::var("FSTORE_BENCH_URL").ok();
    for run in 0..if options.quick { 1 } else { 5 } {
        let fresh = format!("embedded:{}", folder.path().join(format!("{run}.redb")).display());
        let tenant = format!("bench-{}-{run}", std::process::id());
        let rejects = folder.path().join(format!("{run}.rejects"));
        runs.push(ingest(&file, given.as_ref().unwrap_or(&fresh), &tenant, &rejects)?);
    }
    let peak = runs.iter().filter_map(|(_, peak)| *peak).max();
    runs.sort_by_key(|(time, _)| *time);
    let ours_per_s = rows as f64 / runs[runs.len() / 2].0.as_secs_f64();
    let result = BenchResult { name: "ingest_rows".to_owned(), ours_per_s, raw_per_s: None, ratio: None };
    // What stands before the colon; the rest may be a secret.
    let scheme = given.as_deref().and_then(|url| url.split(':').next()).unwrap_or("embedded");
    report(&options, &format!("ingest ({scheme})"), &[result])?;
    match peak {
        Some(peak) => println!("peak memory of the process: {:.0} MB", peak as f64 / 1e6),
        None => println!("peak memory of the process: not known on this system"),
    }
    Ok(())
}

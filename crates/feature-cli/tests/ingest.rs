//! `fstore ingest`: what is loaded, what is rejected, and how it ends.

#![expect(clippy::unwrap_used, reason = "the helpers of these tests may panic as the tests do")]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use common::{Said, Shell, VIEWS};

#[test]
fn a_file_that_breaks_off_keeps_the_rows_before_the_break() {
    let shell = Shell::new();
    let mut rows = "id,a\n".to_owned();
    (0..2500).for_each(|id| rows.push_str(&format!("{id},{id}\n")));
    // A quote that is never closed draws everything behind it into one record without an end.
    rows.push_str(&format!("2500,\"{}", "x".repeat(70 << 20)));
    shell.file("rows.csv", rows);
    let said = shell.run("ingest rows.csv --tenant t --view v --entity id");
    assert_eq!(said.code, 1);
    assert!(
        said.err.contains("after row 2500") && said.err.contains("is a quote not closed?"),
        "{}",
        said.err
    );
    let summary = said.objects().remove(0);
    assert_eq!((&summary["written"], &summary["complete"]), (&json!(2500), &json!(false)));
    assert_eq!(scan(&shell, "v").len(), 2500);
}

#[test]
fn bad_rows_are_rejected_with_their_reasons_and_good_ones_written() {
    let shell = Shell::new();
    shell.file("views.yaml", VIEWS).objects("apply views.yaml");
    shell.file(
        "rows.csv",
        "id,t,visits,score,country\n\
         1,2020-01-01T00:00:00Z,3,0.5,DE\n\
         ,2020-01-01T00:00:00Z,3,0.5,DE\n\
         2,,3,0.5,DE\n\
         3,2020-01-01T00:00:00Z,many,0.5,DE\n\
         4,2020-01-01T00:00:00Z,3\n\
         5,2999-01-01T00:00:00Z,3,0.5,DE\n\
         6,2020-01-01T00:00:00Z,,,\n",
    );
    let ingest = "ingest rows.csv --tenant t --view customers --timestamp t";
    let said = shell.run(ingest);
    assert_eq!(said.code, 3, "{}", said.err);
    let summary = said.objects().remove(0);
    assert_eq!(
        (&summary["rows_read"], &summary["written"], &summary["rejected"]),
        (&json!(7), &json!(2), &json!(5))
    );
    assert_eq!(summary["rejects_file"], "rows.csv.rejects.ndjson");

    let rejects = fs::read_to_string(shell.path("rows.csv.rejects.ndjson")).unwrap();
    let mut rejects: Vec<Value> = rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    rejects.sort_by_key(|reject| reject["row"].as_u64());
    for (reject, (row, reason)) in rejects.iter().zip([
        (2, "no entity: column `id` is empty"),
        (3, "no event time: column `t`: it is empty"),
        (4, "feature `visits`: expected int64, found `many`"),
        (5, "the row has 3 fields, the header has 5"),
        (6, "the event time 2999-01-01T00:00:00Z is more than 1h after now"),
    ]) {
        assert_eq!(reject["row"], row);
        assert!(reject["reason"].as_str().unwrap().contains(reason), "{reject}");
    }
    assert_eq!(rejects[2]["entity"], "id=3");
    assert_eq!(rejects[2]["content"], json!(["3", "2020-01-01T00:00:00Z", "many", "0.5", "DE"]));

    let all = scan(&shell, "customers");
    assert_eq!(all.len(), 2);
    let empty = json!({"visits": "null", "score": "null", "country": "null"});
    assert_eq!(all[1]["status"], empty, "empty cells are nulls");
    assert_eq!(shell.run(ingest).code, 3);
    assert_eq!(scan(&shell, "customers").len(), 2, "running it again is harmless");
}

#[test]
fn ndjson_lines_stand_alone() {
    let shell = Shell::new();
    shell.file(
        "rows.ndjson",
        "{\"id\": 1, \"t\": 1577836800, \"a\": 1, \"deep\": {\"x\": [1, 2]}}\n\
         \n\
         not json\n\
         [1]\n\
         {\"id\": 2, \"t\": 1577836800, \"a\": null}\n\
         {\"t\": 1577836800, \"a\": 1}\n",
    );
    let ingest = "ingest rows.ndjson --tenant t --view v --entity id --timestamp t --rejects bad.ndjson";
    let said = shell.run(&format!("{ingest} --timestamp-unit s"));
    assert_eq!(said.code, 3, "{}", said.err);
    let rejects = fs::read_to_string(shell.path("bad.ndjson")).unwrap();
    let rows: Vec<_> =
        rejects.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["row"].clone()).collect();
    assert_eq!(rows, [2, 3, 5]);
    let all = scan(&shell, "v");
    assert_eq!(all[0]["features"], json!({"a": 1, "deep": {"x": [1, 2]}}));
    assert_eq!(all[0]["timestamp"], "2020-01-01T00:00:00Z");
    assert_eq!(all[1]["status"], json!({"a": "null"}), "what a line lacks is not written");
    assert!(shell.run(ingest).objects()[0]["written"] == 0, "numbers are no times without a unit");
}

#[test]
fn what_is_wrong_with_the_whole_file_is_said_before_anything_is_written() {
    let shell = Shell::new();
    shell
        .file("rows.csv", "id,t,a\n1,5,1\n")
        .file("rows.txt", "x")
        .file("rows.json", r#"{"id": 1, "a": 2}"#)
        .file("cut.parquet", &sample()[..5000]);
    let sample = shell.path("sample.parquet");
    fs::write(&sample, self::sample()).unwrap();
    for (ingest, code, hint) in [
        ("rows.csv --entity nr", 2, "no entity column `nr`; its columns are `id`, `t`, `a`"),
        ("rows.csv --entity id --timestamp when", 2, "no timestamp column `when`"),
        ("rows.csv --entity id --timestamp t", 2, "numbers are times only with a timestamp unit"),
        (
            "rows.json --entity id --timestamp when",
            2,
            "no timestamp column `when`; its columns are `a`, `id`",
        ),
        ("rows.json --entity nr", 2, "no entity column `nr`"),
        ("rows.csv --entity id --features b", 2, "no feature column `b`"),
        ("rows.csv", 2, "Name them, or declare a feature view first"),
        ("rows.txt --entity id", 2, "name its format"),
        ("none.csv --entity id", 1, "cannot read none.csv"),
        ("cut.parquet --entity id", 1, "not a readable Parquet file"),
        (
            "sample.parquet --entity distance --timestamp carrier --features tail",
            2,
            "no feature column `tail`",
        ),
        ("sample.parquet --entity dep_delay", 2, "an entity key is made of text and integers"),
        ("sample.parquet --entity tailnum --timestamp distance", 2, "timestamp unit"),
        ("sample.parquet --entity tailnum --timestamp dep_delay", 2, "`dep_delay` is Float64"),
    ] {
        let said = shell.run(&format!("ingest {ingest} --tenant t --view v"));
        assert!(said.code == code && said.err.contains(hint), "{ingest}: {} {}", said.code, said.err);
    }
    assert_eq!(shell.objects("stats"), Vec::<Value>::new());
}

#[test]
fn a_cell_that_does_not_fit_the_type_told_from_the_first_rows_is_rejected_with_a_hint() {
    let shell = Shell::new();
    let mut rows = "id,a\n".to_owned();
    (0..1000).for_each(|id| rows.push_str(&format!("{id},{id}\n")));
    shell.file("rows.csv", rows + "x,1.5\n");
    assert_eq!(shell.run("ingest rows.csv --tenant t --view v --entity id").code, 3);
    let rejects = fs::read_to_string(shell.path("rows.csv.rejects.ndjson")).unwrap();
    assert!(
        rejects.contains("expected int64, found `1.5`") && rejects.contains("declare a feature view"),
        "{rejects}"
    );
}

#[test]
fn a_dry_run_shows_what_columns_would_become_and_writes_nothing() {
    let shell = Shell::new();
    shell.file("rows.csv", "id,t,a,b\n1,2024-01-01,0.5,x\n2,2024-01-02,NA,y\n");
    let arguments = "ingest rows.csv --tenant t --view v --entity id --timestamp t --exclude b --dry-run";
    let columns = shell.objects(arguments);
    let of = |column: &Value| ["column", "found", "role", "becomes"].map(|name| column[name].clone());
    assert_eq!(of(&columns[0]), [json!("id"), json!("text"), json!("entity"), Value::Null]);
    assert_eq!(of(&columns[1]), [json!("t"), json!("text"), json!("event time"), Value::Null]);
    assert_eq!(of(&columns[2]), [json!("a"), json!("text"), json!("feature"), json!("float64")]);
    assert_eq!(of(&columns[3]), [json!("b"), json!("text"), json!("unused"), Value::Null]);
    assert_eq!(shell.objects("stats"), Vec::<Value>::new());
}

#[test]
fn a_load_that_was_stopped_goes_on_from_its_checkpoint() {
    let shell = Shell::new();
    let rows: String = (0..30_000).map(|id| format!("{id},{id}\n")).collect();
    // The last line is never closed, so the load fails at its end.
    shell.file("rows.csv", format!("id,a\n{rows}30000,\"{}", "x".repeat(70 << 20)));
    let ingest = "ingest rows.csv --tenant t --view v --entity id --batch-size 100 --checkpoint load.json";
    assert_eq!(shell.run(ingest).code, 1);
    assert!(shell.path("load.json").exists());
    let again = shell.run(ingest);
    assert!(again.err.contains("going on where the load stopped"), "{}", again.err);
    assert!(again.objects()[0]["rows_read"].as_u64() < Some(30_000), "{}", again.out);
    shell.file("rows.csv", format!("id,a\n{rows}"));
    let other = shell.run(ingest);
    assert!(other.code == 2 && other.err.contains("not those of the load that stopped"), "{}", other.err);
    fs::remove_file(shell.path("load.json")).unwrap();
    assert_eq!(shell.run(ingest).code, 0);
    assert!(!shell.path("load.json").exists(), "a load that has ended leaves none");
    assert_eq!(shell.objects("stats")[0]["records"], 30_000);
}

#[cfg(unix)]
#[test]
fn when_the_disk_is_full_that_is_what_is_said() {
    let shell = Shell::new();
    let text = "x".repeat(200);
    let rows: String = (0..100_000).map(|id| format!("{id},{text}{id}\n")).collect();
    shell.file("rows.csv", format!("id,a\n{rows}"));
    // A limit on the size of files, since a test cannot fill the disk: 4 MiB, in blocks of 512 bytes.
    let program = env!("CARGO_BIN_EXE_fstore");
    let limited = format!("trap '' XFSZ; ulimit -f 8192; exec {program} \"$@\"");
    let arguments =
        "ingest rows.csv --tenant t --view v --entity id --batch-size 1000 --store embedded:s.redb";
    let mut command = Command::new("sh");
    command.args(["-c", &limited, "sh"]).args(arguments.split(' ')).current_dir(shell.path("."));
    let said = Said::from(command.output().unwrap());
    assert_eq!(said.code, 1, "{}", said.err);
    let failure = said.err.lines().find(|line| line.starts_with("fstore: Throttled")).unwrap_or(&said.err);
    assert!(failure.contains("there is no room for `s.redb` to grow"), "{}", said.err);
    let rejects = fs::read_to_string(shell.path("rows.csv.rejects.ndjson")).unwrap();
    assert!(
        !rejects.contains("failed before") && rejects.contains("there is no room"),
        "{}",
        &rejects[..500]
    );
}

/// The records of a view, sorted by entity.
fn scan(shell: &Shell, view: &str) -> Vec<Value> {
    let mut rows = shell.objects(&format!("scan --tenant t --view {view}"));
    rows.sort_by_key(|row| row["entity"].to_string());
    rows
}

fn sample() -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/flights.parquet")).unwrap()
}

/// The rows of the sample, as JSON.
fn rows_of_the_sample() -> Vec<Value> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(sample())).unwrap();
    builder.build().unwrap().flat_map(|batch| rows_of(&batch.unwrap())).collect()
}

fn rows_of(batch: &RecordBatch) -> Vec<Value> {
    let cell = |column: &dyn Array, at: usize| match column.data_type() {
        _ if column.is_null(at) => Value::Null,
        arrow::datatypes::DataType::Utf8 => json!(column.as_string::<i32>().value(at)),
        arrow::datatypes::DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(at)),
        arrow::datatypes::DataType::Float64 => json!(column.as_primitive::<Float64Type>().value(at)),
        _ => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(at);
            json!(feature_core::Timestamp::from_micros(micros).to_string())
        }
    };
    let names = batch.schema();
    let row = |at| {
        let columns = names.fields().iter().zip(batch.columns());
        columns.map(|(field, column)| (field.name().clone(), cell(column, at))).collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

fn as_csv(rows: &[Value]) -> String {
    let names: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    let line = |row: &Value| {
        let cell = |name: &&String| match &row[*name] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        names.iter().map(cell).collect::<Vec<_>>().join(",") + "\n"
    };
    let header = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(",") + "\n";
    header + &rows.iter().map(line).collect::<String>()
}

fn as_ndjson(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

/// The sample as an Arrow file.
fn as_arrow() -> Vec<u8> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(sample())).unwrap();
    let mut bytes = Vec::new();
    let mut writer = arrow::ipc::writer::FileWriter::try_new(&mut bytes, builder.schema()).unwrap();
    builder.build().unwrap().for_each(|batch| writer.write(&batch.unwrap()).unwrap());
    writer.finish().unwrap();
    drop(writer);
    bytes
}

#[test]
fn the_same_rows_make_the_same_store_in_any_format_order_and_batch_size() {
    let rows = rows_of_the_sample();
    // Of equal times the later row wins, so those keep their order.
    let mut shuffled = rows.clone();
    shuffled.sort_by_cached_key(|row| {
        let text = format!("{}{}", row["tailnum"], row["time_hour"]);
        text.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()))
    });
    assert_ne!(rows, shuffled);
    let shell = Shell::new();
    shell
        .file("a.parquet", sample())
        .file("b.csv", as_csv(&rows))
        .file("c.ndjson", as_ndjson(&rows))
        .file("d.csv", as_csv(&shuffled))
        .file("e.ndjson", as_ndjson(&shuffled));
    let gzip = |text: String| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    shell
        .file("f.csv.gz", gzip(as_csv(&rows)))
        .file("g.ndjson.zst", zstd::encode_all(as_ndjson(&rows).as_bytes(), 0).unwrap())
        .file("h.json", serde_json::to_string(&rows).unwrap())
        .file("i.arrow", as_arrow());
    for (number, part) in rows.chunks(64).enumerate() {
        shell.file(&format!("part-{number}.csv"), as_csv(part));
    }
    let mut stores = Vec::new();
    for (file, sizes) in [
        ("a.parquet", ""),
        ("a.parquet", "--batch-size 1 --concurrency 1"),
        ("a.parquet", "--batch-size 7 --concurrency 3"),
        ("b.csv", ""),
        ("c.ndjson", "--batch-size 50 --concurrency 8"),
        ("d.csv", ""),
        ("e.ndjson", ""),
        ("f.csv.gz", ""),
        ("g.ndjson.zst", ""),
        ("h.json", ""),
        ("i.arrow", ""),
        ("part-*.csv", "--batch-size 10"),
        ("-", ""),
    ] {
        let store = format!("--store embedded:{}.redb", stores.len());
        let ingest = format!(
            "ingest {file} --tenant t --view v --entity tailnum --timestamp time_hour {sizes} {store}"
        );
        for _ in 0..2 {
            let mut command = shell.command(&ingest);
            if file == "-" {
                command.stdin(File::open(shell.path("a.parquet")).unwrap());
            }
            let said = Said::from(command.output().unwrap());
            assert_eq!(said.code, 3, "{}", said.err);
            let summary = said.objects().remove(0);
            let counts = ["rows_read", "written", "rejected", "entities"].map(|name| summary[name].clone());
            assert_eq!(json!(counts), json!([511, 508, 3, 20]), "{file}");
        }
        let mut all = shell.objects(&format!("scan --tenant t --view v {store}"));
        all.sort_by_key(|row| row["entity"].to_string());
        stores.push(all);
    }
    for store in &stores {
        assert_eq!(store, &stores[0]);
    }
    // And it is the right one: each aircraft's latest flight.
    for record in &stores[0] {
        let own = rows.iter().filter(|row| row["tailnum"] == record["entity"]["tailnum"]);
        let latest = own.max_by_key(|row| row["time_hour"].to_string()).unwrap();
        assert_eq!(record["timestamp"], latest["time_hour"]);
        for (name, value) in record["features"].as_object().unwrap() {
            assert_eq!(value, &latest[name], "{name} of {}", record["entity"]);
        }
    }
}

#[test]
fn ctrl_c_writes_what_was_read_and_says_so() {
    let shell = Shell::new();
    let pipe = shell.path("pipe.ndjson");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let child = shell
        .command("ingest pipe.ndjson --tenant t --view v --entity id --batch-size 100")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut writer = File::options().write(true).open(&pipe).unwrap();
    // Far more than the pipe and the reading ahead hold: rows are being written when the signal comes.
    for id in 0..50_000 {
        writeln!(writer, "{{\"id\": {id}, \"a\": {id}}}").unwrap();
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    // The pipe stays open and silent: the program must not wait for it.
    let said = Said::from(child.wait_with_output().unwrap());
    drop(writer);
    assert_eq!(said.code, 130, "{}", said.err);
    assert!(said.err.contains("interrupted; what had been read is written"), "{}", said.err);
    let summary = said.objects().remove(0);
    assert_eq!(summary["complete"], false);
    assert!(summary["written"].as_u64() > Some(0));
    assert_eq!(summary["written"], summary["rows_read"]);
    assert_eq!(shell.objects("stats")[0]["records"], summary["written"]);
}

//! `fstore.v1.FeatureStore`, method by method, against a real server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::grpc::{
    Client, Raw, column, devices, entities, framed, h2, info, int64s, join_key, pb, row, value, values,
};
use common::{NOW, Running, at, map_store, settings};
use feature_core::OnlineStoreBackend;
use pb::value::Kind as One;
use pb::values::Kind as Many;
use store_testkit::{Fault, FaultyBackend};
use tonic::Code;
use tonic_types::StatusExt;

const READ: &str = "/fstore.v1.FeatureStore/Read";
const WRITE: &str = "/fstore.v1.FeatureStore/Write";

async fn start() -> (Running, Client) {
    let server = Running::start("").await;
    let client = Client::of(server.address);
    (server, client)
}

fn write(view: &str, rows: pb::WriteRows) -> pb::WriteRequest {
    pb::WriteRequest { tenant: "acme".to_owned(), view: view.to_owned(), rows: Some(rows) }
}

fn read(view: &str, entities: pb::Entities) -> pb::ReadRequest {
    pb::ReadRequest {
        tenant: "acme".to_owned(),
        view: view.to_owned(),
        entities: Some(entities),
        ..Default::default()
    }
}

/// A view with a feature of every type, called as its type is.
fn every_type() -> String {
    let features: Vec<_> = feature_core::ValueType::ALL
        .iter()
        .map(|own| format!("'{own}': '{own}'").replacen("list<", "list_of_", 1).replacen(">'", "'", 1))
        .collect();
    settings("").replace(
        "feature_services:",
        &format!(
            "  - {{ name: all, entities: [id], features: {{ {} }} }}\nfeature_services:",
            features.join(", ")
        ),
    )
}

fn lists(lengths: &[u32], elements: Many) -> pb::Values {
    let elements = Some(Box::new(values(elements)));
    values(Many::Lists(Box::new(pb::Lists { lengths: lengths.to_vec(), elements })))
}

/// Three values of each type, by the name of its feature.
fn columns_of_every_type() -> Vec<(&'static str, pb::Values)> {
    let strings = |texts: &[&str]| pb::Strings { values: texts.iter().map(ToString::to_string).collect() };
    let blobs = pb::Blobs { values: vec![vec![0, 255], Vec::new(), vec![1; 300]] };
    let micros = vec![-1, 0, 1_780_000_000_123_456];
    let map = value(One::Map(pb::Map {
        members: [
            ("a".to_owned(), value(One::Double(0.5))),
            ("b".to_owned(), value(One::List(values(Many::Strings(strings(&["x", ""])))))),
            ("c".to_owned(), value(One::Map(pb::Map::default()))),
            ("d".to_owned(), pb::Value::default()),
        ]
        .into(),
    }));
    let empty = value(One::Map(pb::Map::default()));
    vec![
        ("bool", values(Many::Bools(pb::Bools { values: vec![true, false, true] }))),
        ("bytes", values(Many::Blobs(blobs.clone()))),
        ("float32", values(Many::Floats(pb::Floats { values: vec![0.1, -0.0, f32::INFINITY] }))),
        (
            "float64",
            values(Many::Doubles(pb::Doubles { values: vec![0.1, f64::MIN_POSITIVE, f64::NEG_INFINITY] })),
        ),
        ("int32", values(Many::Int32s(pb::Int32s { values: vec![i32::MIN, 0, i32::MAX] }))),
        ("int64", int64s([i64::MIN, 0, i64::MAX])),
        ("list_of_bool", lists(&[0, 1, 2], Many::Bools(pb::Bools { values: vec![true, false, true] }))),
        ("list_of_bytes", lists(&[3, 0, 0], Many::Blobs(blobs))),
        ("list_of_float32", lists(&[1, 1, 1], Many::Floats(pb::Floats { values: vec![0.5, 1.5, 2.5] }))),
        ("list_of_float64", lists(&[2, 0, 1], Many::Doubles(pb::Doubles { values: vec![0.5, 1.5, 2.5] }))),
        ("list_of_int32", lists(&[0, 0, 0], Many::Int32s(pb::Int32s { values: Vec::new() }))),
        ("list_of_int64", lists(&[1, 2, 0], Many::Int64s(pb::Int64s { values: vec![1, i64::MIN, 3] }))),
        ("list_of_string", lists(&[1, 0, 1], Many::Strings(strings(&["ä", ""])))),
        ("list_of_timestamp", lists(&[0, 3, 0], Many::Timestamps(pb::Timestamps { micros: micros.clone() }))),
        ("map", values(Many::Any(pb::AnyValues { values: vec![map, empty.clone(), empty] }))),
        ("string", values(Many::Strings(strings(&["", "DE", "\u{0}\u{1F600}"])))),
        ("timestamp", values(Many::Timestamps(pb::Timestamps { micros }))),
    ]
}

#[tokio::test]
async fn values_of_every_type_come_back_as_they_were_written() {
    let server = Running::with(&every_type(), map_store()).await;
    let client = Client::of(server.address);
    let columns = columns_of_every_type();
    assert_eq!(columns.len(), feature_core::ValueType::ALL.len());
    let rows = pb::WriteRows {
        entities: Some(entities("id", [1, 2, 3])),
        // The order of columns says nothing.
        columns: columns.iter().rev().map(|(name, values)| column(name, values.clone())).collect(),
        ..Default::default()
    };
    let written = client.write(write("all", rows)).await.unwrap();
    assert_eq!((written.applied, written.failed), (3, 0));
    assert_eq!((written.outcomes.len(), written.errors.len()), (0, 0));

    let found = client.read(read("all", entities("id", [1, 2, 3]))).await.unwrap();
    assert_eq!(found.rows, 3);
    assert_eq!(found.columns.len(), columns.len());
    for ((name, values), column) in columns.iter().zip(&found.columns) {
        assert_eq!((column.name.as_str(), column.view.as_str()), (*name, "all"));
        assert_eq!(column.values.as_ref(), Some(values), "{name}");
        assert_ne!(column.r#type, 0, "{name}");
        assert_eq!(column.statuses.len(), 0, "{name}: statuses where all are present");
        assert_eq!(column.event_time_micros.len(), 0, "{name}: times that nobody asked for");
    }

    // Row by row, they are the same.
    let scanned =
        client.scan(pb::ScanRequest { tenant: "acme".into(), view: "all".into(), limit: None }).await;
    let rows: Vec<_> = scanned
        .unwrap()
        .into_iter()
        .map(|own| pb::Row {
            entity: [(
                "id".to_owned(),
                pb::EntityValue {
                    kind: Some(pb::entity_value::Kind::Int(100 + own.entity["id"].parse::<i64>().unwrap())),
                },
            )]
            .into(),
            features: own.features,
            ..Default::default()
        })
        .collect();
    client.write(write("all", pb::WriteRows { rows, ..Default::default() })).await.unwrap();
    let ids = pb::join_key::Values::Ints(pb::Int64s { values: vec![101, 102, 103] });
    let again = client.read(read("all", join_key("id", ids))).await.unwrap();
    assert_eq!(again, found);
    server.stop().await;
}

#[tokio::test]
async fn a_read_says_of_each_cell_what_it_is() {
    let (server, client) = start().await;
    let old = at("2026-03-01T00:00:00Z").as_micros();
    let new = at("2026-05-20T00:00:00.000001Z").as_micros();
    let mut rows = pb::WriteRows {
        entities: Some(entities("customer_id", [1, 2, 3])),
        columns: vec![
            column("orders", int64s([1, 2, 3])),
            column("country", values(Many::Strings(pb::Strings { values: vec!["DE".into(); 3] }))),
        ],
        event_times_micros: vec![new, new, old],
        ..Default::default()
    };
    rows.columns[0].cells =
        vec![pb::CellKind::Value as i32, pb::CellKind::Null as i32, pb::CellKind::Value as i32];
    rows.columns[1].cells = vec![pb::CellKind::Absent as i32, 0, 0];
    assert_eq!(client.write(write("customers", rows)).await.unwrap().applied, 3);
    client.write(write("devices", devices(1..3))).await.unwrap();

    let mut request = pb::ReadRequest {
        tenant: "acme".into(),
        service: "fraud".into(),
        entities: Some(pb::Entities {
            join_keys: ["customer_id", "device_id"]
                .iter()
                .flat_map(|name| entities(name, [1, 2, 3, 4]).join_keys)
                .collect(),
        }),
        event_times: true,
        full_feature_names: true,
        ..Default::default()
    };
    let found = client.read(request.clone()).await.unwrap();
    let names: Vec<_> = found.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["customers__orders", "customers__country", "devices__country", "devices__logins"]);
    use pb::CellStatus::{NotFound, Null, OutsideMaxAge, Present};
    let statuses = |at: usize| -> Vec<_> { found.columns[at].statuses().collect() };
    assert_eq!(statuses(0), [Present, Null, OutsideMaxAge, NotFound]);
    assert_eq!(statuses(1), [NotFound, Present, OutsideMaxAge, NotFound]);
    assert_eq!(found.columns[0].values, Some(int64s([1, 0, 0, 0])));
    assert_eq!(found.columns[0].event_time_micros[..2], [new, new]);
    assert_eq!(found.columns[3].event_time_micros[0], at(NOW).as_micros());
    assert_eq!(found.columns[3].r#type(), pb::ValueType::Int64);

    request.max_age_micros = Some(1_000_000);
    let fresh = client.read(request.clone()).await.unwrap();
    assert_eq!(fresh.columns[0].statuses().next(), Some(OutsideMaxAge));
    request.service = String::new();
    request.features = vec!["devices:logins".into()];
    request.full_feature_names = false;
    let one = client.read(request).await.unwrap();
    assert_eq!(one.columns.len(), 1);
    assert_eq!(one.columns[0].name, "logins");
    server.stop().await;
}

#[tokio::test]
async fn bad_rows_keep_no_others_from_being_written() {
    let (server, client) = start().await;
    let good = row(&[("device_id", "a")], &[("logins", One::Int64(1))]);
    let mut late = row(&[("device_id", "a")], &[("logins", One::Int64(2))]);
    late.event_time_micros = Some(0);
    let mut rows = vec![
        good.clone(),
        row(&[("device_id", "b")], &[("logins", One::String("many".into()))]),
        row(&[], &[("logins", One::Int64(1))]),
        late,
        row(&[("device_id", "c")], &[("log", One::Int64(1))]),
    ];
    let written =
        client.write(write("devices", pb::WriteRows { rows: rows.clone(), ..Default::default() })).await;
    let written = written.unwrap();
    assert_eq!((written.applied, written.superseded, written.failed), (1, 1, 3));
    use pb::WriteOutcome::{Applied, Failed, Superseded};
    assert_eq!(written.outcomes().collect::<Vec<_>>(), [Applied, Failed, Failed, Superseded, Failed]);
    let failed: Vec<_> = written.errors.iter().map(|error| (error.row, error.kind.as_str())).collect();
    assert_eq!(failed, [(1, "InvalidArgument"), (2, "InvalidArgument"), (4, "InvalidArgument")]);

    // A call of which every row failed has failed.
    rows.retain(|own| own.entity != good.entity);
    let status =
        client.write(write("devices", pb::WriteRows { rows, ..Default::default() })).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(info(&status).reason, "InvalidArgument");
    let details = status.get_error_details();
    let fields = details.bad_request().unwrap().field_violations.iter().map(|own| own.field.as_str());
    assert_eq!(fields.collect::<Vec<_>>(), ["rows[0]", "rows[1]", "rows[2]"]);
    server.stop().await;
}

#[tokio::test]
async fn an_older_write_is_superseded_and_a_ttl_and_a_mode_hold() {
    let (server, client) = start().await;
    let common = |event_time: &str, mode, ttl| pb::WriteRows {
        event_time_micros: Some(at(event_time).as_micros()),
        ttl_micros: ttl,
        mode,
        ..devices(7..8)
    };
    let replace = pb::WriteMode::Replace as i32;
    let written =
        client.write(write("devices", common("2026-05-02", replace, Some(5_000_000)))).await.unwrap();
    assert_eq!(written.applied, 1);
    let written = client.write(write("devices", common("2026-05-01", 0, None))).await.unwrap();
    assert_eq!((written.superseded, written.outcomes().next()), (1, Some(pb::WriteOutcome::Superseded)));
    let rows =
        client.scan(pb::ScanRequest { tenant: "acme".into(), view: "devices".into(), limit: Some(9) }).await;
    let rows = rows.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].event_time_micros, at("2026-05-02").as_micros());
    assert_eq!(rows[0].expires_at_micros, Some(at(NOW).as_micros() + 5_000_000));
    let status = client.write(write("devices", common("2026-05-02", 9, None))).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    server.stop().await;
}

#[tokio::test]
async fn records_are_deleted_and_purged_and_scanned() {
    let (server, client) = start().await;
    client.write(write("devices", devices(0..200))).await.unwrap();
    let scan = |limit| pb::ScanRequest { tenant: "acme".into(), view: "devices".into(), limit };
    let mut rows = client.scan(scan(None)).await.unwrap();
    rows.sort_by_key(|row| row.entity["device_id"].parse::<i64>().unwrap());
    let logins: Vec<_> = rows.iter().map(|row| row.features["logins"].kind.clone().unwrap()).collect();
    assert_eq!(logins, (0..200).map(One::Int64).collect::<Vec<_>>());
    assert_eq!(client.scan(scan(Some(7))).await.unwrap().len(), 7);

    let delete = |view: &str, ids: std::ops::Range<i64>| pb::DeleteRequest {
        tenant: "acme".into(),
        view: view.into(),
        entities: Some(entities("device_id", ids)),
    };
    let path = "/fstore.v1.FeatureStore/Delete";
    let deleted: pb::DeleteResponse = client.call(path, delete("devices", 195..205)).await.unwrap();
    assert_eq!((deleted.views[0].rows, deleted.views[0].deleted), (10, 5));
    // In every view that has the join key.
    let deleted: pb::DeleteResponse = client.call(path, delete("", 190..195)).await.unwrap();
    let views: Vec<_> = deleted.views.iter().map(|own| (own.view.as_str(), own.deleted)).collect();
    assert_eq!(views, [("devices", 5)]);

    let purge = |view: &str, whole_tenant| pb::PurgeRequest {
        tenant: "acme".into(),
        view: view.into(),
        whole_tenant,
    };
    let path = "/fstore.v1.FeatureStore/Purge";
    for wrong in [purge("", false), purge("devices", true)] {
        let status = client.call::<_, pb::PurgeResponse>(path, wrong).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    let purged: pb::PurgeResponse = client.call(path, purge("devices", false)).await.unwrap();
    assert_eq!(purged.removed, 190);
    client.write(write("devices", devices(0..3))).await.unwrap();
    let purged: pb::PurgeResponse = client.call(path, purge("", true)).await.unwrap();
    assert_eq!(purged.removed, 3);
    server.stop().await;
}

#[tokio::test]
async fn what_is_declared_is_described() {
    let (server, client) = start().await;
    let path = "/fstore.v1.FeatureStore/Describe";
    let described: pb::DescribeResponse = client.call(path, pb::DescribeRequest {}).await.unwrap();
    let view = described.views.iter().find(|view| view.name == "customers").unwrap();
    assert_eq!(view.join_keys, ["customer_id"]);
    assert_eq!(view.max_age_micros, Some(30 * 86_400_000_000));
    let tags = view.features.iter().find(|feature| feature.name == "tags").unwrap();
    assert_eq!(tags.r#type(), pb::ValueType::StringList);
    assert_eq!(described.services[0].features, ["customers:orders", "customers:country", "devices:*"]);
    server.stop().await;
}

#[tokio::test]
async fn every_answer_has_the_id_of_its_request() {
    let (server, client) = start().await;
    let client = client.with("x-request-id", "r-1");
    let answer = client
        .response::<_, pb::DescribeResponse>("/fstore.v1.FeatureStore/Describe", pb::DescribeRequest {});
    assert_eq!(answer.await.unwrap().metadata().get("x-request-id").unwrap(), "r-1");
    let status = client.read(read("none", entities("device_id", [1]))).await.unwrap_err();
    assert_eq!(status.metadata().get("x-request-id").unwrap(), "r-1");
    assert_eq!(info(&status).metadata["request_id"], "r-1");
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_request_is_told_what_is_wrong() {
    let (server, client) = start().await;
    let ragged = pb::Entities {
        join_keys: [entities("customer_id", [1, 2]).join_keys, entities("device_id", [1]).join_keys].concat(),
    };
    let mut short = devices(1..3);
    short.columns[0].values = Some(int64s([1]));
    let mut twice = devices(1..3);
    twice.columns.push(twice.columns[0].clone());
    let mut kinds = devices(1..3);
    kinds.columns[0].cells = vec![0];
    let mut unknown_kind = devices(1..2);
    unknown_kind.columns[0].cells = vec![17];
    let mut times = devices(1..3);
    times.event_times_micros = vec![1];
    let mut lengths = devices(1..3);
    let elements = Many::Int64s(pb::Int64s { values: vec![1, 2, 3] });
    lengths.columns[0].values = Some(lists(&[u32::MAX, u32::MAX], elements));
    let mut nested = devices(1..2);
    let inner = *lists_kind(&[1], Many::Int64s(pb::Int64s { values: vec![1] }));
    nested.columns[0].values = Some(lists(&[1], Many::Lists(Box::new(inner))));
    let both = pb::WriteRows { rows: vec![pb::Row::default()], ..devices(1..3) };
    let nothing = pb::WriteRows { entities: Some(pb::Entities::default()), ..devices(1..2) };
    for (rows, part) in [
        (short, "`logins` has 1 values and there are 2"),
        (twice, "`logins` has two columns"),
        (kinds, "`cells` of the feature `logins` has 1"),
        (unknown_kind, "has 17"),
        (times, "`event_times_micros` has 1"),
        (lengths, "8589934590 elements by their lengths, and 3"),
        (nested, "the elements of its lists"),
        (both, "either `rows`"),
        (nothing, "names no join key"),
    ] {
        let status = client.write(write("devices", rows)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains(part), "{}: {part}", status.message());
        assert_eq!(info(&status).metadata["in_doubt"], "false");
    }
    let of = |request: pb::ReadRequest| pb::ReadRequest { tenant: "acme".into(), ..request };
    let ids = Some(entities("device_id", [1]));
    for (request, code, part) in [
        (read("devices", ragged), Code::InvalidArgument, "`device_id` has 1 values"),
        (read("nothing", entities("device_id", [1])), Code::NotFound, "`nothing` is not declared"),
        (
            of(pb::ReadRequest { service: "s".into(), entities: ids.clone(), ..Default::default() }),
            Code::NotFound,
            "`s`",
        ),
        (
            of(pb::ReadRequest { entities: ids.clone(), ..Default::default() }),
            Code::InvalidArgument,
            "expected one of",
        ),
        (
            of(pb::ReadRequest { service: "fraud".into(), ..Default::default() }),
            Code::InvalidArgument,
            "is missing",
        ),
        (
            of(pb::ReadRequest { features: vec!["devices".into()], entities: ids, ..Default::default() }),
            Code::InvalidArgument,
            "devices",
        ),
    ] {
        let status = client.read(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(part), "{}: {part}", status.message());
    }
    server.stop().await;
}

fn lists_kind(lengths: &[u32], elements: Many) -> Box<pb::Lists> {
    Box::new(pb::Lists { lengths: lengths.to_vec(), elements: Some(Box::new(values(elements))) })
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_the_connection_stays() {
    let (server, client) = start().await;
    for bytes in [
        vec![0xff; 64],
        // A text that is longer than what is there.
        vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x07, b'x'],
        // A text that is no UTF-8.
        vec![0x0a, 0x01, 0xff],
        // A group that does not end, and field number zero.
        vec![0x0b],
        vec![0x00],
        // Maps in maps, deeper than anybody needs.
        (0..200).fold(Vec::new(), |inner: Vec<u8>, _| {
            use prost::encoding::encode_varint;
            let mut outer = vec![0x1a];
            encode_varint(inner.len() as u64, &mut outer);
            outer.extend(inner);
            outer
        }),
    ] {
        for method in [READ, WRITE, "/fstore.v1.FeatureStore/Delete", "/fstore.v1.FeatureStore/Purge"] {
            let answer = client.call::<_, Raw>(method, Raw(bytes.clone())).await;
            let code = answer.map_or_else(|status| status.code(), |_| Code::Ok);
            assert!(
                matches!(code, Code::InvalidArgument | Code::NotFound | Code::PermissionDenied),
                "{method}: {code}"
            );
        }
    }
    client.write(write("devices", devices(0..1))).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn limits_hold_and_are_named() {
    let server = Running::start("  limits: { body: 1MiB, rows: 100, cells: 150, memory: 16MiB }").await;
    let client = Client::of(server.address);
    let many = pb::WriteRows {
        rows: vec![row(&[("device_id", "a")], &[("logins", One::Int64(1))]); 101],
        ..Default::default()
    };
    let mut wide = devices(0..100);
    wide.columns
        .push(column("country", values(Many::Strings(pb::Strings { values: vec![String::new(); 100] }))));
    let mut long = devices(0..1);
    long.columns[0].values = Some(lists(&[151], Many::Int64s(pb::Int64s { values: vec![0; 151] })));
    for (request, limit) in [
        (write("devices", devices(0..101)), "limits.rows"),
        (write("devices", many), "limits.rows"),
        (write("devices", wide), "limits.cells"),
        (write("devices", long), "limits.cells"),
    ] {
        let status = client.write(request).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert!(status.message().contains(limit), "{}", status.message());
        assert_eq!(info(&status).reason, "LimitExceeded");
    }
    let status = client.read(read("devices", entities("device_id", 0..101))).await.unwrap_err();
    assert!(status.message().contains("limits.rows"), "{}", status.message());
    // Two bytes on the wire, and a hundred in memory: refused before they are.
    let rows = pb::WriteRows { rows: vec![pb::Row::default(); 400_000], ..Default::default() };
    let status = client.write(write("devices", rows)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("limits.memory"), "{}", status.message());
    let status = client.call::<_, Raw>(WRITE, Raw(vec![0; (1 << 20) + 1])).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("limits.body"), "{}", status.message());
    client.write(write("devices", devices(0..100))).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn the_clients_deadline_holds() {
    let server = Running::with(&settings(""), slow(Duration::from_secs(2))).await;
    let message = framed(&read("devices", entities("device_id", [1])));
    // Over plain HTTP/2: a client of gRPC gives up by itself.
    for (timeout, code) in [("20m", Code::DeadlineExceeded), ("20", Code::InvalidArgument)] {
        let answer = h2(server.address, READ, &[("grpc-timeout", timeout)], message.clone()).await;
        assert_eq!(answer.unwrap().code(), code, "{timeout}");
    }
    server.stop().await;
}

#[tokio::test]
async fn frames_that_are_wrong_are_refused() {
    let (server, _) = start().await;
    let good = framed(&read("devices", entities("device_id", [1])));
    let cut = good[..good.len() - 1].to_vec();
    let twice = [good.clone(), good.clone()].concat();
    for (body, code) in [
        (Vec::new(), Code::InvalidArgument),
        (vec![0, 0], Code::InvalidArgument),
        (cut, Code::InvalidArgument),
        (vec![7, 0, 0, 0, 0], Code::InvalidArgument),
        // A flag that says compressed.
        (vec![1, 0, 0, 0, 1, 0], Code::InvalidArgument),
        // Four gigabytes are announced.
        (vec![0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3], Code::ResourceExhausted),
    ] {
        let answer = h2(server.address, READ, &[], body.clone()).await.unwrap();
        assert_eq!(answer.code(), code, "{body:?}: {answer:?}");
    }
    let answer = h2(server.address, READ, &[], twice).await;
    assert!(answer.is_ok(), "what follows the message is not looked at");
    server.stop().await;
}

fn slow(delay: Duration) -> Arc<dyn OnlineStoreBackend> {
    Arc::new(FaultyBackend::new(map_store(), move |_| Fault::Delay(delay)))
}

#[tokio::test]
async fn a_deadline_is_kept_and_told() {
    let server =
        Running::with(&settings("  timeouts: { request: 50ms }"), slow(Duration::from_secs(2))).await;
    let client = Client::of(server.address);
    let request = || read("devices", entities("device_id", [1]));
    let status = client.clone().with("grpc-timeout", "1H").read(request()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(info(&status).reason, "DeadlineExceeded");
    let status = client.write(write("devices", devices(0..1))).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(info(&status).metadata["in_doubt"], "true");
    assert_eq!(info(&status).metadata["retryable"], "true");
    server.stop().await;
}

#[tokio::test]
async fn no_more_calls_are_worked_on_than_may_be() {
    let server =
        Running::with(&settings("  limits: { in_flight: 1 }"), slow(Duration::from_millis(300))).await;
    let client = Client::of(server.address);
    let calls = (0..5).map(|_| client.write(write("devices", devices(0..1))));
    let answers = futures::future::join_all(calls).await;
    let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 4);
    for status in refused {
        assert_eq!(status.code(), Code::ResourceExhausted);
        let delay = status.get_error_details().retry_info().unwrap().retry_delay;
        assert_eq!(delay, Some(Duration::from_secs(1)));
        assert!(status.message().contains("limits.in_flight"));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_given_up_leave_nothing() {
    let backend = slow(Duration::from_millis(200));
    let server = Running::with(&settings("  limits: { in_flight: 8, memory: 1MiB }"), backend).await;
    let client = Client::of(server.address);
    let call = || client.read(read("devices", entities("device_id", 0..100)));
    let mut given_up = 0;
    for _ in 0..100 {
        // Each is reset on the same connection, unless it is refused while those before are.
        let calls = futures::future::join_all((0..4).map(|_| call()));
        given_up += usize::from(tokio::time::timeout(Duration::from_millis(10), calls).await.is_err());
    }
    assert!(given_up > 0);
    let mut tries = 0;
    while let Err(status) = call().await {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        tries += 1;
        assert!(tries < 100, "what was given up is still worked on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_grpc_is_told_what_to_use() {
    let (server, client) = start().await;
    let reply = server.client().post(READ, "{}").await;
    assert!(reply.problem(415, "UnsupportedMediaType").contains("gRPC"));
    let reply =
        server.client().with("content-type", "application/grpc").send(hyper::Method::POST, READ, "").await;
    assert_eq!(reply.status, 415);
    let status = client.call::<_, Raw>("/fstore.v1.FeatureStore/Nothing", Raw::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let status =
        client.clone().with("grpc-encoding", "gzip").call::<_, Raw>(READ, Raw(vec![1])).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "what is compressed is refused");
    server.stop().await;
}

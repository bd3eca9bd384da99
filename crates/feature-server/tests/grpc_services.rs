//! What every server of gRPC has, and Feast's service.
#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

mod common;

use common::grpc::{Client, column, entities, info, int64s, pb, proto, values};
use common::{NOW, Running, at};
use futures::stream;
use proto::feast::serving::{self, get_online_features_request::Kind};
use proto::feast::types::{self, value::Val};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

const GET: &str = "/feast.serving.ServingService/GetOnlineFeatures";

#[tokio::test]
async fn health_says_how_the_server_is() {
    let server = Running::start("").await;
    let client = Client::of(server.address);
    let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["", "fstore.v1.FeatureStore", "feast.serving.ServingService"] {
        let answer: HealthCheckResponse =
            client.call("/grpc.health.v1.Health/Check", ask(service)).await.unwrap();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let unknown = client.call::<_, HealthCheckResponse>("/grpc.health.v1.Health/Check", ask("x")).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    // Whoever watches is told that the server stops, and keeps it from nothing.
    let watch = client.stream("/grpc.health.v1.Health/Watch", stream::iter([ask("")])).await;
    let mut watch: tonic::Streaming<HealthCheckResponse> = watch.unwrap();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let stopping = tokio::spawn(server.stop());
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    stopping.await.unwrap();
}

#[tokio::test]
async fn reflection_describes_every_service() {
    let server = Running::start("").await;
    let client = Client::of(server.address);
    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    for version in ["v1", "v1alpha"] {
        let path = match version {
            "v1" => "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            _ => "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        };
        let questions = [
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol("fstore.v1.FeatureStore.WriteStream".into())),
            ask(MessageRequest::FileByFilename("google/protobuf/timestamp.proto".into())),
        ];
        let answers = client.stream(path, stream::iter(questions)).await;
        let mut answers: tonic::Streaming<ServerReflectionResponse> = answers.unwrap();
        let list = answers.message().await.unwrap().unwrap().message_response;
        let Some(MessageResponse::ListServicesResponse(list)) = list else { panic!("{list:?}") };
        let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
        for name in ["fstore.v1.FeatureStore", "feast.serving.ServingService", "grpc.health.v1.Health"] {
            assert!(names.contains(&name), "{names:?}");
        }
        for _ in 0..2 {
            let file = answers.message().await.unwrap().unwrap().message_response;
            assert!(matches!(file, Some(MessageResponse::FileDescriptorResponse(_))), "{file:?}");
        }
    }
    server.stop().await;
}

fn texts(values: &[&str]) -> types::RepeatedValue {
    let value = |text: &&str| types::Value { val: Some(Val::StringVal((*text).to_owned())) };
    types::RepeatedValue { val: values.iter().map(value).collect() }
}

fn ints(values: &[i64]) -> types::RepeatedValue {
    let value = |number: &i64| types::Value { val: Some(Val::Int64Val(*number)) };
    types::RepeatedValue { val: values.iter().map(value).collect() }
}

fn features(names: &[&str]) -> Option<Kind> {
    Some(Kind::Features(serving::FeatureList { val: names.iter().map(ToString::to_string).collect() }))
}

async fn with_devices(server: &Running) -> Client {
    let client = Client::of(server.address);
    let strings = values(pb::values::Kind::Strings(pb::Strings { values: vec!["DE".into(), String::new()] }));
    let mut country = column("country", strings);
    country.cells = vec![pb::CellKind::Value as i32, pb::CellKind::Null as i32];
    let rows = pb::WriteRows {
        entities: Some(entities("device_id", [1, 2])),
        columns: vec![column("logins", int64s([5, 6])), country],
        ..Default::default()
    };
    let (tenant, view) = ("acme".to_owned(), "devices".to_owned());
    client.write(pb::WriteRequest { tenant, view, rows: Some(rows) }).await.unwrap();
    client
}

#[tokio::test]
async fn feasts_service_answers_as_its_http_protocol_does() {
    let server = Running::start("  feast: { tenant: acme, join_keys: { device_id: int64 } }").await;
    let client = with_devices(&server).await;
    let info: serving::GetFeastServingInfoResponse = client
        .call("/feast.serving.ServingService/GetFeastServingInfo", serving::GetFeastServingInfoRequest {})
        .await
        .unwrap();
    assert!(!info.version.is_empty());

    let request = serving::GetOnlineFeaturesRequest {
        kind: features(&["devices:country", "devices:logins", "customers:orders"]),
        // A text for a join key that is a number, as in HTTP.
        entities: [("device_id".to_owned(), texts(&["1", "2", "3"]))].into(),
        full_feature_names: true,
        include_feature_view_version_metadata: true,
        ..Default::default()
    };
    let answer: serving::GetOnlineFeaturesResponse = client.call(GET, request).await.unwrap();
    let metadata = answer.metadata.unwrap();
    let names = metadata.feature_names.unwrap().val;
    assert_eq!(names, ["device_id", "devices__country", "devices__logins", "customers__orders"]);
    let views: Vec<_> = metadata.feature_view_metadata.iter().map(|view| view.name.as_str()).collect();
    assert_eq!(views, ["devices", "customers"]);
    let [ids, country, logins, orders] = &answer.results[..] else { panic!("{:?}", answer.results) };
    assert_eq!(ids.values, ints(&[1, 2, 3]).val);
    use serving::FieldStatus::{NotFound, NullValue, Present};
    let statuses =
        |vector: &serving::get_online_features_response::FeatureVector| vector.statuses().collect::<Vec<_>>();
    assert_eq!(statuses(ids), [Present; 3]);
    assert_eq!(statuses(country), [Present, NullValue, NotFound]);
    assert_eq!(statuses(orders), [NotFound; 3], "its join key is not there");
    assert_eq!(country.values[1], types::Value::default());
    assert_eq!(logins.values[..2], ints(&[5, 6]).val);
    let time = &logins.event_timestamps[0];
    assert_eq!((time.seconds * 1_000_000, time.nanos), (at(NOW).as_micros(), 0));
    assert_eq!(logins.event_timestamps[2], prost_types::Timestamp::default());

    let service = serving::GetOnlineFeaturesRequest {
        kind: Some(Kind::FeatureService("fraud".into())),
        entities: [("device_id".to_owned(), ints(&[1])), ("customer_id".to_owned(), texts(&["c"]))].into(),
        ..Default::default()
    };
    let status =
        client.call::<_, serving::GetOnlineFeaturesResponse>(GET, service.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(common::grpc::info(&status).reason, "FeatureNameCollisionError");
    let service = serving::GetOnlineFeaturesRequest { full_feature_names: true, ..service };
    let answer: serving::GetOnlineFeaturesResponse = client.call(GET, service).await.unwrap();
    assert_eq!(answer.results.len(), 6);
    server.stop().await;
}

#[tokio::test]
async fn what_feasts_service_cannot_answer_it_says_why() {
    let server = Running::start("  feast: { tenant: acme }").await;
    let client = with_devices(&server).await;
    let ask = |kind, entities: &[(&str, types::RepeatedValue)]| serving::GetOnlineFeaturesRequest {
        kind,
        entities: entities.iter().map(|(name, own)| ((*name).to_owned(), own.clone())).collect(),
        ..Default::default()
    };
    let ids = ("device_id", ints(&[1]));
    let logins = features(&["devices:logins"]);
    let boolean = types::RepeatedValue { val: vec![types::Value { val: Some(Val::BoolVal(true)) }] };
    for (request, code, reason) in [
        (
            ask(features(&["none:x"]), std::slice::from_ref(&ids)),
            Code::NotFound,
            "FeatureViewNotFoundException",
        ),
        (
            ask(Some(Kind::FeatureService("none".into())), std::slice::from_ref(&ids)),
            Code::NotFound,
            "FeatureServiceNotFoundException",
        ),
        (
            ask(features(&["devices:none"]), std::slice::from_ref(&ids)),
            Code::InvalidArgument,
            "InvalidArgument",
        ),
        (ask(None, std::slice::from_ref(&ids)), Code::InvalidArgument, "InvalidArgument"),
        (ask(logins.clone(), &[]), Code::InvalidArgument, "InvalidArgument"),
        (ask(logins.clone(), &[ids, ("other", ints(&[1, 2]))]), Code::InvalidArgument, "InvalidArgument"),
        (ask(logins, &[("device_id", boolean)]), Code::InvalidArgument, "InvalidArgument"),
    ] {
        let status = client.call::<_, serving::GetOnlineFeaturesResponse>(GET, request).await.unwrap_err();
        assert_eq!((status.code(), info(&status).reason.as_str()), (code, reason), "{status:?}");
    }
    server.stop().await;
}

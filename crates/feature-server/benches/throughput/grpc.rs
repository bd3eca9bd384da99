//! gRPC: a server that only answers bytes, and the clients that load servers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use futures::{StreamExt, stream};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use prost::Message;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::{CONNECTIONS, ENTITIES, FEATURES, VIEW, feature};

#[path = "../../src/grpc/proto/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "the server's own")]
mod proto;

use proto::fstore as pb;

const READ: &str = "/fstore.v1.FeatureStore/Read";
const WRITE_STREAM: &str = "/fstore.v1.FeatureStore/WriteStream";
/// Rows of a message of a stream of writes.
pub(super) const WRITE_ROWS: usize = 100;
/// How many messages of a stream may be without an acknowledgement.
const WINDOW: u64 = 8;
const CHANNELS: usize = 4;

/// Messages are bytes, so that a client costs as little as it can.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Answers these bytes.
struct Answer(Bytes);

impl tonic::server::UnaryService<Bytes> for Answer {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;
    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(Response::new(self.0.clone())))
    }
}

/// A method that takes the message in and answers so many bytes.
pub(super) async fn bare(size: usize) {
    let answer = Bytes::from(vec![b'x'; size]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let answer = answer.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let answer = Answer(answer.clone());
            async move { Ok::<_, Infallible>(tonic::server::Grpc::new(Raw).unary(answer, request).await) }
        });
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().tcp_nodelay(true).connect_lazy()
}

fn read_request(rows: usize) -> Bytes {
    let ids = (0..rows).map(|row| (row * 37 % ENTITIES) as i64).collect();
    let join_key = pb::JoinKey {
        name: "customer_id".to_owned(),
        values: Some(pb::join_key::Values::Ints(pb::Int64s { values: ids })),
    };
    let request = pb::ReadRequest {
        tenant: "bench".to_owned(),
        service: "all".to_owned(),
        entities: Some(pb::Entities { join_keys: vec![join_key] }),
        ..Default::default()
    };
    request.encode_to_vec().into()
}

async fn unary(channel: &Channel, message: Bytes) -> Bytes {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    client.unary(Request::new(message), READ.parse().unwrap(), Raw).await.unwrap().into_inner()
}

/// How long the server's answer is.
pub(super) async fn length_of_answer(address: SocketAddr, rows: usize) -> usize {
    unary(&channel(address), read_request(rows)).await.len()
}

/// Reads per second.
pub(super) async fn reads(address: SocketAddr, rows: usize, time: Duration) -> f64 {
    let message = read_request(rows);
    let done = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let channels: Vec<Channel> = (0..CHANNELS).map(|_| channel(address)).collect();
    let load = (0..CONNECTIONS).map(|caller| {
        let (channel, message, done) = (channels[caller % CHANNELS].clone(), message.clone(), done.clone());
        tokio::spawn(async move {
            while begun.elapsed() < time {
                unary(&channel, message.clone()).await;
                done.fetch_add(1, Relaxed);
            }
        })
    });
    for caller in load.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    done.load(Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

/// Rows per second that a stream of writes has acknowledged.
pub(super) async fn write_stream(address: SocketAddr, time: Duration) -> f64 {
    let messages: Vec<Bytes> = (0..ENTITIES / WRITE_ROWS).map(write_request).collect();
    let (sent, acknowledged) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let room = Arc::new(tokio::sync::Notify::new());
    let begun = Instant::now();
    let (own, seen, wake) = (sent.clone(), acknowledged.clone(), room.clone());
    let requests = stream::unfold(0, move |number| {
        let message = messages[number % messages.len()].clone();
        let (sent, acknowledged, room) = (own.clone(), seen.clone(), wake.clone());
        async move {
            let under_way = || sent.load(Relaxed) - acknowledged.load(Relaxed) / WRITE_ROWS as u64;
            while under_way() >= WINDOW {
                room.notified().await;
            }
            sent.fetch_add(1, Relaxed);
            (begun.elapsed() < time).then_some((message, number + 1))
        }
    });
    let mut client = tonic::client::Grpc::new(channel(address));
    client.ready().await.unwrap();
    let path = WRITE_STREAM.parse().unwrap();
    let answers = client.streaming(Request::new(requests), path, Raw).await.unwrap();
    let mut answers = answers.into_inner();
    while let Some(answer) = answers.next().await {
        let answer = pb::WriteStreamResponse::decode(answer.unwrap()).unwrap();
        assert_eq!(answer.failed, 0, "{:?}", answer.errors);
        acknowledged.store(answer.rows, Relaxed);
        room.notify_one();
    }
    acknowledged.load(Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

fn write_request(number: usize) -> Bytes {
    let ids = number * WRITE_ROWS..(number + 1) * WRITE_ROWS;
    let column = |n: usize| pb::WriteColumn {
        feature: feature(n),
        values: Some(pb::Values {
            kind: Some(pb::values::Kind::Doubles(pb::Doubles {
                values: ids.clone().map(|id| super::value(id, n)).collect(),
            })),
        }),
        cells: Vec::new(),
    };
    let join_key = pb::JoinKey {
        name: "customer_id".to_owned(),
        values: Some(pb::join_key::Values::Ints(pb::Int64s {
            values: ids.clone().map(|id| id as i64).collect(),
        })),
    };
    let rows = pb::WriteRows {
        entities: Some(pb::Entities { join_keys: vec![join_key] }),
        columns: (0..FEATURES).map(column).collect(),
        ..Default::default()
    };
    let request =
        pb::WriteStreamRequest { tenant: "bench".to_owned(), view: VIEW.to_owned(), rows: Some(rows) };
    request.encode_to_vec().into()
}

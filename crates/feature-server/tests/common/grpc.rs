//! A client of gRPC, and the messages.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "tests share this, and each uses a part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures::Stream;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tonic_types::{ErrorInfo, StatusExt};

#[path = "../../src/grpc/proto/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "the server's own")]
pub(crate) mod proto;

pub(crate) use proto::fstore as pb;

/// Bytes as a message, whatever is in them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl Message for Raw {
    fn encode_raw(&self, buffer: &mut impl bytes::BufMut) {
        buffer.put_slice(&self.0);
    }
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: prost::encoding::WireType,
        buffer: &mut impl bytes::Buf,
        context: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        prost::encoding::skip_field(wire_type, tag, buffer, context)
    }
    fn encoded_len(&self) -> usize {
        self.0.len()
    }
    fn clear(&mut self) {
        self.0.clear();
    }
}

/// Asks a server over one connection.
#[derive(Clone)]
pub(crate) struct Client {
    channel: Channel,
    metadata: MetadataMap,
}

impl Client {
    pub(crate) fn of(address: SocketAddr) -> Self {
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { channel, metadata: MetadataMap::new() }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.metadata.insert(MetadataKey::<Ascii>::from_static(name), value.parse().unwrap());
        self
    }

    #[must_use]
    pub(crate) fn key(self, key: &str) -> Self {
        self.with("authorization", &format!("Bearer {key}"))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        request
    }

    async fn ready(&self) -> Grpc<Channel> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        grpc.ready().await.unwrap();
        grpc
    }

    pub(crate) async fn response<Q, R>(&self, method: &'static str, message: Q) -> Result<Response<R>, Status>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        let codec = ProstCodec::<Q, R>::default();
        self.ready().await.unary(self.request(message), method.parse().unwrap(), codec).await
    }

    /// A method, by its path.
    pub(crate) async fn call<Q, R>(&self, method: &'static str, message: Q) -> Result<R, Status>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        self.response(method, message).await.map(Response::into_inner)
    }

    pub(crate) async fn stream<Q, R>(
        &self,
        method: &'static str,
        messages: impl Stream<Item = Q> + Send + 'static,
    ) -> Result<Streaming<R>, Status>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        let codec = ProstCodec::<Q, R>::default();
        let request = self.request(messages);
        self.ready().await.streaming(request, method.parse().unwrap(), codec).await.map(Response::into_inner)
    }

    pub(crate) async fn read(&self, request: pb::ReadRequest) -> Result<pb::ReadResponse, Status> {
        self.call("/fstore.v1.FeatureStore/Read", request).await
    }

    pub(crate) async fn write(&self, request: pb::WriteRequest) -> Result<pb::WriteResponse, Status> {
        self.call("/fstore.v1.FeatureStore/Write", request).await
    }

    pub(crate) async fn scan(&self, request: pb::ScanRequest) -> Result<Vec<pb::ScannedRow>, Status> {
        let path = "/fstore.v1.FeatureStore/Scan".parse().unwrap();
        let codec = ProstCodec::<pb::ScanRequest, pb::ScanResponse>::default();
        let answer = self.ready().await.server_streaming(self.request(request), path, codec).await?;
        let mut answer = answer.into_inner();
        let mut rows = Vec::new();
        while let Some(message) = answer.message().await? {
            assert_eq!(message.errors, []);
            rows.extend(message.rows);
        }
        Ok(rows)
    }
}

/// A message as it goes over the wire.
pub(crate) fn framed(message: &impl Message) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend((message.encoded_len() as u32).to_be_bytes());
    frame.extend(message.encode_to_vec());
    frame
}

/// Asks over a connection of its own, whatever the body is: how the call ended.
pub(crate) async fn h2(
    address: SocketAddr,
    method: &str,
    headers: &[(&'static str, &str)],
    body: Vec<u8>,
) -> Result<Status, hyper::Error> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request =
        hyper::Request::post(format!("http://{address}{method}")).version(hyper::Version::HTTP_2);
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")].iter().chain(headers) {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Full::new(bytes::Bytes::from(body))).unwrap()).await?;
    assert_eq!(answer.status(), 200);
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return Ok(status);
    }
    let trailers = answer.into_body().collect().await?;
    Ok(Status::from_header_map(trailers.trailers().unwrap()).unwrap())
}

/// What a status says, beside its code.
#[track_caller]
pub(crate) fn info(status: &Status) -> ErrorInfo {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("{status:?} has no details"));
    assert_eq!(info.domain, "fstore");
    assert_eq!(info.metadata.keys().len(), 3);
    info.clone()
}

/// Entities of one join key, of text.
pub(crate) fn entities<T: ToString>(name: &str, ids: impl IntoIterator<Item = T>) -> pb::Entities {
    let values = ids.into_iter().map(|id| id.to_string()).collect();
    join_key(name, pb::join_key::Values::Strings(pb::Strings { values }))
}

pub(crate) fn join_key(name: &str, values: pb::join_key::Values) -> pb::Entities {
    pb::Entities { join_keys: vec![pb::JoinKey { name: name.to_owned(), values: Some(values) }] }
}

pub(crate) fn values(kind: pb::values::Kind) -> pb::Values {
    pb::Values { kind: Some(kind) }
}

pub(crate) fn int64s(values: impl IntoIterator<Item = i64>) -> pb::Values {
    self::values(pb::values::Kind::Int64s(pb::Int64s { values: values.into_iter().collect() }))
}

pub(crate) fn value(kind: pb::value::Kind) -> pb::Value {
    pb::Value { kind: Some(kind) }
}

pub(crate) fn column(feature: &str, values: pb::Values) -> pb::WriteColumn {
    pb::WriteColumn { feature: feature.to_owned(), values: Some(values), cells: Vec::new() }
}

/// A write of logins of devices, each with its number.
pub(crate) fn devices(ids: std::ops::Range<i64>) -> pb::WriteRows {
    pb::WriteRows {
        entities: Some(entities("device_id", ids.clone())),
        columns: vec![column("logins", int64s(ids))],
        ..Default::default()
    }
}

/// A row by itself.
pub(crate) fn row(entity: &[(&str, &str)], features: &[(&str, pb::value::Kind)]) -> pb::Row {
    let text = |text: &str| pb::EntityValue { kind: Some(pb::entity_value::Kind::String(text.to_owned())) };
    pb::Row {
        entity: entity.iter().map(|(name, own)| ((*name).to_owned(), text(own))).collect(),
        features: features
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), value(kind.clone())))
            .collect::<BTreeMap<_, _>>(),
        ..Default::default()
    }
}

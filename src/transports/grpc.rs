//! `grpc`: a unary gRPC call over a unix socket, by tonic.

use std::convert::Infallible;
use std::error::Error as _;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{Request, Response, Uri};
use tonic::codegen::{BoxFuture, Service, tokio_stream};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::{Channel, Server};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::families::async_side::{self, Exchange, broken, offer, rounds, take};
use super::prelude::*;

static INFO: Info = Info {
    name: "grpc",
    group: Group::Frameworks,
    summary: "a unary gRPC call over a unix socket, by tonic under tokio",
    choose: "Choose it for typed interfaces between languages, with streams, deadlines and cancelling, and where the \
             peer may move to another host. On one host, for one call at a time, it is the most expensive of all.",
    limits: "HTTP/2 under protobuf. tonic decodes at most 4 MiB by default; ipcd fits the limit to the size; HTTP/2's flow \
             control holds a message of more than 64 KiB (a megabyte at hyper's client) until the peer has made room. \
             Both sides run tokio's current-thread runtime, with several tasks.",
    round: "The client encodes the message, sends HEADERS and DATA frames on a new stream of the one connection, and \
            waits for HEADERS, DATA and trailers; the responder does the same the other way round. One or two writevs, a recvfrom and two epoll_waits on each side. Requests and \
            responses pass from task to task through channels on each side. The payload is copied at each encoding \
            and decoding.",
    delivery: Delivery::Message,
    waits: &[Wait::Block, Wait::Spin],
    copies: 4,
    ..Info::DEFAULT
};

/// What protobuf and gRPC add to a payload.
const OVERHEAD: usize = 64;

const METHOD: PathAndQuery = PathAndQuery::from_static("/ipcd.Echo/Echo");

/// A unary gRPC call.
pub(super) struct Grpc;

impl Mechanism for Grpc {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self) -> Result<(), Unavailable> {
        Ok(async_side::probe()?)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let (runtime, socket) = offer(settings, supervisor)?;
        let stream = runtime.stream(socket)?;
        let most = settings.size + OVERHEAD;
        let (gone, client_gone) = oneshot::channel();
        let connection = Connection { stream, _gone: gone };
        runtime.serve(async {
            let incoming = tokio_stream::once(Ok::<_, io::Error>(connection));
            // One call at a time: several would each need the memory that the channel has for one.
            let server = Server::builder().max_concurrent_streams(1);
            let served = server.serve_with_incoming(Echo { most }, incoming).await;
            served.map_err(io::Error::other).while_doing("serving gRPC")?;
            // The server accepts no other connection, and serves this one.
            let _ = client_gone.await;
            Ok(())
        })
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let (mut runtime, socket) = take(settings, endpoint, watch)?;
        let stream = runtime.stream(socket)?;
        let connect = async {
            let endpoint = Channel::from_static("http://localhost");
            let channel = endpoint.connect_with_connector(Once(Some(stream))).await;
            channel.map_err(broken)
        };
        let channel = runtime.wait_for(connect, watch, 0)?;
        let stub = tonic::client::Grpc::new(channel).max_decoding_message_size(settings.size + OVERHEAD);
        Ok(rounds(stub, runtime, settings))
    }
}

/// The message, as tonic's code generator would write it for `message Bytes { bytes value = 1; }`.
#[derive(Clone, PartialEq, prost::Message)]
struct Bytes {
    #[prost(bytes = "vec", tag = "1")]
    value: Vec<u8>,
}

/// The service, as tonic's code generator would write it for `service Echo { rpc Echo(Bytes) returns (Bytes); }`.
#[derive(Debug, Clone)]
struct Echo {
    /// The longest message that it decodes.
    most: usize,
}

impl NamedService for Echo {
    const NAME: &'static str = "ipcd.Echo";
}

impl Service<Request<tonic::body::Body>> for Echo {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let most = self.most;
        Box::pin(async move {
            if request.uri().path() != METHOD.path() {
                return Ok(Status::unimplemented("").into_http());
            }
            let codec: ProstCodec<Bytes, Bytes> = ProstCodec::default();
            let mut grpc = tonic::server::Grpc::new(codec).max_decoding_message_size(most);
            Ok(grpc.unary(EchoMethod, request).await)
        })
    }
}

/// The method.
struct EchoMethod;

impl UnaryService<Bytes> for EchoMethod {
    type Response = Bytes;
    type Future = Ready<Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        ready(Ok(tonic::Response::new(request.into_inner())))
    }
}

/// The responder's connection; dropping it signals its end.
struct Connection {
    stream: UnixStream,
    _gone: oneshot::Sender<Infallible>,
}

impl tonic::transport::server::Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Connects the client to the existing stream, once: a broken channel is not reconnected.
struct Once(Option<UnixStream>);

impl Service<Uri> for Once {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().map(TokioIo::new).ok_or_else(|| io::ErrorKind::BrokenPipe.into()))
    }
}

/// One call, as tonic's code generator would write it.
impl Exchange for tonic::client::Grpc<Channel> {
    #[inline(always)]
    async fn exchange(&mut self, payload: &mut Payload, round: u64) -> Result<(), RoundError> {
        let ping = tonic::Request::new(Bytes { value: payload.ping().to_vec() });
        self.ready().await.map_err(|_| RoundError::PeerClosed)?;
        let codec: ProstCodec<Bytes, Bytes> = ProstCodec::default();
        let reply = self.unary(ping, METHOD, codec).await.map_err(refused)?.into_inner();
        payload.take_pong(&reply.value, round)
    }
}

/// What a call's status means to a round.
fn refused(status: Status) -> RoundError {
    // tonic reports a connection that breaks by its code, and one that broke before the call by its cause alone.
    let of_transport = status.source().is_some_and(|cause| cause.is::<tonic::transport::Error>());
    match status.code() {
        Code::Unavailable | Code::Cancelled => RoundError::PeerClosed,
        _ if of_transport => RoundError::PeerClosed,
        _ => broken(status),
    }
}

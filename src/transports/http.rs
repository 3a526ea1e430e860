//! `http`: HTTP/1.1 over a unix socket, by hyper.

use std::error::Error;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::families::async_side::{self, Exchange, broken, offer, rounds, take};
use super::prelude::*;

static INFO: Info = Info {
    name: "http",
    group: Group::Frameworks,
    summary: "HTTP/1.1 over a unix socket, a POST for each round, by hyper under tokio",
    choose: "Choose it where every client must be able to connect: any language, curl, any proxy. For a small \
             message it adds the parsing of two heads, a few µs, to the cost of the bare stream under the same runtime \
             (tokio).",
    limits: "A request and its response; the next request waits for it. The connection is kept alive. Bodies are \
             collected in memory, as by a handler that needs them whole. Both sides run tokio's current-thread \
             runtime.",
    round: "The client writes a request head and the body, and parses the response's head; the responder does the same \
            the other way round. A writev, one or more recvfroms and two epoll_waits on each side. The body is copied into a \
            new buffer for each round.",
    delivery: Delivery::Message,
    waits: &[Wait::Block, Wait::Spin],
    copies: 4,
    ..Info::DEFAULT
};

/// HTTP/1.1 over a unix socket.
pub(super) struct Http;

impl Mechanism for Http {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self) -> Result<(), Unavailable> {
        Ok(async_side::probe()?)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let (runtime, socket) = offer(settings, supervisor)?;
        let stream = TokioIo::new(runtime.stream(socket)?);
        let most = settings.size;
        let service = service_fn(move |request| echo(request, most));
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(stream, service);
        runtime.serve(connection).map_err(refused).or_else(echo_ended)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let (mut runtime, socket) = take(settings, endpoint, watch)?;
        let stream = TokioIo::new(runtime.stream(socket)?);
        let shake_hands = async {
            let (requests, connection) =
                hyper::client::conn::http1::handshake(stream).await.map_err(refused)?;
            // Its end shows in the request that fails.
            tokio::spawn(connection);
            Ok(requests)
        };
        let requests = runtime.wait_for(shake_hands, watch, 0)?;
        Ok(rounds(requests, runtime, settings))
    }
}

/// The handler. Its channel has room for `most` bytes: a longer body ends it.
async fn echo(
    request: Request<Incoming>,
    most: usize,
) -> Result<Response<Full<Bytes>>, Box<dyn Error + Send + Sync>> {
    match Limited::new(request.into_body(), most).collect().await {
        Ok(body) => Ok(Response::new(Full::new(body.to_bytes()))),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(format!("the request's body is longer than the channel's {most} bytes").into())
        }
        Err(error) => Err(error),
    }
}

/// One request, and its response.
impl Exchange for SendRequest<Full<Bytes>> {
    #[inline(always)]
    async fn exchange(&mut self, payload: &mut Payload, round: u64) -> Result<(), RoundError> {
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(payload.ping())));
        *request.method_mut() = Method::POST;
        self.ready().await.map_err(refused)?;
        let response = self.send_request(request).await.map_err(refused)?;
        if response.status() != StatusCode::OK {
            return Err(RoundError::WrongPong { round, what: "its status is not 200" });
        }
        let mut body = response.into_body();
        let mut have = 0;
        let pong = payload.pong();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(refused)?;
            let Some(data) = frame.data_ref() else { continue };
            let room = pong.get_mut(have..have + data.len());
            let room = room.ok_or(RoundError::WrongPong { round, what: "it is longer than the ping" })?;
            room.copy_from_slice(data);
            have += data.len();
        }
        if have != pong.len() {
            return Err(RoundError::WrongPong { round, what: "it is shorter than the ping" });
        }
        Ok(())
    }
}

/// What an error of hyper means to a round.
fn refused(error: hyper::Error) -> RoundError {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return RoundError::PeerClosed;
    }
    broken(error)
}

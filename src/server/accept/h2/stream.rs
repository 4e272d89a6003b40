//! One request of a connection of HTTP/2, as Pingora wants to see it.
//!
//! Pingora's own session for HTTP/2 has no clocks for bodies, drops interim answers, and says
//! nothing of its stream. This one is a session of a protocol of our own, and keeps the promises
//! that a connection of HTTP/1.1 keeps: by [`Wire`] the hooks say what a request waits for, and
//! whether the head of an answer can still be taken back.

use std::{
    future::poll_fn,
    mem,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_core::Stream as Messages;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{
    HeaderMap, HeaderName, Response,
    header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING, UPGRADE},
    request::Parts,
};
use pingora_core::{
    Error, ErrorType, Result,
    protocols::{
        Digest,
        http::{
            HttpTask,
            custom::{CustomMessageWrite, server::Session},
            date::get_cached_date,
        },
        l4::socket::SocketAddr,
        raw_connect::ProxyDigest,
    },
};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::{
    config::ClientLimits,
    metrics::Metrics,
    proxy::{Ended, Wire},
    server::accept::waits::Waits,
};

/// How much of a body is kept to be sent again: as much as Pingora keeps over HTTP/1.1.
const RETRY_BYTES: usize = 64 * 1024;

/// What a message over HTTP/2 may not have (RFC 9113, 8.2.2).
const OF_CONNECTIONS: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// One request, and its answer.
pub(super) struct Stream {
    head: RequestHeader,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    answer: Answer,
    wire: Arc<Wire>,
    digest: Digest,
    limits: Arc<ClientLimits>,
    metrics: Metrics,
    waits: Waits,
    /// Nothing follows its head.
    is_empty: bool,
    /// It was read to its end.
    is_read: bool,
    bytes_read: usize,
    bytes_sent: usize,
    retry: Option<Retry>,
}

/// How far the answer was sent.
enum Answer {
    Unwritten,
    /// It waits for its body, or its replacement.
    Held(Box<ResponseHeader>),
    /// Its status, and where its body goes; `None`: there is no more of it.
    Sent(Box<ResponseHeader>, Option<SendStream<Bytes>>),
}

/// What was read of a body; `None`: more than is kept.
struct Retry(Option<BytesMut>);

impl Stream {
    pub(super) fn new(
        head: Parts,
        body: RecvStream,
        respond: SendResponse<Bytes>,
        wire: Arc<Wire>,
        limits: Arc<ClientLimits>,
        metrics: Metrics,
    ) -> Self {
        let proxy = ProxyDigest::new(
            Box::new(ResponseHeader::from(Response::new(()).into_parts().0)),
            Some(Box::new(Arc::clone(&wire))),
        );
        let mut waits = Waits::default();
        let expects = head.headers.get(http::header::EXPECT);
        waits.begin(expects.is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue")));
        let has_length_0 = head.headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0");
        Self {
            is_empty: body.is_end_stream() || has_length_0,
            is_read: body.is_end_stream(),
            head: head.into(),
            body,
            respond,
            answer: Answer::Unwritten,
            wire,
            digest: Digest { proxy_digest: Some(Arc::new(proxy)), ..Digest::default() },
            limits,
            metrics,
            waits,
            bytes_read: 0,
            bytes_sent: 0,
            retry: None,
        }
    }

    /// Counts why the request ends, and says so to Pingora.
    fn ended<T>(&self, etype: ErrorType, ended: Ended) -> Result<T> {
        if let Ended::Limit(limit) = ended {
            self.metrics.limit_reached(&self.wire.arrival().listener, limit);
        }
        Err(Error::because(etype, "serving a stream", ended.into_error()).into_down())
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        match self.body.poll_data(cx) {
            Poll::Ready(Some(Ok(data))) => {
                self.bytes_read += data.len();
                // Fails where the client has reset the stream, as the next read says.
                let _ = self.body.flow_control().release_capacity(data.len());
                if let Some(retry) = &mut self.retry {
                    retry.keep(&data);
                }
                let received = self.waits.received(data.len() as u64, &self.limits);
                Poll::Ready(match received {
                    Ok(()) => Ok(Some(data)),
                    Err(ended) => self.ended(ErrorType::ReadTimedout, ended),
                })
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(broken(ErrorType::ReadError, error)),
            Poll::Ready(None) => {
                self.is_read = true;
                Poll::Ready(Ok(None))
            }
            Poll::Pending => {
                let ended = ready!(self.waits.poll_receiving(cx, &self.wire, &self.limits));
                Poll::Ready(self.ended(ErrorType::ReadTimedout, ended))
            }
        }
    }

    /// The request is whole. Ready once the client has left, or the upstream is late.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        let reset = match &mut self.answer {
            Answer::Sent(_, Some(body)) => body.poll_reset(cx),
            Answer::Unwritten | Answer::Held(_) => self.respond.poll_reset(cx),
            Answer::Sent(_, None) => Poll::Pending,
        };
        if let Poll::Ready(reset) = reset {
            return Poll::Ready(match reset {
                Ok(reason) => {
                    let why = format!("reset by the client: {reason}");
                    Err(Error::explain(ErrorType::H2Error, why).into_down())
                }
                Err(error) => broken(ErrorType::H2Error, error),
            });
        }
        let ended = ready!(self.waits.poll_answer(cx, &self.wire));
        Poll::Ready(self.ended(ErrorType::ReadTimedout, ended))
    }

    /// Sends the head of an answer; with `end` it is the whole answer.
    fn send_head(&mut self, mut head: Box<ResponseHeader>, end: bool) -> Result<()> {
        // What is asked of it later is its status alone.
        let nothing = ResponseHeader::build(head.status, Some(0))?;
        let parts: http::response::Parts = mem::replace(&mut *head, nothing).into();
        let sent = self.respond.send_response(Response::from_parts(parts, ()), end);
        let body = sent.or_else(|error| broken(ErrorType::WriteError, error))?;
        self.answer = Answer::Sent(head, (!end).then_some(body));
        self.waits.sent(&self.wire);
        Ok(())
    }

    /// Lets a head go that was held.
    fn send_held(&mut self, end: bool) -> Result<()> {
        match mem::replace(&mut self.answer, Answer::Unwritten) {
            Answer::Held(head) => self.send_head(head, end),
            answer => {
                self.answer = answer;
                Ok(())
            }
        }
    }

    /// Where the answer's body goes; `None`: there is no more of it.
    fn body_of_answer(&mut self) -> Option<&mut SendStream<Bytes>> {
        match &mut self.answer {
            Answer::Sent(_, body) => body.as_mut(),
            Answer::Unwritten | Answer::Held(_) => None,
        }
    }

    fn end_answer(&mut self) {
        if let Answer::Sent(_, body) = &mut self.answer {
            *body = None;
        }
    }

    /// Waits until the client has room for some of `bytes`, and says for how many.
    ///
    /// The time that it has is for all of a piece: room that comes in drips is none.
    fn poll_room(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<Result<usize>> {
        let Some(body) = self.body_of_answer() else { return Poll::Ready(Ok(0)) };
        body.reserve_capacity(bytes);
        let room = loop {
            match body.poll_capacity(cx) {
                // What was there is gone: a window can shrink.
                Poll::Ready(Some(Ok(0))) => {}
                room => break room,
            }
        };
        match room {
            Poll::Ready(Some(Ok(room))) => Poll::Ready(Ok(room.min(bytes))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(broken(ErrorType::WriteError, error)),
            Poll::Ready(None) => {
                Poll::Ready(Err(
                    Error::explain(ErrorType::WriteError, "the stream has ended").into_down()
                ))
            }
            Poll::Pending => {
                let ended = ready!(self.waits.poll_sending(cx, &self.limits, || None));
                Poll::Ready(self.ended(ErrorType::WriteTimedout, ended))
            }
        }
    }

    /// An answer that cannot be finished: a head that was held is replaced, all else is reset.
    fn break_off(&mut self) {
        let instead = match self.answer {
            Answer::Sent(..) => None,
            Answer::Unwritten | Answer::Held(_) => self.wire.replaced(),
        };
        let Some(instead) = instead else {
            if !matches!(self.answer, Answer::Sent(_, None)) {
                self.respond.send_reset(Reason::CANCEL);
            }
            self.end_answer();
            return;
        };
        let (mut head, body) = instead.into_parts();
        head.headers.insert(DATE, get_cached_date());
        // The client may be gone, and is owed nothing then.
        if self.send_head(Box::new(head.into()), false).is_ok() {
            self.bytes_sent += body.len();
            if let Some(answer) = self.body_of_answer() {
                let _ = answer.send_data(body, true);
            }
        }
        self.end_answer();
    }
}

impl Retry {
    fn keep(&mut self, data: &[u8]) {
        match &mut self.0 {
            Some(kept) if kept.len() + data.len() <= RETRY_BYTES => kept.extend_from_slice(data),
            kept => *kept = None,
        }
    }
}

/// What `h2` says, as Pingora says it.
fn broken<T>(etype: ErrorType, error: h2::Error) -> Result<T> {
    Err(Error::because(etype, "serving a stream", error).into_down())
}

#[async_trait]
impl Session for Stream {
    fn req_header(&self) -> &RequestHeader {
        &self.head
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.head
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        if self.is_read {
            return Ok(None);
        }
        poll_fn(|cx| self.poll_body(cx)).await
    }

    /// Nothing: other streams do not wait behind a body, and with the stream it is gone.
    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    async fn write_response_header(
        &mut self,
        mut head: Box<ResponseHeader>,
        end: bool,
    ) -> Result<()> {
        if !matches!(self.answer, Answer::Unwritten) {
            return Ok(());
        }
        for name in &OF_CONNECTIONS {
            head.remove_header(name);
        }
        if head.status.is_informational() {
            let parts: http::response::Parts = (*head).into();
            let sent = self.respond.send_informational(Response::from_parts(parts, ()));
            self.waits.sent(&self.wire);
            return sent.or_else(|error| broken(ErrorType::WriteError, error));
        }
        head.insert_header(DATE, get_cached_date())?;
        if !end && self.wire.is_held() {
            self.answer = Answer::Held(head);
            return Ok(());
        }
        self.send_head(head, end)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.write_response_header(Box::new(head.clone()), end).await
    }

    async fn write_body(&mut self, mut data: Bytes, end: bool) -> Result<()> {
        self.send_held(false)?;
        while !data.is_empty() {
            let room = poll_fn(|cx| self.poll_room(cx, data.len())).await?;
            let piece = data.split_to(room);
            let is_last = end && data.is_empty();
            let Some(body) = self.body_of_answer() else { return Ok(()) };
            body.send_data(piece, is_last).or_else(|error| broken(ErrorType::WriteError, error))?;
            self.bytes_sent += room;
            if is_last {
                self.end_answer();
            }
        }
        self.waits.sent(&self.wire);
        if end { self.finish().await } else { Ok(()) }
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.send_held(false)?;
        let Some(body) = self.body_of_answer() else { return Ok(()) };
        let sent = body.send_trailers(trailers);
        self.end_answer();
        sent.or_else(|error| broken(ErrorType::WriteError, error))
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut is_done = false;
        for task in tasks {
            is_done |= match task {
                HttpTask::Header(head, end) => {
                    self.write_response_header(head, end).await?;
                    end
                }
                HttpTask::Body(data, end) => {
                    let data = data.filter(|data| !data.is_empty());
                    if let Some(data) = data {
                        self.write_body(data, end).await?;
                    }
                    end
                }
                HttpTask::Trailer(Some(trailers)) => {
                    self.write_trailers(*trailers).await?;
                    true
                }
                HttpTask::Trailer(None) | HttpTask::Done => true,
                HttpTask::UpgradedBody(..) => {
                    return Error::e_explain(ErrorType::InternalError, "HTTP/2 is not upgraded");
                }
                HttpTask::Failed(error) => return Err(error),
            };
        }
        if is_done {
            self.finish().await?;
        }
        Ok(is_done)
    }

    /// Its clocks are those of the listener.
    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }

    fn request_summary(&self) -> String {
        format!("{} {}", self.head.method, self.head.uri.path())
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        match &self.answer {
            Answer::Unwritten => None,
            Answer::Held(head) | Answer::Sent(head, _) => Some(head),
        }
    }

    async fn shutdown(&mut self, _code: u32, _ctx: &str) {
        self.break_off();
    }

    fn is_body_done(&mut self) -> bool {
        self.is_read || self.is_empty || self.body.is_end_stream()
    }

    async fn finish(&mut self) -> Result<()> {
        self.send_held(true)?;
        let Some(body) = self.body_of_answer() else { return Ok(()) };
        let sent = body.send_data(Bytes::new(), true);
        self.end_answer();
        sent.or_else(|error| broken(ErrorType::WriteError, error))
    }

    fn is_body_empty(&mut self) -> bool {
        self.is_empty
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.is_body_done() {
            poll_fn(|cx| self.poll_left(cx)).await
        } else {
            self.read_body_bytes().await
        }
    }

    fn body_bytes_sent(&self) -> usize {
        self.bytes_sent
    }

    fn body_bytes_read(&self) -> usize {
        self.bytes_read
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Some(&mut self.digest)
    }

    /// The wire has it.
    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    /// For requests that a hook makes of one; none does.
    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {
        self.retry.get_or_insert_with(|| Retry(Some(BytesMut::new())));
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.retry.as_ref().is_some_and(|retry| retry.0.is_none())
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        let kept = self.retry.as_ref()?.0.as_ref()?;
        (!kept.is_empty()).then(|| kept.clone().freeze())
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn Messages<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _reader: Box<dyn Messages<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        Ok(())
    }
}

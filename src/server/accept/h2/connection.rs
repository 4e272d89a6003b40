//! One connection of HTTP/2, moved on by one task.

use std::{
    collections::HashMap,
    future::poll_fn,
    mem,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{Connection as Http2Connection, SendResponse},
};
use http::{Request, header::DATE};
use pingora_core::{
    apps::HttpServerApp,
    protocols::http::{ServerSession, date::get_cached_date},
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use super::{
    channel::{Channel, Watched},
    stream::Stream,
};
use crate::{
    config::{ClientLimits, Http2},
    http1::Malformed,
    http2::{Flood, head::settle},
    metrics::{Limit, Metrics},
    proxy::{Refuser, Unread, Wire},
    server::accept::{clock::Clock, load::Load},
};

/// How long the client may take to read a goodbye, or to answer one.
const GOODBYE: Duration = Duration::from_secs(2);

/// How many tasks there may be for each stream that may be open: those of streams that the
/// client has reset are on their way out.
const TASKS_PER_STREAM: usize = 2;

/// One connection, and what its requests are served by.
pub(super) struct Connection<'c, A> {
    pub(super) io: Http2Connection<Channel, Bytes>,
    pub(super) watched: Arc<Watched>,
    pub(super) wire: Wire,
    pub(super) limits: Arc<ClientLimits>,
    pub(super) http2: Http2,
    pub(super) metrics: Metrics,
    pub(super) desk: &'c Refuser,
    pub(super) app: Arc<A>,
    pub(super) load: &'c Load,
    pub(super) stop: watch::Receiver<bool>,
}

/// How far a connection has come.
struct Course {
    /// When it must have begun.
    begins: Instant,
    streams: Streams,
    /// Since when it has no stream.
    idle: Instant,
    /// Since when a head is on its way.
    in_head: Option<Instant>,
    /// How many streams it may open yet.
    left: Option<u32>,
    /// The client was told to open no more streams.
    is_draining: bool,
    /// Everything is said: when nobody waits any more for the client to read it.
    ends: Option<Instant>,
    /// Requests that were refused after they were read.
    refused: u32,
    /// How many malformed ones are counted.
    counted: u32,
    clock: Clock,
}

/// The tasks of a connection's streams.
#[derive(Default)]
struct Streams {
    /// Each gives the number of its stream.
    tasks: JoinSet<u32>,
    open: HashMap<u32, (AbortHandle, Arc<Wire>)>,
    /// One of them was to be the connection's last.
    is_last: bool,
}

impl<A> Connection<'_, A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    /// Serves it to its end. Its first frame has until `begins`.
    pub(super) async fn run(mut self, begins: Instant) {
        let mut stopped = self.stop.clone();
        let mut stopped = pin!(async move {
            // Closed: the process ends.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        });
        let mut is_stopped = false;
        let now = Instant::now();
        let mut course = Course {
            begins,
            streams: Streams::default(),
            idle: now,
            in_head: None,
            left: self.limits.requests.map(Into::into),
            is_draining: false,
            ends: None,
            refused: 0,
            counted: 0,
            clock: Clock::default(),
        };
        poll_fn(|cx| {
            if !is_stopped && stopped.as_mut().poll(cx).is_ready() {
                is_stopped = true;
                self.drain(&mut course);
            }
            self.poll(&mut course, cx)
        })
        .await;
        self.count_malformed(&mut course);
        if course.ends.is_none() {
            course.streams.leave();
        }
    }

    fn poll(&mut self, course: &mut Course, cx: &mut Context<'_>) -> Poll<()> {
        if course.streams.poll_ended(cx) {
            course.idle = Instant::now();
        }
        if course.streams.is_last {
            self.drain(course);
        }
        loop {
            match self.io.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.begin(course, request, respond);
                }
                Poll::Ready(ended) => {
                    self.note_end(course, ended.and_then(Result::err).as_ref());
                    return Poll::Ready(());
                }
                Poll::Pending => break,
            }
        }
        self.look(course);
        if course.ends.is_some() && self.poll_said(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let deadline = self.deadline(course);
            if course.clock.poll(deadline, cx).is_pending() {
                return Poll::Pending;
            }
            if course.ends.is_some() {
                return Poll::Ready(());
            }
            self.expire(course);
            if self.poll_said(cx).is_ready() {
                return Poll::Ready(());
            }
        }
    }

    /// Writes what was just said. Ready once the connection is over.
    fn poll_said(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.io.poll_accept(cx) {
            Poll::Ready(None | Some(Err(_))) => Poll::Ready(()),
            // A request that comes now came too late: dropped, it is reset.
            Poll::Ready(Some(Ok(_))) | Poll::Pending => Poll::Pending,
        }
    }

    /// The client has closed, or has broken the protocol and was told so.
    fn note_end(&mut self, course: &Course, error: Option<&h2::Error>) {
        let is_calming = |error: &h2::Error| {
            error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM)
        };
        let seen = self.watched.seen().traffic.ended();
        if course.ends.is_none() && (seen.is_some() || error.is_some_and(is_calming)) {
            self.metrics.http2_ended(&self.wire.arrival().listener, seen.unwrap_or(Flood::Other));
        }
    }

    /// The client is to open no more streams; those that it has are served.
    fn drain(&mut self, course: &mut Course) {
        if !mem::replace(&mut course.is_draining, true) {
            self.io.graceful_shutdown();
            course.idle = Instant::now();
        }
    }

    /// Says goodbye: what is open ends.
    fn end(&mut self, course: &mut Course, reason: Reason) {
        if course.ends.is_none() {
            self.io.abrupt_shutdown(reason);
            course.ends = Some(Instant::now() + GOODBYE);
        }
    }

    /// Serves one more request, or refuses it.
    fn begin(
        &mut self,
        course: &mut Course,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) {
        if let Some(left) = &mut course.left {
            *left = left.saturating_sub(1);
            if *left == 0 && !course.is_draining {
                self.desk.limit_reached(Limit::Requests);
                self.drain(course);
            }
        }
        course.in_head = None;
        let (mut parts, body) = request.into_parts();
        if course.streams.tasks.len() >= TASKS_PER_STREAM * self.http2.streams as usize {
            self.desk.limit_reached(Limit::Streams);
            return respond.send_reset(Reason::REFUSED_STREAM);
        }
        let began = Instant::now();
        if let Err(malformed) = settle(&mut parts, &self.limits.heads) {
            course.refused += 1;
            self.watched.seen().traffic.refused();
            return self.refuse(malformed, &parts, began, respond);
        }
        let id = respond.stream_id().as_u32();
        let wire = Arc::new(self.wire.another());
        let (limits, metrics) = (Arc::clone(&self.limits), self.metrics.clone());
        let stream = Stream::new(parts, body, respond, Arc::clone(&wire), limits, metrics);
        let (app, stop, held) = (Arc::clone(&self.app), self.stop.clone(), self.load.hold());
        let task = course.streams.tasks.spawn(async move {
            let _held = held;
            app.process_new_http(ServerSession::new_custom(Box::new(stream)), &stop).await;
            id
        });
        course.streams.open.insert(id, (task, wire));
    }

    fn refuse(
        &self,
        why: Malformed,
        head: &http::request::Parts,
        began: Instant,
        mut respond: SendResponse<Bytes>,
    ) {
        let target = head.uri.path_and_query().map(|target| target.as_str().as_bytes());
        let unread = Unread {
            why: Some(why),
            method: Some(head.method.as_str()),
            target,
            version: http::Version::HTTP_2,
            arrival: self.wire.arrival(),
            duration: began.elapsed(),
        };
        let (mut head, body) = self.desk.answer(&unread).into_parts();
        head.headers.insert(DATE, get_cached_date());
        // The client may have reset it, and is owed nothing then.
        if let Ok(mut answer) = respond.send_response(http::Response::from_parts(head, ()), false) {
            let _ = answer.send_data(body, true);
        }
    }

    /// Acts on what was seen of frames.
    fn look(&mut self, course: &mut Course) {
        let (flood, in_head) = {
            let mut seen = self.watched.seen();
            for stream in seen.reset.drain(..) {
                course.streams.reset(stream);
            }
            (seen.traffic.ended(), seen.traffic.is_in_headers())
        };
        course.in_head = in_head.then(|| course.in_head.unwrap_or_else(Instant::now));
        self.count_malformed(course);
        if let Some(flood) = flood
            && course.ends.is_none()
        {
            self.metrics.http2_ended(&self.wire.arrival().listener, flood);
            let reason = match flood {
                Flood::Start => Reason::PROTOCOL_ERROR,
                Flood::Resets | Flood::Frames | Flood::Malformed | Flood::Other => {
                    Reason::ENHANCE_YOUR_CALM
                }
            };
            self.end(course, reason);
        }
    }

    /// When something is due, if nothing else happens.
    fn deadline(&self, course: &Course) -> Instant {
        if let Some(ends) = course.ends {
            return ends;
        }
        let begins = (!self.watched.seen().traffic.has_begun()).then_some(course.begins);
        let in_head = course.in_head.map(|since| since + self.limits.head);
        let idle = if course.is_draining { GOODBYE } else { self.limits.idle };
        let idle = course.streams.open.is_empty().then(|| course.idle + idle);
        let first = [begins, in_head, idle].into_iter().flatten().min();
        // While requests are served, they keep the clocks.
        first.unwrap_or_else(|| Instant::now() + self.limits.idle)
    }

    /// Ends what is overdue.
    fn expire(&mut self, course: &mut Course) {
        let now = Instant::now();
        if !self.watched.seen().traffic.has_begun() {
            self.desk.limit_reached(Limit::Handshake);
            self.end(course, Reason::SETTINGS_TIMEOUT);
        } else if course.in_head.is_some_and(|since| now >= since + self.limits.head) {
            self.desk.limit_reached(Limit::Head);
            self.end(course, Reason::ENHANCE_YOUR_CALM);
        } else if course.streams.open.is_empty()
            && (course.is_draining || now >= course.idle + self.limits.idle)
        {
            self.end(course, Reason::NO_ERROR);
        }
    }

    /// Counts requests that `h2` has refused, for which there is no more than a reset.
    fn count_malformed(&self, course: &mut Course) {
        let malformed = self.watched.seen().traffic.malformed().saturating_sub(course.refused);
        for _ in course.counted..malformed {
            self.desk.malformed();
        }
        course.counted = malformed;
    }
}

impl Streams {
    /// Forgets those that have ended. Whether the last one has.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> bool {
        let mut has_ended = false;
        while let Poll::Ready(Some(ended)) = self.tasks.poll_join_next(cx) {
            has_ended = true;
            match ended {
                Ok(stream) => {
                    let ended = self.open.remove(&stream);
                    self.is_last |= ended.is_some_and(|(_, wire)| wire.is_last());
                }
                // By a reset, or a panic.
                Err(_) => self.open.retain(|_, (task, _)| !task.is_finished()),
            }
        }
        has_ended && self.open.is_empty()
    }

    /// The client is gone.
    fn leave(&self) {
        for (_, wire) in self.open.values() {
            wire.leave();
        }
    }

    /// The client wants no answer any more: what is done for it ends at once.
    fn reset(&mut self, stream: u32) {
        if let Some((task, wire)) = self.open.get(&stream) {
            wire.leave();
            task.abort();
        }
    }
}

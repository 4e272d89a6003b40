//! The requests of one connection, one after the other.

use std::sync::Arc;

use http::Version;
use pingora_core::{
    apps::{HttpPersistentSettings, HttpServerApp},
    protocols::{Stream, http::ServerSession},
};
use tokio::{io::AsyncWriteExt, sync::watch};

use super::{
    connection::{Connection, Next, Refused, Why},
    h2::Begun,
};
use crate::{
    http1::head::RequestLine,
    metrics::Limit,
    proxy::{Refuser, Unread},
};

/// Serves a connection to its end, or until it turns out to be one of HTTP/2. Its task is to do nothing else: it is aborted when the
/// connection waits for too long.
pub(super) async fn serve<A>(
    app: Arc<A>,
    mut connection: Box<Connection>,
    desk: &Refuser,
    stop: &watch::Receiver<bool>,
) -> Option<Begun>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let mut stopped = stop.clone();
    let mut settings: Option<HttpPersistentSettings> = None;
    let mut requests_left = connection.limits().requests;
    loop {
        let head = match connection.next(&mut stopped).await {
            Next::Request(head) => head,
            Next::Preface(read) => return connection.into_http2(read),
            Next::End => return None,
            Next::Refused(refused) => {
                refuse(&mut connection, refused, desk).await;
                return None;
            }
        };
        let stream: Stream = connection;
        let mut session = ServerSession::new_http1(stream);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
        if let Some(left) = requests_left {
            let others = left.get() - 1;
            session.set_keepalive_reuses_remaining(Some(others));
            if others == 0 {
                desk.limit_reached(Limit::Requests);
            }
            requests_left = others.try_into().ok().or(requests_left);
        }
        session.set_pipelined_prefix(head);
        let reused = app.process_new_http(session, stop).await?;
        let (stream, reused) = reused.consume();
        settings = reused;
        // Pingora gives back what it was given.
        connection = stream.into_any().downcast::<Connection>().ok()?;
    }
}

async fn refuse(connection: &mut Connection, refused: Refused, desk: &Refuser) {
    let Refused { why, head, since } = refused;
    let RequestLine { method, target } = RequestLine::of(&head);
    let unread = Unread {
        why: match why {
            Why::Malformed(malformed) => Some(malformed),
            Why::Slow => None,
        },
        method,
        target,
        version: Version::HTTP_11,
        arrival: connection.arrival(),
        duration: since.elapsed(),
    };
    let answer = desk.answer(&unread).into_bytes();
    // The client may be gone, and its connection ends anyway.
    let _ = connection.write_all(&answer).await;
    let _ = AsyncWriteExt::shutdown(connection).await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use pingora_http::RequestHeader;

    use crate::http1::{HeadLimits, head};

    /// Whatever target is taken, Pingora takes, too: it would answer in its own words.
    #[test]
    fn pingora_refuses_no_target_that_was_taken() {
        let limits = HeadLimits { size: 1024, headers: 8, target: 100 };
        let mut taken = 0;
        for byte in 0..=255_u8 {
            for form in ["/a?b", "/ab?", "http://a/?b", "?", "*", ""] {
                for at in 0..=form.len() {
                    let mut target = form.as_bytes().to_vec();
                    target.insert(at, byte);
                    let request = [b"OPTIONS ", &*target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
                    if head::read(&request, &limits).is_ok_and(|found| found.is_some()) {
                        let built = RequestHeader::build("OPTIONS", &target, None);
                        assert!(built.is_ok(), "{}", target.escape_ascii());
                        taken += 1;
                    }
                }
            }
        }
        assert!(taken > 500, "{taken}");
    }
}

//! Requests that never come to their last hook: the drain's time is up, or a hook panics.
//! Without this module only their clients would know of them.

use super::{
    context::Context,
    count::{self, Totals},
    line::Line,
};
use crate::edge::Cause;

impl Drop for Context {
    fn drop(&mut self) {
        let Some(unwritten) = self.unwritten.take() else { return };
        let is_bug = std::thread::panicking();
        self.decided.cause = Some(match is_bug {
            true => Cause::Internal,
            false if unwritten.is_left() => Cause::ClientFailed,
            false => Cause::CutOff,
        });
        let totals = Totals::of_context(self);
        count::ended(&totals, self);
        if let Some(access_log) = &self.record.access_log {
            access_log.write(&Line::cut_off(&unwritten, &totals, self));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test may panic"
    )]

    use std::panic::{AssertUnwindSafe, catch_unwind};

    use bytes::Bytes;
    use http::Version;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        config::LogFormat,
        metrics::Metrics,
        proxy::{
            context::Unwritten,
            log::{AccessLogQueue, Lines},
            records::Records,
        },
    };

    /// A request that went upstream, and the far end of its access log.
    fn request(head: &'static str) -> (Context, Lines, Metrics) {
        let dropped = Metrics::new().log_dropped();
        let (access_log, lines) = AccessLogQueue::new(LogFormat::Json, dropped);
        let metrics = Metrics::new();
        let mut ctx = Context::new(Records::new(metrics.clone(), Some(access_log)).record());
        let (raw, version) = (Bytes::from_static(head.as_bytes()), Version::HTTP_10);
        ctx.unwritten = Some(Unwritten::Http1 { raw, version });
        (ctx, lines, metrics)
    }

    fn written(lines: &Lines) -> Vec<Value> {
        let mut text = Vec::new();
        let take = |batch: &mut Vec<u8>| {
            text.append(batch);
            Ok(())
        };
        lines.take(&mut Vec::new(), take).unwrap();
        String::from_utf8(text).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    #[test]
    fn what_is_dropped_has_a_line() {
        let head = "PUT /a?b=c HTTP/1.1\r\nHOST:  a.example \r\nuser-agent: one\r\n\
                    User-Agent: two\r\nx: origin: no\r\n\r\n";
        let (ctx, lines, metrics) = request(head);
        drop(ctx);
        let [line] = &written(&lines)[..] else { panic!("one line") };
        let expected = [
            ("reason", json!("cut_off")),
            ("method", json!("PUT")),
            ("path", json!("/a")),
            ("host", json!("a.example")),
            ("protocol", json!("HTTP/1.0")),
            ("user_agent", json!("one")),
            ("origin", Value::Null),
            ("status", Value::Null),
        ];
        for (field, value) in expected {
            assert_eq!(line[field], value, "{field}");
        }
        assert!(metrics.render().contains("corsac_http_requests_total{"), "counted");
    }

    #[test]
    fn a_panic_is_a_bug() {
        let (ctx, lines, _) = request("GET / HTTP/1.1\r\n\r\n");
        let panicked = catch_unwind(AssertUnwindSafe(move || {
            let _ctx = ctx;
            panic!("a hook");
        }));
        assert!(panicked.is_err());
        assert_eq!(written(&lines)[0]["reason"], "internal");
    }

    #[test]
    fn what_is_written_down_is_so_once() {
        let (mut ctx, lines, _) = request("GET / HTTP/1.1\r\n\r\n");
        ctx.unwritten = None;
        drop(ctx);
        assert!(written(&lines).is_empty());
    }
}

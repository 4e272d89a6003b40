//! The limit of a request's body, for bodies whose length was not announced.

use pingora_core::{Error, ErrorType, Result};

use super::Context;

/// Notes that `bytes` more of the body have come.
///
/// Errors with 413 past the limit. The upstream has the head by then, and sees
/// the connection close instead of the body's end.
pub(super) fn count(ctx: &mut Context, bytes: usize) -> Result<()> {
    ctx.body_bytes = ctx.body_bytes.saturating_add(bytes as u64);
    let limit = ctx.serving.as_ref().and_then(|serving| serving.route()?.body_limit);
    match limit {
        Some(limit) if ctx.body_bytes > limit => {
            Err(Error::explain(ErrorType::HTTPStatus(413), "the body is larger than the limit"))
        }
        _ => Ok(()),
    }
}

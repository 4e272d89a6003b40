//! The limit of a request's body, for bodies whose length was not announced.

use pingora_core::{Error, ErrorType, Result};

use super::context::Context;

/// Notes that `bytes` more of the body have come.
///
/// Errors with 413 past the limit. The upstream has the head by then, and sees
/// the connection close instead of the body's end.
pub(super) fn count(ctx: &mut Context, bytes: usize) -> Result<()> {
    let passed = ctx.attempts.passed(bytes);
    match ctx.body_limit() {
        Some(limit) if passed > limit => {
            Err(Error::explain(ErrorType::HTTPStatus(413), "the body is larger than the limit"))
        }
        _ => Ok(()),
    }
}

//! What an error of Pingora's means to the client.

use http::StatusCode;
use pingora_core::{Error, ErrorSource, ErrorType, RetryType};

use crate::{edge::Cause, metrics::UpstreamError};

/// Error type: no node of the upstream has an address.
pub(super) const UNRESOLVED: &str = "UpstreamUnresolved";

/// The answer to a request that failed so, and why it failed.
///
/// An upstream that is too slow is 504, where Pingora's default says 502 for
/// whatever the upstream did.
pub(super) fn classify(error: &Error) -> (StatusCode, Cause) {
    match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(413), _) => (StatusCode::PAYLOAD_TOO_LARGE, Cause::BodyTooLarge),
        (ErrorType::HTTPStatus(code), _) => (
            StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            if *code < 500 { Cause::ClientFailed } else { Cause::Internal },
        ),
        (ErrorType::Custom(UNRESOLVED), _) => (StatusCode::BAD_GATEWAY, Cause::UpstreamUnresolved),
        (ErrorType::ReadTimedout, ErrorSource::Downstream) => {
            (StatusCode::REQUEST_TIMEOUT, Cause::ClientFailed)
        }
        (_, ErrorSource::Downstream) => (StatusCode::BAD_REQUEST, Cause::ClientFailed),
        (
            ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout,
            ErrorSource::Upstream,
        ) => (StatusCode::GATEWAY_TIMEOUT, Cause::UpstreamTimeout),
        (
            ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::SocketError
            | ErrorType::BindError,
            ErrorSource::Upstream,
        ) => (StatusCode::BAD_GATEWAY, Cause::UpstreamConnect),
        (_, ErrorSource::Upstream) => (StatusCode::BAD_GATEWAY, Cause::UpstreamFailed),
        (_, ErrorSource::Internal | ErrorSource::Unset) => {
            (StatusCode::INTERNAL_SERVER_ERROR, Cause::Internal)
        }
    }
}

/// Whether the upstream's connection closed before a byte of an answer had come.
///
/// Pingora marks every close before the end of a head, a half one too, and only its words
/// tell which it was. Other words would mean that nothing is sent again, and a test fails.
pub(super) fn is_unanswered(error: &Error) -> bool {
    let says_so = |context: &str| context.ends_with("bytes already read: 0");
    matches!(error.retry, RetryType::ReusedOnly)
        && error.context.as_ref().is_some_and(|context| says_so(context.as_str()))
}

/// What is counted against the upstream; `None`: it is not the upstream's fault.
pub(super) fn of_upstream(cause: Cause) -> Option<UpstreamError> {
    match cause {
        Cause::UpstreamUnresolved => Some(UpstreamError::Unresolved),
        Cause::UpstreamConnect => Some(UpstreamError::Connect),
        Cause::UpstreamTimeout => Some(UpstreamError::Timeout),
        Cause::UpstreamFailed => Some(UpstreamError::Failed),
        _ => None,
    }
}

//! What an error of Pingora's means to the client.

use http::StatusCode;
use pingora_core::{Error, ErrorSource, ErrorType, RetryType};

use super::wire::Ended;
use crate::{edge::Cause, metrics::UpstreamError};

/// Error type: no node of the upstream has an address.
pub(super) const UNRESOLVED: &str = "UpstreamUnresolved";

/// The answer to a request that failed so, and why it failed.
///
/// An upstream that is too slow is 504, where Pingora's default says 502 for
/// whatever the upstream did.
pub(super) fn classify(error: &Error) -> (StatusCode, Cause) {
    if lacks_socket(error) {
        return (StatusCode::SERVICE_UNAVAILABLE, Cause::NoSocket);
    }
    match Ended::of(error) {
        Some(Ended::Answer) => return (StatusCode::GATEWAY_TIMEOUT, Cause::UpstreamTimeout),
        Some(Ended::Limit(_)) => return (StatusCode::REQUEST_TIMEOUT, Cause::ClientSlow),
        Some(Ended::Body(_)) => return (StatusCode::BAD_REQUEST, Cause::BodyMalformed),
        None => {}
    }
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
            // This machine may not connect there: a firewall of its own.
            | ErrorType::InternalError,
            ErrorSource::Upstream,
        ) => (StatusCode::BAD_GATEWAY, Cause::UpstreamConnect),
        (_, ErrorSource::Upstream) => (StatusCode::BAD_GATEWAY, Cause::UpstreamFailed),
        (_, ErrorSource::Internal | ErrorSource::Unset) => {
            (StatusCode::INTERNAL_SERVER_ERROR, Cause::Internal)
        }
    }
}

/// Whether no connection came about since this machine has run out of something: of local
/// ports, descriptors, memory. That is not the upstream's fault.
fn lacks_socket(error: &Error) -> bool {
    // Pingora wraps both into an internal error.
    matches!(error.root_etype(), ErrorType::SocketError | ErrorType::BindError)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::io;

    use super::*;

    /// What becomes of a request that could not connect, as Pingora says it.
    fn connecting(etype: ErrorType, code: i32) -> (StatusCode, Cause) {
        let wrapped = matches!(etype, ErrorType::SocketError | ErrorType::BindError);
        let error = Error::because(etype, "connecting", io::Error::from_raw_os_error(code));
        if wrapped {
            let error = Error::because(ErrorType::InternalError, "Fail to connect", error);
            classify(&error.into_up())
        } else {
            classify(&error.into_up())
        }
    }

    #[test]
    fn whose_fault_it_is_that_there_is_no_connection() {
        #[rustfmt::skip]
        let cases = [
            // EMFILE, EADDRNOTAVAIL, EACCES, ECONNREFUSED, EHOSTUNREACH, ETIMEDOUT
            (ErrorType::SocketError,     24, 503, Cause::NoSocket),
            (ErrorType::BindError,       99, 503, Cause::NoSocket),
            (ErrorType::InternalError,   13, 502, Cause::UpstreamConnect),
            (ErrorType::ConnectRefused, 111, 502, Cause::UpstreamConnect),
            (ErrorType::ConnectNoRoute, 113, 502, Cause::UpstreamConnect),
            (ErrorType::ConnectTimedout, 110, 504, Cause::UpstreamTimeout),
        ];
        for (etype, code, status, cause) in cases {
            let case = format!("{etype:?}");
            let classified = connecting(etype, code);
            assert_eq!(classified, (StatusCode::from_u16(status).unwrap(), cause), "{case}");
            let blamed = cause != Cause::NoSocket;
            assert_eq!(of_upstream(cause).is_some(), blamed, "{case}");
        }
    }
}

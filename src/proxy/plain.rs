//! Heads without the case of their names.
//!
//! Pingora keeps, beside the headers, how each name was written, and every change of a
//! header then parses its name, allocates a copy of it and keeps two maps in step. Names
//! mean the same in any case (RFC 9110, 5.1), and HTTP/2 knows only lower case. So a head that is
//! to be changed leaves its spellings behind; names that Pingora does not know leave in
//! lower case.

use http::{Request, Response, request, response};
use pingora_http::{RequestHeader, ResponseHeader};

/// Leaves the spellings of a request behind, so that Pingora copies none of them into
/// the head for the upstream.
pub(super) fn forget_case(head: &mut RequestHeader) {
    // A target that is not just a path is kept beside the parts, and goes on with the head.
    if head.raw_path().starts_with(b"/") && head.raw_path_is_utf8() {
        *head = request(head).into();
    }
}

/// Takes a request's parts out of their place; they are to be put back.
pub(super) fn request(head: &mut RequestHeader) -> request::Parts {
    let nothing = Request::new(()).into_parts().0;
    std::mem::replace(head, nothing.into()).into()
}

/// Changes a response's parts in their place.
pub(super) fn change(head: &mut ResponseHeader, change: impl FnOnce(&mut response::Parts)) {
    // An unusual reason phrase is kept beside the parts.
    let usual = head.status.canonical_reason();
    let reason = head.get_reason_phrase().filter(|&reason| Some(reason) != usual);
    let reason = reason.map(str::to_owned);
    let nothing = Response::new(()).into_parts().0;
    let mut parts = std::mem::replace(head, nothing.into()).into();
    change(&mut parts);
    *head = parts.into();
    if reason.is_some() {
        // It was there before, so it is valid.
        let _ = head.set_reason_phrase(reason.as_deref());
    }
}

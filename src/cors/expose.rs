//! Which response headers a page may read.

use super::findings::Findings;
use super::spec::Part;
use super::token::is_token;

/// Fetch, "forbidden response-header name".
const NEVER_EXPOSED: [&str; 2] = ["set-cookie", "set-cookie2"];
/// Fetch, "CORS-safelisted response-header name".
const SAFELISTED: [&str; 7] = [
    "cache-control",
    "content-language",
    "content-length",
    "content-type",
    "expires",
    "last-modified",
    "pragma",
];
/// RFC 9110, sections 10.1, 12.5 and 13.1, and Fetch: headers of requests alone.
/// Authorization is not among them: APIs do answer with one.
const REQUEST: [&str; 25] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "access-control-request-headers",
    "access-control-request-method",
    "access-control-request-private-network",
    "cookie",
    "cookie2",
    "dnt",
    "expect",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "origin",
    "proxy-authorization",
    "range",
    "referer",
    "te",
    "user-agent",
];

/// Checks `expose_headers`.
pub(super) fn check(entries: &[String], credentials: bool, findings: &mut Findings) {
    let wildcard = entries.iter().any(|entry| entry == "*");
    for (index, entry) in entries.iter().enumerate() {
        let place = Part::Expose(index);
        let lower = entry.to_ascii_lowercase();
        if entry == "*" {
            if credentials {
                findings.error(
                    "E153",
                    place,
                    "browsers read `*` in `expose_headers` literally once credentials are sent",
                );
                findings.help("list the headers");
            }
        } else if entry == "**" {
            findings.error("E155", place, "`**` means nothing in `expose_headers`");
            findings.help(if credentials { "list the headers" } else { "write \"*\"" });
        } else if !is_token(entry.as_bytes()) {
            findings.error("E150", place, format!("not a header name: {entry:?}"));
        } else if NEVER_EXPOSED.contains(&&*lower) {
            findings.error("E151", place, format!("browsers never show {entry} to a page"));
            findings.help("leave it out");
        } else if REQUEST.contains(&&*lower) || lower.starts_with("sec-fetch-") {
            findings.error("E152", place, format!("{entry} is a request header"));
            findings.help("leave it out, or move it to `allow_headers`");
        } else if SAFELISTED.contains(&&*lower) {
            findings.warning(
                "W154",
                place,
                format!("{entry} needs no listing: every page may read it"),
            );
            findings.help("leave it out");
        } else if wildcard && !credentials && lower != "authorization" {
            findings.warning("W145", place, format!("{entry:?} is redundant beside \"*\""));
        }
    }
}

//! Every code that a diagnostic can carry, with its meaning in one line.
//!
//! A code is an address: it is searched for, linked to and written into
//! scripts. It never changes its meaning, and one that goes is not used again.

/// Codes and meanings, in order; `docs/config.md` and `docs/cors.md` list the same.
pub const CODES: &[(&str, &str)] = &[
    // Form.
    ("E000", "not TOML"),
    ("E001", "unknown key"),
    ("E002", "a value of the wrong type"),
    ("E003", "not a duration or size with its unit"),
    ("E004", "a required key is missing"),
    ("E005", "a value that is out of range, or not among the choices"),
    ("E006", "not a name"),
    ("E007", "a version of the schema that this corsac does not read"),
    ("E008", "a configuration file that cannot be read"),
    ("E009", "a key that belongs in the main file only"),
    ("E010", "a table defined in two files"),
    // CORS; the meaning of each is in `docs/cors.md`.
    ("E101", "no origins"),
    ("E102", "not an origin"),
    ("E103", "an origin with a path, a query, a fragment or user information"),
    ("E104", "an origin with upper case"),
    ("E105", "an origin with its scheme's default port"),
    ("E106", "an origin in Unicode"),
    ("E107", "an origin whose IP address is not canonical"),
    ("E108", "an origin with a wildcard in the wrong place"),
    ("E109", "`null` without its flag"),
    ("E110", "an origin of the file scheme"),
    ("E111", "`*` beside other origins"),
    ("E112", "any origin, with credentials"),
    ("E113", "an insecure origin, with credentials"),
    ("E114", "a wildcard over a public suffix, with credentials"),
    ("E115", "`null`, with credentials"),
    ("E116", "a set of origins that does not exist"),
    ("E117", "a file of origins that cannot be read"),
    ("E118", "an origin with an impossible port"),
    ("E120", "not a regular expression"),
    ("E121", "a regular expression that accepts a hostile origin, with credentials"),
    ("E122", "`*` beside a regular expression"),
    ("E130", "not a method"),
    ("E131", "a method that browsers forbid"),
    ("E132", "any method, with credentials"),
    ("E134", "`*` beside other methods"),
    ("E140", "not a header name"),
    ("E141", "a request header that browsers forbid"),
    ("E142", "a response header among the request headers"),
    ("E143", "any request header, with credentials"),
    ("E150", "not a header name"),
    ("E151", "a response header that can never be exposed"),
    ("E152", "a request header among the response headers"),
    ("E153", "any response header, with credentials"),
    ("E155", "`**` among the exposed headers"),
    ("E160", "max_age out of range"),
    ("E170", "preflight_status is not 200 or 204"),
    ("E171", "reject_status is not 403, 200 or 204"),
    ("W102", "an origin with a scheme that no page has"),
    ("W109", "`null` is allowed"),
    ("W112", "any origin, with credentials"),
    ("W114", "a wildcard over a public suffix"),
    ("W119", "an origin that another entry covers"),
    ("W121", "a regular expression that accepts a hostile origin"),
    ("W122", "a regular expression that matches only a part of an origin"),
    ("W133", "a method that differs from the usual one by its case"),
    ("W144", "`*` does not cover Authorization"),
    ("W145", "a header that `*` covers"),
    ("W154", "a response header that needs no listing"),
    ("W161", "max_age above what browsers keep"),
    ("W190", "every OPTIONS is answered at the edge"),
    ("W191", "a list and a regular expression together"),
    ("W192", "preflights are handed on, and another key takes it back"),
    ("W194", "Private Network Access is a legacy"),
    ("W195", "credentials for every subdomain"),
    // References and routes.
    ("E201", "an upstream that does not exist"),
    ("E202", "a CORS policy that does not exist"),
    ("E203", "a route that does not exist"),
    ("E204", "a route that does not do exactly one thing"),
    ("E205", "not a host"),
    ("E206", "not a path"),
    ("E207", "not a predicate"),
    ("E208", "a rewrite that does not fit the paths of its route"),
    ("E209", "a header that a route may not change"),
    ("E210", "two routes match the same requests"),
    ("E211", "a redirect that leads nowhere"),
    ("E213", "a response that cannot be sent"),
    ("E220", "not the address of a node"),
    ("W201", "an upstream that no route uses"),
    ("W202", "a CORS policy that no service or route uses"),
    ("W203", "a set of origins that no policy uses"),
    ("W204", "a service without a route"),
    ("W212", "a route that can never match"),
    // Tests.
    ("E301", "a test fails"),
    ("E302", "not a request"),
    // Certificates.
    ("E401", "a certificate file that cannot be used"),
    ("E402", "a key file that cannot be used"),
    ("E403", "a key of another certificate"),
    ("E404", "a certificate that does not exist"),
    ("E405", "a file of authorities for clients that cannot be used"),
    ("E406", "two certificates of one kind for one name"),
    ("E407", "two certificates for one name that take different clients"),
    ("E408", "no default certificate, or two"),
    ("E409", "a key without what it needs, or beside what it excludes"),
    ("W401", "a certificate that is expired, or not valid yet"),
    ("W402", "a certificate that expires soon"),
    ("W403", "certificates of a chain that are out of order"),
    ("W404", "a host that no certificate covers"),
    ("W405", "a key file that anyone can read"),
    ("W406", "a certificate that no listener uses"),
    ("W407", "a listener in the clear beside certificates that clients must have"),
    ("W408", "a host in the clear, below one whose hsts is for subdomains"),
    ("W409", "hops that are trusted, and debug clients at the same time"),
    ("W412", "a policy whose preflights never come"),
    // Listeners and process.
    ("E501", "nothing to listen on"),
    ("E502", "not an address to listen on"),
    ("E503", "two listeners on one address"),
    ("E504", "not a network"),
    ("E505", "a header that cannot carry a request's id"),
    ("E510", "a change that needs a new process"),
    ("E511", "corsac itself failed while it read a configuration"),
    ("W501", "an admin listener beyond this machine"),
];

/// What a code means, in one line; `None` if there is no such code.
#[must_use]
pub fn meaning(code: &str) -> Option<&'static str> {
    CODES.iter().find(|(known, _)| *known == code).map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn codes_are_unique() {
        let mut codes: Vec<_> = CODES.iter().map(|(code, _)| code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CODES.len());
    }

    /// Everything below `src` except this file and `tests.rs`, which may name what is no code.
    fn sources() -> String {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut text = String::new();
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("diagnose/codes.rs") && !path.ends_with("tests.rs") {
                    text.push_str(&fs::read_to_string(path).unwrap());
                }
            }
        }
        text
    }

    #[test]
    fn codes_are_those_that_are_used() {
        let literal = regex::Regex::new(r#""([EW][0-9]{3})""#).unwrap();
        let sources = sources();
        let used: BTreeSet<&str> =
            literal.captures_iter(&sources).map(|found| found.get(1).unwrap().as_str()).collect();
        let known: BTreeSet<&str> = CODES.iter().map(|(code, _)| *code).collect();
        assert_eq!(used, known);
    }
}

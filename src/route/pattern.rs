//! What a route asks of a request.

use std::fmt;

use http::{HeaderName, Method};

use super::{HostPattern, PatternError, canonical_path};

/// Everything that one route asks of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern {
    pub host: HostPattern,
    pub path: PathPattern,
    /// Higher first, between patterns of the same host and path.
    pub priority: i64,
    /// Of the rest of its head.
    pub predicates: Predicates,
}

/// What a route asks of a request's canonical path: `/orders/:id`, `/catalog/*`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PathPattern {
    /// Never empty; [`Segment::Wildcard`] only as the last.
    segments: Box<[Segment]>,
}

/// What stands after a slash. The order is that of matching.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Segment {
    /// This text, up to the next slash or the end. May be empty.
    Text(Box<str>),
    /// Any text that is not empty: `:id`.
    Param(Box<str>),
    /// All that follows, be it nothing: `*`.
    Wildcard,
}

/// What a route asks of a request's method, headers and query.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Predicates {
    /// One of these; empty: any.
    pub methods: Vec<Method>,
    /// Each of these headers. Several lines of a name are one value, joined
    /// with `, ` (RFC 9110, 5.3).
    pub headers: Vec<(HeaderName, Expect)>,
    /// Each of these query parameters, percent-decoded, `+` being a space. The
    /// first parameter of a name counts.
    pub query: Vec<(Box<str>, Expect)>,
}

/// What a header or a query parameter must be.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Expect {
    /// There, with any value: `*`.
    Present,
    /// Exactly this.
    Equals(Box<str>),
}

/// The most segments that a [`PathPattern`] may have; it bounds what one lookup
/// has to remember.
pub const MAX_SEGMENTS: usize = 64;

impl PathPattern {
    /// Parses the path of a route.
    ///
    /// It matches whole paths. Text stands for itself, `:name` for one segment
    /// that is not empty, and `*`, at the end and after a slash, for all that
    /// follows: `/a/*` matches `/a/` and everything below, not `/a`. Empty
    /// segments count, so `/a/` is not `/a`. A segment of text cannot start
    /// with a colon or contain an asterisk.
    ///
    /// # Errors
    ///
    /// A text that is not canonical, and so could never match, or says something
    /// else than it seems to; the help says what to write.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        check_canonical(text)?;
        let texts: Vec<&str> = text.split('/').skip(1).collect();
        if texts.len() > MAX_SEGMENTS {
            return Err(PatternError::new(
                format!("more than {MAX_SEGMENTS} segments: \"{text}\""),
                None,
            ));
        }
        let mut segments: Vec<Segment> = Vec::with_capacity(texts.len());
        for (i, segment) in texts.iter().enumerate() {
            let segment = parse_segment(text, segment, i + 1 == texts.len())?;
            if matches!(segment, Segment::Param(_)) && segments.contains(&segment) {
                return Err(PatternError::new(
                    format!("\"{text}\" has the parameter `{segment}` twice"),
                    Some("give each parameter its own name".to_owned()),
                ));
            }
            segments.push(segment);
        }
        Ok(Self { segments: segments.into() })
    }

    /// Parses the path of a route whose service has a prefix: `/orders` under
    /// `/v1` is `/v1/orders`. The empty prefix is none.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`]; and if the prefix ends in a slash or has a `*`.
    pub fn under(prefix: &str, path: &str) -> Result<Self, PatternError> {
        if prefix.is_empty() {
            return Self::parse(path);
        }
        if let Some(shorter) = prefix.strip_suffix('/') {
            let help = match shorter.trim_end_matches('/') {
                "" => "leave it out: it stands before every path anyway".to_owned(),
                shorter => format!("write \"{shorter}\": every path below starts with a slash"),
            };
            return Err(PatternError::new(
                format!("a prefix ends without a slash: \"{prefix}\""),
                Some(help),
            ));
        }
        if prefix.contains('*') {
            return Err(PatternError::new(format!("a prefix has no `*`: \"{prefix}\""), None));
        }
        Self::parse(prefix)?;
        check_canonical(path)?;
        Self::parse(&format!("{prefix}{path}"))
    }

    /// What stands after each slash. Never empty.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments.iter().try_for_each(|segment| write!(f, "/{segment}"))
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Param(name) => write!(f, ":{name}"),
            Self::Wildcard => f.write_str("*"),
        }
    }
}

/// Refuses what no canonical request path could be.
fn check_canonical(text: &str) -> Result<(), PatternError> {
    if !text.starts_with('/') {
        return Err(PatternError::new(
            format!("a path starts with a slash: \"{text}\""),
            Some(format!("write \"/{text}\"")),
        ));
    }
    if let Some((path, _)) = text.split_once(['?', '#']) {
        return Err(PatternError::new(
            format!("a path has no query and no fragment: \"{text}\""),
            Some(format!("write \"{path}\", and `match.query` for what the query must have")),
        ));
    }
    match canonical_path(text) {
        Ok(canonical) if canonical == text => Ok(()),
        Ok(canonical) => Err(PatternError::new(
            format!("not canonical, so no request would match: \"{text}\""),
            Some(format!("write \"{canonical}\"")),
        )),
        Err(bad) => Err(PatternError::new(format!("{bad}: {text:?}"), None)),
    }
}

fn parse_segment(path: &str, segment: &str, is_last: bool) -> Result<Segment, PatternError> {
    if segment == "*" && is_last {
        return Ok(Segment::Wildcard);
    }
    if segment.contains('*') {
        return Err(misplaced_wildcard(path, segment, is_last));
    }
    let Some(name) = segment.strip_prefix(':') else {
        return Ok(Segment::Text(segment.into()));
    };
    if !is_param_name(name) {
        return Err(PatternError::new(
            format!("\"{path}\" has a parameter that is no name: `{segment}`"),
            Some(
                "a name has letters, digits, `_` and `-`, and starts with a letter or `_`"
                    .to_owned(),
            ),
        ));
    }
    Ok(Segment::Param(name.into()))
}

fn misplaced_wildcard(path: &str, segment: &str, is_last: bool) -> PatternError {
    let message = format!("`*` stands only at the end of a path, after a slash: \"{path}\"");
    let help = match path.strip_suffix('*') {
        Some(text) if is_last && !text.contains('*') => {
            let parent = text.strip_suffix(segment.trim_end_matches('*')).unwrap_or(text);
            format!(
                "write \"{text}/*\" for everything below \"{text}/\", or \"{parent}:name\" for any one segment"
            )
        }
        _ => "write `:name` for any one segment".to_owned(),
    };
    PatternError::new(message, Some(help))
}

fn is_param_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

impl Predicates {
    /// How many there are; the list of methods counts as one.
    #[must_use]
    pub fn count(&self) -> usize {
        usize::from(!self.methods.is_empty()) + self.headers.len() + self.query.len()
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("*"),
            Self::Equals(value) => f.write_str(value),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a test may panic"
    )]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths() {
        for text in [
            "/",
            "/*",
            "/a",
            "/a/",
            "/a//b",
            "//",
            "/:a/:b/*",
            "/v1/things:batch",
            "/a%2Fb",
            "/.well-known/*",
            "/a.b",
        ] {
            assert_eq!(PathPattern::parse(text).map(|path| path.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn refused() {
        #[rustfmt::skip]
        let cases = [
            // text             help
            ("a",               Some("write \"/a\"")),
            ("",                Some("write \"/\"")),
            ("/a?b=c",          Some("write \"/a\", and `match.query` for what the query must have")),
            ("/a/../b",         Some("write \"/b\"")),
            ("/%61",            Some("write \"/a\"")),
            ("/a%2fb",          Some("write \"/a%2Fb\"")),
            ("/caf\u{e9}",      Some("write \"/caf%C3%A9\"")),
            ("/a\\b",           Some("write \"/a%5Cb\"")),
            ("/a%",             None),
            ("/a\nb",           None),
            ("/b/a*",           Some("write \"/b/a/*\" for everything below \"/b/a/\", or \"/b/:name\" for any one segment")),
            ("/*/a",            Some("write `:name` for any one segment")),
            ("/*a",             Some("write `:name` for any one segment")),
            ("/a/**",           Some("write `:name` for any one segment")),
            ("/:id*",           Some("write \"/:id/*\" for everything below \"/:id/\", or \"/:name\" for any one segment")),
            ("/:",              Some("a name has letters, digits, `_` and `-`, and starts with a letter or `_`")),
            ("/:a:b",           Some("a name has letters, digits, `_` and `-`, and starts with a letter or `_`")),
            ("/:a/x/:a",        Some("give each parameter its own name")),
        ];
        for (text, help) in cases {
            let error = PathPattern::parse(text).expect_err(text);
            assert_eq!(error.help.as_deref(), help, "{text}: {error}");
        }
        assert!(PathPattern::parse(&"/a".repeat(MAX_SEGMENTS)).is_ok());
        assert!(PathPattern::parse(&"/a".repeat(MAX_SEGMENTS + 1)).is_err());
    }

    #[test]
    fn under_a_prefix() {
        #[rustfmt::skip]
        let cases = [
            // prefix   path        joined
            ("",        "/orders",  Some("/orders")),
            ("/v1",     "/orders",  Some("/v1/orders")),
            ("/v1",     "/",        Some("/v1/")),
            ("/:v",     "/*",       Some("/:v/*")),
            ("/v1/",    "/orders",  None),
            ("/",       "/orders",  None),
            ("/v1",     "orders",   None),
            ("v1",      "/orders",  None),
            ("/v1/*",   "/orders",  None),
            ("/:v",     "/:v",      None),
            ("/v1",     "/../a",    None),
        ];
        for (prefix, path, joined) in cases {
            let found = PathPattern::under(prefix, path).ok().map(|path| path.to_string());
            assert_eq!(found.as_deref(), joined, "{prefix} {path}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_prints_as_it_was_written(text in prop_oneof!["(/(:?[a-c.%2F*]{0,3}))+(/\\*)?", any::<String>()]) {
            if let Ok(path) = PathPattern::parse(&text) {
                prop_assert_eq!(path.to_string(), text);
            }
        }
    }
}

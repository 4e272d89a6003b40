//! A policy as it was written, before it is checked; and what checking finds.

use std::time::Duration;

/// A CORS policy as its author wrote it: plain text and numbers, nothing checked.
///
/// [`Policy::new`](super::Policy::new) is the only way from here to a policy.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PolicySpec {
    /// `allow_origins`: origins, patterns, `*`, `**` or `null`.
    pub allow_origins: Vec<String>,
    /// `allow_origin_regex`: patterns that match a whole origin.
    pub allow_origin_regex: Vec<String>,
    /// `allow_origin_sets`: the sets of `[origins]` that are named, with their entries.
    pub allow_origin_sets: Vec<SharedOrigins>,
    /// The entries of `allow_origins_file`, comments and blank lines left out.
    pub allow_origins_file: Vec<String>,
    /// `allow_methods`; `None`: not written, which means `*`.
    pub allow_methods: Option<Vec<String>>,
    /// `allow_headers`; `None`: not written, which means `*`.
    pub allow_headers: Option<Vec<String>>,
    /// `expose_headers`; `None`: not written, which keeps the upstream's.
    pub expose_headers: Option<Vec<String>>,
    /// `allow_credentials`; default false.
    pub allow_credentials: bool,
    /// `max_age`; `None`: not written, which means 5 s.
    pub max_age: Option<Duration>,
    pub timing_allow_origins: Vec<String>,
    /// `timing_allow_origin_regex`: patterns that match a whole origin.
    pub timing_allow_origin_regex: Vec<String>,
    /// `allow_private_network`; default false.
    pub allow_private_network: bool,
    pub options: OptionsMode,
    pub preflight: PreflightMode,
    /// `preflight_status`; `None`: 200.
    pub preflight_status: Option<i64>,
    pub preflight_failure: PreflightFailure,
    /// `reject_status`; `None`: 403.
    pub reject_status: Option<i64>,
    pub upstream_cors: UpstreamCors,
    pub mode: Mode,
    /// `reject_actual`; default false.
    pub reject_actual: bool,
    pub websocket: WebSocketMode,
    pub dangerous: Dangerous,
}

/// One set of `[origins]` that a policy names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SharedOrigins {
    pub name: String,
    /// Its entries. Those that are no origin are reported where the set is
    /// defined, and are passed over here.
    pub entries: Vec<String>,
}

/// `dangerous`: each must be true for what it names to load.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "five independent switches of the configuration")]
pub struct Dangerous {
    /// `**` with credentials.
    pub any_origin_with_credentials: bool,
    /// `http` origins that are not loopback, with credentials.
    pub insecure_origins: bool,
    /// A wildcard over a public suffix, with credentials.
    pub public_suffix_subdomains: bool,
    /// `null`.
    pub null_origin: bool,
    /// A regex that accepts a hostile probe, with credentials.
    pub regex_matches_anything: bool,
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, as it is written.
            pub const ALL: &[(&str, Self)] = &[$(($text, Self::$variant)),+];

            /// As it is written.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

choice! {
    /// `options`: which OPTIONS requests the edge answers beside preflights.
    OptionsMode {
        /// Those that an allowed origin sends to look what is there.
        #[default]
        Probe = "probe",
        /// None.
        Strict = "strict",
        /// All.
        All = "all",
    }
}
choice! {
    /// `preflight`: where a preflight that the policy does not allow is answered.
    PreflightMode {
        /// The edge.
        #[default]
        Edge = "edge",
        /// The application.
        Upstream = "upstream",
    }
}
choice! {
    /// `preflight_failure`: what a preflight is told whose method or header is not allowed.
    PreflightFailure {
        /// The real lists, so that the browser's console names the cause.
        #[default]
        Explain = "explain",
        /// 403, and nothing of the policy.
        Opaque = "opaque",
    }
}
choice! {
    /// `upstream_cors`: what becomes of CORS headers that the upstream sent.
    UpstreamCors {
        /// Replaced; see `docs/cors.md` for the one exception.
        #[default]
        Override = "override",
        /// Replaced without exception.
        Strip = "strip",
        /// Left alone where the upstream sent Access-Control-Allow-Origin, for denied
        /// origins too.
        Defer = "defer",
    }
}
choice! {
    /// `mode`: whether the policy acts, or only counts.
    Mode {
        /// It acts.
        #[default]
        Enforce = "enforce",
        /// It counts.
        Report = "report",
    }
}
choice! {
    /// `websocket`: whether a WebSocket upgrade of a denied origin is stopped.
    WebSocketMode {
        /// It is not: CORS does not cover `WebSocket`s.
        #[default]
        Ignore = "ignore",
        /// It is.
        Enforce = "enforce",
    }
}

/// Whether a finding stops the policy from loading.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not.
    Warning,
}

/// Where in a policy a finding is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum Part {
    /// The policy as a whole.
    Policy,
    /// An entry of `allow_origins`.
    Origin(usize),
    /// An entry of `allow_origin_regex`.
    Regex(usize),
    /// An entry of a set: index into `allow_origin_sets`, then into its entries.
    Set(usize, usize),
    /// An entry of `allow_origins_file`: index into the entries.
    File(usize),
    /// `allow_methods` as a whole, or its default.
    Methods,
    /// An entry of `allow_methods`.
    Method(usize),
    /// `allow_headers` as a whole, or its default.
    Headers,
    /// An entry of `allow_headers`.
    Header(usize),
    /// An entry of `expose_headers`.
    Expose(usize),
    /// An entry of `timing_allow_origins`.
    Timing(usize),
    /// An entry of `timing_allow_origin_regex`.
    TimingRegex(usize),
    /// `allow_credentials`.
    Credentials,
    MaxAge,
    Options,
    Preflight,
    PreflightStatus,
    RejectStatus,
    /// `allow_private_network`.
    PrivateNetwork,
}

/// A mistake, or something to think about, in a policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Whether the policy can load.
    pub severity: Severity,
    /// The code, such as `E102`; `docs/cors.md` lists them.
    pub code: &'static str,
    pub place: Part,
    /// What is wrong, with the value.
    pub message: String,
    /// What to write instead, where one thing is known to be right.
    pub help: Option<String>,
}

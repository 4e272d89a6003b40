//! Which methods a policy allows.

use http::HeaderValue;

use super::findings::Findings;
use super::spec::Part;
use super::token::{is_token, joined, shared};

/// Fetch, "CORS-safelisted method": browsers do not look whether they are listed.
pub(super) const SAFELISTED: [&str; 3] = ["GET", "HEAD", "POST"];
/// Fetch, "forbidden method", in any case.
const FORBIDDEN: [&str; 3] = ["CONNECT", "TRACE", "TRACK"];
/// Those that `fetch` puts in upper case (Fetch, "normalize a method"), and PATCH,
/// which it famously does not.
const USUAL_CASE: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH"];
/// What `**` says before any method is asked for.
const ECHOED: &str = "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS";

/// `allow_methods`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AllowMethods {
    /// `*`, the default.
    Any,
    /// `**`: whatever is asked for.
    Echo,
    /// These, compared with case.
    Listed(Box<[Box<str>]>),
}

impl AllowMethods {
    pub(super) fn check(
        written: Option<&[String]>,
        credentials: bool,
        findings: &mut Findings,
    ) -> Self {
        let Some(entries) = written else {
            if credentials {
                findings.error("E132", Part::Methods, "`allow_methods` is \"*\" by default, which browsers read literally once credentials are sent");
                findings.help("list the methods in `allow_methods`");
            }
            return Self::Any;
        };
        match entries {
            [only] if only == "**" => Self::Echo,
            [only] if only == "*" => {
                if credentials {
                    findings.error(
                        "E132",
                        Part::Method(0),
                        "browsers read `*` in `allow_methods` literally once credentials are sent",
                    );
                    findings.help(
                        "list the methods, or write \"**\" to allow every one that is asked for",
                    );
                }
                Self::Any
            }
            _ => {
                for (index, entry) in entries.iter().enumerate() {
                    check_entry(entry, Part::Method(index), findings);
                }
                Self::Listed(entries.iter().map(|entry| entry.as_str().into()).collect())
            }
        }
    }

    /// Whether a preflight for this method succeeds (docs/cors.md, section 3, step 4).
    #[must_use]
    pub fn allows(&self, method: &[u8]) -> bool {
        SAFELISTED.iter().any(|safe| safe.as_bytes() == method)
            || match self {
                Self::Any | Self::Echo => !is_forbidden(method),
                Self::Listed(_) => self.lists(method),
            }
    }

    /// Whether a method is listed by its name.
    pub(super) fn lists(&self, method: &[u8]) -> bool {
        matches!(self, Self::Listed(methods) if methods.iter().any(|listed| listed.as_bytes() == method))
    }

    /// What Access-Control-Allow-Methods says whoever asks; `None`: nothing.
    pub(super) fn answer(&self) -> Option<HeaderValue> {
        match self {
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Echo => Some(HeaderValue::from_static(ECHOED)),
            Self::Listed(methods) => joined(methods.iter().map(|method| &**method)),
        }
    }

    /// What it says instead to a preflight that asks for a method that `**` does not name.
    pub(super) fn echo(&self, method: &str) -> Option<HeaderValue> {
        let named = ECHOED.split(',').any(|usual| usual == method);
        let echoed = *self == Self::Echo && !named && !is_forbidden(method.as_bytes());
        echoed.then(|| shared(format!("{ECHOED},{method}")))
    }
}

fn is_forbidden(method: &[u8]) -> bool {
    FORBIDDEN.iter().any(|forbidden| forbidden.as_bytes().eq_ignore_ascii_case(method))
}

fn check_entry(entry: &str, place: Part, findings: &mut Findings) {
    if entry == "*" || entry == "**" {
        findings.error(
            "E134",
            place,
            format!("{entry:?} covers every method, so nothing may stand beside it"),
        );
        findings.help(format!("write `allow_methods = {entry:?}`, or only the methods"));
    } else if !is_token(entry.as_bytes()) {
        findings.error("E130", place, format!("not a method: {entry:?}"));
        if entry.contains([',', ' ']) {
            let each: Vec<&str> = entry.split([',', ' ']).filter(|part| !part.is_empty()).collect();
            findings.help(format!("write a list: {each:?}"));
        }
    } else if is_forbidden(entry.as_bytes()) {
        findings.error("E131", place, format!("browsers never let a page send {entry}"));
        findings.help("leave it out");
    } else if let Some(usual) =
        USUAL_CASE.iter().find(|usual| **usual != entry && usual.eq_ignore_ascii_case(entry))
    {
        findings.warning(
            "W133",
            place,
            format!("{entry:?} is another method than {usual:?}: methods have case"),
        );
        findings.help(format!("write {usual:?}"));
    }
}

//! What the edge does with a request, decided from its head alone.
//!
//! The proxy does what [`decide`] says; `corsac explain` and `[[tests]]` show it.
//! They cannot differ, since this is the only place where it is decided.

mod caller;
mod redirect;
mod reply;
mod request;
mod route;
mod standing;

use std::{borrow::Cow, fmt};

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ALLOW, CONTENT_LENGTH, LOCATION, STRICT_TRANSPORT_SECURITY},
};

pub use self::{
    caller::{Caller, Scheme},
    redirect::{Ambiguous, redirect_of},
    reply::{Cause, HOP_BY_HOP, Reply},
    request::{Facts, Request},
    route::{Found, Told, find},
    standing::{required_of, standing, standing_of},
};
use crate::{
    certificate::Standing,
    config::{Action, Config, Route},
    cors::{Admission, Judgement, Kind, Overridden, Reason},
};

/// What a request can be sent with in place of `TRACE`, which no route takes: it would
/// give the page that sends it the cookies and the headers that it may not read.
const EXCEPT_TRACE: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";

/// What the edge does with a request.
#[derive(Debug)]
pub struct Decision<'s> {
    /// The route that serves it, as an index into the configuration's.
    pub route: Option<usize>,
    /// What the route's policy thinks of it; kept for [`finish`].
    pub judgement: Judgement,
    /// What the policy took it for, and why it decided so.
    pub cors: Option<(Kind, Reason)>,
    /// What happens now.
    pub step: Step<'s>,
}

/// What happens to a request once it is decided.
#[expect(
    clippy::large_enum_variant,
    reason = "it is moved once, on the stack; a box would cost each preflight an allocation"
)]
#[derive(Debug)]
pub enum Step<'s> {
    Reply(Reply<'s>),
    Forward {
        /// Index into the configuration's upstreams.
        upstream: usize,
        /// The path to send, where it is not the one that came.
        path: Option<String>,
    },
}

/// Decides what the edge does with a request.
#[must_use]
pub fn decide<'s>(config: &'s Config, request: &Request<'_>) -> Decision<'s> {
    if let Standing::Misdirected { closes } = request.facts.standing
        && !redirect::is_sent_away(request)
    {
        let reply = Reply::error(StatusCode::MISDIRECTED_REQUEST, Cause::Misdirected);
        return without_route(Reply { closes, ..reply });
    }
    let has_certificate = request.facts.standing != Standing::PreflightsAlone;
    match find(config, request, |_| {}) {
        Found::Route { .. } if *request.method == Method::TRACE && has_certificate => {
            not_allowed(&EXCEPT_TRACE)
        }
        Found::Route { index, route, path, is_probe } => {
            let admission = route.cors.as_ref().map(|cors| {
                let policy = &cors.policy;
                if is_probe {
                    policy.admit_probe(request.headers)
                } else {
                    policy.admit(request.method, request.headers, Some(request.facts.authority))
                }
            });
            serve(index, route, request, path, admission)
        }
        _ if !has_certificate => refuse(StatusCode::FORBIDDEN, Cause::ClientCertificate),
        Found::PathMalformed => refuse(StatusCode::BAD_REQUEST, Cause::PathMalformed),
        found => match (redirect::to_tls(request), found) {
            (Some(reply), _) => without_route(reply),
            (None, Found::MethodNotAllowed(allow)) => not_allowed(&allow),
            (None, _) => refuse(StatusCode::NOT_FOUND, Cause::RouteNotFound),
        },
    }
}

/// The decision for a request that has a route.
fn serve<'s>(
    index: usize,
    route: &'s Route,
    request: &Request<'_>,
    path: Cow<'_, str>,
    admission: Option<Admission<'s>>,
) -> Decision<'s> {
    let (mut judgement, mut said) = (Judgement::default(), None);
    let has_certificate = request.facts.standing != Standing::PreflightsAlone;
    if let Some(admission) = admission {
        judgement = admission.judgement;
        said = admission.reason.map(|reason| (admission.kind, reason));
        let handed_on = admission.hands_on && matches!(route.action, Action::Forward { .. });
        let is_let_in = has_certificate || admission.kind == Kind::Preflight;
        if let Some(answer) = admission.answer.filter(|_| is_let_in && !handed_on) {
            let step = Step::Reply(Reply::of_policy(answer));
            return Decision { route: Some(index), judgement, cors: said, step };
        }
    }
    let step = if !has_certificate {
        Step::Reply(Reply::error(StatusCode::FORBIDDEN, Cause::ClientCertificate))
    } else if let Some(reply) = redirect::to_tls(request) {
        Step::Reply(reply)
    } else if exceeds(request.headers, route.body_limit) {
        Step::Reply(Reply::error(StatusCode::PAYLOAD_TOO_LARGE, Cause::BodyTooLarge))
    } else {
        act(&route.action, request, path)
    };
    Decision { route: Some(index), judgement, cors: said, step }
}

fn act<'s>(action: &'s Action, request: &Request<'_>, path: Cow<'_, str>) -> Step<'s> {
    match action {
        Action::Forward { upstream, rewrite } => {
            let path = rewrite.apply(path);
            let path = (path != request.path).then(|| path.into_owned());
            Step::Forward { upstream: *upstream, path }
        }
        Action::Redirect { to, status } => {
            let mut reply = Reply::of_route(*status, Cause::Redirect);
            reply.edits.set(LOCATION, to.clone());
            Step::Reply(reply)
        }
        Action::Respond { status, headers, body } => {
            let reply = Reply::of_route(*status, Cause::Respond).with_headers(headers);
            Step::Reply(reply.with_body(body.as_bytes()))
        }
    }
}

/// Whether the announced length of a body is over the limit. A body without one
/// is counted while it passes.
fn exceeds(headers: &HeaderMap, limit: Option<u64>) -> bool {
    let length = || headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok();
    limit.is_some_and(|limit| length().is_some_and(|length| length > limit))
}

fn refuse<'s>(status: StatusCode, cause: Cause) -> Decision<'s> {
    without_route(Reply::error(status, cause))
}

fn not_allowed<'s>(allow: &dyn fmt::Display) -> Decision<'s> {
    let mut reply = Reply::error(StatusCode::METHOD_NOT_ALLOWED, Cause::MethodNotAllowed);
    if let Ok(allow) = HeaderValue::try_from(allow.to_string()) {
        reply.edits.set(ALLOW, allow);
    }
    without_route(reply)
}

fn without_route(reply: Reply<'_>) -> Decision<'_> {
    Decision { route: None, judgement: Judgement::default(), cors: None, step: Step::Reply(reply) }
}

impl Decision<'static> {
    /// The decision for a request without a `Host` that can be read.
    #[must_use]
    pub fn host_missing() -> Self {
        refuse(StatusCode::BAD_REQUEST, Cause::HostMissing)
    }
}

/// Finishes a response of a route, to a client that came by this scheme: the route's own
/// changes, what its service says of TLS, then its policy's.
///
/// Every response of a route passes here except 1xx and what is [complete](Reply::complete):
/// those of the upstream, those that corsac makes, and errors. Otherwise a page
/// would read "CORS error" where the truth is 502.
///
/// Returns the CORS headers of the response that did not pass as they were.
pub fn finish(
    route: &Route,
    judgement: &Judgement,
    scheme: Scheme,
    response: &mut HeaderMap,
) -> Overridden {
    route.headers.response.apply(response);
    if let Some(hsts) = &route.hsts {
        match scheme {
            Scheme::Https => drop(response.insert(STRICT_TRANSPORT_SECURITY, hsts.clone())),
            // RFC 6797, 7.2: never in the clear.
            Scheme::Http => drop(response.remove(STRICT_TRANSPORT_SECURITY)),
        }
    }
    let Some(cors) = &route.cors else { return Overridden::default() };
    let edits = cors.policy.stamp(judgement, response);
    let overridden = Overridden::of(&edits, response);
    edits.apply(response);
    overridden
}

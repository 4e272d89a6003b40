//! What a request may expect, by what its client has shown.

use http::{Uri, uri::Scheme};

use crate::{
    certificate::{ClientAuth, Shown, Standing},
    config::Config,
    route::canonical_host,
};

/// What a request for this host and port, as sent, may expect that came to this listener; over
/// TLS with what its client has `shown`.
#[must_use]
pub fn standing(
    config: &Config,
    listener: &str,
    shown: Option<Shown<'_>>,
    authority: &str,
) -> Standing {
    match &config.guard {
        None => Standing::without_guard(shown),
        Some(guard) => guard.judge(listener, shown, &canonical_host(authority)),
    }
}

/// What a request for a URL may expect, which nobody has sent: its client has no certificate,
/// and over TLS has named the host of the URL.
#[must_use]
pub fn standing_of(config: &Config, url: &Uri) -> Standing {
    let Some(guard) = &config.guard else { return Standing::Admitted };
    let host = canonical_host(url.authority().map_or("", |authority| authority.as_str()));
    if url.scheme() != Some(&Scheme::HTTPS) {
        return guard.judge("", None, &host);
    }
    let excepts = |auth| auth == Some(ClientAuth::RequireExceptPreflights);
    if guard.required(&host).any(|trust| excepts(trust.auth())) {
        Standing::PreflightsAlone
    } else {
        Standing::Admitted
    }
}

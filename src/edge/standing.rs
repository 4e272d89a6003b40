//! What a request may expect, by what its client has shown.

use http::{Uri, uri::Scheme};

use crate::{
    certificate::{ClientAuth, Shown, Standing, Trust},
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
    let authority = url.authority().map_or("", |authority| authority.as_str());
    if url.scheme() != Some(&Scheme::HTTPS) {
        return guard.judge("", None, &canonical_host(authority));
    }
    match required_of(config, authority) {
        Some(ClientAuth::RequireExceptPreflights) => Standing::PreflightsAlone,
        _ => Standing::Admitted,
    }
}

/// What those have to show who ask for this host and port over TLS; `None`: nothing. Where
/// listeners differ, the one that lets preflights in.
#[must_use]
pub fn required_of(config: &Config, authority: &str) -> Option<ClientAuth> {
    let host = canonical_host(authority);
    config.guard.as_ref()?.required(&host).filter_map(Trust::auth).max()
}

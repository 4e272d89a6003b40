//! Which CORS headers of an upstream's answer a policy did not let pass.

use http::HeaderMap;

use crate::edits::{Edit, HeaderEdits};

/// A set of CORS headers that an upstream sent, and that were removed or replaced by
/// something else.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Overridden(u8);

impl Overridden {
    /// The headers that can be in the set.
    pub const NAMES: [&str; 8] = [
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-allow-methods",
        "access-control-allow-headers",
        "access-control-max-age",
        "access-control-expose-headers",
        "access-control-allow-private-network",
        "timing-allow-origin",
    ];

    /// What [`Policy::stamp`](super::Policy::stamp) changes of `response`. A header that
    /// is set to the one value that it has already is not overridden.
    #[must_use]
    pub fn of(edits: &HeaderEdits, response: &HeaderMap) -> Self {
        let mut set = 0;
        // Most upstreams have none of them, and looking at each name costs less than
        // looking each of these up.
        let is_known = |name: &str| name.starts_with("access-control-") || name == Self::NAMES[7];
        if !response.keys().any(|name| is_known(name.as_str())) {
            return Self(set);
        }
        for edit in edits.iter() {
            let (name, new) = match edit {
                Edit::Remove(name) => (name, None),
                Edit::Set(name, value) => (name, Some(value)),
                Edit::Append(..) => continue,
            };
            let mut lines = response.get_all(name).iter();
            let old = (lines.next(), lines.next());
            let changes = match old {
                (None, _) => false,
                (Some(only), None) => Some(only) != new,
                (Some(_), Some(_)) => true,
            };
            if changes && let Some(index) = Self::NAMES.iter().position(|known| name == known) {
                set |= 1 << index;
            }
        }
        Self(set)
    }

    /// The headers, each with its place in [`Self::NAMES`].
    pub fn iter(self) -> impl Iterator<Item = (usize, &'static str)> {
        (0..).zip(Self::NAMES).filter(move |(index, _)| self.0 & (1 << index) != 0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::cors::{Policy, PolicySpec};
    use http::{HeaderName, Method};

    /// What is overridden for a page of `https://a.example`, or of another.
    fn overridden(spec: PolicySpec, origin: &str, sent: &[(&str, &str)]) -> Vec<&'static str> {
        let spec = PolicySpec { allow_origins: vec!["https://a.example".to_owned()], ..spec };
        let (policy, _) = Policy::new(&spec).unwrap();
        let request = HeaderMap::from_iter([(http::header::ORIGIN, origin.parse().unwrap())]);
        let mut response = HeaderMap::new();
        for (name, value) in sent {
            response.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let judgement = policy.admit(&Method::GET, &request, None).judgement;
        let found = Overridden::of(&policy.stamp(&judgement, &response), &response);
        found.iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn what_the_upstream_sent() {
        const ACAO: &str = "access-control-allow-origin";
        const ACAM: &str = "access-control-allow-methods";
        const ACEH: &str = "access-control-expose-headers";
        const A: &str = "https://a.example";
        const B: &str = "https://b.example";
        type Case = (
            &'static str,
            &'static str,
            &'static [(&'static str, &'static str)],
            &'static [&'static str],
        );
        #[rustfmt::skip]
        let cases: [Case; 9] = [
            ("nothing",              A, &[],                       &[]),
            ("the same",             A, &[(ACAO, A)],              &[]),
            ("any",                  A, &[(ACAO, "*")],            &[ACAO]),
            ("another",              A, &[(ACAO, B)],              &[ACAO]),
            ("twice",                A, &[(ACAO, A), (ACAO, A)],   &[ACAO]),
            ("to one that is refused", B, &[(ACAO, B), (ACEH, "x")], &[ACAO, ACEH]),
            ("of a preflight",       A, &[(ACAM, "GET")],          &[ACAM]),
            ("left to the upstream", A, &[(ACEH, "x")],            &[]),
            ("not CORS",             A, &[("vary", "x"), ("x", "y")], &[]),
        ];
        for (case, origin, sent, expected) in cases {
            assert_eq!(overridden(PolicySpec::default(), origin, sent), expected, "{case}");
        }
        let report = PolicySpec { mode: crate::cors::Mode::Report, ..PolicySpec::default() };
        assert!(overridden(report, B, &[(ACAO, B)]).is_empty(), "report mode overrides nothing");
    }
}

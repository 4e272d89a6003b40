//! Which domains are open to everyone: the public-suffix list.

/// The day on which the compiled list was published. The version of `psl` is pinned,
/// and a test holds the two together.
pub const LIST_DATE: &str = "2026-11-05";

/// Whether all names under a domain belong to different parties, so that a wildcard
/// over them trusts them all: `com`, `co.uk`, `github.io`.
///
/// Only suffixes that the list names count, its private part included; an unknown
/// top-level domain, such as `internal`, is taken for the user's own. The list is
/// the one compiled into `psl`: a suffix added later is not seen until an update.
pub(super) fn is_public(domain: &str) -> bool {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    // A rule `*.ck` names the children of `ck`, not `ck` itself.
    let child = format!("corsac.{domain}");
    is_listed(domain) || is_listed(&child)
}

fn is_listed(domain: &str) -> bool {
    let suffix = psl::suffix(domain.as_bytes());
    suffix.is_some_and(|suffix| suffix.typ().is_some() && suffix.as_bytes() == domain.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_suffixes() {
        for domain in ["com", "co.uk", "github.io", "ck", "com."] {
            assert!(is_public(domain), "{domain}");
        }
        for domain in ["example.com", "localhost", "internal", "a.github.io", "example"] {
            assert!(!is_public(domain), "{domain}");
        }
    }
}

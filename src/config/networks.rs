//! Networks of those who are trusted with something, in CIDR notation.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use super::decode::Placed;
use super::notes::Notes;
use crate::diagnose::Diagnostic;

/// Networks of those who are trusted with something; without one, nobody is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Networks(Arc<[IpNet]>);

impl Networks {
    /// Whether an address is in one of them. IPv4 mapped to IPv6 is IPv4.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// One by one, as they are written.
    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.0.iter()
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

/// Reads networks; a bare address is the network of that one.
pub(super) fn read(notes: &Notes<'_>, texts: Vec<Placed<&str>>) -> Networks {
    texts.into_iter().filter_map(|text| network(notes, text)).collect()
}

/// Reads one network.
pub(super) fn network(notes: &Notes<'_>, text: Placed<&str>) -> Option<IpNet> {
    let parsed = text.value.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.value.parse());
    let help = match parsed {
        // Bits beyond the prefix would be ignored, so one of the two is a slip.
        Ok(network) if network == network.trunc() => return Some(canonical(network)),
        Ok(network) => {
            let (whole, one) = (network.trunc(), network.addr());
            format!("write \"{whole}\" for the whole network, or \"{one}\" for the one address")
        }
        Err(_) => {
            "a network is an IP address, with a prefix or alone: \"10.0.0.0/8\", \"::1\"".to_owned()
        }
    };
    let message = format!("not a network: {:?}", text.value);
    notes.add(Diagnostic::error("E504", message).at(text.place).help(help));
    None
}

/// A network of IPv4 mapped to IPv6 is one of IPv4, as its addresses are.
fn canonical(network: IpNet) -> IpNet {
    let mapped = match (network.addr().to_canonical(), network.prefix_len().checked_sub(96)) {
        (IpAddr::V4(address), Some(prefix)) if matches!(network, IpNet::V6(_)) => {
            Ipv4Net::new(address, prefix).ok()
        }
        _ => None,
    };
    mapped.map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn mapped_addresses_are_ipv4() {
        #[rustfmt::skip]
        let cases = [
            ("10.0.0.0/8",           "10.1.2.3",           true),
            ("10.0.0.0/8",           "::ffff:10.1.2.3",    true),
            ("10.0.0.0/8",           "::10.1.2.3",         false),
            ("::ffff:10.0.0.0/104",  "10.1.2.3",           true),
            ("::ffff:10.0.0.0/104",  "::ffff:11.1.2.3",    false),
            ("::ffff:10.1.2.3/128",  "10.1.2.3",           true),
            ("::ffff:0:0/96",        "10.1.2.3",           true),
            ("::ffff:0:0/96",        "2001:db8::1",        false),
            ("2001:db8::/32",        "2001:db8::1",        true),
            ("0.0.0.0/0",            "2001:db8::1",        false),
        ];
        for (network, address, is_in) in cases {
            let networks: Networks = [canonical(network.parse().unwrap())].into_iter().collect();
            assert_eq!(networks.contain(address.parse().unwrap()), is_in, "{network} {address}");
        }
    }
}

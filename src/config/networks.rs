//! Networks of clients that are trusted with something, in CIDR notation.

use std::net::IpAddr;

use ipnet::IpNet;

use super::decode::Placed;
use super::notes::Notes;
use crate::diagnose::Diagnostic;

/// Reads networks; a bare address is the network of that one.
pub(super) fn read(notes: &Notes<'_>, texts: Vec<Placed<&str>>) -> Vec<IpNet> {
    texts.into_iter().filter_map(|text| network(notes, text)).collect()
}

fn network(notes: &Notes<'_>, text: Placed<&str>) -> Option<IpNet> {
    let parsed = text.value.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.value.parse());
    let help = match parsed {
        // Bits beyond the prefix would be ignored, so one of the two is a slip.
        Ok(network) if network == network.trunc() => return Some(network),
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

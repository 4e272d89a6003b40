//! However a chain is cut into lines, it is the same chain; whoever stands before the client
//! changes nothing; and written anew, it leads to the same client.
#![no_main]

use std::net::IpAddr;

use corsac::forwarded::{ADDRESSES_MAX, BYTES_MAX, Walk, addresses, walk};
use libfuzzer_sys::fuzz_target;

fn is_trusted(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.octets()[0] == 10)
}

fn walked(lines: &[&[u8]]) -> Result<Option<Walk>, corsac::forwarded::MalformedChain> {
    walk(lines.iter().copied(), is_trusted)
}

fuzz_target!(|list: &[u8]| {
    let found = walked(&[list]);
    let lines: Vec<&[u8]> = list.split(|byte| *byte == b',').collect();
    assert_eq!(walked(&lines), found, "in lines");
    let Ok(Some(Walk { client, addresses: count })) = found else { return };
    assert!((1..=ADDRESSES_MAX).contains(&usize::from(count)));
    assert_eq!(client, client.to_canonical());

    let read: Vec<IpAddr> =
        addresses([list].into_iter()).take(count.into()).map(|it| it.expect("was read")).collect();
    assert_eq!(read.last(), Some(&client));
    assert!(read.iter().rev().skip(1).all(|hop| is_trusted(*hop)));
    let anew: Vec<String> = read.iter().rev().map(ToString::to_string).collect();
    let anew = anew.join(", ");
    assert_eq!(walked(&[anew.as_bytes()]), found, "written anew");
    if !is_trusted(client) && list.len() < BYTES_MAX {
        assert_eq!(walked(&[b"10.0.0.1, evil, 192.0.2.9", list]), found, "with more before");
    }
});

//! However the bytes of a PROXY protocol header come, it is the same header; what comes after
//! it changes nothing; and written anew, it names the same addresses.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use corsac::proxy_protocol::{read, write_v2};

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes);
    // Of one byte more at a time: nothing, until there is the answer of all of them.
    let answers = (0..=bytes.len()).map(|length| (length, read(&bytes[..length])));
    let decided = answers.clone().find(|(_, answer)| *answer != Ok(None));
    let (decided, answer) = decided.unwrap_or((bytes.len(), Ok(None)));
    assert_eq!(answer, whole, "of the first {decided} bytes");
    for (length, answer) in answers.skip(decided) {
        assert_eq!(answer, whole, "of the first {length} bytes");
    }
    if whole == Ok(None) {
        // More than this is never asked for.
        assert!(bytes.len() < 16 + 4096);
        return;
    }
    for more in [&b"\n"[..], b" ", b"\r\n", &[0xff; 200]] {
        assert_eq!(read(&[bytes, more].concat()), whole, "with more behind");
    }

    let Ok(Some(header)) = whole else { return };
    assert!(header.length <= bytes.len());
    // It is taken with its last byte, and not before.
    assert_eq!(header.length, decided);

    assert_eq!(header.source.is_some(), header.destination.is_some());
    if let (Some(source), Some(destination)) = (header.source, header.destination) {
        let mut anew = Vec::new();
        write_v2(source, destination, &mut anew);
        let again = read(&anew).expect("it was just written").expect("it is whole");
        assert_eq!((again.length, again.source), (anew.len(), header.source));
        assert_eq!(again.destination, header.destination);
        // Of two families, one address is mapped.
        write_mixed(source);
    }
});

fn write_mixed(source: SocketAddr) {
    let other: IpAddr = if source.is_ipv4() { [0_u16; 8].into() } else { [0_u8; 4].into() };
    let mut mixed = Vec::new();
    write_v2(source, (other, 0).into(), &mut mixed);
    let read = read(&mixed).expect("it was just written").expect("it is whole");
    let of = |end: Option<SocketAddr>| end.map(|end| (end.ip().to_canonical(), end.port()));
    assert_eq!(of(read.source), of(Some(source)));
    assert!(read.source.is_some_and(|end| end.is_ipv6()));
}

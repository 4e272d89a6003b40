#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

/// What is due, and after how many bytes.
#[derive(Clone, Copy)]
enum Due {
    /// A header of this length with these ends.
    Of(usize, &'static str, &'static str),
    /// A header of this length that names nobody.
    Own(usize),
    More,
    /// None can come any more, once so many bytes are there.
    No(NoHeader, usize),
}

use Due::{More, No, Of, Own};
use NoHeader::{
    Address, Command, Family, Fields, LineEnd, LineTooLong, Port, Protocol, Signature, TooLong,
    TooShort, Version,
};

/// The answer to `bytes`, and how many of them decide it. Of one byte more at a time
/// nothing is found until then, and nothing else from then on.
fn settle(bytes: &[u8]) -> (usize, Result<Option<Header>, NoHeader>) {
    let answers = (0..=bytes.len()).map(|length| read(&bytes[..length]));
    let mut settled = (bytes.len(), Ok(None));
    for (length, answer) in answers.enumerate() {
        if settled.1 == Ok(None) {
            settled = (length, answer);
        }
        assert_eq!(answer, settled.1, "after {length} bytes, {}", bytes.escape_ascii());
    }
    if let Ok(Some(header)) = settled.1 {
        assert_eq!(header.length, settled.0, "{}", bytes.escape_ascii());
        assert_eq!(header.source.is_some(), header.destination.is_some());
    }
    settled
}

fn check(bytes: &[u8], due: Due) {
    let ends = |source: &str, destination: &str| {
        Some((source.parse().unwrap(), destination.parse().unwrap()))
    };
    let header = |length: usize, ends: Option<Ends>| {
        let (source, destination) = ends.unzip();
        Ok(Some(Header { length, source, destination }))
    };
    let due = match due {
        Of(length, source, destination) => (length, header(length, ends(source, destination))),
        Own(length) => (length, header(length, None)),
        More => (bytes.len(), Ok(None)),
        No(why, length) => (length, Err(why)),
    };
    assert_eq!(settle(bytes), due, "{}", bytes.escape_ascii());
    if due.1 != Ok(None) {
        for more in [&b"\n"[..], b" ", b"\r\n", b"\0", &[0xff; 5000]] {
            let more = [bytes, more].concat();
            assert_eq!(read(&more), due.1, "{} and more", bytes.escape_ascii());
        }
    }
}

#[rustfmt::skip]
const V1: &[(&str, Due)] = &[
    // Good ones.
    ("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n",       Of(45, "192.0.2.1:56324", "198.51.100.7:443")),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nGET /",  Of(45, "192.0.2.1:56324", "198.51.100.7:443")),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n\r\n",   Of(45, "192.0.2.1:56324", "198.51.100.7:443")),
    ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Of(56, "255.255.255.255:65535", "255.255.255.255:65535")),
    ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n",                    Of(32, "0.0.0.0:0", "0.0.0.0:0")),
    ("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n",                Of(36, "[2001:db8::1]:1", "[::1]:65535")),
    ("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
        Of(104, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")),
    ("PROXY TCP6 2001:DB8::A :: 80 80\r\n",                   Of(33, "[2001:db8::a]:80", "[::]:80")),
    ("PROXY TCP6 ::ffff:192.0.2.1 ::1 80 80\r\n",             Of(39, "[::ffff:192.0.2.1]:80", "[::1]:80")),
    ("PROXY UNKNOWN\r\n",                                     Own(15)),
    ("PROXY UNKNOWN\r\nPROXY UNKNOWN\r\n",                    Own(15)),
    ("PROXY UNKNOWN \r\n",                                    Own(16)),
    ("PROXY UNKNOWN 192.0.2.1 198.51.100.7 1 2\r\n",          Own(42)),
    ("PROXY UNKNOWN   any\0thing: ü, more words than fields \r\n", Own(56)),
    ("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", Own(107)),
    // Not whole.
    ("",                                                      More),
    ("P",                                                     More),
    ("PROXY ",                                                More),
    ("PROXY T",                                               More),
    ("PROXY TCP",                                             More),
    ("PROXY TCP6",                                            More),
    ("PROXY UNKNOW",                                          More),
    ("PROXY UNKNOWN",                                         More),
    ("PROXY UNKNOWN\r",                                       More),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r",         More),
    ("PROXY UNKNOWN fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r", More),
    // The first word.
    ("GET / HTTP/1.1\r\n",                                    No(Signature, 1)),
    ("PUT / HTTP/1.1\r\n",                                    No(Signature, 2)),
    ("PROPFIND / HTTP/1.1\r\n",                               No(Signature, 4)),
    ("proxy TCP4 192.0.2.1 198.51.100.7 1 2\r\n",             No(Signature, 1)),
    (" PROXY TCP4 192.0.2.1 198.51.100.7 1 2\r\n",            No(Signature, 1)),
    ("\u{16}\u{3}\u{1}",                                      No(Signature, 1)),
    ("PROXY\tTCP4 192.0.2.1 198.51.100.7 1 2\r\n",            No(Signature, 6)),
    ("PROXY\r\n",                                             No(Signature, 6)),
    // The protocol.
    ("PROXY  TCP4 192.0.2.1 198.51.100.7 1 2\r\n",            No(Protocol, 7)),
    ("PROXY \r\n",                                            No(Protocol, 7)),
    ("PROXY tcp4 192.0.2.1 198.51.100.7 1 2\r\n",             No(Protocol, 7)),
    ("PROXY TCP5 192.0.2.1 198.51.100.7 1 2\r\n",             No(Protocol, 10)),
    ("PROXY TCP 192.0.2.1 198.51.100.7 1 2\r\n",              No(Protocol, 10)),
    ("PROXY UDP4 192.0.2.1 198.51.100.7 1 2\r\n",             No(Protocol, 8)),
    ("PROXY TCP44 192.0.2.1 198.51.100.7 1 2\r\n",            No(Protocol, 11)),
    ("PROXY TCP4\t192.0.2.1 198.51.100.7 1 2\r\n",            No(Protocol, 11)),
    ("PROXY UNKNOWNS\r\n",                                    No(Protocol, 14)),
    ("PROXY unknown\r\n",                                     No(Protocol, 7)),
    // The fields.
    ("PROXY TCP4\r\n",                                        No(Fields, 11)),
    ("PROXY TCP4 \r\n",                                       No(Fields, 12)),
    ("PROXY TCP4 192.0.2.1\r\n",                              No(Fields, 21)),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n",               No(Fields, 36)),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n",           No(Fields, 38)),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 1 2 \r\n",            No(Fields, 38)),
    // Addresses.
    ("PROXY TCP4  192.0.2.1 198.51.100.7 1 2\r\n",            No(Address, 12)),
    ("PROXY TCP4 192.0.2.1  198.51.100.7 1 2\r\n",            No(Address, 22)),
    ("PROXY TCP4 192.0.2.256 198.51.100.7 1 2\r\n",           No(Address, 23)),
    ("PROXY TCP4 192.0.2 198.51.100.7 1 2\r\n",               No(Address, 19)),
    ("PROXY TCP4 192.0.2.1.1 198.51.100.7 1 2\r\n",           No(Address, 23)),
    ("PROXY TCP4 192.0.2.01 198.51.100.7 1 2\r\n",            No(Address, 22)),
    ("PROXY TCP4 192.0.2.1 ::1 1 2\r\n",                      No(Address, 25)),
    ("PROXY TCP4 192.0.2.1:1 198.51.100.7 1 2\r\n",           No(Address, 23)),
    ("PROXY TCP4 localhost 198.51.100.7 1 2\r\n",             No(Address, 12)),
    ("PROXY TCP4 192.0.2.1\t198.51.100.7 1 2\r\n",            No(Address, 21)),
    ("PROXY TCP6 192.0.2.1 ::1 1 2\r\n",                      No(Address, 21)),
    ("PROXY TCP6 fe80::1%1 ::1 1 2\r\n",                      No(Address, 19)),
    ("PROXY TCP6 [::1] ::1 1 2\r\n",                          No(Address, 12)),
    ("PROXY TCP6 1::2::3 ::1 1 2\r\n",                        No(Address, 19)),
    ("PROXY TCP6 ::00001 ::1 1 2\r\n",                        No(Address, 19)),
    ("PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n",                  No(Address, 25)),
    // Ports.
    ("PROXY TCP4 192.0.2.1 198.51.100.7 65536 2\r\n",         No(Port, 40)),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 1 99999999999\r\n",   No(Port, 48)),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n",            No(Port, 37)),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 1 00\r\n",            No(Port, 39)),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n",            No(Port, 35)),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 1 -2\r\n",            No(Port, 37)),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 1 0x2\r\n",           No(Port, 38)),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 ab 2\r\n",            No(Port, 37)),
    ("PROXY TCP4 192.0.2.1 198.51.100.7  1 2\r\n",            No(Port, 35)),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 1 \r\n",              No(Port, 37)),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 1 2\0\r\n",           No(Port, 38)),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 1 ٣\r\n",             No(Port, 37)),
    // The line's end.
    ("PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n",               No(LineEnd, 38)),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 1 2\r\r\n",           No(LineEnd, 39)),
    ("PROXY TCP4 192.0.2.1 198.51.100.7 1 2\rGET",            No(LineEnd, 39)),
    ("PROXY TCP4 192.0.2.1\n198.51.100.7 1 2\r\n",            No(LineEnd, 21)),
    ("PROXY UNKNOWN\nGET / HTTP/1.1\r\n",                     No(LineEnd, 14)),
    ("PROXY UNKNOWN any\nthing\r\n",                          No(LineEnd, 18)),
    ("PROXY UNKNOWN any\rthing\r\n",                          No(LineEnd, 19)),
    // Its length: 108 bytes with a CRLF, 107 without one.
    ("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 655350\r\n",
        No(LineTooLong, 107)),
    ("PROXY TCP6 ::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        No(LineTooLong, 107)),
];

/// What stands after the signature.
#[rustfmt::skip]
const V2: &[(&[u8], Due)] = &[
    // Good ones.
    (b"\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb",      Of(28, "192.0.2.1:56324", "198.51.100.7:443")),
    (b"\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbbGET /", Of(28, "192.0.2.1:56324", "198.51.100.7:443")),
    // With a TLV, and with what is none.
    (b"\x21\x11\0\x10\xc0\0\x02\x01\xc6\x33\x64\x07\0\0\xff\xff\x04\0\x01\0", Of(32, "192.0.2.1:0", "198.51.100.7:65535")),
    (b"\x21\x11\0\x0d\xc0\0\x02\x01\xc6\x33\x64\x07\0\x01\0\x02\x04",      Of(29, "192.0.2.1:1", "198.51.100.7:2")),
    (b"\x21\x21\0\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x01\xff\xff",
        Of(52, "[2001:db8::1]:1", "[::1]:65535")),
    (b"\x21\x21\0\x27\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x01\xff\xff\x04\0\0",
        Of(55, "[2001:db8::1]:1", "[::1]:65535")),
    (b"\x20\0\0\0",                                    Own(16)),
    (b"\x20\0\0\0\x21\x11",                            Own(16)),
    (b"\x20\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb", Own(28)),
    (b"\x20\x11\0\0",                                  Own(16)),
    (b"\x20\x12\0\x01x",                               Own(17)),
    (b"\x20\x31\0\x02xy",                              Own(18)),
    (b"\x20\xff\0\0",                                  Own(16)),
    (b"\x21\0\0\0",                                    Own(16)),
    (b"\x21\0\0\x03\x04\0\0",                          Own(19)),
    // Not whole.
    (b"",                                              More),
    (b"\x21",                                          More),
    (b"\x21\x11",                                      More),
    (b"\x21\x11\0",                                    More),
    (b"\x21\x11\x10",                                  More),
    (b"\x21\x11\0\x0c",                                More),
    (b"\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01", More),
    (b"\x21\x11\0\x0d\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb", More),
    (b"\x20\0\0\x01",                                  More),
    (b"\x21\x11\x10\0",                                More),
    // The version.
    (b"\0",                                            No(Version, 13)),
    (b"\x01\x11\0\x0c",                                No(Version, 13)),
    (b"\x11\x11\0\x0c",                                No(Version, 13)),
    (b"\x31\x11\0\x0c",                                No(Version, 13)),
    // The command.
    (b"\x22\x11\0\x0c",                                No(Command, 13)),
    (b"\x2f\x11\0\x0c",                                No(Command, 13)),
    (b"\x28\x11\0\x0c",                                No(Command, 13)),
    (b"\x29\x11\0\x0c",                                No(Command, 13)),
    // Other families and protocols.
    (b"\x21\x01\0\x0c",                                No(Family, 14)),
    (b"\x21\x02\0\x0c",                                No(Family, 14)),
    (b"\x21\x10\0\x0c",                                No(Family, 14)),
    (b"\x21\x12\0\x0c",                                No(Family, 14)),
    (b"\x21\x13\0\x0c",                                No(Family, 14)),
    (b"\x21\x20\0\x24",                                No(Family, 14)),
    (b"\x21\x22\0\x24",                                No(Family, 14)),
    (b"\x21\x31\0\xd8",                                No(Family, 14)),
    (b"\x21\x32\0\xd8",                                No(Family, 14)),
    (b"\x21\x41\0\xd8",                                No(Family, 14)),
    // The length.
    (b"\x21\x11\x10\x01",                              No(TooLong, 16)),
    (b"\x21\0\xff\xff",                                No(TooLong, 16)),
    (b"\x20\0\x10\x01",                                No(TooLong, 16)),
    (b"\x21\x11\0\x0b",                                No(TooShort, 16)),
    (b"\x21\x11\0\0",                                  No(TooShort, 16)),
    (b"\x21\x21\0\x23",                                No(TooShort, 16)),
    (b"\x21\x21\0\x0c",                                No(TooShort, 16)),
];

#[test]
fn lines_of_version_1() {
    for &(line, due) in V1 {
        check(line.as_bytes(), due);
    }
}

#[test]
fn headers_of_version_2() {
    for &(rest, due) in V2 {
        check(&[&SIGNATURE, rest].concat(), due);
    }
}

/// Each of the signature's bytes counts, though it begins like an empty line.
#[test]
fn no_signature() {
    for at in 0..SIGNATURE.len() {
        let mut bytes = SIGNATURE;
        bytes[at] ^= 0x20;
        check(&bytes, No(Signature, at + 1));
        check(&SIGNATURE[..at], More);
    }
}

/// As many bytes as may follow, and not one more.
#[test]
fn the_longest_header() {
    let long = [&SIGNATURE[..], b"\x21\x11\x10\0", &[1; 4096]].concat();
    check(&long, Of(4112, "1.1.1.1:257", "1.1.1.1:257"));
    check(&long[..4111], More);
}

/// Every byte that a line may not have where it is.
#[test]
fn bytes_out_of_place() {
    let line = b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n";
    for (at, byte) in (0..line.len()).flat_map(|at| (0..=0xff).map(move |byte| (at, byte))) {
        let mut bytes = *line;
        bytes[at] = byte;
        let taken = settle(&bytes).1.is_ok();
        let digit = line[at].is_ascii_digit() && at > 10;
        assert_eq!(taken, byte == line[at] || digit && byte.is_ascii_digit(), "{at}, {byte}");
    }
}

/// Each reason says something else.
#[test]
fn reasons_in_words() {
    let cases = V1.iter().map(|case| case.1).chain(V2.iter().map(|case| case.1));
    let reasons = cases.filter_map(|due| if let No(why, _) = due { Some(why) } else { None });
    let reasons: std::collections::HashSet<NoHeader> = reasons.collect();
    let words: std::collections::HashSet<String> =
        reasons.iter().map(ToString::to_string).collect();
    assert_eq!((reasons.len(), words.len()), (12, 12));
}

fn ends() -> impl Strategy<Value = Ends> {
    // Addresses with many zeros have other texts.
    let v6 = prop_oneof![any::<[u16; 8]>(), proptest::array::uniform8(select(vec![0, 0, 1]))];
    let ip = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), v6.prop_map(IpAddr::from)];
    let end = (ip, any::<u16>()).prop_map(SocketAddr::from);
    (end.clone(), end)
}

fn of_one_family() -> impl Strategy<Value = Ends> {
    ends().prop_map(|(source, mut destination)| {
        if source.is_ipv4() != destination.is_ipv4() {
            destination.set_ip(source.ip());
        }
        (source, destination)
    })
}

fn text((source, destination): Ends) -> Vec<u8> {
    let protocol = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (ips, ports) = ([source.ip(), destination.ip()], [source.port(), destination.port()]);
    format!("PROXY {protocol} {} {} {} {}\r\n", ips[0], ips[1], ports[0], ports[1]).into_bytes()
}

/// Headers that are good, or nearly.
fn headers() -> impl Strategy<Value = Vec<u8>> {
    let unknown = "PROXY UNKNOWN( [ -~]{0,100}|( [ -~]{0,9}){0,8})\r\n".prop_map(String::into);
    let written = (ends(), vec(any::<u8>(), 0..40)).prop_map(|((source, destination), tlvs)| {
        let mut bytes = Vec::new();
        write_v2(source, destination, &mut bytes);
        bytes[15] += u8::try_from(tlvs.len()).unwrap();
        [bytes, tlvs].concat()
    });
    let byte = select(vec![0, 1, 2, 0x10, 0x11, 0x12, 0x21, 0x22, 0x30, 0x31, 0x32, 0xff]);
    let (length, block) = (select(vec![0, 11, 12, 36, 216, 230, 4096, 4097]), any::<u8>());
    let any_v2 = (0x1f_u8..0x23, byte, length, block).prop_map(|(command, family, n, block)| {
        let length = u16::to_be_bytes(n);
        [&SIGNATURE[..], &[command, family], &length, &vec![block; n.into()]].concat()
    });
    prop_oneof![of_one_family().prop_map(text), unknown, written, any_v2]
}

/// Headers with some bytes changed, left out or put in, and with more behind them.
fn nearly_headers() -> impl Strategy<Value = Vec<u8>> {
    let known = select(b" \r\n\t\0+-0159.:%aFgx\x10\x11\x12\x20\x21\xff".to_vec());
    let edit = (any::<Index>(), 0..4, prop_oneof![3 => known, 1 => any::<u8>()]);
    let more = vec(any::<u8>(), 0..9);
    (headers(), vec(edit, 0..4), more).prop_map(|(mut bytes, edits, more)| {
        for (at, kind, byte) in edits {
            let at = at.index(bytes.len().clamp(1, 120));
            match kind {
                0 if at < bytes.len() => drop(bytes.remove(at)),
                1 if at < bytes.len() => bytes[at] = byte,
                2 => bytes.truncate(bytes.len().min(at)),
                _ => bytes.insert(at.min(bytes.len()), byte),
            }
        }
        bytes.extend(more);
        bytes
    })
}

/// What the crate `ppp` takes for a header.
fn by_ppp(bytes: &[u8]) -> Option<Header> {
    use ppp::{HeaderResult, v1, v2};
    let of_ipv4 = |it: v1::IPv4| -> Ends {
        let destination = (it.destination_address, it.destination_port);
        ((it.source_address, it.source_port).into(), destination.into())
    };
    let of_ipv6 = |it: v1::IPv6| -> Ends {
        let destination = (it.destination_address, it.destination_port);
        ((it.source_address, it.source_port).into(), destination.into())
    };
    let (length, ends) = match HeaderResult::parse(bytes) {
        HeaderResult::V1(header) => {
            let header = header.ok()?;
            let ends = match header.addresses {
                v1::Addresses::Unknown => None,
                v1::Addresses::Tcp4(it) => Some(of_ipv4(it)),
                v1::Addresses::Tcp6(it) => Some(of_ipv6(it)),
            };
            (header.header.len(), ends)
        }
        HeaderResult::V2(header) => {
            let header = header.ok()?;
            let ends = match (header.command, header.addresses) {
                (v2::Command::Proxy, v2::Addresses::IPv4(it)) => Some(of_ipv4(it)),
                (v2::Command::Proxy, v2::Addresses::IPv6(it)) => Some(of_ipv6(it)),
                _ => None,
            };
            (header.len(), ends)
        }
    };
    let (source, destination) = ends.unzip();
    Some(Header { length, source, destination })
}

/// Where `ppp` decides otherwise.
struct Difference {
    why: &'static str,
    example: &'static [u8],
    /// Whether it is taken here, and not there.
    taken: bool,
    /// Whether bytes that are taken by one only may be so for this reason.
    is: fn(&[u8]) -> bool,
}

/// The first line with its CRLF, if it starts like this.
fn line<'a>(bytes: &'a [u8], start: &str) -> Option<&'a [u8]> {
    let end = bytes.windows(2).position(|two| two == b"\r\n").map_or(bytes.len(), |at| at + 2);
    bytes.starts_with(start.as_bytes()).then_some(&bytes[..end])
}

/// Command, family and length of version 2.
fn fixed(bytes: &[u8]) -> Option<(u8, u8, u16)> {
    let fixed: [u8; 4] = bytes.strip_prefix(&SIGNATURE)?.first_chunk().copied()?;
    Some((fixed[0] & 0xf, fixed[1], u16::from_be_bytes([fixed[2], fixed[3]])))
}

const TOO_LONG: [u8; FIXED + 4097] = {
    let mut long = [0; _];
    *long.first_chunk_mut().unwrap() = SIGNATURE;
    [long[12], long[14], long[15]] = [0x21, 0x10, 0x01];
    long
};

const DIFFERENCES: [Difference; 8] = [
    Difference {
        why: "a port has no sign; `u16::from_str` takes one",
        example: b"PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n",
        taken: false,
        is: |bytes| {
            let line = line(bytes, "PROXY TCP");
            line.is_some_and(|line| line.windows(2).any(|two| two == b" +"))
        },
    },
    Difference {
        why: "a space and an LF, with which the bytes end, are no CRLF",
        example: b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2 \n",
        taken: false,
        is: |bytes| line(bytes, "PROXY TCP").is_some_and(|line| line.ends_with(b" \n")),
    },
    Difference {
        why: "what follows UNKNOWN has no lone LF in it, nor does one after a space end it",
        example: b"PROXY UNKNOWN \n any thing",
        taken: false,
        is: |bytes| {
            let line = line(bytes, "PROXY UNKNOWN ");
            line.is_some_and(|line| line.strip_suffix(b"\r\n").unwrap_or(line).contains(&b'\n'))
        },
    },
    Difference {
        why: "what follows UNKNOWN is ignored: it may be more than four words",
        example: b"PROXY UNKNOWN a b c d e\r\n",
        taken: true,
        is: |bytes| {
            let line = line(bytes, "PROXY UNKNOWN ");
            line.is_some_and(|line| line.split(|byte| *byte == b' ').count() > 6)
        },
    },
    Difference {
        why: "what follows UNKNOWN is ignored: it need not be UTF-8",
        example: b"PROXY UNKNOWN \xff\r\n",
        taken: true,
        is: |bytes| {
            let line = line(bytes, "PROXY UNKNOWN ");
            line.is_some_and(|line| std::str::from_utf8(line).is_err())
        },
    },
    Difference {
        why: "a header has an upper bound",
        example: &TOO_LONG,
        taken: false,
        is: |bytes| fixed(bytes).is_some_and(|(_, _, length)| length > FOLLOWING_MAX),
    },
    Difference {
        why: "only TCP over IP is taken, or no family and no protocol at all",
        example: b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\0\x01\0\x02",
        taken: false,
        is: |bytes| {
            fixed(bytes).is_some_and(|(command, family, _)| {
                command == PROXY && ![UNSPEC, TCP_OVER_IPV4, TCP_OVER_IPV6].contains(&family)
            })
        },
    },
    Difference {
        why: "LOCAL has no family, so that it may be unknown and its addresses too short",
        example: b"\r\n\r\n\0\r\nQUIT\n\x20\x11\0\0",
        taken: true,
        is: |bytes| {
            fixed(bytes).is_some_and(|(command, family, length)| {
                let least = [0, IPV4_ENDS, IPV6_ENDS, 216].get(usize::from(family >> 4));
                let known = family & 0xf <= 2 && least.is_some_and(|least| *least <= length);
                command == LOCAL && !known
            })
        },
    },
];

fn agrees_with_ppp(bytes: &[u8]) -> Result<(), TestCaseError> {
    let (found, theirs) = (read(bytes).ok().flatten(), by_ppp(bytes));
    if found != theirs {
        prop_assert!(found.is_none() || theirs.is_none(), "{found:?}, ppp: {theirs:?}");
        let mut reasons = DIFFERENCES.iter().filter(|one| one.taken == found.is_some());
        let listed = reasons.any(|one| (one.is)(bytes));
        prop_assert!(listed, "{}: {found:?}, ppp: {theirs:?}", bytes.escape_ascii());
    }
    Ok(())
}

/// Each difference is one, and the tables have no others.
#[test]
fn differences_to_ppp() {
    for one in &DIFFERENCES {
        let found = [read(one.example).ok().flatten(), by_ppp(one.example)];
        let taken = found.map(|header| header.is_some());
        assert_eq!(taken, [one.taken, !one.taken], "{}", one.why);
        assert!((one.is)(one.example), "{}", one.why);
    }
    for (line, _) in V1 {
        agrees_with_ppp(line.as_bytes()).unwrap();
    }
    for (rest, _) in V2 {
        agrees_with_ppp(&[&SIGNATURE, *rest].concat()).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What is written is read, with whatever stands before and behind it.
    #[test]
    fn written_and_read(
        ends in ends(),
        before in vec(any::<u8>(), 0..9),
        behind in vec(any::<u8>(), 0..9),
    ) {
        let (source, destination) = ends;
        let mut bytes = before.clone();
        write_v2(source, destination, &mut bytes);
        prop_assert_eq!(&bytes[..before.len()], &before[..]);
        let length = bytes.len() - before.len();
        bytes.extend(behind);

        let mapped = source.is_ipv4() != destination.is_ipv4();
        let due = |end: SocketAddr| match end.ip() {
            IpAddr::V4(ip) if mapped => (ip.to_ipv6_mapped(), end.port()).into(),
            _ => end,
        };
        let (source, destination) = (Some(due(source)), Some(due(destination)));
        let due = Header { length, source, destination };
        prop_assert_eq!(read(&bytes[before.len()..]), Ok(Some(due)));
    }

    /// As it is written, by `std` too, an address is read.
    #[test]
    fn text_is_read(ends in of_one_family()) {
        let line = text(ends);
        let (length, (source, destination)) = (line.len(), Some(ends).unzip());
        let due = Header { length, source, destination };
        prop_assert_eq!(settle(&line), (length, Ok(Some(due))));
    }

    /// Of any bytes, one more at a time makes the answer that all at once do.
    #[test]
    fn any_bytes(
        start in select(vec![&b""[..], b"PROXY TCP4 ", b"PROXY UNKNOWN", &SIGNATURE]),
        bytes in vec(any::<u8>(), 0..200),
    ) {
        let _ = settle(&[start, &bytes].concat());
    }

    #[test]
    fn nearly_good_bytes(bytes in nearly_headers()) {
        let _ = settle(&bytes);
    }

    /// Nothing is taken by one of two parsers only, but for the differences above.
    #[test]
    fn as_ppp_does(bytes in nearly_headers()) {
        agrees_with_ppp(&bytes)?;
    }
}

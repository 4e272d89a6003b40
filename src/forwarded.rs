//! Who sent a request, as the proxies on its way say in `X-Forwarded-For`.
//!
//! Each of them appends the address that it saw. So the list is read from its end: it is true
//! for as long as those who have written it are trusted, and the first address that is not one
//! of theirs is the client's. What stands before that, the client may have made up; it is never
//! looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most addresses that are read. Real chains have a few.
pub const ADDRESSES_MAX: usize = 32;

/// The most bytes that are read, commas and blanks among them.
pub const BYTES_MAX: usize = 4096;

/// Where a chain of trusted hops ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Walk {
    /// The first address, from the end, that is not trusted; or else the first one of all.
    pub client: IpAddr,
    /// How many addresses at the end were read, the client's among them: at least one, and
    /// [`ADDRESSES_MAX`] at most.
    pub addresses: u8,
}

/// What had to be read is no address, or is too much.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MalformedChain;

/// Walks the lines of `X-Forwarded-For`, which are one list (RFC 9110, 5.3), from the end, for
/// as long as the addresses are trusted. The one who has sent the lines is to be trusted, too.
/// `None`: they have no address.
///
/// # Errors
/// See [`MalformedChain`].
pub fn walk<'h>(
    lines: impl DoubleEndedIterator<Item = &'h [u8]>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Result<Option<Walk>, MalformedChain> {
    let mut found = None;
    for (address, count) in addresses(lines).zip(1..) {
        let client = address?;
        found = Some(Walk { client, addresses: count });
        if !is_trusted(client) {
            break;
        }
    }
    Ok(found)
}

/// The addresses of these lines, from the end. IPv4 mapped to IPv6 is IPv4; ports are dropped;
/// empty elements are none (RFC 9110, 5.6.1.2). After an error there may be more.
pub fn addresses<'h>(
    lines: impl DoubleEndedIterator<Item = &'h [u8]>,
) -> impl Iterator<Item = Result<IpAddr, MalformedChain>> {
    let elements = lines.rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    let (mut bytes, mut addresses) = (0, 0);
    elements.filter_map(move |element| {
        bytes += element.len() + 1;
        let text = element.trim_ascii();
        if bytes > BYTES_MAX {
            return Some(Err(MalformedChain));
        }
        if text.is_empty() {
            return None;
        }
        addresses += 1;
        let address = address(text).filter(|_| addresses <= ADDRESSES_MAX);
        Some(address.ok_or(MalformedChain))
    })
}

/// `192.0.2.7`, `2001:db8::7` or `[2001:db8::7]`; all except the second with a port, too, since
/// there it could not be told from the address.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let address = if let Some(bracketed) = text.strip_prefix('[') {
        let (address, behind) = bracketed.split_once(']')?;
        let is_whole = behind.is_empty() || behind.strip_prefix(':').is_some_and(is_port);
        IpAddr::V6(address.parse::<Ipv6Addr>().ok().filter(|_| is_whole)?)
    } else if let Some((address, port)) = text.split_once(':')
        && let Ok(address) = address.parse::<Ipv4Addr>()
    {
        IpAddr::V4(Some(address).filter(|_| is_port(port))?)
    } else {
        text.parse().ok()?
    };
    Some(address.to_canonical())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    /// `10.0.0.0/8` and `2001:db8::/32`.
    fn is_trusted(address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address.octets()[0] == 10,
            IpAddr::V6(address) => address.segments()[..2] == [0x2001, 0xdb8],
        }
    }

    fn walked(lines: &[&str]) -> Result<Option<Walk>, MalformedChain> {
        walk(lines.iter().map(|line| line.as_bytes()), is_trusted)
    }

    #[test]
    fn chains() {
        #[rustfmt::skip]
        let cases: [(&[&str], &str, u8); 21] = [
            (&["192.0.2.7"],                                 "192.0.2.7",   1),
            (&["192.0.2.7, 10.0.0.1"],                       "192.0.2.7",   2),
            (&["192.0.2.7, 10.0.0.1, 10.0.0.2"],             "192.0.2.7",   3),
            // What stands before the client is not looked at.
            (&["192.0.2.9, 192.0.2.7, 10.0.0.1"],            "192.0.2.7",   2),
            (&["10.9.9.9, 192.0.2.7"],                       "192.0.2.7",   1),
            (&["unknown, \"_x\", 192.0.2.7"],                "192.0.2.7",   1),
            // All are trusted: the first.
            (&["10.0.0.1"],                                  "10.0.0.1",    1),
            (&["10.0.0.1,10.0.0.2"],                         "10.0.0.1",    2),
            // Several lines are one list.
            (&["192.0.2.9", "192.0.2.7", "10.0.0.1"],        "192.0.2.7",   2),
            (&["192.0.2.7, 10.0.0.2", "10.0.0.1, 10.0.0.3"], "192.0.2.7",   4),
            // Blanks, and elements that are none.
            (&[",, 192.0.2.7 ,\t, 10.0.0.1 , ,", ""],        "192.0.2.7",   2),
            // Forms.
            (&["192.0.2.7:4711"],                            "192.0.2.7",   1),
            (&["192.0.2.7, 10.0.0.1:80"],                    "192.0.2.7",   2),
            (&["2001:db9::7, 2001:db8::1"],                  "2001:db9::7", 2),
            (&["[2001:db9::7], [2001:DB8:0:0::1]"],          "2001:db9::7", 2),
            (&["[2001:db9::7]:4711, [2001:db8::1]:443"],     "2001:db9::7", 2),
            // No port, since the last group of an address looks the same.
            (&["2001:db9::7:4711"],                          "2001:db9::7:4711", 1),
            (&["::ffff:192.0.2.7"],                          "192.0.2.7",   1),
            (&["::ffff:192.0.2.7, ::ffff:10.0.0.1"],         "192.0.2.7",   2),
            (&["[::ffff:c000:207]:1, [::ffff:a00:1]"],       "192.0.2.7",   2),
            (&["::, ::ffff:10.0.0.1"],                       "::",          2),
        ];
        for (lines, client, addresses) in cases {
            let due = Walk { client: client.parse().unwrap(), addresses };
            assert_eq!(walked(lines), Ok(Some(due)), "{lines:?}");
        }
        for lines in [&[][..], &[""], &[" ,\t, ", ","]] {
            assert_eq!(walked(lines), Ok(None), "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_address() {
        let wrong = [
            "unknown",
            "_hidden",
            "\"192.0.2.7\"",
            "\"[2001:db8::7]\"",
            "for=192.0.2.7",
            "fe80::1%eth0",
            "[fe80::1%1]",
            "[fe80::1%1]:80",
            "192.0.2",
            "192.0.2.07",
            "192.0.2.256",
            "3221225991",
            "0xc0000207",
            "192.0.2.7:",
            "192.0.2.7:+80",
            "192.0.2.7:65536",
            "192.0.2.7:8080:1",
            "192.0.2.7 10.0.0.1",
            "[192.0.2.7]",
            "[192.0.2.7]:80",
            "[2001:db8::7",
            "2001:db8::7]",
            "[2001:db8::7]80",
            "[2001:db8::7]:",
            "[]",
            "[2001:db8::7]:http",
            "2001:db8::7::",
            "192.0.2.7/32",
            "localhost",
            "é",
            "192.0.2.7;10.0.0.1",
        ];
        for text in wrong {
            for line in [text.to_owned(), format!("192.0.2.7, {text}, 10.0.0.1")] {
                assert_eq!(walked(&[&line]), Err(MalformedChain), "{line}");
            }
        }
    }

    #[test]
    fn what_is_too_much() {
        let hops = |count| vec!["10.0.0.1"; count].join(",");
        let of_32 = Walk { client: "192.0.2.7".parse().unwrap(), addresses: 32 };
        assert_eq!(walked(&["192.0.2.7", &hops(31)]), Ok(Some(of_32)));
        assert_eq!(walked(&["192.0.2.7", &hops(32)]), Err(MalformedChain));
        // As many as there are of them: they stand before the client.
        assert!(walked(&[&hops(1000), "192.0.2.7", &hops(31)]).is_ok());
        let blanks = |count| " ".repeat(count);
        let with = |count| format!("192.0.2.7,{}10.0.0.1", blanks(count));
        let room = BYTES_MAX - "192.0.2.7,10.0.0.1,".len();
        assert!(walked(&[&with(room)]).is_ok());
        assert_eq!(walked(&[&with(room + 1)]), Err(MalformedChain));
        assert_eq!(walked(&["192.0.2.7", &",".repeat(BYTES_MAX)]), Err(MalformedChain));
    }

    /// All lines joined, split, and looked at one by one.
    fn oracle(lines: &[String]) -> Result<Option<Walk>, MalformedChain> {
        let list = lines.join(",");
        let elements: Vec<&str> =
            list.split(',').map(str::trim).filter(|text| !text.is_empty()).collect();
        let mut found = None;
        for (index, text) in elements.iter().rev().enumerate() {
            let without_port = match text.rsplit_once(':') {
                Some((address, _)) if address.contains('.') || address.ends_with(']') => address,
                _ => text,
            };
            let bare = without_port.trim_matches(['[', ']']);
            let client = bare.parse::<IpAddr>().map_err(|_| MalformedChain)?.to_canonical();
            found = Some(Walk { client, addresses: u8::try_from(index + 1).unwrap() });
            if !is_trusted(client) {
                break;
            }
        }
        Ok(found)
    }

    fn element() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => any::<[u8; 3]>().prop_map(|[a, b, c]| format!("10.{a}.{b}.{c}")),
            2 => any::<u16>().prop_map(|port| format!("10.1.1.1:{port}")),
            2 => any::<u16>().prop_map(|port| format!("[2001:db8::{port:x}]:{port}")),
            2 => any::<u16>().prop_map(|last| format!("2001:db8::{last:x}")),
            1 => any::<Ipv4Addr>().prop_map(|address| address.to_string()),
            1 => any::<Ipv4Addr>().prop_map(|address| format!("::ffff:{address}")),
            1 => any::<Ipv6Addr>().prop_map(|address| format!("[{address}]")),
            1 => "[a-z\"_]{1,9}",
            2 => "[ \t]{0,3}",
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_an_oracle(
            lines in prop::collection::vec(prop::collection::vec(element(), 0..6), 0..5),
        ) {
            let lines: Vec<String> = lines.iter().map(|elements| elements.join(" ,")).collect();
            let walked = walk(lines.iter().map(String::as_bytes), is_trusted);
            prop_assert_eq!(walked, oracle(&lines));
            // What is told to an upstream is what was walked.
            if let Ok(Some(Walk { client, addresses: count })) = walked {
                let read = addresses(lines.iter().map(String::as_bytes));
                let read: Result<Vec<_>, _> = read.take(count.into()).collect();
                prop_assert_eq!(read.unwrap().pop(), Some(client));
            }
        }

        /// Whatever is sent, what is found can be read once more, and is bounded.
        #[test]
        fn any_bytes(lines in prop::collection::vec("[ ,.:0-9a-f\\[\\]%\"]{0,40}|\\PC{0,20}", 0..9), trusted in any::<bool>()) {
            let lines = || lines.iter().map(String::as_bytes);
            if let Ok(Some(Walk { client, addresses: count })) = walk(lines(), |_| trusted) {
                prop_assert!((1..=ADDRESSES_MAX).contains(&count.into()));
                prop_assert_eq!(addresses(lines()).nth(usize::from(count) - 1), Some(Ok(client)));
                prop_assert_eq!(client, client.to_canonical());
            }
        }

        /// Whoever stands before an address that is not trusted changes nothing.
        #[test]
        fn nobody_speaks_for_whom_is_not_trusted(before in any::<Vec<u8>>(), client in any::<Ipv4Addr>()) {
            prop_assume!(!is_trusted(client.into()));
            let line = [&before[..], format!(",{client}, 10.0.0.1").as_bytes()].concat();
            let due = Walk { client: client.into(), addresses: 2 };
            prop_assert_eq!(walk([&line[..]].into_iter(), is_trusted), Ok(Some(due)));
        }
    }
}

//! The PROXY protocol's header, versions 1 and 2: what a proxy in front says of whom a
//! connection comes from.
//!
//! <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>
//!
//! It is a mere claim: only a peer that is trusted may be asked for it, and of such a peer it
//! must be demanded, for whether it is there cannot be guessed safely.
//!
//! The bytes are judged from the first to the last. So an answer, once there is one, stays the
//! same whatever follows, and it makes no difference in which pieces a header comes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The longest line of version 1 with its CRLF, in bytes.
const LINE_MAX: usize = 107;

/// How a header of version 2 starts.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What of a header of version 2 always has the same length: all before the addresses.
const FIXED: usize = SIGNATURE.len() + 4;

/// The most bytes that may follow them, so that nobody fills memory with a header. The
/// protocol would allow 65,535, but wants a header to fit into one packet.
const FOLLOWING_MAX: u16 = 4096;

/// The version, in the upper half of its byte.
const VERSION_2: u8 = 0x20;

const LOCAL: u8 = 0x0;
const PROXY: u8 = 0x1;

const UNSPEC: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// What two addresses and two ports take.
const IPV4_ENDS: u16 = 4 + 4 + 2 + 2;
const IPV6_ENDS: u16 = 16 + 16 + 2 + 2;

/// A whole header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Its bytes; the connection's own begin after them.
    pub length: usize,
    /// Whom the connection comes from. `None`: from the peer itself, as its socket says, since
    /// the header names nobody (`UNKNOWN` in version 1, `LOCAL` or no family in version 2).
    pub source: Option<SocketAddr>,
    /// Where it was accepted. There is one exactly if there is a source.
    pub destination: Option<SocketAddr>,
}

/// Why this is no header, or none that is taken.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum NoHeader {
    /// Neither version starts like this.
    Signature,
    /// Version 1: there is no CRLF within 107 bytes.
    LineTooLong,
    /// Version 1: a CR or an LF stands alone.
    LineEnd,
    /// Version 1: the protocol is another one.
    Protocol,
    /// Version 1: a field is missing, or there is one too many, if only an empty one.
    Fields,
    /// Version 1: an address is none of the protocol's family.
    Address,
    /// Version 1: a port is none, or not written as it should be.
    Port,
    /// Version 2: the version is another one after all.
    Version,
    /// Version 2: the command is another one.
    Command,
    /// Version 2: the addresses are those of other protocols.
    Family,
    /// Version 2: more than 4,096 bytes are announced.
    TooLong,
    /// Version 2: fewer bytes are announced than the addresses take.
    TooShort,
}

impl fmt::Display for NoHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "it does not start with a PROXY protocol header",
            Self::LineTooLong => "the line has no CRLF within 107 bytes",
            Self::LineEnd => "the line has a CR or an LF that is not part of a CRLF",
            Self::Protocol => "the protocol is none of TCP4, TCP6 and UNKNOWN",
            Self::Fields => "the line is not two addresses and two ports after single spaces",
            Self::Address => "an address is not one of the protocol's family",
            Self::Port => "a port is not a number from 0 to 65535 without leading zeros",
            Self::Version => "the binary header's version is not 2",
            Self::Command => "the command is neither LOCAL nor PROXY",
            Self::Family => "the addresses are of another family or protocol than TCP over IP",
            Self::TooLong => "the header is longer than 4096 bytes",
            Self::TooShort => "the header is too short for its addresses",
        })
    }
}

impl std::error::Error for NoHeader {}

/// Why there is no header.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// It may become one yet.
    More,
    None(NoHeader),
}

impl From<NoHeader> for Stop {
    fn from(why: NoHeader) -> Self {
        Self::None(why)
    }
}

/// The source and the destination.
type Ends = (SocketAddr, SocketAddr);

/// Reads the header at the start of `bytes`, which are all that a connection has sent so far.
/// `None`: it is not whole yet. No more than 4,112 bytes ever need to be kept for it.
///
/// # Errors
///
/// What stands there is no header, whatever may follow. A signature or a keyword is refused at
/// the first byte that differs, a field once it is whole, or at a byte that no field has.
pub fn read(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    // The versions differ in their first byte.
    let header = if bytes.starts_with(b"\r") { read_v2(bytes) } else { read_v1(bytes) };
    match header {
        Ok(header) => Ok(Some(header)),
        Err(Stop::More) => Ok(None),
        Err(Stop::None(why)) => Err(why),
    }
}

/// Appends a header of version 2 for a connection of TCP. If only one of the addresses is of
/// IPv4, it is written as one of IPv6 (`::ffff:192.0.2.1`), for a header has one family.
pub fn write_v2(source: SocketAddr, destination: SocketAddr, out: &mut Vec<u8>) {
    out.extend_from_slice(&SIGNATURE);
    out.push(VERSION_2 | PROXY);
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            out.push(TCP_OVER_IPV4);
            out.extend_from_slice(&IPV4_ENDS.to_be_bytes());
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
        }
        (source, destination) => {
            out.push(TCP_OVER_IPV6);
            out.extend_from_slice(&IPV6_ENDS.to_be_bytes());
            out.extend_from_slice(&as_ipv6(source).octets());
            out.extend_from_slice(&as_ipv6(destination).octets());
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}

fn as_ipv6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn read_v1(bytes: &[u8]) -> Result<Header, Stop> {
    // Nothing beyond can be part of it.
    let line = bytes.get(..LINE_MAX).unwrap_or(bytes);
    let mut rest = Rest(line);
    match rest.line() {
        Ok(ends) => {
            let (source, destination) = ends.unzip();
            Ok(Header { length: line.len().saturating_sub(rest.0.len()), source, destination })
        }
        Err(Stop::More) if line.len() == LINE_MAX => Err(NoHeader::LineTooLong.into()),
        Err(stop) => Err(stop),
    }
}

fn read_v2(bytes: &[u8]) -> Result<Header, Stop> {
    let mut rest = Rest(bytes);
    rest.literal(&SIGNATURE, NoHeader::Signature)?;
    let [version_and_command] = rest.array()?;
    if version_and_command & 0xf0 != VERSION_2 {
        return Err(NoHeader::Version.into());
    }
    let command = version_and_command & 0x0f;
    if command != LOCAL && command != PROXY {
        return Err(NoHeader::Command.into());
    }
    let [family] = rest.array()?;
    let least = match (command, family) {
        // The peer speaks for itself; its health checks are such connections. What it says of
        // the family then means nothing.
        (LOCAL, _) | (_, UNSPEC) => 0,
        (_, TCP_OVER_IPV4) => IPV4_ENDS,
        (_, TCP_OVER_IPV6) => IPV6_ENDS,
        _ => return Err(NoHeader::Family.into()),
    };
    let following = u16::from_be_bytes(rest.array()?);
    if following > FOLLOWING_MAX {
        return Err(NoHeader::TooLong.into());
    }
    if following < least {
        return Err(NoHeader::TooShort.into());
    }
    let following = usize::from(following);
    // What is in it beside the addresses is skipped unread.
    let mut block = Rest(rest.0.get(..following).ok_or(Stop::More)?);
    let ends = match least {
        IPV4_ENDS => Some(block.ends::<4>()?),
        IPV6_ENDS => Some(block.ends::<16>()?),
        _ => None,
    };
    let (source, destination) = ends.unzip();
    Ok(Header { length: FIXED.saturating_add(following), source, destination })
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Stop::More)?;
        self.0 = rest;
        Ok(*array)
    }

    fn literal(&mut self, due: &[u8], otherwise: NoHeader) -> Result<(), Stop> {
        if let Some(rest) = self.0.strip_prefix(due) {
            self.0 = rest;
            Ok(())
        } else if due.starts_with(self.0) {
            Err(Stop::More)
        } else {
            Err(otherwise.into())
        }
    }

    /// Two addresses of version 2, then their ports.
    fn ends<const N: usize>(&mut self) -> Result<Ends, Stop>
    where
        IpAddr: From<[u8; N]>,
    {
        let (source, destination) = (self.array::<N>()?, self.array::<N>()?);
        let source = SocketAddr::new(source.into(), u16::from_be_bytes(self.array()?));
        let destination = SocketAddr::new(destination.into(), u16::from_be_bytes(self.array()?));
        Ok((source, destination))
    }

    /// The line that is version 1.
    fn line(&mut self) -> Result<Option<Ends>, Stop> {
        self.literal(b"PROXY ", NoHeader::Signature)?;
        if self.keyword(b"UNKNOWN")? {
            self.skip_line()?;
            return Ok(None);
        }
        if self.keyword(b"TCP4")? {
            return self.fields::<Ipv4Addr>().map(Some);
        }
        self.literal(b"TCP6", NoHeader::Protocol)?;
        self.fields::<Ipv6Addr>().map(Some)
    }

    /// Whether this word is next.
    fn keyword(&mut self, word: &[u8]) -> Result<bool, Stop> {
        match self.literal(word, NoHeader::Protocol) {
            Ok(()) => Ok(true),
            Err(Stop::None(_)) => Ok(false),
            Err(Stop::More) => Err(Stop::More),
        }
    }

    /// What follows `UNKNOWN`. Nothing in it counts, but a line ends in one way only: if a
    /// lone LF went unseen, a part of the connection's own bytes would be skipped.
    fn skip_line(&mut self) -> Result<(), Stop> {
        if !matches!(self.0, [] | [b' ' | b'\r' | b'\n', ..]) {
            return Err(NoHeader::Protocol.into());
        }
        let end = self.0.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        self.0 = end.and_then(|end| self.0.get(end..)).ok_or(Stop::More)?;
        self.literal(b"\r\n", NoHeader::LineEnd)
    }

    /// What follows another protocol.
    fn fields<Ip: FromStr + Into<IpAddr>>(&mut self) -> Result<Ends, Stop> {
        self.delimiter(b' ', NoHeader::Protocol)?;
        let source = self.field(b' ', NoHeader::Address, address::<Ip>)?;
        let destination = self.field(b' ', NoHeader::Address, address::<Ip>)?;
        let source = SocketAddr::new(source, self.field(b' ', NoHeader::Port, port)?);
        let destination = SocketAddr::new(destination, self.field(b'\r', NoHeader::Port, port)?);
        self.literal(b"\n", NoHeader::LineEnd)?;
        Ok((source, destination))
    }

    /// A field, and the delimiter that ends it.
    fn field<T>(
        &mut self,
        end: u8,
        otherwise: NoHeader,
        parse: fn(&str) -> Option<T>,
    ) -> Result<T, Stop> {
        let length = self.0.iter().take_while(|byte| is_of_fields(**byte)).count();
        let (field, rest) = self.0.split_at_checked(length).ok_or(Stop::More)?;
        self.0 = rest;
        self.delimiter(end, otherwise)?;
        let field = std::str::from_utf8(field).ok().and_then(parse);
        field.ok_or(otherwise.into())
    }

    fn delimiter(&mut self, due: u8, otherwise: NoHeader) -> Result<(), Stop> {
        let [byte] = self.array()?;
        match byte {
            _ if byte == due => Ok(()),
            b'\n' => Err(NoHeader::LineEnd.into()),
            b' ' | b'\r' => Err(NoHeader::Fields.into()),
            _ => Err(otherwise.into()),
        }
    }
}

/// Whether an address or a port may have it. No sign is among these bytes, which `std` would
/// take before a port, nor what starts a zone.
fn is_of_fields(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':')
}

fn address<Ip: FromStr + Into<IpAddr>>(text: &str) -> Option<IpAddr> {
    text.parse::<Ip>().ok().map(Into::into)
}

fn port(text: &str) -> Option<u16> {
    let padded = text.len() > 1 && text.starts_with('0');
    if padded { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests;

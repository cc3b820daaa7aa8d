//! The notation of a script: what is sent to a daemon, and when.
//!
//! A script is a list of words. A packet is `PORT`, followed by any of these, in any order:
//!
//! | part | meaning |
//! |---|---|
//! | `:udp` | UDP (otherwise TCP) |
//! | `/syn+ack`, `/none` | TCP flags (otherwise SYN) |
//! | `@3` | from the client's address number 3 (10.77.0.3 is the server's, so 1 or ≥ 4); or a literal |
//! | `>3` | to the server's address number 3 (10.77.0.3, fd77::3); or a literal |
//! | `~6` | over IPv6 |
//! | `~WHAT`, `~WHAT=N` | a variation, see [`Variation`] |
//! | `*3` | three times |
//!
//! Other words: `+1.2s`, `+300ms` wait that long in addition; `%.90` waits until the wall clock is
//! at that fraction of a second; `HUP`, `TERM`, `INT`, `USR1`, `KILL` signal the daemon.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use knock_core::flags::TcpFlags;
use knock_core::sequence::Protocol;

use crate::Result;

/// One word of a script.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Word {
    /// Send it.
    Packet(Knock),
    /// Wait.
    Pause(Duration),
    /// Wait until this far into a second of the wall clock.
    Align(Duration),
    /// Signal the daemon.
    Signal(Signal),
}

/// A signal that a script may send.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Signal {
    /// `SIGHUP`
    Hup,
    /// `SIGTERM`
    Term,
    /// `SIGINT`
    Int,
    /// `SIGUSR1`
    Usr1,
    /// `SIGKILL`
    Kill,
}

impl Signal {
    const NAMED: [(&'static str, Self); 5] = [
        ("HUP", Self::Hup),
        ("TERM", Self::Term),
        ("INT", Self::Int),
        ("USR1", Self::Usr1),
        ("KILL", Self::Kill),
    ];

    /// Whether the daemon is expected to end by it.
    #[must_use]
    pub const fn ends_the_daemon(self) -> bool {
        matches!(self, Self::Term | Self::Int | Self::Kill)
    }
}

/// A packet of a script.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Knock {
    /// From.
    pub source: IpAddr,
    /// To.
    pub destination: IpAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The destination port.
    pub port: u16,
    /// TCP flags; none for UDP.
    pub flags: TcpFlags,
    /// What is unusual about it.
    pub variations: Vec<Variation>,
}

/// In the notation; what is unusual about the packet is left out.
impl fmt::Display for Knock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.port)?;
        if self.protocol == Protocol::Udp {
            f.write_str(":udp")?;
        } else if self.flags != TcpFlags::SYN {
            let has = |flag: TcpFlags| !self.flags.intersection(flag).is_empty();
            let named = TcpFlags::NAMED.iter().filter(|(_, flag)| has(*flag));
            let names: Vec<_> = named.map(|(name, _)| *name).collect();
            let none = if names.is_empty() { "none" } else { "" };
            write!(f, "/{none}{}", names.join("+"))?;
        }
        let v6 = self.source.is_ipv6();
        if v6 {
            f.write_str("~6")?;
        }
        let short = |a: IpAddr| (1..=255).find(|n| address::number(*n, v6) == a);
        match short(self.source) {
            Some(1) => {}
            Some(n) => write!(f, "@{n}")?,
            None => write!(f, "@{}", self.source)?,
        }
        match short(self.destination) {
            Some(2) => Ok(()),
            Some(n) => write!(f, ">{n}"),
            None => write!(f, ">{}", self.destination),
        }
    }
}

/// What can be unusual about a packet.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Variation {
    /// `options`: eight bytes of IPv4 options.
    Options,
    /// `first`: the first of several fragments (over IPv6 with a fragment header).
    FirstFragment,
    /// `later`: a later fragment.
    LaterFragment,
    /// `vlan=N`: an IEEE 802.1Q tag.
    Vlan(u16),
    /// `qinq=N`: an 802.1ad tag around an 802.1Q tag.
    QinQ(u16),
    /// `badsum`: a wrong TCP or UDP checksum.
    BadChecksum,
    /// `badipsum`: a wrong IPv4 header checksum (the receiving kernel's own stack drops it).
    BadIpChecksum,
    /// `iplen=N`: the IP header claims a length of N.
    IpLength(u16),
    /// `payload=N`: N bytes of payload.
    Payload(u16),
    /// `cut=N`: only the first N bytes of the TCP or UDP part are there.
    Cut(u16),
    /// `doff=N`: the TCP header claims N 32-bit words.
    DataOffset(u8),
    /// `mac`: to a MAC address that is not the server's.
    ForeignMac,
    /// `hbh`: an IPv6 hop-by-hop options header.
    HopByHop,
    /// `dstopt`: an IPv6 destination options header.
    DestinationOptions,
    /// `routing`: an IPv6 routing header (type 0, no segments left).
    Routing,
    /// `ttl=N`: time to live, or hop limit.
    Ttl(u8),
    /// `proto=N`: another IP protocol number in front of the same bytes.
    IpProtocol(u8),
    /// `sport=N`: that source port.
    SourcePort(u16),
}

/// The network part of the test addresses, and the addresses of both sides.
pub mod address {
    use super::{IpAddr, Ipv4Addr, Ipv6Addr};

    /// 10.77.0.n or fd77::n (n is written in hexadecimal by its digits: 10 is fd77::10).
    #[must_use]
    pub fn number(n: u8, v6: bool) -> IpAddr {
        if v6 {
            let digits = format!("fd77::{n}");
            digits
                .parse::<Ipv6Addr>()
                .map_or(Ipv6Addr::UNSPECIFIED, |a| a)
                .into()
        } else {
            Ipv4Addr::new(10, 77, 0, n).into()
        }
    }

    /// The server's own addresses.
    #[must_use]
    pub fn of_the_server() -> [IpAddr; 4] {
        [
            number(2, false),
            number(3, false),
            number(2, true),
            number(3, true),
        ]
    }
}

/// Reads the words of `text`; packets are over IPv6 if `v6`, where they do not say otherwise.
///
/// # Errors
/// If a word is not of the notation.
pub fn parse(text: &str, v6: bool) -> Result<Vec<Word>> {
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        words.extend(parse_word(word, v6).map_err(|e| format!("`{word}`: {e}"))?);
    }
    Ok(words)
}

/// The one packet of `word`, over IPv4.
///
/// # Errors
/// If it is not of the notation.
pub fn packet(word: &str) -> Result<Knock> {
    Ok(parse_packet(word, false)?.0)
}

fn parse_word(word: &str, v6: bool) -> Result<Vec<Word>> {
    if let Some((_, signal)) = Signal::NAMED.iter().find(|(name, _)| *name == word) {
        return Ok(vec![Word::Signal(*signal)]);
    }
    if let Some(pause) = word.strip_prefix('+') {
        return Ok(vec![Word::Pause(duration(pause)?)]);
    }
    if let Some(fraction) = word.strip_prefix('%') {
        let fraction: f64 = fraction.parse()?;
        return Ok(vec![Word::Align(Duration::from_secs_f64(fraction))]);
    }
    let (knock, times) = parse_packet(word, v6)?;
    Ok(vec![Word::Packet(knock); times])
}

fn duration(text: &str) -> Result<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (
            text.strip_suffix('s').ok_or("a pause ends in s or ms")?,
            1.0,
        ),
    };
    Ok(Duration::from_secs_f64(number.parse::<f64>()? * unit))
}

fn parse_packet(word: &str, v6: bool) -> Result<(Knock, usize)> {
    let marks = [':', '/', '@', '>', '~', '*'];
    let end = word.find(marks).unwrap_or(word.len());
    let (port, mut rest) = word.split_at(end);
    let port = port.parse()?;
    let (mut source, mut destination, mut times) = ("1", "2", 1);
    let mut protocol = Protocol::Tcp;
    let (mut flags, mut variations, mut v6) = (TcpFlags::SYN, Vec::new(), v6);
    while let Some(mark) = rest.chars().next() {
        let body = rest.split_at(1).1;
        // An IPv6 literal has colons, and only `:udp` starts a part with one.
        let next = |(i, c): (usize, char)| {
            let tail = body.split_at(i).1;
            let colon = c == ':' && !tail.starts_with(":udp");
            (marks.contains(&c) && !colon).then_some(i)
        };
        let end = body.char_indices().find_map(next).unwrap_or(body.len());
        let (part, after) = body.split_at(end);
        rest = after;
        match mark {
            ':' if part == "udp" => protocol = Protocol::Udp,
            '/' => flags = parse_flags(part)?,
            '@' => source = part,
            '>' => destination = part,
            '~' if part == "6" => v6 = true,
            '~' if part == "4" => v6 = false,
            '~' => variations.push(parse_variation(part)?),
            '*' => times = part.parse()?,
            _ => return Err(format!("unknown part `{mark}{part}`").into()),
        }
    }
    if protocol == Protocol::Udp {
        flags = TcpFlags::NONE;
    }
    let knock = Knock {
        source: parse_address(source, v6)?,
        destination: parse_address(destination, v6)?,
        protocol,
        port,
        flags,
        variations,
    };
    Ok((knock, times))
}

fn parse_address(text: &str, v6: bool) -> Result<IpAddr> {
    Ok(match text.parse::<u8>() {
        Ok(n) => address::number(n, v6),
        Err(_) => text
            .parse()
            .map_err(|_| format!("`{text}` is no address"))?,
    })
}

fn parse_flags(text: &str) -> Result<TcpFlags> {
    let mut flags = TcpFlags::NONE;
    for name in text.split('+').filter(|name| *name != "none") {
        let known = TcpFlags::NAMED.iter().find(|(n, _)| *n == name);
        flags = flags.union(known.ok_or_else(|| format!("no flag `{name}`"))?.1);
    }
    Ok(flags)
}

fn parse_variation(text: &str) -> Result<Variation> {
    let (name, number) = text.split_once('=').unwrap_or((text, ""));
    Ok(match name {
        "options" => Variation::Options,
        "first" => Variation::FirstFragment,
        "later" => Variation::LaterFragment,
        "vlan" => Variation::Vlan(number.parse()?),
        "qinq" => Variation::QinQ(number.parse()?),
        "badsum" => Variation::BadChecksum,
        "badipsum" => Variation::BadIpChecksum,
        "iplen" => Variation::IpLength(number.parse()?),
        "payload" => Variation::Payload(number.parse()?),
        "cut" => Variation::Cut(number.parse()?),
        "doff" => Variation::DataOffset(number.parse()?),
        "mac" => Variation::ForeignMac,
        "hbh" => Variation::HopByHop,
        "dstopt" => Variation::DestinationOptions,
        "routing" => Variation::Routing,
        "ttl" => Variation::Ttl(number.parse()?),
        "proto" => Variation::IpProtocol(number.parse()?),
        "sport" => Variation::SourcePort(number.parse()?),
        _ => return Err(format!("no variation `{name}`").into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(word: &str) -> Knock {
        match parse(word, false).unwrap().as_slice() {
            [Word::Packet(knock)] => knock.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_packet_has_all_its_parts() {
        let knock = one("7000:udp@4>3~vlan=5");
        assert_eq!(knock.source, address::number(4, false));
        assert_eq!(knock.destination, address::number(3, false));
        assert_eq!(knock.protocol, Protocol::Udp);
        assert_eq!(knock.variations, [Variation::Vlan(5)]);
        assert_eq!(one("1/syn+ack").flags, TcpFlags::SYN.union(TcpFlags::ACK));
        assert_eq!(one("1/none").flags, TcpFlags::NONE);
    }

    #[test]
    fn a_literal_ipv6_address_keeps_its_colons() {
        let knock = one("7000@fe80::1>fd77::2:udp~6~hbh");
        assert_eq!(knock.source, "fe80::1".parse::<IpAddr>().unwrap());
        assert_eq!(knock.destination, "fd77::2".parse::<IpAddr>().unwrap());
        assert_eq!(knock.protocol, Protocol::Udp);
        assert_eq!(knock.variations, [Variation::HopByHop]);
    }

    #[test]
    fn words_that_are_no_packets_are_known() {
        assert_eq!(
            parse("+1.5s HUP %.9 7*2", false).unwrap().len(),
            5,
            "a repeated packet counts twice"
        );
        assert!(parse("bogus", false).is_err());
        assert!(parse("7000~bogus", false).is_err());
    }
}

//! One who asks over HTTP/1.1 (RFC 9112): one request, one answer, and it is over.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use knock_core::time::Timestamp;
use rustix::event::{PollFd, PollFlags};

use super::super::Format;
use super::{MAX_REQUEST, PATIENCE};

/// A connection of either kind.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

#[derive(Debug)]
pub(super) struct Guest {
    stream: Stream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// When it must be done.
    pub(super) deadline: Timestamp,
    state: State,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum State {
    Asks,
    Answered,
    Gone,
}

/// What is asked for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// The metrics.
    Metrics(Format, Part),
    /// Something else: the status, and words about it.
    Refused(&'static str, &'static str),
}

/// How much of the answer is wanted.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Part {
    /// All of it.
    All,
    /// To a HEAD request.
    Head,
}

impl Guest {
    /// It must be done within [`PATIENCE`].
    pub(super) fn new(stream: Stream, now: Timestamp) -> io::Result<Self> {
        match &stream {
            Stream::Unix(stream) => stream.set_nonblocking(true)?,
            Stream::Tcp(stream) => stream.set_nonblocking(true)?,
        }
        Ok(Self {
            stream,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            deadline: now.saturating_add(PATIENCE),
            state: State::Asks,
        })
    }

    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        let flags = if self.outgoing.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::OUT
        };
        PollFd::from_borrowed_fd(self.as_fd(), flags)
    }

    pub(super) fn is_gone(&self, now: Timestamp) -> bool {
        self.state == State::Gone || self.deadline <= now
    }

    /// Reads what has come; gives what is asked for once that is known.
    pub(super) fn read(&mut self) -> Option<Wanted> {
        let mut buffer = [0; MAX_REQUEST];
        while self.state == State::Asks {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.state = State::Gone,
                Ok(count) => {
                    self.incoming.extend(buffer.iter().take(count));
                    if let Some(wanted) = self.wanted() {
                        return Some(wanted);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.state = State::Gone,
            }
        }
        None
    }

    fn wanted(&self) -> Option<Wanted> {
        let is_tcp = matches!(self.stream, Stream::Tcp(_));
        let head = self.incoming.get(..MAX_REQUEST).unwrap_or(&self.incoming);
        match head.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(end) => Some(parse_request(head.get(..end).unwrap_or_default(), is_tcp)),
            None if self.incoming.len() >= MAX_REQUEST => Some(Wanted::Refused(
                "431 Request Header Fields Too Large",
                "a request has at most 4096 bytes\n",
            )),
            None => None,
        }
    }

    /// Answers; then [`Guest::write`] sends it.
    pub(super) fn answer(&mut self, status: &str, kind: &str, part: Part, body: &str) {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
            body.len()
        );
        self.outgoing = head.into_bytes();
        if part == Part::All {
            self.outgoing.extend(body.bytes());
        }
        self.state = State::Answered;
    }

    /// Sends what is left of the answer.
    pub(super) fn write(&mut self) {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.outgoing.clear(),
            }
        }
        if self.state == State::Answered {
            self.state = State::Gone;
        }
    }
}

impl AsFd for Guest {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tcp(stream) => stream.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(buffer),
            Self::Tcp(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a request asks for; `head` is all before the empty line. At an address, it must be asked for by
/// a name of this host.
#[must_use]
pub fn parse_request(head: &[u8], at_address: bool) -> Wanted {
    const BAD: Wanted = Wanted::Refused("400 Bad Request", "this is no request of HTTP/1.1\n");
    let Ok(head) = str::from_utf8(head) else {
        return BAD;
    };
    let mut lines = head.split("\r\n");
    let words: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    let &[method, target, "HTTP/1.1" | "HTTP/1.0"] = words.as_slice() else {
        return BAD;
    };
    let fields: Option<Vec<_>> = lines.map(|line| line.split_once(':')).collect();
    let Some(fields) = fields else {
        return BAD;
    };
    let part = match method {
        "GET" => Part::All,
        "HEAD" => Part::Head,
        _ => return Wanted::Refused("405 Method Not Allowed", "only GET is answered\n"),
    };
    if target.split('?').next() != Some("/metrics") {
        return Wanted::Refused("404 Not Found", "there is only /metrics\n");
    }
    if at_address && !field(&fields, "host").is_none_or(is_own_name) {
        return Wanted::Refused(
            "403 Forbidden",
            "asked for by a name that is not this host's own\n",
        );
    }
    let accept = field(&fields, "accept").unwrap_or_default();
    let takes = |kind: &str| accept.contains(kind);
    let format = if takes("text/plain") && !takes("application/openmetrics-text") {
        Format::Classic
    } else {
        Format::OpenMetrics
    };
    Wanted::Metrics(format, part)
}

fn field<'a>(fields: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    let mut fields = fields.iter();
    let (_, value) = fields.find(|(other, _)| other.eq_ignore_ascii_case(name))?;
    Some(value.trim())
}

/// Whether a browser on this host asks for this host, and not for a page whose name has been made to
/// mean this host.
fn is_own_name(host: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    let number = name.trim_start_matches('[').trim_end_matches(']');
    let number: Result<IpAddr, _> = number.parse();
    name.eq_ignore_ascii_case("localhost") || number.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn asked(head: &str) -> Wanted {
        parse_request(head.replace('\n', "\r\n").as_bytes(), true)
    }

    fn status(wanted: Wanted) -> &'static str {
        match wanted {
            Wanted::Metrics(..) => "200",
            Wanted::Refused(status, _) => status.split(' ').next().unwrap(),
        }
    }

    #[test]
    fn only_metrics_are_to_be_had_and_only_by_a_request() {
        for (head, expected) in [
            ("GET /metrics HTTP/1.1\nHost: localhost:9115", "200"),
            ("GET /metrics?x=y HTTP/1.0", "200"),
            ("HEAD /metrics HTTP/1.1", "200"),
            ("POST /metrics HTTP/1.1", "405"),
            ("GET / HTTP/1.1", "404"),
            ("GET /metrics/../etc HTTP/1.1", "404"),
            ("GET /metrics", "400"),
            ("GET  /metrics HTTP/1.1", "400"),
            ("GET /metrics HTTP/2.0", "400"),
            ("GET /metrics HTTP/1.1\nno field", "400"),
            ("", "400"),
        ] {
            assert_eq!(status(asked(head)), expected, "{head:?}");
        }
        assert_eq!(status(parse_request(b"GET /\xff HTTP/1.1", true)), "400");
    }

    #[test]
    fn who_asks_by_a_name_of_somebody_else_is_refused_over_tcp() {
        for (host, expected) in [
            ("127.0.0.1:9115", "200"),
            ("[::1]:9115", "200"),
            ("LocalHost", "200"),
            ("evil.example:9115", "403"),
            ("192.0.2.1", "403"),
            ("localhost.evil.example", "403"),
        ] {
            let head = format!("GET /metrics HTTP/1.1\r\nHost: {host}");
            assert_eq!(
                status(parse_request(head.as_bytes(), true)),
                expected,
                "{host}"
            );
            assert_eq!(
                status(parse_request(head.as_bytes(), false)),
                "200",
                "{host}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked_there_is_an_answer(
            method in "GET|HEAD|P", target in "/metrics|/|[ -~]{0,8}", rest in vec(any::<u8>(), 0..60),
        ) {
            let asked = [method.as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\nHost:", &rest];
            for head in [asked.concat(), rest] {
                let at_socket = status(parse_request(&head, false));
                let known = ["200", "400", "404", "405"];
                prop_assert!(known.contains(&at_socket));
                let at_address = status(parse_request(&head, true));
                prop_assert!(at_address == at_socket || at_address == "403");
            }
        }
    }

    #[test]
    fn who_takes_only_the_older_format_gets_it() {
        let format = |accept: &str| {
            let head = format!("GET /metrics HTTP/1.1\nACCEPT: {accept}");
            match asked(&head) {
                Wanted::Metrics(format, _) => format,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(format("*/*"), Format::OpenMetrics);
        assert_eq!(format("text/plain;version=0.0.4"), Format::Classic);
        let both = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
        assert_eq!(format(both), Format::OpenMetrics);
    }
}

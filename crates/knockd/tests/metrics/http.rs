//! A daemon that gives metrics, and who asks for them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::Outcome;
use crate::net::Net;

pub(crate) const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9115\r\n\r\n";

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server with these doors and metrics at both places.
pub(crate) fn net(doors: &str) -> Outcome<Net> {
    let net = Net::new(doors)?;
    let places = "metrics_address = 127.0.0.1:9115\nmetrics_socket = %F%/metrics.sock\n";
    let text = net.configuration()?;
    net.configure(&text.replace("[options]\n", &format!("[options]\n{places}")))?;
    Ok(net)
}

pub(crate) fn tcp(net: &Net) -> Outcome<TcpStream> {
    let stream = net.server.run(|| TcpStream::connect("127.0.0.1:9115"))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub(crate) fn unix(net: &Net) -> Outcome<UnixStream> {
    let stream = UnixStream::connect(net.path("metrics.sock"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Head and body of the answer to `request`.
pub(crate) fn ask(stream: &mut (impl Read + Write), request: &[u8]) -> Outcome<(String, String)> {
    stream.write_all(request)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no head")?;
    Ok((head.to_owned(), body.to_owned()))
}

/// The samples: each name with its labels, and its value.
pub(crate) fn samples(body: &str) -> Outcome<BTreeMap<String, u64>> {
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').ok_or(line)?;
        Ok((name.to_owned(), value.parse()?))
    });
    samples.collect()
}

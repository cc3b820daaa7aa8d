//! Who asks well, slowly, by halves and too much.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use tempfile::TempDir;

use super::*;
use crate::listen;

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

struct Bench {
    server: Server,
    folder: TempDir,
    now: Timestamp,
    /// How often the status was asked for.
    made: usize,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.sock");
        Self {
            server: Server::open(Some(path), None).unwrap(),
            folder,
            now: listen::now(),
            made: 0,
        }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.folder.path().join("metrics.sock")).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    fn turn(&mut self) {
        let made = &mut self.made;
        self.server.handle_readable(self.now, || {
            *made += 1;
            crate::metrics::tests::status("ssh")
        });
    }

    fn ask(&mut self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        self.turn();
        read(&mut stream)
    }
}

/// All that has come, and whether that is the end.
fn read(stream: &mut UnixStream) -> String {
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Ok(_) => text.extend(b"(end)"),
        // What was not read before the end; or nothing has come yet.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => text.extend(b"(end)"),
        Err(_) => {}
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn a_request_is_answered_and_that_is_the_end() {
    let mut bench = Bench::new();
    let answer = bench.ask(GET);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("# EOF\n(end)"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let length = format!("Content-Length: {}", body.len() - "(end)".len());
    assert!(head.contains(&length), "{head}");
    let head = bench.ask(b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(
        head.contains(&length) && head.ends_with("\r\n\r\n(end)"),
        "{head}"
    );
}

#[test]
fn nothing_is_made_for_what_is_no_request_for_metrics() {
    let mut bench = Bench::new();
    assert!(
        bench
            .ask(b"GET / HTTP/1.1\r\n\r\n")
            .starts_with("HTTP/1.1 404 ")
    );
    assert!(bench.ask(b"\xff\0\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert!(bench.ask(&[b'x'; MAX_REQUEST]).starts_with("HTTP/1.1 431 "));
    assert_eq!(bench.ask(b"GET /metr"), "");
    assert_eq!(bench.made, 0);
}

#[test]
fn a_request_may_come_in_pieces() {
    let mut bench = Bench::new();
    let mut stream = bench.connect();
    for byte in GET {
        assert_eq!(read(&mut stream), "");
        stream.write_all(&[*byte]).unwrap();
        bench.turn();
    }
    assert!(read(&mut stream).ends_with("# EOF\n(end)"));
}

#[test]
fn who_ask_together_are_answered_with_one_status() {
    let mut bench = Bench::new();
    let mut all: Vec<_> = (0..MAX_GUESTS).map(|_| bench.connect()).collect();
    all.iter_mut()
        .for_each(|stream| stream.write_all(GET).unwrap());
    bench.turn();
    assert_eq!(bench.made, 1);
    assert!(
        all.iter_mut()
            .all(|stream| read(stream).ends_with("# EOF\n(end)"))
    );
}

#[test]
fn who_is_too_slow_makes_room_for_those_who_wait() {
    let mut bench = Bench::new();
    let mut slow: Vec<_> = (0..MAX_GUESTS).map(|_| bench.connect()).collect();
    bench.turn();
    let mut next = bench.connect();
    next.write_all(GET).unwrap();
    bench.turn();
    assert_eq!(read(&mut next), "");
    assert_eq!(bench.server.poll_fds().count(), MAX_GUESTS);
    let deadline = bench.server.poll_timeout().unwrap();
    assert_eq!(deadline.saturating_since(bench.now), PATIENCE);
    bench.now = deadline;
    bench.turn();
    assert!(slow.iter_mut().all(|stream| read(stream) == "(end)"));
    bench.turn();
    assert!(read(&mut next).ends_with("# EOF\n(end)"));
}

#[test]
fn who_does_not_read_is_let_go_in_time() {
    let mut bench = Bench::new();
    let mut stream = bench.connect();
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 1).unwrap();
    stream.write_all(GET).unwrap();
    bench.turn();
    bench.now = bench.now.saturating_add(PATIENCE);
    bench.turn();
    assert_eq!(bench.server.poll_timeout(), None);
    assert_eq!(bench.server.poll_fds().count(), 1);
}

#[test]
fn while_nobody_is_here_there_is_nothing_to_do() {
    let mut bench = Bench::new();
    bench.turn();
    assert_eq!(bench.server.poll_timeout(), None);
    bench.ask(GET);
    assert_eq!(bench.server.poll_timeout(), None);
    assert_eq!(Server::default().poll_fds().count(), 0);
}

#[test]
fn the_socket_is_for_its_owner_and_its_group() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let file = std::fs::metadata(bench.folder.path().join("metrics.sock")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o660);
}

#[test]
fn a_port_that_somebody_has_is_an_error_that_names_it() {
    let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = somebody.local_addr().unwrap();
    let error = Server::open(None, Some(address)).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("metrics_address {address}: ")),
        "{error}"
    );
}

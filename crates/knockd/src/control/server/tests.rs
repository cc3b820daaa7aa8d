//! A server in a folder, and clients that behave or do not.

use std::io::{Read, Write};

use tempfile::TempDir;

use super::*;
use crate::control::MAX_REQUEST;
use crate::events::{Happened, Kind, RunId};
use crate::listen;
use crate::log::{Level, Line};

struct Bench {
    server: Server,
    events: Memory,
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            server: Server::open(&folder.path().join("control.sock")).unwrap(),
            events: Memory::new(RunId::new(1)),
            folder,
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("control.sock")
    }

    fn connect(&self) -> UnixStream {
        let client = UnixStream::connect(self.path()).unwrap();
        client.set_nonblocking(true).unwrap();
        client
    }

    fn happen(&mut self, count: usize) {
        for _ in 0..count {
            let line = Line::new(Level::Info, "test", "it happened");
            self.events.keep(&line.means(Happened::new(Kind::Step)));
        }
    }

    /// What the daemon does in one turn; each request is answered with its number.
    fn turn(&mut self) {
        self.server.handle_readable(listen::now());
        let mut asked = Vec::new();
        while let Some(one) = self.server.poll_request() {
            asked.push(one);
        }
        for one in asked {
            match one.request {
                Request::Events { since, follow } => {
                    self.server.stream(one.client, since, follow, &self.events);
                }
                _ => {
                    let next = one.client.0;
                    self.server.answer(one.client, &Answer::End { next });
                }
            }
        }
        self.server.tell(&self.events);
    }

    fn clients(&self) -> usize {
        self.server.clients.len()
    }
}

fn read(client: &mut UnixStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count) = client.read(&mut buffer) {
        text.extend_from_slice(&buffer[..count]);
        if count == 0 {
            text.extend_from_slice(b"(end)");
            break;
        }
    }
    String::from_utf8(text).unwrap()
}

const STATUS: &[u8] = b"{\"version\":1,\"request\":\"status\"}\n";

#[test]
fn a_line_may_come_in_pieces_and_several_at_once() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    let (first, rest) = STATUS.split_at(9);
    client.write_all(first).unwrap();
    bench.turn();
    assert_eq!(read(&mut client), "");
    client.write_all(rest).unwrap();
    client.write_all(STATUS).unwrap();
    client.write_all(b"{\"request\":\"reload\"}\n").unwrap();
    for _ in 0..3 {
        bench.turn();
    }
    let answer = "{\"answer\":\"end\",\"next\":0}\n";
    assert_eq!(read(&mut client), answer.repeat(3));
}

#[test]
fn what_is_no_request_is_answered_and_the_next_one_is_heard() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(b"\xff\0garbage\n{}\n[1]\n").unwrap();
    client.write_all(b"{\"request\":\"status\"}\n").unwrap();
    client.write_all(STATUS).unwrap();
    for _ in 0..5 {
        bench.turn();
    }
    let answers = read(&mut client);
    let lines: Vec<_> = answers.lines().collect();
    let is_bad = |line: &&str| line.contains("\"code\":\"bad-request\"");
    assert_eq!(
        lines.iter().copied().filter(|l| is_bad(l)).count(),
        2,
        "{answers}"
    );
    assert_eq!(
        answers.matches("\"code\":\"version\"").count(),
        2,
        "{answers}"
    );
    assert!(lines.last().is_some_and(|line| line.contains("\"end\"")));
}

#[test]
fn who_sends_too_long_a_line_is_told_so_and_goes() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(&vec![b'x'; MAX_REQUEST * 8]).unwrap();
    bench.turn();
    bench.turn();
    assert!(read(&mut client).starts_with("{\"answer\":\"error\",\"code\":\"too-long\""));
    assert_eq!(bench.clients(), 0);
}

#[test]
fn one_client_too_many_is_told_so_and_the_others_are_served() {
    let mut bench = Bench::new();
    let mut all: Vec<_> = (0..100).map(|_| bench.connect()).collect();
    bench.turn();
    assert_eq!(bench.clients(), MAX_CLIENTS);
    let last = all.last_mut().unwrap();
    assert!(read(last).contains("\"code\":\"too-many-clients\""));
    all[0].write_all(STATUS).unwrap();
    bench.turn();
    assert!(read(&mut all[0]).contains("\"end\""));
    drop(all);
    bench.turn();
    assert_eq!(bench.clients(), 0);
    let mut next = bench.connect();
    next.write_all(STATUS).unwrap();
    bench.turn();
    assert!(read(&mut next).contains("\"end\""));
}

#[test]
fn who_reads_too_slowly_is_told_how_much_it_has_missed() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    let follow = b"{\"version\":1,\"request\":\"events\",\"follow\":true}\n";
    client.write_all(follow).unwrap();
    bench.turn();
    for _ in 0..100 {
        bench.happen(300);
        bench.turn();
    }
    let waiting = bench.server.clients.values().map(Client::waiting);
    assert!(waiting.sum::<usize>() < 2 * ENOUGH);
    let (mut events, mut missed, mut rest) = (0, 0, String::new());
    while events + missed < 30_000 {
        rest.push_str(&read(&mut client));
        let whole = rest.rfind('\n').map_or(0, |end| end + 1);
        for line in rest.drain(..whole).collect::<String>().lines() {
            match serde_json::from_str(line).unwrap() {
                Answer::Event(event) => {
                    events += 1;
                    assert_eq!(event.seq, events + missed);
                }
                Answer::Missed { count } => missed += count,
                other => panic!("{other:?}"),
            }
        }
        bench.turn();
    }
    assert!(missed > 10_000, "{missed}");
}

#[test]
fn events_end_where_they_ended_when_they_were_asked_for() {
    let mut bench = Bench::new();
    bench.happen(5);
    let mut client = bench.connect();
    let since = b"{\"version\":1,\"request\":\"events\",\"since\":4}\n";
    client.write_all(since).unwrap();
    bench.turn();
    let answers = read(&mut client);
    assert_eq!(answers.lines().count(), 3, "{answers}");
    assert!(answers.ends_with("{\"answer\":\"end\",\"next\":6}\n"));
    client
        .write_all(b"{\"request\":\"events\",\"since\":99}\n")
        .unwrap();
    bench.turn();
    assert_eq!(read(&mut client), "{\"answer\":\"end\",\"next\":6}\n");
}

#[test]
fn who_follows_and_goes_is_forgotten_and_who_only_sends_no_more_is_not() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    let follow = b"{\"version\":1,\"request\":\"events\",\"follow\":true}\n";
    client.write_all(follow).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    bench.turn();
    bench.happen(1);
    bench.turn();
    assert!(read(&mut client).contains("it happened"));
    drop(client);
    bench.turn();
    assert_eq!(bench.clients(), 0);
}

#[test]
fn who_follows_and_sends_without_end_holds_nobody_up() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    let follow = b"{\"version\":1,\"request\":\"events\",\"follow\":true}\n";
    client.write_all(follow).unwrap();
    bench.turn();
    while client.write(&[b'x'; 4096]).is_ok() {}
    bench.turn();
    // Some of it was read, and not all: the next who has come has its turn.
    let mut other = bench.connect();
    other.write_all(STATUS).unwrap();
    bench.happen(1);
    bench.turn();
    assert!(read(&mut other).contains("\"end\""));
    assert!(read(&mut client).contains("it happened"));
    assert!(client.write(b"x").is_err(), "it was all read");
}

#[test]
fn a_dead_daemons_socket_is_taken_over_and_a_living_ones_is_not() {
    let bench = Bench::new();
    let living = Server::open(&bench.path()).unwrap_err();
    assert!(matches!(living, PlaceError::Living(Some(_))), "{living}");
    let stale = bench.folder.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let taken = Server::open(&stale).unwrap();
    assert!(UnixStream::connect(&stale).is_ok());
    drop(taken);
    assert!(!stale.exists());
    let file = bench.folder.path().join("file");
    std::fs::write(&file, "of somebody").unwrap();
    let other = Server::open(&file).unwrap_err();
    assert!(matches!(other, PlaceError::NotASocket), "{other}");
    assert_eq!(std::fs::read(&file).unwrap(), b"of somebody");
}

#[test]
fn a_socket_that_is_not_ours_any_more_is_left_alone() {
    let bench = Bench::new();
    let path = bench.path();
    std::fs::remove_file(&path).unwrap();
    let other = Server::open(&path).unwrap();
    drop(bench.server);
    assert!(UnixStream::connect(&path).is_ok());
    drop(other);
}

#[test]
fn the_socket_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let mode = std::fs::metadata(bench.path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

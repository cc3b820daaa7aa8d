//! What lines look like, and where they go.

use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;

use super::*;

const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 1));

fn record(line: Line) -> Record {
    let at = "2026-11-23T02:15:07.250Z".parse().unwrap();
    Record {
        line,
        at,
        host: None,
    }
}

fn stage() -> Record {
    record(Line::of_source(SOURCE, "ssh", "stage", "Stage 1"))
}

fn tokyo() -> TimeZone {
    TimeZone::fixed(jiff::tz::offset(9))
}

/// A log to `file` alone.
fn to_file(file: &Path, format: LogFormat) -> Log {
    let setup = LogSetup {
        file: Some(file.to_owned()),
        format,
        ..LogSetup::default()
    };
    Log::with_journal(setup, None)
}

fn received(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let n = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..n].to_vec()).unwrap()
}

#[test]
fn every_format_says_the_same_in_its_way() {
    let line = |format| format::render(format, &stage(), &tokyo());
    assert_eq!(
        line(LogFormat::Classic),
        "[2026-11-23 11:15] 10.77.0.1: ssh: Stage 1\n"
    );
    assert_eq!(
        line(LogFormat::Rfc3339),
        "2026-11-23T11:15:07.250+09:00 10.77.0.1: ssh: Stage 1\n"
    );
    assert_eq!(
        line(LogFormat::Json),
        concat!(
            r#"{"time":"2026-11-23T11:15:07.250+09:00","level":"info","event":"stage","#,
            r#""door":"ssh","source":"10.77.0.1","message":"10.77.0.1: ssh: Stage 1"}"#,
            "\n"
        )
    );
}

#[test]
fn a_name_stands_behind_the_address_of_a_line_that_is_led_by_it() {
    let mut named = stage();
    named.host = Some("client.example".into());
    assert_eq!(named.message(), "10.77.0.1 (client.example): ssh: Stage 1");
    let line = Line::of_door("ssh", "command", "running command: x").about(SOURCE);
    assert_eq!(
        line.message(Some("client.example")),
        "ssh: running command: x"
    );
}

#[test]
fn nothing_breaks_a_line_or_reaches_a_terminal() {
    let line = Line::new(Level::Info, "x", "a\nb\r\x1b[31m\u{9b}\u{2028}\tc\x7f\0");
    let text = line.message(None);
    assert_eq!(text, "a\\nb\\r\\x1b[31m\\u{9b}\\u{2028}\tc\\x7f\\x00");
    let named = Line::of_source(SOURCE, "A", "x", "y").message(Some("\n10.0.0.1: A: OPEN SESAME"));
    assert!(!named.contains('\n'));
}

#[test]
fn the_file_is_appended_to_and_nobody_else_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    to_file(&path, LogFormat::Rfc3339).write(&stage());
    to_file(&path, LogFormat::Rfc3339).write(&stage());
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn after_a_rename_and_a_reopen_a_new_file_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
    let mut log = to_file(&path, LogFormat::Classic);
    log.write(&stage());
    std::fs::rename(&path, &old).unwrap();
    log.write(&stage());
    assert_eq!(std::fs::read_to_string(&old).unwrap().lines().count(), 2);
    log.reopen(log.setup().clone());
    log.write(&stage());
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
}

#[test]
fn debug_lines_are_logged_only_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = to_file(&path, LogFormat::Classic);
    let quiet = record(Line::new(Level::Debug, "broken", "wrong knock"));
    log.write(&quiet);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    log.reopen(LogSetup {
        debug: true,
        ..log.setup().clone()
    });
    log.write(&quiet);
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .ends_with("wrong knock\n")
    );
}

#[test]
fn a_full_disk_is_reported_once_and_lines_come_back_when_it_is_not() {
    let mut file = LogFile::new("/dev/full".into());
    file.open().unwrap();
    assert!(file.append("x\n").is_err(), "the first line complains");
    assert!(
        file.append("x\n").is_ok(),
        "the second does not complain again"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("not yet/log");
    let mut file = LogFile::new(path.clone());
    assert!(file.open().is_err());
    assert!(file.append("lost\n").is_ok(), "reported when it was opened");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    file.append("kept\n").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept\n");
}

#[test]
fn syslog_gets_the_originals_form_and_survives_a_restart_of_its_reader() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let reader = UnixDatagram::bind(&path).unwrap();
    let mut syslog = Syslog::new(path.clone());
    syslog.write(&stage(), &tokyo());
    assert_eq!(
        received(&reader),
        "<13>Nov 23 11:15:07 knockd: 10.77.0.1: ssh: Stage 1"
    );
    drop(reader);
    std::fs::remove_file(&path).unwrap();
    syslog.write(&stage(), &tokyo());
    let reader = UnixDatagram::bind(&path).unwrap();
    syslog.write(&stage(), &tokyo());
    assert!(received(&reader).starts_with("<13>"));
}

#[test]
fn a_syslog_that_reads_nothing_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let _reader = UnixDatagram::bind(&path).unwrap();
    let mut syslog = Syslog::new(path);
    let begin = std::time::Instant::now();
    for _ in 0..5_000 {
        syslog.write(&stage(), &tokyo());
    }
    assert!(begin.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn the_journal_gets_fields() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let reader = UnixDatagram::bind(&path).unwrap();
    let mut journal = Journal::at(&path).unwrap();
    journal.write(&stage());
    assert_eq!(
        received(&reader),
        "MESSAGE=10.77.0.1: ssh: Stage 1\nPRIORITY=5\nSYSLOG_FACILITY=1\n\
         SYSLOG_IDENTIFIER=knockd\nKNOCKD_EVENT=stage\nKNOCKD_DOOR=ssh\n\
         KNOCKD_SOURCE=10.77.0.1\n"
    );
}

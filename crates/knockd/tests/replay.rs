//! `knockctl replay` as a program: captures that tcpdump makes, and captures that are damaged.

#![expect(clippy::indexing_slicing, reason = "in a test, a panic is a failure")]

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::Duration;

use knockd::lab::{Host, Identity, Process, isolate};
use libtest_mimic::{Arguments, Failed, Trial};
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

const CONFIG: &str = "[A]\nsequence = 7000,8000:udp,9000\ntcpflags = syn\n\
                      [B]\nsequence = 7000,9000\ntcpflags = syn\n";

fn main() -> ExitCode {
    if let Err(error) = isolate(Identity::RootIfNeeded) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trial = |name: &str, test: fn() -> Result<(), Box<dyn Error>>| {
        Trial::test(name, move || {
            test().map_err(|error| Failed::from(error.to_string()))
        })
    };
    let trials = vec![
        trial("a_capture_of_tcpdump_on_ethernet_is_replayed", ethernet)
            .with_ignored_flag(!tcpdump_works()),
        trial("a_capture_of_tcpdump_on_any_interface_is_replayed", cooked)
            .with_ignored_flag(!tcpdump_works()),
        trial(
            "what_comes_before_a_fault_is_told_and_the_fault_located",
            truncated,
        ),
        trial("json_has_one_object_a_line", json),
        trial("quiet_tells_openings_alone", quiet),
        trial("what_the_kernel_would_open_is_told", native),
        trial("standard_input_is_read", standard_input),
        trial("what_is_no_capture_or_no_file_is_an_error", no_capture),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// It must be installed; and it gives up root in a way that a user namespace refuses.
fn tcpdump_works() -> bool {
    let installed = Command::new("tcpdump").arg("--version").output().is_ok();
    let groups = fs::read_to_string("/proc/self/setgroups");
    installed && groups.is_ok_and(|groups| groups.trim() == "allow")
}

fn replay(arguments: &[&str], capture: &Path) -> Result<Output, Box<dyn Error>> {
    replay_with(CONFIG, arguments, capture)
}

fn replay_with(text: &str, arguments: &[&str], capture: &Path) -> Result<Output, Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("knockd.conf");
    fs::write(&config, text)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_knockctl"));
    command
        .arg("replay")
        .arg("-c")
        .arg(&config)
        .args(arguments)
        .arg(capture);
    Ok(command.env("TZ", "UTC").output()?)
}

/// Every line without its time.
fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let strip = |line: &str| {
        let stamped = line.starts_with("20").then(|| line.get(27..)).flatten();
        stamped.unwrap_or(line).to_owned()
    };
    text.lines().map(strip).collect()
}

const OPENS: [&str; 6] = [
    "10.77.0.1 A: step 1 of 3 (7000)",
    "10.77.0.1 B: step 1 of 2 (7000)",
    "10.77.0.1 A: step 2 of 3 (8000:udp)",
    "10.77.0.1 B: broken after step 1 of 2 by a knock at 8000:udp; 9000 was next",
    "10.77.0.1 A: step 3 of 3 (9000)",
    "10.77.0.1 A: opens",
];

/// Captures a knock on the server's `interface`, and replays it.
fn captured(interface: &str) -> Result<(), Box<dyn Error>> {
    let (client, server) = (Host::new("client")?, Host::new("server")?);
    client.connect("eth0", &server, "server0")?;
    client.add_address("eth0", "10.77.0.1/24")?;
    server.add_address("server0", "10.77.0.2/24")?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("knock.pcap");
    let mut dump = tcpdump(&server, interface, &file)?;
    client.run(knock)??;
    let status = dump.wait_at_most(PATIENCE)?.ok_or("tcpdump does not end")?;
    assert!(status.success());

    let output = replay(&["--local", "10.77.0.2"], &file)?;
    assert!(output.status.success(), "{output:?}");
    let lines = lines(&output);
    assert_eq!(lines[..6], OPENS, "{lines:#?}");
    assert!(lines.contains(&"A: opened once".to_owned()));
    assert!(lines.contains(&"B: never opened".to_owned()));
    let output = replay(&["--local", "10.77.0.3"], &file)?;
    let first =
        "10.77.0.1 A: a knock at 7000 does not count: it went to 10.77.0.2, not to the server";
    assert_eq!(
        self::lines(&output).first().map(String::as_str),
        Some(first)
    );
    Ok(())
}

fn ethernet() -> Result<(), Box<dyn Error>> {
    captured("server0")
}

fn cooked() -> Result<(), Box<dyn Error>> {
    captured("any")
}

/// Ends after the three packets of a knock; ready when this returns.
fn tcpdump(host: &Host, interface: &str, file: &Path) -> Result<Process, Box<dyn Error>> {
    let filter = "(tcp and tcp[13] == 2) or (udp and dst port 8000)";
    let mut command = Command::new("tcpdump");
    command
        .args([
            "-i",
            interface,
            "-Z",
            "root",
            "--immediate-mode",
            "-U",
            "-c",
            "3",
            "-w",
        ])
        .arg(file)
        .arg(filter)
        .stderr(Stdio::piped());
    let mut process = host.spawn(&mut command)?;
    let mut stderr = BufReader::new(process.stderr.take().ok_or("no pipe")?);
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        if stderr.read_line(&mut line)? == 0 {
            return Err("tcpdump has ended".into());
        }
    }
    // It writes more at its end; somebody must read it.
    std::thread::spawn(move || stderr.lines().count());
    Ok(process)
}

fn knock() -> std::io::Result<()> {
    let server = |port| SocketAddr::from(([10, 77, 0, 2], port));
    // Nobody listens: refused, which is what a knock expects.
    let tcp = |port| TcpStream::connect_timeout(&server(port), PATIENCE).is_err();
    assert!(tcp(7000));
    UdpSocket::bind("0.0.0.0:0")?.send_to(b"x", server(8000))?;
    assert!(tcp(9000));
    Ok(())
}

/// A capture of a knock, raw IP, one packet a second.
fn capture() -> Result<Vec<u8>, Box<dyn Error>> {
    let header = PcapHeader {
        datalink: DataLink::RAW,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(Vec::new(), header)?;
    for (second, (kind, port)) in [("tcp", 7000), ("udp", 8000), ("tcp", 9000)]
        .iter()
        .enumerate()
    {
        let ip = etherparse::PacketBuilder::ipv4([10, 77, 0, 1], [10, 77, 0, 2], 64);
        let mut bytes = Vec::new();
        match *kind {
            "tcp" => ip.tcp(40000, *port, 1, 1024).syn().write(&mut bytes, b"")?,
            _ => ip.udp(40000, *port).write(&mut bytes, b"x")?,
        }
        let time = Duration::from_secs(1_800_000_000 + u64::try_from(second)?);
        writer.write_packet(&PcapPacket::new(time, u32::try_from(bytes.len())?, &bytes))?;
    }
    Ok(writer.into_writer())
}

fn file(bytes: &[u8]) -> Result<tempfile::NamedTempFile, Box<dyn Error>> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(bytes)?;
    Ok(file)
}

fn truncated() -> Result<(), Box<dyn Error>> {
    let bytes = capture()?;
    let cut = bytes.len() - 5;
    let file = file(&bytes[..cut])?;
    let output = replay(&[], file.path())?;
    assert_eq!(output.status.code(), Some(1));
    let lines = lines(&output);
    assert_eq!(lines[..4], OPENS[..4]);
    assert_eq!(
        lines[4],
        "10.77.0.1 A: the file ends after step 2 of 3; 9000 was next"
    );
    let path = file.path().display();
    let error = format!("knockctl: {path}: the file ends within a packet, at byte {cut}\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), error);
    Ok(())
}

fn json() -> Result<(), Box<dyn Error>> {
    let output = replay(&["--json"], file(&capture()?)?.path())?;
    let text = String::from_utf8(output.stdout)?;
    let objects = text.lines().map(serde_json::from_str);
    let objects = objects.collect::<Result<Vec<serde_json::Value>, _>>()?;
    let opening = serde_json::json!({
        "time": "2027-01-15T08:00:02Z", "source": "10.77.0.1", "door": "A", "door_number": 0,
        "event": "opening",
    });
    assert_eq!(objects[5], opening);
    let summary = objects.last().ok_or("nothing")?;
    assert_eq!(summary["event"], "summary");
    assert_eq!(summary["packets"], 3);
    assert_eq!(summary["doors"][0]["openings"], 1);
    Ok(())
}

fn quiet() -> Result<(), Box<dyn Error>> {
    let output = replay(&["--quiet"], file(&capture()?)?.path())?;
    let lines = lines(&output);
    assert_eq!(lines[..2], ["10.77.0.1 A: opens", ""]);
    Ok(())
}

fn native() -> Result<(), Box<dyn Error>> {
    let config = CONFIG.replacen("tcpflags = syn", "tcpflags = syn\nopen = tcp/22, icmp", 1);
    let capture = file(&capture()?)?;
    let lines = lines(&replay_with(&config, &["--quiet"], capture.path())?);
    let line = "10.77.0.1 A: opens; would open tcp/22, icmp for 30s";
    assert_eq!(lines.first().map(String::as_str), Some(line));
    let output = replay_with(&config, &["--quiet", "--json"], capture.path())?;
    let text = String::from_utf8(output.stdout)?;
    let object: serde_json::Value = serde_json::from_str(text.lines().next().ok_or("nothing")?)?;
    assert_eq!(object["open"], serde_json::json!(["tcp/22", "icmp"]));
    assert_eq!(object["open_for"], 30.0);
    Ok(())
}

fn standard_input() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("knockd.conf");
    fs::write(&config, CONFIG)?;
    let mut child = Command::new(env!("CARGO_BIN_EXE_knockctl"))
        .args(["replay", "-q", "-c"])
        .arg(&config)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .ok_or("no pipe")?
        .write_all(&capture()?)?;
    let output = child.wait_with_output()?;
    assert!(lines(&output)[0].ends_with("10.77.0.1 A: opens"));
    Ok(())
}

fn no_capture() -> Result<(), Box<dyn Error>> {
    let text = file(b"this is a text\n")?;
    let output = replay(&[], text.path())?;
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        errors.ends_with(": not a pcap or pcapng file\n"),
        "{errors}"
    );
    let output = replay(&[], Path::new("/nonexistent.pcap"))?;
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        errors,
        "knockctl: /nonexistent.pcap: No such file or directory\n"
    );
    Ok(())
}

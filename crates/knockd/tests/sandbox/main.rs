//! Each layer of the sandbox by itself: what it alone refuses, and with what error.
//!
//! The program starts itself again for each attempt, puts on one layer, and tries. That the
//! listener wears them all, and what the last one does to it, is shown by `tests/daemon`.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};

use knockd::lab::{Identity, isolate};
use knockd::sandbox::{Account, Descriptors, Layer, State, confine};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::libc::{EACCES, EAGAIN, EMFILE, EPERM};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::{Uid, setresuid};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::process::{Pid, Signal, getppid, kill_process};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Set to the number of the attempt that is to be made.
const ATTEMPT: &str = "POSTERN_TEST_ATTEMPT";

/// Set to whether the layer is put on first.
const CONFINED: &str = "POSTERN_TEST_CONFINED";

struct Attempt {
    name: &'static str,
    layer: Layer,
    /// What fails with the layer, and only with it.
    try_it: fn() -> io::Result<()>,
    /// The error that is then told.
    expected: i32,
}

const fn attempt(
    name: &'static str,
    layer: Layer,
    try_it: fn() -> io::Result<()>,
    expected: i32,
) -> Attempt {
    Attempt {
        name,
        layer,
        try_it,
        expected,
    }
}

const ATTEMPTS: &[Attempt] = &[
    attempt(
        "another_account_reads_no_file_of_root",
        Layer::Account,
        read_own_file,
        EACCES,
    ),
    attempt(
        "another_account_cannot_signal_its_parent",
        Layer::Account,
        signal_parent,
        EPERM,
    ),
    attempt(
        "another_account_cannot_be_root_again",
        Layer::Account,
        become_root,
        EPERM,
    ),
    attempt(
        "without_capabilities_there_is_no_packet_socket",
        Layer::Capabilities,
        packet_socket,
        EPERM,
    ),
    attempt(
        "without_capabilities_no_buffer_is_forced",
        Layer::Capabilities,
        force_buffer,
        EPERM,
    ),
    attempt(
        "landlock_lets_no_file_be_read",
        Layer::Landlock,
        read_file,
        EACCES,
    ),
    attempt(
        "landlock_lets_no_file_be_made",
        Layer::Landlock,
        make_file,
        EACCES,
    ),
    attempt(
        "landlock_lets_no_folder_be_listed",
        Layer::Landlock,
        list_folder,
        EACCES,
    ),
    attempt(
        "landlock_lets_nothing_be_executed",
        Layer::Landlock,
        execute,
        EACCES,
    ),
    attempt(
        "landlock_lets_no_tcp_port_be_connected",
        Layer::Landlock,
        connect,
        EACCES,
    ),
    attempt(
        "landlock_lets_no_tcp_port_be_bound",
        Layer::Landlock,
        bind,
        EACCES,
    ),
    attempt(
        "landlock_lets_no_parent_be_signalled",
        Layer::Landlock,
        signal_parent,
        EPERM,
    ),
    attempt(
        "limits_let_no_descriptor_be_made",
        Layer::Limits,
        more_descriptors,
        EMFILE,
    ),
];

fn main() -> ExitCode {
    if let Ok(number) = env::var(ATTEMPT) {
        return match make(&number) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                println!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    if let Err(error) = isolate(Identity::RootIfNeeded) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let accounts = has_accounts();
    let mut trials: Vec<_> = ATTEMPTS
        .iter()
        .enumerate()
        .map(|(number, attempt)| {
            // In namespaces of an ordinary user there is no other account to be.
            let ignored = attempt.layer == Layer::Account && !accounts;
            let trial = Trial::test(attempt.name, move || {
                refused(number, attempt).map_err(|error| Failed::from(error.to_string()))
            });
            trial.with_ignored_flag(ignored)
        })
        .collect();
    let processes = Trial::test("limits_let_another_account_start_no_process", || {
        no_process().map_err(|error| Failed::from(error.to_string()))
    });
    trials.push(processes.with_ignored_flag(!accounts));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Whether more accounts than root's are mapped.
fn has_accounts() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().last() != Some("1")
}

/// With the layer the attempt fails as expected, and without it, it does not.
fn refused(number: usize, attempt: &Attempt) -> Outcome {
    assert_eq!(child(&number.to_string(), false)?, "", "without the layer");
    let expected = format!("{}\n", attempt.expected);
    assert_eq!(child(&number.to_string(), true)?, expected);
    Ok(())
}

/// What the program says when it has made the attempt.
fn child(number: &str, confined: bool) -> Outcome<String> {
    let output = Command::new(env::current_exe()?)
        .env(ATTEMPT, number)
        .env(CONFINED, if confined { "1" } else { "0" })
        .stderr(Stdio::inherit())
        .output()?;
    Ok(String::from_utf8(output.stdout)?)
}

/// Makes an attempt; prints the error if it fails.
fn make(number: &str) -> Outcome {
    if number == "processes" {
        put_on(&[Layer::Account, Layer::Limits])?;
        return told(Command::new("/bin/true").status().map(drop));
    }
    let attempt = ATTEMPTS.get(number.parse::<usize>()?).ok_or("no attempt")?;
    if env::var(CONFINED).as_deref() == Ok("1") {
        put_on(&[attempt.layer])?;
    }
    told((attempt.try_it)())
}

fn told(result: io::Result<()>) -> Outcome {
    match result {
        Ok(()) => Ok(()),
        Err(error) => {
            println!("{}", error.raw_os_error().ok_or("no error of the system")?);
            Ok(())
        }
    }
}

fn put_on(layers: &[Layer]) -> Outcome {
    let descriptors = Descriptors {
        orders: 0,
        reports: 1,
        words: 2,
        packets: 2,
    };
    // Landlock asks for this one, or for a capability.
    let with = [&[Layer::NoNewPrivileges], layers].concat();
    let layers = if layers.contains(&Layer::Landlock) {
        &with
    } else {
        layers
    };
    for (layer, state) in confine(Some(Account::NOBODY), descriptors, layers) {
        if let State::Missing(errno) = state {
            return Err(format!("{layer}: {errno}").into());
        }
    }
    Ok(())
}

/// A bound on processes counts those of the account, so root's has none.
fn no_process() -> Outcome {
    assert_eq!(child("processes", true)?, format!("{EAGAIN}\n"));
    Ok(())
}

fn read_own_file() -> io::Result<()> {
    // `0400 root` (proc_pid_environ(5)).
    File::open("/proc/1/environ").map(drop)
}

fn signal_parent() -> io::Result<()> {
    let parent = getppid().unwrap_or(Pid::INIT);
    // One that is ignored where nobody asks for it.
    Ok(kill_process(parent, Signal::URG)?)
}

fn become_root() -> io::Result<()> {
    let root = Uid::from_raw(0);
    Ok(setresuid(root, root, root)?)
}

fn packet_socket() -> io::Result<()> {
    Ok(socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::empty(),
        None,
    )
    .map(drop)?)
}

fn force_buffer() -> io::Result<()> {
    let (one, _other) = UnixStream::pair()?;
    Ok(set_socket_recv_buffer_size_force(&one, 65_536)?)
}

fn read_file() -> io::Result<()> {
    File::open("/etc/passwd").map(drop)
}

fn make_file() -> io::Result<()> {
    let path = env::temp_dir().join(format!("postern-test-{}", std::process::id()));
    let made = File::create(&path).map(drop);
    fs::remove_file(&path).ok();
    made
}

fn list_folder() -> io::Result<()> {
    fs::read_dir("/").map(drop)
}

fn execute() -> io::Result<()> {
    Command::new("/bin/true").status().map(drop)
}

fn connect() -> io::Result<()> {
    // Nobody listens there, in a network of its own or not: to be refused is to have been let out.
    match TcpStream::connect("127.0.0.1:1") {
        Err(error) if error.raw_os_error() == Some(EACCES) => Err(error),
        _ => Ok(()),
    }
}

fn bind() -> io::Result<()> {
    TcpListener::bind("127.0.0.1:45678").map(drop)
}

fn more_descriptors() -> io::Result<()> {
    File::open("/dev/null").map(drop)
}

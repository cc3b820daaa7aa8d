//! A listener that has been taken over: it tries to get out, and the kernel ends it.
//!
//! The calls are made by the daemon's own listener, from where it waits for packets; see `inject`.

use std::time::Duration;

use nix::libc::{self, c_long};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::inject::{Argument, Outcome as Called, inject};
use crate::site::{Site, eventually, listener_of};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    (
        "a_listener_that_tries_to_get_out_is_killed_by_the_kernel",
        all,
    ),
    ("what_the_listener_needs_is_let_through", needed),
];

const DOOR: &str = "[A]\nsequence = 7000:udp\ncommand = echo hit >> hits\n";

/// What the listener's descriptors are.
const REPORTS: i32 = 1;
const PACKETS: i32 = 3;

struct Attempt {
    what: &'static str,
    call: c_long,
    arguments: Vec<Argument>,
}

fn attempt(what: &'static str, call: c_long, arguments: &[Argument]) -> Attempt {
    Attempt {
        what,
        call,
        arguments: arguments.to_vec(),
    }
}

/// What somebody would try who has taken it over.
fn attempts(keeper: i32, log: &str) -> Vec<Attempt> {
    let here = || Argument::from(libc::AT_FDCWD);
    let n = |number: i32| Argument::from(number);
    let words = || Argument::from("words");
    let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let code = libc::PROT_READ | libc::PROT_EXEC;
    vec![
        attempt(
            "open a file",
            libc::SYS_openat,
            &[here(), "/etc/passwd".into(), n(0)],
        ),
        attempt(
            "write to the log",
            libc::SYS_openat,
            &[here(), log.into(), n(libc::O_WRONLY)],
        ),
        attempt("remove the log", libc::SYS_unlink, &[log.into()]),
        attempt(
            "open a socket",
            libc::SYS_socket,
            &[n(libc::AF_INET), n(libc::SOCK_STREAM), n(0)],
        ),
        attempt(
            "open a local one",
            libc::SYS_socket,
            &[n(libc::AF_UNIX), n(libc::SOCK_STREAM), n(0)],
        ),
        attempt("start a process", libc::SYS_fork, &[]),
        attempt(
            "start a program",
            libc::SYS_execve,
            &["/bin/sh".into(), n(0), n(0)],
        ),
        attempt(
            "trace the keeper",
            libc::SYS_ptrace,
            &[n(16), n(keeper), n(0), n(0)],
        ),
        attempt(
            "read its memory",
            libc::SYS_process_vm_readv,
            &[n(keeper), n(0), n(0), n(0), n(0), n(0)],
        ),
        attempt(
            "signal the keeper",
            libc::SYS_kill,
            &[n(keeper), n(libc::SIGKILL)],
        ),
        attempt(
            "signal itself",
            libc::SYS_tgkill,
            &[n(0), n(0), n(libc::SIGKILL)],
        ),
        attempt(
            "send a packet",
            libc::SYS_sendto,
            &[n(PACKETS), words(), n(5), n(0), n(0), n(0)],
        ),
        attempt(
            "report to an address",
            libc::SYS_sendto,
            &[n(REPORTS), words(), n(5), n(0), words(), n(5)],
        ),
        attempt(
            "write to the packet socket",
            libc::SYS_write,
            &[n(PACKETS), words(), n(5)],
        ),
        attempt(
            "read from the packet socket",
            libc::SYS_read,
            &[n(PACKETS), words(), n(5)],
        ),
        attempt(
            "take the filter off",
            libc::SYS_setsockopt,
            &[
                n(PACKETS),
                n(libc::SOL_SOCKET),
                n(libc::SO_DETACH_FILTER),
                n(0),
                n(0),
            ],
        ),
        attempt(
            "hand a descriptor on",
            libc::SYS_sendmsg,
            &[n(REPORTS), words(), n(0)],
        ),
        attempt("copy a descriptor", libc::SYS_dup, &[n(0)]),
        attempt(
            "make code",
            libc::SYS_mmap,
            &[n(0), n(4096), n(code), n(anonymous), n(-1), n(0)],
        ),
        attempt(
            "make memory code",
            libc::SYS_mprotect,
            &[n(0), n(4096), n(code)],
        ),
        attempt(
            "map a file",
            libc::SYS_mmap,
            &[
                n(0),
                n(4096),
                n(libc::PROT_READ),
                n(libc::MAP_SHARED),
                n(PACKETS),
                n(0),
            ],
        ),
        attempt("become root", libc::SYS_setresuid, &[n(0), n(0), n(0)]),
        attempt(
            "load a program into the kernel",
            libc::SYS_bpf,
            &[n(0), n(0), n(0)],
        ),
        attempt(
            "use a ring of system calls",
            libc::SYS_io_uring_setup,
            &[n(1), words()],
        ),
        attempt(
            "look into namespaces",
            libc::SYS_unshare,
            &[n(libc::CLONE_NEWUSER)],
        ),
        attempt("ask for anything else", 9999, &[]),
    ]
}

fn all() -> Outcome {
    let site = Site::new(DOOR)?;
    let log = site.path("log");
    let log = log.to_str().ok_or("no name")?;
    let count = attempts(0, log).len();
    for number in 0..count {
        // A daemon for each: one whose listeners die again and again starts them ever later.
        std::fs::remove_file(log).ok();
        let daemon = site.start(&[])?;
        let keeper = i32::try_from(daemon.id())?;
        let listener = Pid::from_raw(listener_of(daemon.id())?.as_raw_pid());
        let Attempt {
            what,
            call,
            arguments,
        } = attempts(keeper, log).swap_remove(number);
        // One that is let through shows that not everything kills.
        let allowed = until_it_waits(|| inject(listener, libc::SYS_brk, &[0.into()]))?;
        assert!(
            matches!(allowed, Called::Returned(1..)),
            "{what}: {allowed:?}"
        );
        let outcome = inject(listener, call, &arguments)?;
        assert_eq!(outcome, Called::Killed(Signal::SIGSYS), "{what}");
        site.await_log("made a system call that its sandbox does not allow, and was killed")?;
        site.await_log("a new listener is ready")?;
        if number == 0 {
            site.knock(&[7000])?;
            eventually("the door opens", || !site.read("hits").is_empty())?;
        }
    }
    println!("{count} ways out, all shut");
    Ok(())
}

fn needed() -> Outcome {
    let site = Site::new(DOOR)?;
    let daemon = site.start(&[])?;
    let listener = Pid::from_raw(listener_of(daemon.id())?.as_raw_pid());
    let n = |number: i32| Argument::from(number);
    let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    for (call, arguments) in [
        (
            libc::SYS_mmap,
            vec![n(0), n(4096), n(libc::PROT_READ), n(anonymous), n(-1), n(0)],
        ),
        (
            libc::SYS_clock_gettime,
            vec![n(1), Argument::Bytes(vec![0; 16])],
        ),
        (libc::SYS_write, vec![n(2), "last words".into(), n(10)]),
    ] {
        let outcome = until_it_waits(|| inject(listener, call, &arguments))?;
        assert!(
            matches!(outcome, Called::Returned(0..)),
            "{call}: {outcome:?}"
        );
    }
    site.knock(&[7000])?;
    eventually("the door opens", || !site.read("hits").is_empty())
}

/// A listener that was just started may be at work, not waiting; it soon is.
fn until_it_waits(
    mut call: impl FnMut() -> Result<Called, crate::inject::InjectError>,
) -> Outcome<Called> {
    for _ in 0..100 {
        match call() {
            Err(crate::inject::InjectError::NotInSystemCall) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return Ok(result?),
        }
    }
    Err("it never waits".into())
}

//! The tool that tries sandboxes ([`inject`]) does what it says, tried on `sleep(1)`.
#![cfg(target_arch = "x86_64")]

#[path = "sandbox/inject.rs"]
mod inject;

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use inject::{Argument, Outcome, inject};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

type Tried<T = ()> = Result<T, Box<dyn Error>>;

/// A `sleep` that is asleep; killed when dropped.
struct Sleeper(Child);

impl Sleeper {
    fn of(seconds: &str) -> Tried<Self> {
        let mut command = Command::new("sleep");
        let child = command.arg(seconds).stdin(Stdio::piped()).spawn()?;
        let sleeper = Self(child);
        let number = libc::SYS_clock_nanosleep.to_string();
        let deadline = Instant::now() + Duration::from_secs(5);
        while !fs::read_to_string(sleeper.file("syscall"))?.starts_with(&number) {
            assert!(Instant::now() < deadline, "it does not fall asleep");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(sleeper)
    }

    fn pid(&self) -> Tried<Pid> {
        Ok(Pid::from_raw(self.0.id().try_into()?))
    }

    fn file(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.0.id()).into()
    }

    fn call(&self, number: libc::c_long, arguments: &[Argument]) -> Tried<Outcome> {
        Ok(inject(self.pid()?, number, arguments)?)
    }

    /// What a call returns that must be let through.
    fn returned(&self, number: libc::c_long, arguments: &[Argument]) -> Tried<i64> {
        match self.call(number, arguments)? {
            Outcome::Returned(value) => Ok(value),
            killed @ Outcome::Killed(_) => Err(format!("{killed:?}").into()),
        }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_call_returns_what_it_returns_to_the_process_itself() -> Tried {
    let sleeper = Sleeper::of("100")?;
    let pid = i64::from(sleeper.pid()?.as_raw());
    for _again in 0..3 {
        assert_eq!(sleeper.returned(libc::SYS_getpid, &[])?, pid);
    }
    Ok(())
}

#[test]
fn the_process_goes_on_as_if_nothing_had_been() -> Tried {
    let mut sleeper = Sleeper::of("0.5")?;
    let start = Instant::now();
    sleeper.returned(libc::SYS_getpid, &[])?;
    assert!(sleeper.0.wait()?.success());
    let slept = start.elapsed();
    assert!(slept > Duration::from_millis(300), "{slept:?}");
    Ok(())
}

#[test]
fn a_path_can_be_an_argument() -> Tried {
    let sleeper = Sleeper::of("100")?;
    let open = |path: &str| {
        let (directory, flags) = (libc::AT_FDCWD, libc::O_RDONLY);
        let arguments = [directory.into(), path.into(), flags.into()];
        sleeper.returned(libc::SYS_openat, &arguments)
    };
    let fd = open("/proc/sys/kernel/ostype")?;
    let opened = fs::read_link(sleeper.file(&format!("fd/{fd}")))?;
    assert_eq!(opened, PathBuf::from("/proc/sys/kernel/ostype"));
    assert_eq!(open("/nonexistent/file")?, -i64::from(libc::ENOENT));
    Ok(())
}

#[test]
fn the_kill_of_a_filter_is_told_from_an_answer() -> Tried {
    let mut sleeper = Sleeper::of("100")?;
    filter(&mut sleeper, libc::SYS_getppid)?;
    let pid = i64::from(sleeper.pid()?.as_raw());
    assert_eq!(sleeper.returned(libc::SYS_getpid, &[])?, pid);
    let killed = sleeper.call(libc::SYS_getppid, &[])?;
    assert_eq!(killed, Outcome::Killed(Signal::SIGSYS));
    Ok(())
}

#[test]
fn a_signal_that_the_process_sends_itself_is_its_death() -> Tried {
    let sleeper = Sleeper::of("100")?;
    let signal = [sleeper.pid()?.as_raw().into(), libc::SIGTERM.into()];
    let killed = sleeper.call(libc::SYS_kill, &signal)?;
    assert_eq!(killed, Outcome::Killed(Signal::SIGTERM));
    Ok(())
}

#[test]
fn a_process_that_is_not_there_cannot_be_tried() {
    let error = inject(Pid::from_raw(libc::pid_t::MAX), libc::SYS_getpid, &[]).unwrap_err();
    assert!(
        error.to_string().contains(&Errno::ESRCH.to_string()),
        "{error}"
    );
}

/// Gives `sleeper` a filter that kills it when it calls `number`.
fn filter(sleeper: &mut Sleeper, number: libc::c_long) -> Tried {
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    let size = 4096_u64;
    let arguments = [
        0.into(),
        size.into(),
        protection.into(),
        flags.into(),
        (-1).into(),
        0.into(),
    ];
    let place = u64::try_from(sleeper.returned(libc::SYS_mmap, &arguments)?)?;
    let program = program(number.try_into()?, place);
    let length = u64::try_from(program.len())?;
    let stdin = sleeper.0.stdin.as_mut().ok_or("no standard input")?;
    stdin.write_all(&program)?;
    let read = sleeper.returned(libc::SYS_read, &[0.into(), place.into(), length.into()])?;
    assert_eq!(u64::try_from(read)?, length);
    let set = [libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0].map(Argument::from);
    assert_eq!(sleeper.returned(libc::SYS_prctl, &set)?, 0);
    let (option, mode) = (libc::PR_SET_SECCOMP, 2);
    let set = [option.into(), mode.into(), place.into()];
    assert_eq!(sleeper.returned(libc::SYS_prctl, &set)?, 0);
    Ok(())
}

/// A `sock_fprog` of `linux/filter.h` for the address `place`, with its instructions behind it:
/// load the number of the call; if it is `number`, kill the process; else allow the call.
fn program(number: u32, place: u64) -> Vec<u8> {
    let instructions = [
        (0x20_u16, 0_u8, 0_u8, 0_u32),
        (0x15, 0, 1, number),
        (0x06, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        (0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let mut bytes = 4_u64.to_le_bytes().to_vec();
    bytes.extend((place + 16).to_le_bytes());
    for (code, yes, no, value) in instructions {
        bytes.extend(code.to_le_bytes());
        bytes.extend([yes, no]);
        bytes.extend(value.to_le_bytes());
    }
    bytes
}

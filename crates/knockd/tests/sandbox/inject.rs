//! Makes a live process try a system call, to see what the kernel says to it.
//!
//! A sandbox is proven by its own process running into it, not by another one that was set up in
//! the same way. So a process that sits in some system call is traced (ptrace(2)), sent back onto
//! that `syscall` instruction with another number and arguments, and afterwards put back to where
//! it was, unless the call was its death.
//!
//! The tracer must be allowed to trace: root, or the parent of a process that is dumpable. A call
//! that starts another process or program and is let through leaves that in no defined state.
//! To be killed proves something only beside a call that is let through: a filter that forbids the
//! call in which the process sat would kill it whatever it tried.

use std::fmt;
use std::ptr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{c_long, user_regs_struct};
use nix::sys::ptrace::{self, AddressType, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How long a process may take to stop, and a call to return.
const PATIENCE: Duration = Duration::from_secs(5);

/// The instruction `syscall`.
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// Below the stack pointer, what a function may use without moving it (System V ABI, AMD64
/// supplement, section 3.2.2).
const RED_ZONE: u64 = 128;

/// What `orig_rax` is outside a system call; the kernel then restarts none.
const NO_CALL: u64 = u64::MAX;

/// What came of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It returned this: a negative number is an error of errno(3).
    Returned(i64),
    /// The process is dead, by this signal: `SIGSYS` is the kill of seccomp(2).
    Killed(Signal),
}

/// An argument of a system call.
#[derive(Clone, Debug)]
pub(crate) enum Argument {
    /// Itself.
    Number(u64),
    /// Its address, once it is on the stack of the process. A string needs its own zero.
    Bytes(Vec<u8>),
}

impl From<i32> for Argument {
    /// With its sign, as a C program passes it.
    fn from(number: i32) -> Self {
        Self::Number(i64::from(number).cast_unsigned())
    }
}

impl From<u64> for Argument {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Argument {
    /// A path, with the zero at its end.
    fn from(text: &str) -> Self {
        Self::Bytes([text.as_bytes(), b"\0"].concat())
    }
}

/// Why the call could not be tried, or what came of it is not known.
#[derive(Debug)]
pub(crate) enum InjectError {
    /// A request of ptrace(2) or waitpid(2).
    Trace(&'static str, Errno),
    /// The process sits in no system call.
    NotInSystemCall,
    /// More than the six arguments that there are registers for.
    TooManyArguments,
    /// The process did something else than to stop where it should.
    Unexpected(WaitStatus),
    /// Nothing happened in time.
    Late,
}

impl fmt::Display for InjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trace(what, errno) => write!(f, "cannot {what}: {errno}"),
            Self::NotInSystemCall => f.write_str("the process does not sit in a system call"),
            Self::TooManyArguments => f.write_str("a system call has six arguments at most"),
            Self::Unexpected(status) => write!(f, "the process did not stop there: {status:?}"),
            Self::Late => write!(f, "nothing happened within {PATIENCE:?}"),
        }
    }
}

impl std::error::Error for InjectError {}

/// Makes the process `pid` call `number` (`SYS_…` of libc) with `arguments`, and tells what came
/// of it. A process that survives goes on as if nothing had been.
///
/// # Errors
/// If it cannot be traced or is not in a system call. It may then be left stopped.
pub(crate) fn inject(
    pid: Pid,
    number: c_long,
    arguments: &[Argument],
) -> Result<Outcome, InjectError> {
    let tracee = Tracee::stop(pid)?;
    let before = tracee.registers()?;
    if !tracee.is_behind_syscall(&before)? {
        tracee.release()?;
        return Err(InjectError::NotInSystemCall);
    }
    let mut registers = user_regs_struct {
        rax: number.cast_unsigned(),
        orig_rax: NO_CALL,
        rip: behind_to_at(before.rip),
        ..before
    };
    tracee.pass(arguments, &mut registers)?;
    tracee.set_registers(&registers)?;
    let outcome = tracee.call()?;
    if let Outcome::Returned(_) = outcome
        && let Some(signal) = tracee.go_back(&before)?
    {
        return Ok(Outcome::Killed(signal));
    }
    Ok(outcome)
}

/// The address of the `syscall` instruction that ends at `rip`.
fn behind_to_at(rip: u64) -> u64 {
    rip.wrapping_sub(2)
}

/// A process that this thread traces.
struct Tracee(Pid);

impl Tracee {
    /// Interrupts `pid` where it is. Unlike `PTRACE_ATTACH` this sends it no signal.
    fn stop(pid: Pid) -> Result<Self, InjectError> {
        ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD).map_err(trace("trace"))?;
        let tracee = Self(pid);
        ptrace::interrupt(pid).map_err(trace("interrupt"))?;
        tracee.wait_for_interrupt()?;
        Ok(tracee)
    }

    /// Whether it waits in a system call: then `rip` is behind the instruction.
    fn is_behind_syscall(&self, registers: &user_regs_struct) -> Result<bool, InjectError> {
        if registers.orig_rax == NO_CALL {
            return Ok(false);
        }
        let word = ptrace::read(self.0, address(behind_to_at(registers.rip)));
        let word = word.map_err(trace("read the memory"))?.to_ne_bytes();
        Ok(word.starts_with(&SYSCALL))
    }

    /// Puts bytes on the stack, and everything into its register.
    fn pass(
        &self,
        arguments: &[Argument],
        registers: &mut user_regs_struct,
    ) -> Result<(), InjectError> {
        let mut free = registers.rsp.wrapping_sub(RED_ZONE);
        let mut values = [0; 6];
        if arguments.len() > values.len() {
            return Err(InjectError::TooManyArguments);
        }
        for (value, argument) in values.iter_mut().zip(arguments) {
            *value = match argument {
                Argument::Number(number) => *number,
                Argument::Bytes(bytes) => {
                    free = self.write_below(free, bytes)?;
                    free
                }
            };
        }
        [
            registers.rdi,
            registers.rsi,
            registers.rdx,
            registers.r10,
            registers.r8,
            registers.r9,
        ] = values;
        Ok(())
    }

    /// Writes `bytes` so that they end below `top`, and gives their address.
    fn write_below(&self, top: u64, bytes: &[u8]) -> Result<u64, InjectError> {
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let (words, _) = bytes.as_chunks::<8>();
        let start = words.iter().fold(top & !7, |at, _| at.wrapping_sub(8));
        let mut at = start;
        for word in words {
            ptrace::write(self.0, address(at), c_long::from_ne_bytes(*word))
                .map_err(trace("write the memory"))?;
            at = at.wrapping_add(8);
        }
        Ok(start)
    }

    /// Runs into the system call and to its end. A process that a filter has condemned comes here
    /// too, with a value that means nothing; it dies in [`go_back`](Self::go_back).
    fn call(&self) -> Result<Outcome, InjectError> {
        for _entry_then_exit in 0..2 {
            match self.run_to_call()? {
                None => {}
                Some(signal) => return Ok(Outcome::Killed(signal)),
            }
        }
        Ok(Outcome::Returned(self.registers()?.rax.cast_signed()))
    }

    /// Lets it go on as it was, unless it dies of the call: then the signal.
    ///
    /// Registers are restored where the kernel is about to restart the call that was interrupted.
    /// At the end of a call it would not, and the process would see `ERESTART…`, which is not for
    /// its eyes.
    fn go_back(&self, before: &user_regs_struct) -> Result<Option<Signal>, InjectError> {
        ptrace::interrupt(self.0).map_err(trace("interrupt"))?;
        ptrace::cont(self.0, None).map_err(trace("run"))?;
        self.wait_for_interrupt()?;
        self.set_registers(before)?;
        let death = self.run_to_call()?;
        if death.is_none() {
            self.release()?;
        }
        Ok(death)
    }

    /// Runs to the beginning or the end of a system call, or to the death of the process.
    fn run_to_call(&self) -> Result<Option<Signal>, InjectError> {
        let mut signal = None;
        loop {
            ptrace::syscall(self.0, signal).map_err(trace("run"))?;
            signal = match self.wait()? {
                WaitStatus::PtraceSyscall(_) => return Ok(None),
                WaitStatus::Signaled(_, signal, _) => return Ok(Some(signal)),
                // Of a filter that traps, or of the call's own making: let it have it.
                WaitStatus::Stopped(_, signal) => Some(signal),
                other => return Err(InjectError::Unexpected(other)),
            };
        }
    }

    fn release(&self) -> Result<(), InjectError> {
        ptrace::detach(self.0, None).map_err(trace("let go"))
    }

    fn registers(&self) -> Result<user_regs_struct, InjectError> {
        ptrace::getregs(self.0).map_err(trace("read the registers"))
    }

    fn set_registers(&self, registers: &user_regs_struct) -> Result<(), InjectError> {
        ptrace::setregs(self.0, *registers).map_err(trace("set the registers"))
    }

    fn wait_for_interrupt(&self) -> Result<(), InjectError> {
        match self.wait()? {
            WaitStatus::PtraceEvent(..) => Ok(()),
            other => Err(InjectError::Unexpected(other)),
        }
    }

    fn wait(&self) -> Result<WaitStatus, InjectError> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match waitpid(self.0, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
                Ok(WaitStatus::StillAlive) => sleep(Duration::from_millis(1)),
                Ok(status) => return Ok(status),
                Err(errno) => return Err(InjectError::Trace("wait for it", errno)),
            }
        }
        Err(InjectError::Late)
    }
}

fn trace(what: &'static str) -> impl Fn(Errno) -> InjectError {
    move |errno| InjectError::Trace(what, errno)
}

/// An address in the memory of the other process: a number here.
fn address(number: u64) -> AddressType {
    ptr::without_provenance_mut(usize::try_from(number).unwrap_or(usize::MAX))
}

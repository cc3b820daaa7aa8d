//! System calls (seccomp(2)): the few that the listener makes, and for any other one its end.

use std::os::fd::RawFd;

use rustix::io::Errno;

use super::{Descriptors, State};

pub(super) fn allow_few(descriptors: Descriptors) -> State {
    match install(descriptors) {
        Ok(()) => State::On,
        Err(errno) => State::Missing(errno.raw_os_error()),
    }
}

/// For other processors the library has no filters.
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
)))]
fn install(_: Descriptors) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
fn install(descriptors: Descriptors) -> Result<(), Errno> {
    use seccompiler::{BpfProgram, Error, SeccompAction, SeccompFilter, apply_filter};

    let rules = filter::rules(descriptors).map_err(|_| Errno::INVAL)?;
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        filter::ARCHITECTURE,
    );
    let program = filter.and_then(BpfProgram::try_from);
    let program = program.map_err(|_| Errno::INVAL)?;
    apply_filter(&program).map_err(|error| match error {
        Error::Prctl(error) | Error::Seccomp(error) => {
            Errno::from_io_error(&error).unwrap_or(Errno::INVAL)
        }
        _ => Errno::INVAL,
    })
}

#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
mod filter {
    use std::collections::BTreeMap;

    use libc::c_long;
    use seccompiler::SeccompCmpArgLen::{Dword, Qword};
    use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
    use seccompiler::{BackendError, SeccompCondition, SeccompRule, TargetArch};

    use super::{Descriptors, RawFd};

    #[cfg(target_arch = "x86_64")]
    pub(super) const ARCHITECTURE: TargetArch = TargetArch::x86_64;
    #[cfg(target_arch = "aarch64")]
    pub(super) const ARCHITECTURE: TargetArch = TargetArch::aarch64;
    #[cfg(target_arch = "riscv64")]
    pub(super) const ARCHITECTURE: TargetArch = TargetArch::riscv64;

    type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

    /// What may be called, and with what.
    pub(super) fn rules(descriptors: Descriptors) -> Result<Rules, BackendError> {
        let Descriptors {
            orders,
            reports,
            words,
            packets,
        } = descriptors;
        let mut rules = Rules::new();
        let mut allow = |call: c_long, conditions: Vec<SeccompCondition>| {
            let rule = if conditions.is_empty() {
                None
            } else {
                Some(SeccompRule::new(conditions)?)
            };
            // A call without a condition has no rule, and is allowed as it is.
            rules.entry(call).or_default().extend(rule);
            Ok::<(), BackendError>(())
        };
        // Wait for packets, for orders, and for room to report.
        allow(libc::SYS_ppoll, vec![])?;
        // The kernel goes on with a wait that a stop and its continuation have cut short.
        allow(libc::SYS_restart_syscall, vec![])?;
        // Read orders, from there alone.
        allow(libc::SYS_read, vec![descriptor(orders)?])?;
        // Report, there alone, and to no address: not through the packet socket, which could send.
        let to_nobody = SeccompCondition::new(4, Qword, Eq, 0)?;
        allow(libc::SYS_sendto, vec![descriptor(reports)?, to_nobody])?;
        // Say why it ends, if it is by a fault.
        allow(libc::SYS_write, vec![descriptor(words)?])?;
        // How many packets were dropped, and what error a lost interface has left.
        allow(libc::SYS_getsockopt, vec![descriptor(packets)?])?;
        // Where the clock cannot be read without the kernel (vdso(7)).
        allow(libc::SYS_clock_gettime, vec![])?;
        // Memory for attempts and doors: of its own, and never to be executed.
        let no_code = SeccompCondition::new(2, Dword, MaskedEq(bits(libc::PROT_EXEC)), 0)?;
        let anonymous = bits(libc::MAP_ANONYMOUS);
        let of_no_file = SeccompCondition::new(3, Dword, MaskedEq(anonymous), anonymous)?;
        allow(libc::SYS_mmap, vec![no_code, of_no_file])?;
        for call in [
            libc::SYS_munmap,
            libc::SYS_mremap,
            libc::SYS_madvise,
            libc::SYS_brk,
        ] {
            allow(call, vec![])?;
        }
        // End: the library lets go of the stack for signal handlers first.
        for call in [libc::SYS_sigaltstack, libc::SYS_exit, libc::SYS_exit_group] {
            allow(call, vec![])?;
        }
        Ok(rules)
    }

    /// The first argument is this descriptor.
    fn descriptor(fd: RawFd) -> Result<SeccompCondition, BackendError> {
        SeccompCondition::new(0, Dword, Eq, bits(fd))
    }

    fn bits(number: i32) -> u64 {
        number.cast_unsigned().into()
    }
}

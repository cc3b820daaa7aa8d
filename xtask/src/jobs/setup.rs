//! What the tests need beyond Rust and a C compiler.

use crate::run::{Failure, Outcome, execute, is_installed, program};

/// A program that a job needs, and the Debian package that has it.
const NEEDED: [(&str, &str); 21] = [
    ("g++", "g++"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("knockd", "knockd"),
    ("knock", "knockd"),
    ("nc.openbsd", "netcat-openbsd"),
    ("nc.traditional", "netcat-traditional"),
    ("nmap", "nmap"),
    ("hping3", "hping3"),
    ("tcpdump", "tcpdump"),
    ("mandoc", "mandoc"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("rsync", "rsync"),
    ("git", "git"),
    ("setpriv", "util-linux"),
    ("chattr", "e2fsprogs"),
    ("tmux", "tmux"),
    ("promtool", "prometheus"),
    // No program, but the parser of OpenMetrics.
    (
        "/usr/lib/python3/dist-packages/prometheus_client/__init__.py",
        "python3-prometheus-client",
    ),
];

/// What `cargo xtask packages` needs beside them.
const FOR_PACKAGES: [(&str, &str); 14] = [
    ("mmdebstrap", "mmdebstrap"),
    ("dpkg-shlibdeps", "dpkg-dev"),
    ("strip", "binutils"),
    ("lintian", "lintian"),
    ("rpmbuild", "rpm"),
    ("shellcheck", "shellcheck"),
    ("xmllint", "libxml2-utils"),
    ("apparmor_parser", "apparmor"),
    ("zsh", "zsh"),
    ("fish", "fish"),
    ("script", "bsdutils"),
    ("openrc", "openrc"),
    ("pgrep", "procps"),
    ("findmnt", "util-linux"),
];

/// Installs what is missing where that is allowed: as root, or in CI. Anywhere else one line
/// says what to install.
pub(crate) fn run() -> Outcome {
    install(&NEEDED)
}

/// The same for the job `packages`, which makes machines and so needs to be root.
pub(crate) fn for_packages() -> Outcome {
    if !is_root() {
        return Err(Failure::Said(
            "the packages are tried in machines that only root can make: run it as root".into(),
        ));
    }
    run()?;
    install(&FOR_PACKAGES)
}

/// The same for these programs, each with the package that has it.
pub(crate) fn install(needed: &[(&str, &'static str)]) -> Outcome {
    let missing = missing(needed);
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !is_installed("apt-get") {
        return Err(Failure::Said(format!(
            "install the programs of the packages {packages}"
        )));
    }
    if !is_root() {
        return Err(Failure::Said(format!(
            "run: sudo apt-get install {packages}"
        )));
    }
    run_apt(&["update", "-qq"])?;
    let mut words = vec!["install", "-qq", "--no-install-recommends"];
    words.extend(missing);
    run_apt(&words)?;
    match self::missing(needed).join(" ") {
        still if still.is_empty() => Ok(()),
        still => Err(Failure::Said(format!(
            "still missing after their installation: {still}"
        ))),
    }
}

/// The packages whose programs are not there, each once.
fn missing(needed: &[(&str, &'static str)]) -> Vec<&'static str> {
    let mut packages: Vec<_> = needed
        .iter()
        .filter(|(program, _)| !is_installed(program))
        .map(|(_, package)| *package)
        .collect();
    packages.dedup();
    packages
}

/// No package may start its daemon here: at run level 1, invoke-rc.d(8) starts nothing.
fn run_apt(words: &[&str]) -> Outcome {
    execute(
        program("apt-get")
            .args(words)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("RUNLEVEL", "1")
            .stdin(std::process::Stdio::null()),
    )
}

/// Whether this is root.
pub(crate) fn is_root() -> bool {
    let owner = std::fs::metadata("/proc/self");
    owner.is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

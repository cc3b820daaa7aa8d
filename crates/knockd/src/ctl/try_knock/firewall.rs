//! The server's firewall: everything is dropped but what a door lets in.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{TryError, programs};
use crate::gate::MARK;
use crate::lab::Host;

/// Which tool the commands use. (A rule that accepts cannot overrule one that drops in another
/// table, so the two must not be mixed.)
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Tool {
    Nft,
    Iptables,
}

/// Drops by default; keeps what is established; lets those in who are in the set `knocked`.
const NFT: &str = "\
table inet filter {
    set knocked { type ipv4_addr; }
    chain input {
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state established,related accept
        meta l4proto { icmp, ipv6-icmp } accept
        ip saddr @knocked tcp dport 22 accept
        GATE
    }
}
";

/// The same for commands that add rules with iptables.
const IPTABLES: &str = "\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
GATE
COMMIT
";

/// A firewall that drops by default, of the kind that the commands change. With `gate` it admits
/// what `open` has opened, by the line that `docs/guide/your-firewall.md` has for it.
pub(super) fn dropping(tool: Tool, gate: bool) -> String {
    let (ruleset, admit) = match tool {
        Tool::Nft => (NFT, format!("ct mark and {MARK:#x} == {MARK:#x} accept")),
        Tool::Iptables => (
            IPTABLES,
            format!("-A INPUT -m connmark --mark {MARK:#x}/{MARK:#x} -j ACCEPT"),
        ),
    };
    ruleset.replace("GATE", if gate { &admit } else { "" })
}

/// Longer than loading a ruleset takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Loads `ruleset`, as `nft -f` or as `iptables-restore` takes it, on `host`.
pub(super) fn load(host: &Host, ruleset: &str) -> Result<(), TryError> {
    let is_comment = |line: &&str| line.trim().is_empty() || line.starts_with('#');
    let first = ruleset.lines().find(|line| !is_comment(line));
    let mut command = if first.is_some_and(|line| line.starts_with('*')) {
        Command::new(programs::installed("iptables-restore", "iptables")?)
    } else {
        let mut nft = Command::new(programs::installed("nft", "nftables")?);
        nft.args(["-f", "-"]);
        nft
    };
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    feed(host, &mut command, ruleset)
}

/// Reads a ruleset of the user's.
pub(super) fn read(path: &Path) -> Result<String, TryError> {
    std::fs::read_to_string(path)
        .map_err(|error| TryError::Refused(format!("{}: {error}", path.display())))
}

/// Runs `command` on `host` with `input`; it must succeed.
fn feed(host: &Host, command: &mut Command, input: &str) -> Result<(), TryError> {
    let error = |error| TryError::Io("talk to the firewall tool", error);
    let mut process = host.spawn(command)?;
    if let Some(mut stdin) = process.stdin.take() {
        match stdin.write_all(input.as_bytes()) {
            // It has said why on its standard error.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.map_err(error)?,
        }
    }
    let status = process.wait_at_most(PATIENCE).map_err(error)?;
    if status.is_some_and(|status| status.success()) {
        return Ok(());
    }
    let said = process.stderr.take().map(io::read_to_string);
    let said = said.and_then(Result::ok).unwrap_or_default();
    let program = command.get_program().to_string_lossy();
    Err(TryError::Refused(format!(
        "{program} failed: {}",
        said.trim()
    )))
}

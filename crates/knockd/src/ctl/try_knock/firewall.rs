//! The server's firewall: everything is dropped but what a door lets in.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{TryError, programs};
use crate::lab::Host;

/// Drops by default; keeps what is established; lets those in who are in the set `knocked`.
pub(super) const NFT: &str = "\
table inet filter {
    set knocked { type ipv4_addr; }
    chain input {
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state established,related accept
        meta l4proto { icmp, ipv6-icmp } accept
        ip saddr @knocked tcp dport 22 accept
    }
}
";

/// Longer than loading a ruleset takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Loads `ruleset` into the firewall of `host`.
pub(super) fn load(host: &Host, ruleset: &str) -> Result<(), TryError> {
    let nft = programs::installed("nft", "nftables")?;
    let mut command = Command::new(nft);
    command
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    feed(host, &mut command, ruleset)
}

/// Runs `command` on `host` with `input`; it must succeed.
fn feed(host: &Host, command: &mut Command, input: &str) -> Result<(), TryError> {
    let io = |error| TryError::Io("talk to the firewall tool", error);
    let mut process = host.spawn(command)?;
    if let Some(mut stdin) = process.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(io)?;
    }
    let status = process.wait_at_most(PATIENCE).map_err(io)?;
    if status.is_some_and(|status| status.success()) {
        return Ok(());
    }
    let said = process.stderr.take().map(std::io::read_to_string);
    let said = said.and_then(Result::ok).unwrap_or_default();
    let program = command.get_program().to_string_lossy();
    Err(TryError::Refused(format!(
        "{program} failed: {}",
        said.trim()
    )))
}

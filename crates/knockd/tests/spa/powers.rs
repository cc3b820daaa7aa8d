//! A daemon that is not root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use knock_spa::Purpose;

use crate::net::{CLIENT, CLIENT_6, KNOCKD, Net, OTHER, SERVER, SERVER_6, Wish, alice, opened};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[(
    "two_capabilities_are_enough_for_native_doors",
    two_capabilities,
)];

/// Whether more accounts than root's are mapped.
pub(crate) fn has_accounts() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().last() != Some("1")
}

const NOBODY: u32 = 65_534;

fn two_capabilities() -> Outcome {
    let net = Net::new("[ssh]\nauthorized_keys = %K%\nopen = tcp/22\n")?;
    let here = net.path("");
    fs::set_permissions(&here, fs::Permissions::from_mode(0o755))?;
    for path in [here, net.path("state")] {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    // Where it was built, nobody may be allowed to look.
    fs::copy(KNOCKD, net.path("knockd"))?;
    let program = net.path("knockd").display().to_string();
    let (sets, only) = (
        ["--bounding-set", "--inh-caps", "--ambient-caps"],
        "-all,+net_raw,+net_admin",
    );
    let id = NOBODY.to_string();
    let mut by = vec!["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
    by.extend(sets.iter().flat_map(|set| [set, only]));
    // Becomes the copy, not what would have been started.
    by.extend([
        "sh",
        "-c",
        "program=$1; shift 2; exec \"$program\" \"$@\"",
        "sh",
        &program,
    ]);
    let daemon = net.start_by(&by)?;
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id()))?;
    let field = |name: &str| {
        let found = status.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap_or_default().trim().to_owned()
    };
    assert_eq!(field("Uid:"), format!("{id}\t{id}\t{id}\t{id}"));
    // CAP_NET_ADMIN and CAP_NET_RAW are 12 and 13, and it needs the second only to start.
    assert!(
        ["0000000000003000", "0000000000001000"].contains(&field("CapPrm:").as_str()),
        "{status}"
    );
    for (from, to) in [(CLIENT, SERVER), (CLIENT_6, SERVER_6)] {
        let wish = Wish::of(alice(), "ssh");
        assert!(!net.reaches(from, to, 22)?);
        opened(&net.knock(from, &wish)?)?;
        assert!(net.reaches(from, to, 22)?);
        assert!(!net.reaches(OTHER, SERVER, 22)?);
        let close = Wish {
            purpose: Purpose::Close,
            ..wish
        };
        net.knock(from, &close)?;
        assert!(!net.reaches(from, to, 22)?);
    }
    let owner = fs::metadata(net.path("state/spa-keys"))?;
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), NOBODY);
    Ok(())
}

//! What is on this machine: profile, ssh's configuration, names, routes, keys.

use std::net::SocketAddr;
use std::path::Path;
use std::time::UNIX_EPOCH;

use knock_spa::DoorName;

use super::super::keys::Keys;
use super::super::knock::{self, By, KnockError};
use super::super::own::is_public;
use super::super::profile::{self, Profile, ProfileError};
use super::super::ssh_settings::{AgentAt, SshSettings};
use super::super::utc::Utc;
use super::super::way::Way;
use super::Doctor;
use crate::resolve::Family;
use crate::store::StoreError;

const ENROLL: &str = "run `knock enroll [USER@]HOST`";

impl Doctor<'_> {
    pub(super) fn profile(&mut self) -> Option<Profile> {
        let host = self.visit.wanted.host.as_str();
        let profile = match Profile::load(host) {
            Ok(profile) => profile,
            Err(error) => {
                let todo = match &error {
                    ProfileError::Store(StoreError::Io(..)) => {
                        "make it yours (`chown`), with mode 0600"
                    }
                    ProfileError::Store(StoreError::NoFolder) => "set HOME",
                    _ => ENROLL,
                };
                return self.problem("profile", error.to_string(), todo);
            }
        };
        let path = profile::path(host).ok()?;
        let shown = path.display();
        let doors: Vec<_> = profile.doors.iter().map(DoorName::as_str).collect();
        let doors = doors.join(", ");
        let (epoch, port) = (profile.epoch, profile.port);
        let written = written(&path);
        self.ok(
            "profile",
            format!("{shown}{written}: epoch {epoch}, udp port {port}, doors {doors}"),
        );
        self.privacy(&path);
        Some(profile)
    }

    /// Whoever has the site key is no stranger any more.
    #[cfg(unix)]
    fn privacy(&mut self, path: &Path) {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| {
            let metadata = path.metadata();
            metadata.map_or(0, |metadata| metadata.permissions().mode() & 0o777)
        };
        let own = mode(path);
        if own & 0o077 != 0 {
            let text = format!("others can read the site key in it (mode {own:04o})");
            let todo = format!("`chmod 600 {}`", path.display());
            self.trouble("profile", text, &todo);
            return;
        }
        let Some(folder) = path.parent() else { return };
        let around = mode(folder);
        if around & 0o022 != 0 {
            let shown = folder.display();
            let text = format!("others can put another in its place ({shown}, mode {around:04o})");
            let todo = format!("`chmod 700 {shown}`");
            self.trouble("profile", text, &todo);
        }
    }

    #[cfg(not(unix))]
    fn privacy(&mut self, _: &Path) {}

    pub(super) fn door(&mut self, profile: &Profile) -> Option<DoorName> {
        let named = self.visit.wanted.door.clone();
        let Some(door) = named.or_else(|| profile.doors.first().cloned()) else {
            let text = "it names no door";
            return self.problem("profile", text, "name one with --door, or enroll again");
        };
        if !profile.doors.contains(&door) {
            let text = format!("it names no door {door}");
            let todo = "`knock enroll` fetches those that there are now";
            self.warning("profile", text, todo);
        }
        Some(door)
    }

    /// ssh is asked in any case: what it said before may be old.
    pub(super) fn ssh(&mut self, profile: &mut Profile) {
        let Some(says) = SshSettings::ask(&self.visit.wanted.host) else {
            profile.ssh = None;
            let text = "ssh does not say how it would connect: its defaults are used";
            let todo = "where ~/.ssh/config names a key, see `ssh -G HOST`, or use --identity";
            return self.warning("ssh", text, todo);
        };
        let mut text = match says.host_name.as_str() {
            "" => "no HostName".to_owned(),
            name => format!("HostName {name}"),
        };
        match says.agent() {
            AgentAt::Session => {}
            AgentAt::Nowhere => text.push_str(", no agent"),
            AgentAt::Socket(path) => text.push_str(&format!(", agent at {}", path.display())),
        }
        let there = says.files.iter().filter(|path| path.exists());
        let there: Vec<_> = there.map(|path| path.display().to_string()).collect();
        if there.is_empty() {
            text.push_str(", no IdentityFile that exists");
        } else {
            text.push_str(&format!(", IdentityFile {}", there.join(" and ")));
        }
        if says.identities_only {
            text.push_str(", IdentitiesOnly");
        }
        self.ok("ssh", text);
        profile.ssh = Some(says);
    }

    pub(super) fn names(&mut self, profile: &Profile) -> Option<Vec<SocketAddr>> {
        let wanted = &self.visit.wanted;
        let (addresses, by) = match knock::addresses(wanted, profile) {
            Ok(found) => found,
            Err(error) => {
                let text = format!("'{}' has no address: {error}", wanted.host.escape_debug());
                let todo = "mend the name, or say `HostName` in ~/.ssh/config";
                return self.problem("name", text, todo);
            }
        };
        let shown = addresses
            .iter()
            .map(|address| format!("{} ({})", address.ip(), Family::of(address)));
        let shown = shown.collect::<Vec<_>>().join(" and ");
        match by {
            By::Name(name) => self.ok("name", format!("{} is {shown}", name.escape_debug())),
            By::Profile => {
                let text = format!("no name server has the name: the profile says {shown}");
                let todo = "if that is not where ssh goes, say `HostName` in ~/.ssh/config";
                self.warning("name", text, todo);
            }
        }
        Some(addresses)
    }

    pub(super) fn routes(
        &mut self,
        addresses: &[SocketAddr],
        profile: &Profile,
    ) -> Option<Vec<Way>> {
        let (mut ways, mut lost) = (Vec::new(), Vec::new());
        for address in addresses {
            let mut to = *address;
            to.set_port(profile.port.get());
            match knock::way(&self.visit.wanted, to) {
                Ok(way) => ways.push(way),
                Err(error) => lost.push((to.ip(), error)),
            }
        }
        for way in &ways {
            let (to, local) = (way.to(), way.local());
            let named = match (is_public(local), self.visit.wanted.claim) {
                (true, true) => "a public address, which the packet names",
                (true, false) => "a public address, which the packet does not name (--no-claim)",
                (false, _) => "a private address, which the packet does not name",
            };
            let family = Family::of(&to);
            let text = format!("{family}: to {to} from {local}, {named}");
            self.ok("route", text);
        }
        for (to, error) in lost {
            let text = format!("there is no way to {to}: {error}");
            if ways.is_empty() {
                let todo = "connect this machine to a network, or see --source and --interface";
                self.trouble("route", text, todo);
            } else {
                let todo = "the other family is used, by ssh as well if it is sensible";
                self.warning("route", text, todo);
            }
        }
        (!ways.is_empty()).then_some(ways)
    }

    pub(super) fn keys(&mut self, profile: &mut Profile) -> Option<Keys> {
        let keys = match knock::keys(&self.visit.wanted, profile, true) {
            Ok(keys) => keys,
            Err(error) => {
                let todo = match &error {
                    KnockError::Identity(..) => "name another with --identity",
                    _ => "`ssh-add` one, or make one: `ssh-keygen -t ed25519`",
                };
                return self.problem("key", error.to_string(), todo);
            }
        };
        let held = keys.all().iter().filter(|key| key.is_in_agent()).count();
        self.ok(
            "agent",
            if keys.has_agent() {
                format!("ssh-agent answers; {held} of its keys may sign")
            } else {
                "there is none: key files sign, and ask for their passphrases".to_owned()
            },
        );
        for note in &keys.notes {
            let todo = "if that key was meant, `ssh-add` it, or see --identity";
            self.warning("key", note.clone(), todo);
        }
        for (number, key) in (1..).zip(keys.all()) {
            let mut text = format!("{number}. {key}");
            if !key.is_in_agent() {
                text.push_str(", a file");
            }
            if key.certificate.is_some() {
                text.push_str(", with a certificate");
            }
            if key.is_security_key() {
                text.push_str(", to be touched");
            }
            if key.is_locked() {
                text.push_str(", with a passphrase");
            }
            if profile.key.as_deref() == Some(key.fingerprint().as_str()) {
                text.push_str(", let in before");
            }
            self.ok("key", text);
        }
        Some(keys)
    }
}

/// ` of 2026-11-27`: a profile that is older than the last but one rotation is of no use.
fn written(path: &Path) -> String {
    let modified = path.metadata().and_then(|metadata| metadata.modified());
    let since = modified
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since.map_or_else(String::new, |since| {
        format!(" of {}", Utc::of(since.as_secs()).date())
    })
}

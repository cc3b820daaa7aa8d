//! A view of the machine's file system that can be written to without any effect on it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use super::LabError;

/// Where programs write; each gets a layer in memory over what is there.
const WRITABLE: [&str; 8] = [
    "/etc",
    "/home",
    "/opt",
    "/root",
    "/srv",
    "/tmp",
    "/usr/local",
    "/var",
];

/// The devices that are left; none of them leads to a disk, or to hardware.
const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];

const NONE: Option<&str> = None;

/// Makes everything that can be seen read-only, leaves only harmless devices in `/dev`, and lays
/// memory over the directories where programs write: what is written there is read back, and is
/// gone with the last of our processes.
///
/// For use inside [`super::isolate()`] with [`super::Identity::UserNamespace`]: commands that run
/// for real then change nothing outside. This is a safety net for commands that are trusted, not a
/// prison for hostile ones.
///
/// # Errors
/// If any of it cannot be done; then the view may be half made, and nothing should run in it.
pub fn protect_file_system() -> Result<(), LabError> {
    let system = LabError::system::<io::Error>;
    let layers = Path::new("/run/layers");
    fs::create_dir(layers).map_err(system("make a directory in /run"))?;
    devices(layers).map_err(system("make a /dev of our own"))?;
    read_only().map_err(system("make the file system read-only"))?;
    for directory in WRITABLE.map(Path::new) {
        if directory.is_dir() && !directory.is_symlink() {
            overlay(layers, directory).map_err(system("lay memory over a directory"))?;
        }
    }
    Ok(())
}

/// Lays memory over `/var/lib`, where daemons keep what outlives them, such as the journal at its
/// usual place: for use inside [`super::isolate()`], by those who let daemons run that say nothing of
/// it.
///
/// # Errors
/// If it cannot be done.
pub fn own_state() -> Result<(), LabError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let mounted = mount(
        Some("tmpfs"),
        "/var/lib",
        Some("tmpfs"),
        flags,
        Some("mode=755"),
    );
    mounted.map_err(|errno| LabError::system("lay memory over /var/lib")(io::Error::from(errno)))
}

/// A `/dev` with nothing but [`DEVICES`].
fn devices(layers: &Path) -> io::Result<()> {
    let new = layers.join("dev");
    fs::create_dir(&new)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), &new, Some("tmpfs"), flags, Some("mode=755"))?;
    for name in DEVICES {
        let old = Path::new("/dev").join(name);
        let target = new.join(name);
        File::create(&target)?;
        mount(Some(&old), &target, NONE, MsFlags::MS_BIND, NONE)?;
    }
    for (name, target) in [
        ("fd", "fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
    ] {
        std::os::unix::fs::symlink(format!("/proc/self/{target}"), new.join(name))?;
    }
    let move_all = MsFlags::MS_BIND | MsFlags::MS_REC;
    Ok(mount(Some(&new), "/dev", NONE, move_all, NONE)?)
}

/// Every mount but ours: read-only, without device files and without set-user-id programs.
fn read_only() -> io::Result<()> {
    let table = fs::read("/proc/self/mountinfo")?;
    let mounts: BTreeSet<_> = table
        .split(|byte| *byte == b'\n')
        .filter_map(parse)
        .collect();
    for (path, old) in mounts {
        if path.starts_with("/run") || path.starts_with("/dev") {
            continue;
        }
        let new = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | new | old;
        match mount(NONE, &path, NONE, flags, NONE) {
            // What we cannot even see, our commands cannot change.
            Ok(()) | Err(Errno::ENOENT | Errno::EACCES) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A line of proc_pid_mountinfo(5): where it is mounted, and the flags that it must keep (mounts
/// that came from another user namespace are locked to theirs, mount_namespaces(7)).
fn parse(line: &[u8]) -> Option<(PathBuf, MsFlags)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let path = unescape(fields.nth(4)?);
    let options = fields.next()?.split(|byte| *byte == b',');
    let flags = options.map(|option| match option {
        b"noexec" => MsFlags::MS_NOEXEC,
        b"noatime" => MsFlags::MS_NOATIME,
        b"nodiratime" => MsFlags::MS_NODIRATIME,
        b"relatime" => MsFlags::MS_RELATIME,
        _ => MsFlags::empty(),
    });
    let path = PathBuf::from(std::ffi::OsString::from_vec(path));
    Some((path, flags.fold(MsFlags::empty(), MsFlags::union)))
}

/// `\040` and the like are the bytes of their octal numbers.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.split_first_chunk::<3>().filter(|_| *first == b'\\');
        let byte = escaped.and_then(|(digits, after)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 8).ok()?, after))
        });
        let (byte, after) = byte.unwrap_or((*first, tail));
        out.push(byte);
        rest = after;
    }
    out
}

/// Memory over `directory`. Mounts below it disappear from view.
fn overlay(layers: &Path, directory: &Path) -> io::Result<()> {
    let name = directory.to_string_lossy().replace('/', "-");
    let (upper, work) = (
        layers.join(format!("upper{name}")),
        layers.join(format!("work{name}")),
    );
    fs::create_dir(&upper)?;
    fs::create_dir(&work)?;
    fs::set_permissions(&upper, fs::metadata(directory)?.permissions())?;
    let options = format!(
        "userxattr,lowerdir={},upperdir={},workdir={}",
        directory.display(),
        upper.display(),
        work.display()
    );
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(
        Some("overlay"),
        directory,
        Some("overlay"),
        flags,
        Some(options.as_str()),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_with_its_escapes_and_flags() {
        let line =
            b"36 35 98:0 /mnt1 /a\\040b\\134 rw,noexec,relatime master:1 - ext3 /dev/root rw";
        let (path, flags) = parse(line).unwrap();
        assert_eq!(path, Path::new("/a b\\"));
        assert_eq!(flags, MsFlags::MS_NOEXEC | MsFlags::MS_RELATIME);
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"1 2 3"), None);
    }
}

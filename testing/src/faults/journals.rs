//! The journal's file cannot be written, is damaged, or is not one: what is owed is not lost, and
//! what cannot be owed is not opened.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::Result;
use crate::scenario::{Programs, Scenario};
use crate::script::address;

use super::hits::{Ward, door, note};
use super::scene::PATIENCE;

const TIME: Duration = Duration::from_secs(3);

/// Where the journal of the scenarios about a small disk is.
const ON_SMALL: &str = "journal = {dir}/small/journal\n";

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = vec![
        Scenario::new(
            "journal: on a full disk nothing is opened, what is open is closed, and then it goes on",
            &["mount"],
            full,
        ),
        Scenario::new(
            "journal: the last entry torn: cut off and said, the rest on time",
            &[],
            torn,
        ),
        Scenario::new(
            "journal: a damaged byte costs its entry alone, and the file is kept",
            &[],
            damaged,
        ),
        Scenario::new(
            "journal: an immutable file: nothing is opened, until it can be written again",
            &["chattr"],
            immutable,
        )
        .for_root()
        .with(no_immutable_files),
        Scenario::new(
            "journal: two daemons with one: the second refuses, the first is unharmed",
            &[],
            two_daemons,
        ),
        Scenario::new(
            "journal: deleted while a door is open: its daemon still closes on time",
            &[],
            deleted,
        ),
        Scenario::new(
            "journal: on_stop = keep without one closes at once",
            &[],
            off,
        ),
    ];
    all.extend(UNFIT.iter().map(|unfit| {
        let name = format!(
            "journal: {}: it refuses to start, and leaves it alone",
            unfit.what
        );
        let needs: &[_] = if unfit.mounts { &["mount"] } else { &[] };
        let scenario = Scenario::new(name, needs, |programs| refused(programs, unfit));
        if unfit.root {
            scenario.for_root()
        } else {
            scenario
        }
    }));
    all
}

fn owner() -> IpAddr {
    address::number(1, false)
}

fn member(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 78, 0, n).into()
}

/// A small disk, in memory. Our mounts are nobody else's.
struct Disk(PathBuf);

impl Disk {
    fn new(at: &Path, options: &str) -> Result<Self> {
        fs::create_dir(at)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "small"]).arg(at);
        if !mount.status()?.success() {
            return Err("mount fails".into());
        }
        Ok(Self(at.to_owned()))
    }

    /// Takes all the space that is left.
    fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.0.join("filler"))?;
        while file.write_all(&[0; 4096]).is_ok() {}
        Ok(())
    }

    fn make_room(&self) -> Result<()> {
        Ok(fs::remove_file(self.0.join("filler"))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        umount.arg("-l").arg(&self.0).stderr(Stdio::null());
        // It goes with our namespace at the latest.
        drop(umount.status());
    }
}

fn full(programs: &Programs) -> Result<()> {
    // Each entry takes most of a page, so that no room is left in the last one.
    let long = format!("{}; : {}", note("stop"), "x".repeat(3_500));
    let doors = door("2").replace(&note("stop"), &long);
    let mut ward = Ward::prepare(programs, &format!("{ON_SMALL}{doors}"))?;
    let disk = Disk::new(&ward.path("small"), "size=64k,mode=700")?;
    ward.start()?;
    let start = ward.open(owner())?;
    disk.fill()?;
    for n in 1..=3 {
        ward.knock(member(n))?;
    }
    ward.settle("10.77.0.2")?;
    let refused = ward.lines("A: what would be owed cannot be written down; nothing was run");
    ward.require(refused == 3, || format!("{refused} knocks were refused"))?;
    ward.wait_for_line("error: the journal cannot be written: there is no space for it")?;
    ward.closes(owner(), start + Duration::from_secs(2))?;
    let opened = ward.all().len();
    ward.require(opened == 1, || format!("{opened} were opened"))?;
    disk.make_room()?;
    let start = ward.open(member(4))?;
    ward.kill()?;
    ward.start()?;
    ward.closes(member(4), start + Duration::from_secs(2))?;
    ward.settle_accounts()
}

fn torn(programs: &Programs) -> Result<()> {
    let mut ward = Ward::new(programs, &door("3"))?;
    let start = ward.open(owner())?;
    ward.kill()?;
    // The beginning of an entry of 100 bytes.
    let mut file = OpenOptions::new().append(true).open(ward.path("journal"))?;
    file.write_all(&[100, 0, 0, 0, 1, 2, 3, 4, 5])?;
    ward.start()?;
    ward.wait_for_line("the last entry was not written to its end; its 9 bytes were cut off")?;
    ward.closes(owner(), start + TIME)?;
    ward.settle_accounts()
}

fn damaged(programs: &Programs) -> Result<()> {
    let mut ward = Ward::new(programs, &door("3"))?;
    ward.open(member(1))?;
    let start = ward.open(member(2))?;
    ward.kill()?;
    // In the first entry: behind the header, and within the command.
    let file = OpenOptions::new().write(true).open(ward.path("journal"))?;
    file.write_all_at(b"?", 80)?;
    let before = fs::read(ward.path("journal"))?;
    ward.start()?;
    ward.wait_for_line("what else is owed was kept, and the file as it was is")?;
    let kept = fs::read(ward.path("journal.damaged-1"))?;
    ward.require(kept == before, || "the kept file is another".into())?;
    ward.closes(member(2), start + TIME)?;
    ward.finish()?;
    let stops = ward.runs(member(2)).stops.len();
    ward.require(stops == 1, || format!("{stops} stop commands"))
}

fn immutable(programs: &Programs) -> Result<()> {
    let mut ward = Ward::new(programs, &door("2"))?;
    let start = ward.open(owner())?;
    ward.server_must("chattr +i journal")?;
    ward.knock(member(1))?;
    ward.settle("10.77.0.2")?;
    ward.wait_for_line("10.78.0.1: A: what would be owed cannot be written down; nothing was run")?;
    let closed = ward.closes(owner(), start + Duration::from_secs(2));
    ward.server_must("chattr -i journal")?;
    closed?;
    ward.wait_for_line("the journal can be written again, and says what is owed")?;
    ward.open(member(2))?;
    ward.require(ward.runs(member(1)).starts.is_empty(), || {
        "it was opened".into()
    })?;
    ward.settle_accounts()
}

/// Whether files in the folder for temporary ones can be made immutable.
fn no_immutable_files() -> Option<&'static str> {
    let probe = || -> Result<bool> {
        let file = tempfile::NamedTempFile::new()?;
        let chattr = |flag: &str| {
            let mut chattr = Command::new("chattr");
            chattr.arg(flag).arg(file.path()).stderr(Stdio::null());
            chattr.status().is_ok_and(|status| status.success())
        };
        // An open file must be immutable too, which is not so everywhere.
        let can = chattr("+i") && (file.as_file().write_all_at(b"x", 0)).is_err();
        chattr("-i");
        Ok(can)
    };
    (!probe().unwrap_or(false)).then_some("a file system with immutable files")
}

fn two_daemons(programs: &Programs) -> Result<()> {
    let mut ward = Ward::new(programs, &door("2"))?;
    let start = ward.open(owner())?;
    let (status, said) = ward.start_in_vain(&[])?;
    ward.require(status.code() == Some(1), || format!("{status}: {said}"))?;
    let clear = said.contains("journal: another process uses it") && said.lines().count() == 1;
    ward.require(clear, || format!("it says: {said}"))?;
    ward.closes(owner(), start + Duration::from_secs(2))?;
    ward.settle_accounts()
}

fn deleted(programs: &Programs) -> Result<()> {
    let mut ward = Ward::new(programs, &door("2"))?;
    let start = ward.open(owner())?;
    fs::remove_file(ward.path("journal"))?;
    let second = ward.open(member(1))?;
    ward.closes(owner(), start + Duration::from_secs(2))?;
    ward.closes(member(1), second + Duration::from_secs(2))?;
    ward.settle_accounts()
}

fn off(programs: &Programs) -> Result<()> {
    let config = format!("journal = off\non_stop = keep\n{}", door("1h"));
    let mut ward = Ward::prepare(programs, &config)?;
    ward.start()?;
    ward.open(owner())?;
    let term = SystemTime::now();
    ward.settle_accounts()?;
    ward.closes(owner(), term)?;
    let text = "there is no journal to keep what is owed in: commands are closed now";
    ward.require(ward.lines(text) == 1, || "it does not say so".into())
}

/// A journal that is not to be used.
#[derive(Copy, Clone)]
struct Unfit {
    what: &'static str,
    make: fn(&Ward, &Path) -> Result<()>,
    said: &'static str,
    root: bool,
    mounts: bool,
}

impl Unfit {
    const fn new(
        what: &'static str,
        make: fn(&Ward, &Path) -> Result<()>,
        said: &'static str,
    ) -> Self {
        Self {
            what,
            make,
            said,
            root: false,
            mounts: false,
        }
    }
}

const UNFIT: &[Unfit] = &[
    Unfit::new(
        "of a later version",
        |_, path| {
            let bytes = &mut fs::read(path)?;
            if let Some(version) = bytes.get_mut(8) {
                *version = 2;
            }
            let sum = bytes.get(..20).map(checksum).unwrap_or_default();
            if let Some(place) = bytes.get_mut(20..24) {
                place.copy_from_slice(&sum.to_le_bytes());
            }
            Ok(fs::write(path, bytes)?)
        },
        "it is of version 2, and this program knows version 1",
    ),
    Unfit::new(
        "another file",
        |_, path| Ok(fs::write(path, "127.0.0.1 localhost\n")?),
        "it is no journal of what is owed",
    ),
    Unfit::new(
        "a symbolic link",
        |ward, path| {
            fs::rename(path, ward.path("elsewhere"))?;
            Ok(symlink(ward.path("elsewhere"), path)?)
        },
        "it is a symbolic link",
    ),
    Unfit::new(
        "a folder",
        |_, path| {
            fs::remove_file(path)?;
            Ok(fs::create_dir(path)?)
        },
        "it is no regular file",
    ),
    Unfit::new(
        "a pipe that nobody reads",
        |ward, path| {
            fs::remove_file(path)?;
            ward.server_must(&format!("mkfifo -m 600 {}", path.display()))
        },
        "it is no regular file",
    ),
    Unfit::new(
        "open to all",
        |_, path| Ok(fs::set_permissions(path, Permissions::from_mode(0o666))?),
        "its mode 0666 lets others write to it",
    ),
    Unfit {
        root: true,
        ..Unfit::new(
            "of another owner",
            |_, path| Ok(std::os::unix::fs::chown(path, Some(1234), None)?),
            "it belongs to the user 1234",
        )
    },
    Unfit {
        mounts: true,
        ..Unfit::new(
            "on a disk that is read-only",
            |ward, path| {
                let bind = format!(
                    "mount --bind {0} {0} && mount -o remount,bind,ro {0}",
                    path.display()
                );
                ward.server_must(&bind)
            },
            "Read-only file system",
        )
    },
];

/// A door is open, its daemon was killed, and the journal is not to be used any more: the next one
/// does not start without it. Once it is as it was, nothing is lost.
fn refused(programs: &Programs, unfit: &Unfit) -> Result<()> {
    let mut ward = Ward::new(programs, &door("1"))?;
    let end = ward.open(owner())? + Duration::from_secs(1);
    ward.kill()?;
    let path = ward.path("journal");
    let before = fs::read(&path)?;
    (unfit.make)(&ward, &path)?;
    let made = state(&path)?;
    let outcome = ward.start_in_vain(&[]);
    let after = state(&path)?;
    if unfit.mounts {
        ward.server_must(&format!("umount -l {}", path.display()))?;
    }
    let (status, said) = outcome?;
    ward.require(status.code() == Some(1), || format!("{status}: {said}"))?;
    let line = format!("knockd: journal {}: {}", path.display(), unfit.said);
    ward.require(said.trim() == line, || format!("it says: {said}"))?;
    ward.require(made == after, || "the file is another now".into())?;
    if path.is_dir() {
        fs::remove_dir(&path)?;
    } else {
        fs::remove_file(&path)?;
    }
    fs::write(&path, before)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    let again = SystemTime::now();
    ward.start()?;
    ward.wait_until("it is closed", PATIENCE, || {
        !ward.runs(owner()).stops.is_empty()
    })?;
    ward.closes(owner(), end.max(again))?;
    ward.settle_accounts()
}

/// What a file is, and what is in it.
fn state(path: &Path) -> Result<(bool, u32, Vec<u8>)> {
    let metadata = fs::symlink_metadata(path)?;
    let bytes = if metadata.is_file() || metadata.is_symlink() {
        fs::read(path)?
    } else {
        Vec::new()
    };
    Ok((metadata.is_symlink(), metadata.permissions().mode(), bytes))
}

/// CRC-32 of IEEE 802.3.
fn checksum(bytes: &[u8]) -> u32 {
    let bit = |sum: u32| (sum >> 1) ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 };
    let byte = |sum: u32, byte: &u8| (0..8).fold(sum ^ u32::from(*byte), |sum, _| bit(sum));
    !bytes.iter().fold(u32::MAX, byte)
}

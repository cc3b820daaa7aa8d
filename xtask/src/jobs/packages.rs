//! The packages: built from what cargo has built, and tried in throw-away machines.

use std::io;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::setup;
use crate::run::{Failure, Outcome, cargo, execute, program, root, timed};

/// What is built or tried.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The scripts and profiles of `pkg/`, by those who read them
    Scripts,
    /// Completions, in real shells
    Completions,
    /// The Debian package, fresh and in the place of the distribution's knockd
    Deb,
    /// The RPM package
    Rpm,
    /// The units and drop-ins of systemd, also at boot
    Systemd,
    /// The scripts of `OpenRC`
    Openrc,
    /// Gentoo's and Alpine's recipes
    Recipes,
    /// Programs that need no library, and the image of a container with them
    Container,
}

/// What CI runs; the rest takes a build of its own.
const USUAL: [Part; 7] = [
    Part::Scripts,
    Part::Completions,
    Part::Recipes,
    Part::Deb,
    Part::Systemd,
    Part::Rpm,
    Part::Openrc,
];

/// The target whose programs need no library.
const STATIC: &str = "x86_64-unknown-linux-musl";

/// Where everything is put, and kept for the next time.
const FOLDER: &str = "target/packages";

/// The packages that can be built here.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// For Debian and its kin
    Deb,
    /// For Fedora, SUSE and their kin
    Rpm,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
        }
    }

    /// What builds it, and Debian's package of that.
    const fn tool(self) -> (&'static str, &'static str) {
        match self {
            Self::Deb => ("dpkg-shlibdeps", "dpkg-dev"),
            Self::Rpm => ("rpmbuild", "rpm"),
        }
    }
}

/// Builds a package for users, into `target/packages`.
pub(crate) fn build(kind: Kind) -> Outcome {
    setup::install(&[kind.tool()])?;
    execute(cargo(".").args([
        "build",
        "--release",
        "--locked",
        "-p",
        "knockd",
        "-p",
        "knock",
    ]))?;
    completions()?;
    make(kind, "target/release", &[])?;
    eprintln!("xtask: {}", package(kind)?.display());
    Ok(())
}

/// Tries the usual parts for root. Anybody else is told how.
pub(crate) fn test_if_root() -> Outcome {
    if setup::is_root() {
        return test(&[]);
    }
    eprintln!("xtask: the packages are not tried, which takes root: sudo cargo xtask packages");
    Ok(())
}

/// Tries `parts`, or the usual ones, with programs as they are built for tests.
pub(crate) fn test(parts: &[Part]) -> Outcome {
    setup::for_packages()?;
    let parts = if parts.is_empty() { &USUAL } else { parts };
    execute(cargo(".").args(["build", "--quiet", "-p", "knockd", "-p", "knock"]))?;
    completions()?;
    if parts.iter().any(|part| part.needs_machine()) {
        execute(program("pkg/lab/root.sh").arg(folder()?))?;
    }
    if parts
        .iter()
        .any(|part| [Part::Deb, Part::Systemd].contains(part))
    {
        // Quickly rather than small.
        make(
            Kind::Deb,
            "target/debug",
            &[("DPKG_DEB_COMPRESSOR_LEVEL", "1")],
        )?;
    }
    for part in parts {
        timed(part.name(), || part.run())?;
    }
    Ok(())
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Scripts => "scripts",
            Self::Completions => "completions",
            Self::Deb => "deb",
            Self::Rpm => "rpm",
            Self::Systemd => "systemd",
            Self::Openrc => "openrc",
            Self::Recipes => "recipes",
            Self::Container => "container",
        }
    }

    const fn needs_machine(self) -> bool {
        matches!(
            self,
            Self::Deb | Self::Rpm | Self::Systemd | Self::Container
        )
    }

    fn run(self) -> Outcome {
        match self {
            Self::Scripts => scripts(),
            Self::Completions => {
                execute(program("pkg/completions/test.sh").arg("target/completions"))
            }
            Self::Deb => {
                execute(
                    program("lintian")
                        .args(["--allow-root", "--fail-on", "error,warning"])
                        .arg(package(Kind::Deb)?),
                )?;
                execute(program("pkg/deb/test.sh").arg(FOLDER))
            }
            Self::Rpm => {
                make(Kind::Rpm, "target/debug", &[])?;
                execute(program("pkg/rpm/test.sh").arg(FOLDER))
            }
            Self::Systemd => execute(program("pkg/systemd/test.sh").arg(FOLDER)),
            Self::Openrc => execute(program("pkg/openrc/test.sh").arg("target/debug/knockd")),
            Self::Recipes => execute(program("pkg/recipes-test.sh").env("FROM", "target/debug")),
            Self::Container => container(),
        }
    }
}

fn scripts() -> Outcome {
    let mut scripts = Vec::new();
    scripts_of(&root().join("pkg"), &mut scripts)
        .map_err(|error| said(Path::new("pkg"), &error))?;
    scripts.sort();
    execute(
        program("shellcheck")
            .arg("--external-sources")
            .args(scripts),
    )?;
    // Its caches are of the kernel that it would be loaded into.
    execute(program("apparmor_parser").args(["-QK", "pkg/apparmor/usr.sbin.knockd"]))
}

/// Adds every shell script in `folder`, by its first line.
fn scripts_of(folder: &Path, scripts: &mut Vec<PathBuf>) -> io::Result<()> {
    let is_script = |text: &str| {
        let first = text.lines().next().unwrap_or_default();
        first.starts_with("#!/") || first.starts_with("# shellcheck ")
    };
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            scripts_of(&path, scripts)?;
        } else if is_script(&std::fs::read_to_string(&path)?) {
            scripts.push(path);
        }
    }
    Ok(())
}

fn container() -> Outcome {
    setup::install(&[("podman", "podman"), ("crun", "crun"), ("conmon", "conmon")])?;
    execute(program("rustup").args(["--quiet", "target", "add", STATIC]))?;
    execute(cargo(".").args([
        "build",
        "--release",
        "--locked",
        "--target",
        STATIC,
        "-p",
        "knockd",
        "-p",
        "knock",
    ]))?;
    execute(
        program("pkg/container/test.sh")
            .arg(format!("target/{STATIC}/release"))
            .arg(format!("{FOLDER}/root")),
    )
}

fn completions() -> Outcome {
    execute(cargo(".").args([
        "run",
        "--quiet",
        "-p",
        "completions",
        "--",
        "target/completions",
    ]))
}

/// Builds a package from the programs in `from`.
fn make(kind: Kind, from: &str, environment: &[(&str, &str)]) -> Outcome {
    let folder = folder()?;
    if let Ok(old) = package(kind) {
        std::fs::remove_file(&old).map_err(|error| said(&old, &error))?;
    }
    execute(
        program(format!("pkg/{}/build.sh", kind.name()))
            .arg(folder)
            .env("FROM", from)
            .envs(environment.iter().copied()),
    )
}

fn folder() -> Result<PathBuf, Failure> {
    let folder = root().join(FOLDER);
    std::fs::create_dir_all(&folder).map_err(|error| said(&folder, &error))?;
    Ok(folder)
}

/// Our package of this kind that was built.
fn package(kind: Kind) -> Result<PathBuf, Failure> {
    let folder = folder()?;
    let kind = kind.name();
    let is_ours = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("postern") && path.extension().is_some_and(|end| end == kind)
    };
    let entries = std::fs::read_dir(&folder).map_err(|error| said(&folder, &error))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths
        .find(|path| is_ours(path))
        .ok_or_else(|| Failure::Said(format!("there is no .{kind} in {}", folder.display())))
}

fn said(path: &Path, error: &io::Error) -> Failure {
    Failure::Said(format!("{}: {error}", path.display()))
}

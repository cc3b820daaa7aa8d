//! Whether the program that a command starts can be run.
//!
//! A command is text for a shell; this looks at its first word alone, and is silent where that is
//! not plainly the name of a program.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What a shell does itself (POSIX.1-2024, XCU 2.4, 2.15 and 1.7), as far as a command may start
/// with it.
const BUILTINS: &[&str] = &[
    "!", ".", ":", "[", "alias", "break", "case", "cd", "command", "continue", "do", "echo",
    "else", "eval", "exec", "exit", "export", "false", "for", "getopts", "hash", "if", "jobs",
    "kill", "local", "printf", "pwd", "read", "readonly", "return", "set", "shift", "test",
    "times", "trap", "true", "type", "ulimit", "umask", "unalias", "unset", "until", "wait",
    "while", "{",
];
/// Characters that a shell acts on: a word with one of them is not the name that it looks like.
const SIGNS: &str = "$`\"'\\*?[]{}()<>&|;~#!";
/// What `sh` takes where `$PATH` is not set, and the directories of an administrator.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where programs without a path are looked for.
#[derive(Debug, Default)]
pub(super) struct SearchPath(Vec<PathBuf>);

/// Why a program cannot be run.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Problem {
    /// There is no such file.
    Missing,
    /// It is no file, or has no right to be executed.
    NotExecutable,
}

impl SearchPath {
    /// The directories of `$PATH`.
    pub(super) fn this() -> Self {
        let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        Self(env::split_paths(&path).collect())
    }

    #[cfg(test)]
    pub(super) fn of(directory: &Path) -> Self {
        Self(vec![directory.into()])
    }

    fn find(&self, name: &str) -> Result<(), Problem> {
        if name.contains('/') {
            return runnable(Path::new(name));
        }
        let mut result = Err(Problem::Missing);
        for directory in &self.0 {
            match runnable(&directory.join(name)) {
                Ok(()) => return Ok(()),
                Err(Problem::NotExecutable) => result = Err(Problem::NotExecutable),
                Err(Problem::Missing) => {}
            }
        }
        result
    }
}

/// The first word of a command that cannot be run, with its offset. A path that is relative
/// depends on where the daemon stands, and nothing is said of it.
pub(super) fn check<'a>(
    command: &'a str,
    search: &SearchPath,
) -> Option<(usize, &'a str, Problem)> {
    let (offset, name) = program(command)?;
    let relative = name.contains('/') && !name.starts_with('/');
    if relative || BUILTINS.contains(&name) || name.contains('%') {
        return None;
    }
    let problem = search.find(name).err()?;
    Some((offset, name, problem))
}

/// The first word that is no assignment, if it is plain.
fn program(command: &str) -> Option<(usize, &str)> {
    let mut at = 0;
    for word in command.split(|c: char| c.is_ascii_whitespace()) {
        let start = at;
        at += word.len() + 1;
        if word.is_empty() || is_assignment(word) {
            continue;
        }
        let name = word.split([';', '&', '|', '>', '<']).next().unwrap_or(word);
        return Some((start, name)).filter(|(_, name)| !name.is_empty() && is_plain(name));
    }
    None
}

fn is_plain(word: &str) -> bool {
    BUILTINS.contains(&word) || !word.contains(|c| SIGNS.contains(c))
}

/// `NAME=value`, with a value that has no blank in it.
fn is_assignment(word: &str) -> bool {
    let Some((name, value)) = word.split_once('=') else {
        return false;
    };
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(named) && !value.contains(|c| SIGNS.contains(c))
}

fn runnable(path: &Path) -> Result<(), Problem> {
    let Ok(metadata) = path.metadata() else {
        return Err(Problem::Missing);
    };
    if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
        Ok(())
    } else {
        Err(Problem::NotExecutable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn search() -> (tempfile::TempDir, SearchPath) {
        let directory = tempfile::tempdir().unwrap();
        for (name, mode) in [("good", 0o755), ("bad", 0o644)] {
            let path = directory.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let search = SearchPath::of(directory.path());
        (directory, search)
    }

    #[test]
    fn programs_are_found_by_name_and_by_path() {
        let (directory, search) = search();
        let path = |name: &str| directory.path().join(name).display().to_string();
        assert_eq!(check("good %IP%", &search), None);
        assert_eq!(check(&path("good"), &search), None);
        let (missing, bad) = (path("none"), path("bad"));
        assert_eq!(
            check("bad", &search),
            Some((0, "bad", Problem::NotExecutable))
        );
        assert_eq!(
            check(&bad, &search),
            Some((0, bad.as_str(), Problem::NotExecutable))
        );
        assert_eq!(
            check("none x", &search),
            Some((0, "none", Problem::Missing))
        );
        assert_eq!(
            check(&missing, &search),
            Some((0, missing.as_str(), Problem::Missing))
        );
    }

    #[test]
    fn assignments_come_before_the_program() {
        let (_directory, search) = search();
        assert_eq!(
            check("A=1 B_2=  none; x", &search),
            Some((10, "none", Problem::Missing))
        );
        assert_eq!(check("A=1", &search), None);
    }

    #[test]
    fn what_only_a_shell_understands_is_left_to_it() {
        let (_directory, search) = search();
        for command in [
            "",
            "   ",
            "echo hi",
            "[ -e x ] && none",
            "if none; then x; fi",
            "$none",
            "`none`",
            "'none'",
            "(none)",
            "{ none; }",
            "! none",
            "A=$(none) x",
            "~/none",
            "./none",
            "%DOOR%",
            "> /tmp/none",
            "# none",
        ] {
            assert_eq!(check(command, &search), None, "{command:?}");
        }
    }

    #[test]
    fn a_sign_may_follow_the_name_at_once() {
        let (_directory, search) = search();
        assert_eq!(
            check("none;good", &search),
            Some((0, "none", Problem::Missing))
        );
        assert_eq!(check("good>/dev/null", &search), None);
    }
}

//! `cargo run -p completions -- FOLDER` writes the completions of bash, zsh and fish for the three
//! programs, made from their real command lines: `knock.bash`, `_knock`, `knock.fish` and so on.
//!
//! A program of its own, so that nothing of it is in those that are installed.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory, Parser, ValueHint};
use clap_complete::{Shell, generate_to};

#[derive(Parser)]
#[command(about = "Write the completions of bash, zsh and fish for all programs")]
struct Arguments {
    /// Where to write them; made if it is not there
    folder: PathBuf,
}

fn main() -> ExitCode {
    let folder = Arguments::parse().folder;
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("completions: {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for mut command in commands() {
        let name = command.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            generate_to(shell, &mut command, name.clone(), folder)?;
        }
    }
    Ok(())
}

fn commands() -> [Command; 3] {
    [
        knockd::cli::Cli::command(),
        of_knock_without_words(&knock::cli::command()),
        knockd::ctl::Cli::command(),
    ]
    .map(hinted)
}

/// With hosts where the name of one is asked for.
fn hinted(command: Command) -> Command {
    let is_host = |name: &str| matches!(name, "host" | "destination");
    command
        .mut_subcommands(hinted)
        .mut_args(|argument| match argument.get_id().as_str() {
            name if is_host(name) => argument.value_hint(ValueHint::Hostname),
            _ => argument,
        })
}

/// The command line of `knock` without what is no option: zsh offers no subcommand where a host may stand.
fn of_knock_without_words(command: &Command) -> Command {
    let options = command.get_arguments().filter(|it| !it.is_positional());
    Command::new("knock")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args(options)
        .subcommands(command.get_subcommands())
}

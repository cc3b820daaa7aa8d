//! `knockctl init`: a first configuration, by a short dialogue or by options.
//!
//! Promises: nothing is written before every answer is there, and never in the place of another file;
//! what is written has been read back by the parser; no gate is put up, no command is run but those
//! that read the firewall.

mod answers;
mod ask;
mod machine;
mod pick;
mod tell;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use knock_spa::rand_core::Rng;

use super::new_file;
use crate::config_file;
use crate::services::Services;
use crate::spa::SystemRng;
use answers::Answers;
use ask::Asker;
use machine::Machine;

/// The command line of `knockctl init`.
#[derive(Debug, Args)]
pub struct Options {
    /// Take what is proposed for whatever is not given, and ask nothing
    #[arg(short, long)]
    yes: bool,
    /// Ports that open to who knocks, such as tcp/22 or tcp/22,udp/51820
    #[arg(long = "port", value_name = "PROTO/PORT", value_delimiter = ',')]
    ports: Vec<String>,
    /// Interfaces at which knocks are heard, or any
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    interface: Vec<String>,
    /// How the door is opened
    #[arg(long, value_enum)]
    by: Option<By>,
    /// How many steps a sequence has
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(3..=32))]
    steps: Option<u8>,
    /// The public keys of those who may send sealed packets
    #[arg(long, value_name = "FILE")]
    authorized_keys: Option<String>,
    /// How long the ports are open to who has knocked
    #[arg(long = "for", value_name = "TIME")]
    time: Option<String>,
    /// Let the kernel keep the ports closed to everybody else
    #[arg(long)]
    gate: bool,
    /// Let commands open a firewall that keeps them closed
    #[arg(long, conflicts_with = "gate")]
    no_gate: bool,
    /// The name or address that clients reach this host by
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Where the configuration is written; nothing may be there
    #[arg(short, long, value_name = "FILE", default_value = "/etc/knockd.conf")]
    output: PathBuf,
    /// Show the configuration, and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Show the client's line as a QR code, also where it is no terminal
    #[arg(long)]
    qr: bool,
}

/// How a door is opened.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// By knocks at secret ports, in their order
    Sequence,
    /// By one sealed packet, signed by an SSH key
    Spa,
}

/// Runs `knockctl init`; exits with 1 if nothing was written, unless that was asked for.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    match init(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            anstream::eprintln!("knockctl: {}", why.trim_end());
            ExitCode::FAILURE
        }
    }
}

fn init(options: &Options) -> Result<(), String> {
    // Nobody should answer questions for nothing.
    if !options.dry_run && new_file::exists(&options.output) {
        return Err(taken(options));
    }
    let machine = Machine::look();
    let answers = if options.yes {
        Answers::proposed(options, &machine)?
    } else {
        let asker = Asker::new().map_err(|error| error.to_string())?;
        // The terminal is watched over as long as there is somebody to ask.
        Answers::asked(options, &machine, &asker)?
    };
    let answers = answers.dealt(&machine, &mut || SystemRng.next_u64())?;
    let text = text::configuration(&answers, &machine)?;
    if options.dry_run {
        return super::check::show(&text).map_err(|error| format!("cannot write: {error}"));
    }
    new_file::write(&options.output, text.as_bytes()).map_err(|error| match error {
        new_file::NewFileError::Exists(_) => taken(options),
        error => format!("{error}\nwrite another file with --output, or run this as root"),
    })?;
    let loaded = config_file::load(&options.output, &Services::system());
    let loaded = loaded.map_err(|error| error.to_string())?;
    let told = tell::story(options, &answers, &machine, &loaded);
    super::check::show(&told).map_err(|error| format!("cannot write: {error}"))
}

fn taken(options: &Options) -> String {
    let path = options.output.display();
    format!(
        "{path} is there already, and stays as it is: nothing was written\n\
         name another file with --output; see what is in this one with `knockctl check -c {path}`, \
         or make native doors of it with `knockctl convert {path}`"
    )
}

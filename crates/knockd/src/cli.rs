//! The options of `knockd`: those of the original, with its meaning, and nothing silently ignored.
//!
//! One table (the clap command made from [`Cli`]) yields parser and help; a test holds
//! `man/knockd.1` to it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

/// Where the configuration is when `-c` does not say otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/knockd.conf";

/// Where the process id goes when neither the configuration nor `-p` says otherwise.
pub const DEFAULT_PIDFILE: &str = "/var/run/knockd.pid";

/// Port-knocking daemon: runs commands for those who knock the right ports in the right order
#[derive(Clone, Debug, Default, Parser)]
#[command(
    name = "knockd",
    version,
    infer_long_args = true,
    args_override_self = true,
    after_help = "The configuration is described in knockd.conf(5), the rest in knockd(1)."
)]
pub struct Cli {
    /// Listen on this interface; several with commas, or `any`. Wins over the configuration
    #[arg(short, long, value_name = "INTERFACE", allow_hyphen_values = true)]
    pub interface: Option<String>,

    /// Run in the background
    #[arg(short, long)]
    pub daemon: bool,

    /// Read this configuration
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = DEFAULT_CONFIG,
        allow_hyphen_values = true
    )]
    pub config: PathBuf,

    /// Print every packet that could be a knock, and every wrong knock
    #[arg(short = 'D', long)]
    pub debug: bool,

    /// Look up the names of those who knock, for the log
    #[arg(short, long)]
    pub lookup: bool,

    /// Print the lines of the log as well
    #[arg(short, long)]
    pub verbose: bool,

    /// Ignore IPv6
    #[arg(short = '4', long = "only-ip-v4")]
    pub only_ip_v4: bool,

    /// Write the process id to this file (with -d). `pidfile` in the configuration wins
    #[arg(short, long, value_name = "FILE", allow_hyphen_values = true)]
    pub pidfile: Option<PathBuf>,

    /// Log to this file. `logfile` in the configuration wins
    #[arg(short = 'g', long, value_name = "FILE", allow_hyphen_values = true)]
    pub logfile: Option<PathBuf>,

    /// Ignored, as in the original, but not without a word
    #[arg(hide = true, value_name = "IGNORED")]
    pub operands: Vec<OsString>,
}

impl Cli {
    /// The interfaces of `-i`; none where it was not given.
    #[must_use]
    pub fn interfaces(&self) -> Vec<String> {
        let names = self.interface.iter().flat_map(|list| list.split(','));
        let names = names.map(str::trim).filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["knockd"], args].concat())
    }

    #[test]
    fn options_are_bundled_abbreviated_and_repeated_as_getopt_takes_them() {
        let cli = parse(&["-dvDl4ieth0", "-ceth.conf", "--pid=/p", "-g", "a", "-gb"]).unwrap();
        assert!(cli.daemon && cli.verbose && cli.debug && cli.lookup && cli.only_ip_v4);
        assert_eq!(cli.interface.as_deref(), Some("eth0"));
        assert_eq!(cli.config, PathBuf::from("eth.conf"));
        assert_eq!(cli.pidfile, Some(PathBuf::from("/p")));
        assert_eq!(cli.logfile, Some(PathBuf::from("b")), "the last one counts");
        assert!(parse(&["-d", "-d"]).unwrap().daemon);
    }

    #[test]
    fn an_interface_option_can_name_several() {
        let cli = parse(&["-i", "eth0, ppp0,,any"]).unwrap();
        assert_eq!(cli.interfaces(), ["eth0", "ppp0", "any"]);
        assert!(parse(&[]).unwrap().interfaces().is_empty());
    }

    #[test]
    fn stray_operands_are_kept_for_a_warning() {
        assert_eq!(parse(&["eth0", "-d"]).unwrap().operands, ["eth0"]);
    }

    #[test]
    fn an_unknown_option_is_a_usage_error_with_a_hint() {
        let error = parse(&["--verbos-e"]).unwrap_err();
        assert_eq!(
            (error.kind(), error.exit_code()),
            (ErrorKind::UnknownArgument, 2)
        );
        assert!(error.to_string().contains("--verbose"), "{error}");
        assert_eq!(parse(&["-x"]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn version_and_help_end_well_and_the_version_is_the_first_line() {
        let version = parse(&["-V"]).unwrap_err();
        assert_eq!(version.exit_code(), 0);
        assert_eq!(
            version.to_string().lines().next(),
            Some(concat!("knockd ", env!("CARGO_PKG_VERSION")))
        );
        assert_eq!(parse(&["-h"]).unwrap_err().exit_code(), 0);
    }

    #[test]
    fn the_manual_has_every_option_and_no_other() {
        let manual = include_str!("../../../man/knockd.1");
        let named = |flag: &str| {
            manual
                .lines()
                .any(|l| l.starts_with(".It") && l.contains(flag))
        };
        let mut command = Cli::command();
        command.build();
        let mut flags = Vec::new();
        for option in command.get_arguments().filter(|a| !a.is_positional()) {
            flags.extend(option.get_short().map(|c| format!("Fl {c}")));
            flags.extend(option.get_long().map(|l| format!("Fl -{l}")));
        }
        for flag in &flags {
            assert!(named(flag), "{flag} is not in knockd.1");
        }
        let written = manual.lines().filter(|l| l.starts_with(".It Fl"));
        for flag in written.flat_map(|l| l.split("Fl ").skip(1)) {
            let flag = flag.split([' ', ',']).next().unwrap_or_default();
            assert!(
                flags.contains(&format!("Fl {flag}")),
                "knockd.1 has -{flag}"
            );
        }
    }
}

//! The command line of `knock doctor`.

use std::num::NonZeroU16;

use clap::Parser;
use knock_spa::Purpose;
use serde_json::{Value, json};

use super::single::{Door, teller, wanted_by_name};
use super::{Route, complain, say, without_number};
use crate::spa::doctor::{self, Level, Line, Visit};
use crate::spa::profile::{self, ProfileError};
use crate::spa::report;
use crate::store::StoreError;

/// Look at each thing that a knock needs, and say what to do about what is amiss.
///
/// Exit status: 0 all is well, 1 there is a problem, 2 usage.
#[derive(Debug, Parser)]
#[command(
    name = "knock doctor",
    bin_name = "knock doctor",
    infer_long_args = true
)]
pub struct Doctor {
    #[command(flatten)]
    door: Door,
    #[command(flatten)]
    route: Route,
    /// Open nothing: only ask whether the door would open
    #[arg(long)]
    no_open: bool,
    /// The TCP port behind the door, where the server does not name it
    #[arg(long, value_name = "PORT")]
    port: Option<NonZeroU16>,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
    /// A host that was enrolled
    host: String,
}

/// Runs it: its exit code.
pub(super) fn run(args: &Doctor) -> u8 {
    let wanted = match wanted_by_name(&args.host, &args.door, &args.route, Purpose::Ask) {
        Ok(wanted) => wanted,
        Err(problem) => {
            complain(&problem);
            return report::USAGE;
        }
    };
    if let Err(error @ ProfileError::Store(StoreError::Name(_))) = profile::path(&wanted.host) {
        complain(&error.to_string());
        return report::USAGE;
    }
    let visit = Visit {
        wanted,
        may_open: !args.no_open,
        port: args.port.map(NonZeroU16::get),
    };
    let mut lines = Vec::new();
    let mut says = |mut line: Line| {
        line.text = without_number(&line.text).to_owned();
        if !args.json {
            say(&line.to_string());
        }
        lines.push(line);
    };
    doctor::examine(&visit, &mut says, &mut teller(args.route.verbose, false));
    let code = code(&lines);
    if args.json {
        let checks: Vec<_> = lines.iter().map(object).collect();
        say(&json!({ "host": visit.wanted.host, "exit": code, "checks": checks }).to_string());
    }
    code
}

fn code(lines: &[Line]) -> u8 {
    u8::from(lines.iter().any(|line| line.level == Level::Problem))
}

fn object(line: &Line) -> Value {
    json!({
        "check": line.about,
        "level": line.level.to_string(),
        "text": line.text,
        "todo": line.todo,
    })
}

//! `knockctl audit verify`.

use std::process::ExitCode;

use clap::Args;

use super::super::gate::finish;
use super::Trail;
use crate::audit::{Break, Digest, Entry, Fault, Verifier, What};

/// So many places are told; a trail that is none has as many as lines.
const MOST: usize = 100;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    trail: Trail,
    /// A hash that was noted, from the daemon's log or from `verify`: its line must be there
    #[arg(long, value_name = "HASH")]
    head: Vec<Digest>,
}

pub(super) fn run(options: &Options) -> ExitCode {
    finish(verify(options))
}

fn verify(options: &Options) -> Result<String, String> {
    let found = options.trail.find()?;
    let mut verifier = Verifier::new(found.head.clone(), options.head.iter().copied());
    let (mut breaks, mut more, mut remarks) = (Vec::new(), 0_usize, Vec::new());
    let read = found.files.each(|place, line, is_whole| {
        let torn = (!is_whole).then_some(Break::Torn);
        let shows = torn.into_iter().chain(verifier.line(line, place.line == 1));
        for one in shows {
            let path = found.files.path(place).display();
            let text = format!("{path}:{}: {one}", place.line);
            keep(&mut breaks, text, &mut more);
        }
        if let Some(fault) = fault(line) {
            let path = found.files.path(place).display();
            let text = format!("{path}:{}: the trail says: {fault}", place.line);
            keep(&mut remarks, text, &mut 0);
        }
    });
    read.map_err(|error| error.to_string())?;
    let at_end = verifier.finish();
    breaks.extend(at_end.iter().map(ToString::to_string));
    let text = summary(&verifier, found.no_head.as_deref());
    if breaks.is_empty() {
        remarks.push(text);
        return Ok(remarks.join("\n"));
    }
    if more > 0 {
        breaks.push(format!("and {more} more"));
    }
    breaks.extend(remarks);
    Err(format!(
        "the trail is not as it was written:\n{}\n{text}",
        breaks.join("\n")
    ))
}

fn keep(texts: &mut Vec<String>, text: String, more: &mut usize) {
    if texts.len() < MOST {
        texts.push(text);
    } else {
        *more += 1;
    }
}

/// What the trail says of itself.
fn fault(line: &[u8]) -> Option<Fault> {
    match serde_json::from_slice::<Entry>(line).ok()?.what {
        What::Fault(fault) => Some(fault),
        _ => None,
    }
}

fn summary(verifier: &Verifier, no_head: Option<&str>) -> String {
    let (lines, ends) = verifier.extent();
    let mut text = format!("{lines} lines");
    if let Some((first, last)) = ends {
        text.push_str(&format!(", number {first} to {last}"));
        if first > 1 {
            text.push_str(" (what was before is in other files)");
        }
    }
    if let Some(digest) = verifier.digest() {
        text.push_str(&format!(
            "\nthe last one's hash, to note elsewhere: {digest}"
        ));
    }
    if let Some(why) = no_head {
        text.push_str(&format!(
            "\nthe end was not compared with what the daemon has kept of it: {why}"
        ));
    }
    text
}

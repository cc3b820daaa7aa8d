//! What a knock adds to a connection: a real ssh with a real agent, through a closed port and through
//! an open one of the same sshd.

use crate::bench::report::Samples;
use crate::bench::{Line, Programs};
use crate::knockers::sealed::{Times, rounds};
use crate::{Result, scenario};

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let programs = scenario::Programs {
        knockd: programs.knockd.clone(),
        knock: programs.knock.clone(),
    };
    let Times {
        through,
        plain,
        knock,
    } = rounds(&programs)?;
    let pairs = through.iter().zip(&plain);
    let added: Samples = pairs.map(|(with, without)| with - without).collect();
    let of = |times: Vec<f64>| times.into_iter().collect::<Samples>().median().value;
    let note = format!(
        "pair by pair; through the closed port {:.1} ms, through the open one {:.1} ms; `knock` by \
         itself, the whole program, {:.1} ms",
        of(through),
        of(plain),
        of(knock),
    );
    let what = "ssh through a closed port: added by the knock";
    Ok(vec![
        Line::new(what, " ms", added.median())
            .at_most(10.0)
            .note(note),
    ])
}

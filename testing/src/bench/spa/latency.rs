//! From the one packet of a knock to the grant that can be read in the kernel.
//!
//! Asked as it is for the gate's own knocks: in a tight loop by the thread that has sent it, on a
//! processor of its own. On the way the disk is waited for once, and how long it takes is no matter of
//! ours: so after each knock the same thread has as many bytes written, and waits for them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use knock_spa::Purpose;

use super::people::Person;
use super::side::Side;
use crate::Result;
use crate::bench::ask::{Asker, Place};
use crate::bench::processors::Processors;
use crate::bench::report::{Samples, to_f64};
use crate::bench::{Line, Programs, TURNS};

/// Knocks in a turn.
const KNOCKS: usize = 100;

/// So that a packet is not seen along with the one before.
const PAUSE: Duration = Duration::from_millis(5);

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let processors = Processors::divide(usize::MAX)?;
    let mut alice = Person::new(1);
    let side = Side::start(programs, [&alice])?;
    processors.take_last()?;
    let mut asker = Asker::new(&side.daemon.network.server, Place::Ours)?;
    let (mut granted, mut answered) = (Samples::default(), Samples::default());
    let (file, mut disk) = (tempfile::tempfile()?, Samples::default());
    write(&file)?;
    let before = side.daemon.usage()?;
    for _ in 0..TURNS * KNOCKS {
        sleep(PAUSE);
        let (datagram, pending) = alice.seal(&side.profile, Purpose::Open)?;
        let source = side.next_source();
        let frame = side.frame(source, &datagram)?;
        let sent = Instant::now();
        side.send(&frame)?;
        while !asker.lets_in(source, 0)? {
            if sent.elapsed() > PATIENCE {
                let end = side.daemon.end_of_log()?;
                return Err(format!("{source} is not let in; the log ends\n{end}").into());
            }
        }
        granted.push(sent.elapsed().as_secs_f64() * 1e3);
        side.outcome(&pending, PATIENCE)?.ok_or("no answer")?;
        answered.push(sent.elapsed().as_secs_f64() * 1e3);
        disk.push(write(&file)?.as_secs_f64() * 1e3);
    }
    let used = side.daemon.usage()?.since(&before);
    drop(processors);
    let what = "authentic packet to grant readable in the kernel";
    let note = format!(
        "to the answer {:.2} ms; each waits {:.2} ms for a processor that others have, in the mean, and \
         the disk takes {:.2} ms for as many bytes; fwknopd was measured at 119 ms, letmein at 6.6 to \
         8.5 ms",
        answered.median().value,
        used.waited.as_secs_f64() * 1e3 / to_f64(answered.len()),
        disk.median().value,
    );
    Ok(vec![
        Line::new(format!("{what}, median"), " ms", granted.median())
            .at_most(1.5)
            .note(note),
        Line::new(
            format!("{what}, 99th percentile"),
            " ms",
            granted.percentile_99(),
        ),
    ])
}

/// Replaces a mark, durably; how long that took.
fn write(file: &File) -> Result<Duration> {
    let begun = Instant::now();
    file.write_all_at(&[7; 32], 0)?;
    file.sync_data()?;
    Ok(begun.elapsed())
}

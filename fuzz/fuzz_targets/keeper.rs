//! A listener that was taken over says whatever it likes: the keeper's end takes what fits, refuses
//! the rest, holds no more than it may, and runs no command but those of its own doors.
#![no_main]

use std::net::IpAddr;
use std::sync::Arc;

use knock_core::config;
use knock_core::door::{Door, DoorId};
use knock_core::time::Timestamp;
use knockd::keeper::{Action, End, Generations, JobId, Keeper, Limits};
use knockd::listen::{Intake, Message, Misbehaviour, Report, ReportKind};
use knockd::wire::{Checksum, CodeBytes, KNOCK_LENGTH, LENGTH};
use libfuzzer_sys::fuzz_target;

/// Commands that run at once.
const COMMANDS: usize = 3;

const DOORS: [&str; 2] = [
    "[A]\nsequence = 1,2,3\nstart_command = start A %IP%\ncmd_timeout = 1\nstop_command = stop A %IP%\n",
    "[B]\nsequence = 4\ncommand = start B %IP%\n[A]\nsequence = 1,2\nstart_command_6 = six A %IP%\n",
];

fn doors(text: &str) -> Arc<[Door]> {
    let parsed = config::parse(text.as_bytes(), &|_, _| None);
    parsed
        .config
        .map(|config| config.doors)
        .unwrap_or_default()
        .into()
}

fuzz_target!(|data: &[u8]| {
    let all = DOORS.map(doors);
    let checksums = all
        .each_ref()
        .map(|doors| Checksum::of(doors).0.to_le_bytes());
    let mut generations = Generations::new(Arc::clone(&all[0]));
    let mut keeper = Keeper::new(Limits { commands: COMMANDS }, JobId(1));
    let mut intake = Intake::default();
    let mut now = Timestamp::from_millis(1_000_000);
    let mut running = Vec::new();
    for part in data.chunks(LENGTH + 2) {
        let Some((&[what, size], rest)) = part.split_first_chunk() else {
            break;
        };
        match what % 8 {
            0 => generations.replace(Arc::clone(&all[usize::from(size % 2)])),
            1 => {
                now = now.saturating_add(std::time::Duration::from_millis(size.into()));
                keeper.handle_timeout(now);
            }
            2 if !running.is_empty() => {
                let (id, occasion) = running.remove(usize::from(size) % running.len());
                keeper.handle_end(id, occasion, End::Exited(i32::from(size)), now);
            }
            _ => {
                let mut message = rest.to_vec();
                // It knows the doors, so often it means one, and often it opens one.
                if let (true, Some(place)) = (what & 0x80 != 0, message.get_mut(8..16)) {
                    place.copy_from_slice(&checksums[usize::from(what >> 6 & 1)]);
                }
                if what & 0x20 != 0 {
                    let report = Report {
                        doors: Checksum(u64::from_le_bytes(checksums[usize::from(what >> 6 & 1)])),
                        door: DoorId(u16::from(size & 3)),
                        source: IpAddr::from([10, 0, 0, size]),
                        at: now,
                        kind: if size & 0x80 == 0 {
                            ReportKind::Opening
                        } else {
                            ReportKind::Code(CodeBytes([size; 10]))
                        },
                    };
                    message = report.encode().to_vec();
                }
                // What was in a sealed packet is as long as all of them.
                if what & 0x50 == 0x50 {
                    message.resize(KNOCK_LENGTH, 0);
                    match intake.message(&message, now) {
                        Ok(Message::Knock(knock)) => assert_eq!(knock.encode(), message),
                        Ok(Message::Report(_)) => unreachable!("of another length"),
                        Err(why) => assert!(matches!(
                            why,
                            Misbehaviour::NotAReport | Misbehaviour::TooMany
                        )),
                    }
                    continue;
                }
                match intake.take(&message, now) {
                    Ok(report) => {
                        assert_eq!(report.encode(), message[..]);
                        if let (Ok(door), ReportKind::Opening) =
                            (generations.check(&report), report.kind)
                        {
                            keeper.handle_opening(&door, report.source, now);
                        }
                    }
                    Err(why) => assert!(matches!(
                        why,
                        Misbehaviour::NotAReport | Misbehaviour::TooMany
                    )),
                }
            }
        }
        while let Some(action) = keeper.poll_action() {
            // Of what is to be on the disk, some does not get there.
            if let Action::Owe(owed) = &action {
                keeper.handle_owed(JobId(owed.id), owed.id % 4 > 0, now);
            }
            if let Action::Run(job) = action {
                let words: Vec<_> = job.command.split(' ').collect();
                assert!(
                    matches!(words[..], ["start" | "stop" | "six", "A" | "B", ip]
                    if ip.parse::<IpAddr>() == Ok(job.source))
                );
                running.push((job.id, job.occasion));
            }
        }
        assert!(running.len() <= COMMANDS);
        let (grants, commands, waiting) = keeper.counts();
        assert!(commands == running.len() && grants <= 65_536 && waiting <= grants);
    }
});

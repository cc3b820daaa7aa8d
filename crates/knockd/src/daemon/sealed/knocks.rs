//! Sealed packets that have come together: judged, put down at once, and only then acted upon and
//! answered, in their order.

use std::io;
use std::sync::Arc;

use knock_core::door::{Door, DoorId};
use knock_spa::{Outcome, Refusal};

use super::{Judged, Sealed, Verdict};
use crate::config_file::reason;
use crate::daemon::serve::Daemon;
use crate::events::{Happened, Kind, Reason, Who};
use crate::keeper::DoorRef;
use crate::listen::{self, Knock};
use crate::log::{Level, Line};
use crate::spa::marks::AT_ONCE;

impl Daemon {
    /// The listener has opened a packet. It is looked at together with those that have come behind
    /// it, so that the disk is waited for once.
    pub(in crate::daemon) fn handle_knocks(&mut self, first: Box<Knock>) {
        let mut knocks = vec![first];
        while knocks.len() < AT_ONCE
            && let Some(knock) = self.side.poll_knock()
        {
            knocks.push(knock);
        }
        if self.ending.is_some() {
            return;
        }
        let Some(mut sealed) = self.sealed.take() else {
            return;
        };
        sealed.follow().into_iter().for_each(|line| self.log(line));
        self.handle_sealed(&mut sealed, &knocks);
        self.sealed = Some(sealed);
        self.perform();
    }

    fn handle_sealed<'a>(&mut self, sealed: &mut Sealed, knocks: &'a [Box<Knock>]) {
        let doors = Arc::clone(self.doors.now());
        let judge = |knock: &'a Knock| Some((knock, sealed.judge(knock, &doors)?));
        let all: Vec<_> = knocks.iter().map(Box::as_ref).filter_map(judge).collect();
        let marks: Vec<_> = all.iter().filter_map(|(_, judged)| judged.mark()).collect();
        let written = sealed.marks.put(&marks);
        for (knock, judged) in all {
            if let Some(outcome) = self.outcome(sealed, knock, &judged, &doors, &written) {
                sealed.answer(knock, outcome);
            }
        }
    }

    /// Does what is to be done for a packet that somebody has signed, once it is known whether the
    /// mark was written. What is answered, if anything is.
    fn outcome(
        &mut self,
        sealed: &mut Sealed,
        knock: &Knock,
        judged: &Judged,
        doors: &Arc<[Door]>,
        written: &io::Result<()>,
    ) -> Option<Outcome> {
        let Judged {
            who,
            request,
            door,
            verdict,
        } = judged;
        let now = listen::now();
        let refused = |text: &str, reason| {
            let text = format!("refused: {text}: {who}");
            let happened = Happened::new(Kind::Refuse).because(reason);
            let happened = happened.by(Some(Who::Key(who.clone())));
            Line::of_source(knock.source, request.door.as_str(), "refused", &text).means(happened)
        };
        match (verdict, written) {
            (Verdict::Confirm(cookie), _) => Some(Outcome::Confirm(*cookie)),
            (Verdict::Refused(refusal), _) => {
                sealed.counts.refused = sealed.counts.refused.saturating_add(1);
                let line = refused(&refusal.to_string(), Reason::from(*refusal));
                let line = line.at(Level::Warning);
                self.keeper.tell(line, now);
                let untold =
                    *refusal == Refusal::Replay && !sealed.was_granted(request, knock.source);
                (!untold).then_some(Outcome::Refused(*refusal))
            }
            (Verdict::Granted(_), Ok(())) => {
                sealed.counts.granted = sealed.counts.granted.saturating_add(1);
                sealed.remember(request, knock.source);
                let door = door.and_then(|id| DoorRef::new(doors, DoorId(id)));
                Some(match door {
                    Some(door) => self.act(&door, request, knock.source, who, now),
                    None => Outcome::Refused(Refusal::UnknownDoor),
                })
            }
            (Verdict::Granted(_), Err(error)) => {
                let text = format!(
                    "that it was accepted cannot be written down ({})",
                    reason(error)
                );
                let line = refused(&text, Reason::NotWritten).at(Level::Error);
                self.keeper.tell(line, now);
                Some(Outcome::Refused(Refusal::GateError))
            }
        }
    }
}

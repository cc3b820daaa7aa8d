//! The way of a packet through the rules of a base chain.

use super::model::{Answer, Base, Chain, Rule, Table, Verdict};
use super::packet::Packet;

/// Chains that call each other, at most (the kernel: `NFT_JUMP_STACK_SIZE`, 16).
const DEPTH: usize = 32;

/// What can become of a packet in a base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Passes,
    /// It is dropped, for certain.
    Dropped(Place),
    /// It may be: that depends on what is not known here, first of all for this rule.
    Perhaps(Place, String),
}

/// Where a packet is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The chains that lead there, the base chain first.
    pub(super) chains: Vec<String>,
    /// The rule; `None` for the policy of the base chain.
    pub(super) rule: Option<String>,
}

/// Lets `packet` walk through the base chain `chain` of `table`; also tells the first rule that it
/// meets, at least perhaps, and that takes its mark away.
pub(super) fn walk(
    table: &Table,
    chain: &Chain,
    base: Base,
    packet: &Packet<'_>,
) -> (Fate, Option<String>) {
    let mut walk = Walk {
        table,
        packet,
        path: Vec::new(),
        passes: false,
        drop: None,
        doubt: None,
        unmarks: None,
    };
    if walk.chain(chain) != Flow::Ended {
        if base.drops {
            walk.path = vec![chain.name.clone()];
            walk.drops(None);
        } else {
            walk.passes = true;
        }
    }
    let fate = match walk.drop {
        None => Fate::Passes,
        Some(place) if walk.passes => Fate::Perhaps(place, walk.doubt.unwrap_or_default()),
        Some(place) => Fate::Dropped(place),
    };
    (fate, walk.unmarks)
}

struct Walk<'a> {
    table: &'a Table,
    packet: &'a Packet<'a>,
    path: Vec<String>,
    /// Whether it may come through.
    passes: bool,
    /// The first place where it may be dropped.
    drop: Option<Place>,
    /// The first rule whose answer or verdict is not known.
    doubt: Option<String>,
    /// The first rule that takes the mark away.
    unmarks: Option<String>,
}

/// How a chain was left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// There is a verdict, whatever the unknown answers are.
    Ended,
    /// It goes on behind the jump.
    Returned,
}

impl Walk<'_> {
    fn chain(&mut self, chain: &Chain) -> Flow {
        if self.path.len() >= DEPTH {
            return Flow::Returned;
        }
        self.path.push(chain.name.clone());
        let flow = self.rules(chain);
        self.path.pop();
        flow
    }

    fn rules(&mut self, chain: &Chain) -> Flow {
        // An unknown answer may have left the chain already.
        let mut may_have_returned = false;
        for rule in &chain.rules {
            let answer = self.answer(rule);
            if answer == Answer::No {
                continue;
            }
            let is_certain = answer == Answer::Yes;
            if !is_certain && rule.verdict != Verdict::Unmark || rule.verdict == Verdict::Unknown {
                self.doubt.get_or_insert_with(|| rule.text.clone());
            }
            match self.verdict(rule) {
                Step::Ended if is_certain && may_have_returned => return Flow::Returned,
                Step::Ended if is_certain => return Flow::Ended,
                Step::Left if is_certain => return Flow::Returned,
                Step::Left => may_have_returned = true,
                Step::Ended | Step::On => {}
            }
        }
        Flow::Returned
    }

    /// Whether all tests of the rule hold.
    fn answer(&self, rule: &Rule) -> Answer {
        let mut all = Answer::Yes;
        for test in &rule.tests {
            match self.packet.answers(test) {
                Answer::No => return Answer::No,
                Answer::Unknown => all = Answer::Unknown,
                Answer::Yes => {}
            }
        }
        all
    }

    fn verdict(&mut self, rule: &Rule) -> Step {
        match &rule.verdict {
            Verdict::Accept => {
                self.passes = true;
                Step::Ended
            }
            Verdict::Drop => {
                self.drops(Some(rule));
                Step::Ended
            }
            Verdict::Unknown => {
                self.passes = true;
                self.drops(Some(rule));
                Step::Ended
            }
            Verdict::Unmark => {
                self.unmarks.get_or_insert_with(|| rule.text.clone());
                Step::On
            }
            Verdict::Return => Step::Left,
            Verdict::Jump(name) | Verdict::Goto(name) => {
                let Some(next) = self.table.chain(name) else {
                    return Step::On;
                };
                match (self.chain(next), &rule.verdict) {
                    (Flow::Ended, _) => Step::Ended,
                    (Flow::Returned, Verdict::Goto(_)) => Step::Left,
                    (Flow::Returned, _) => Step::On,
                }
            }
        }
    }

    fn drops(&mut self, rule: Option<&Rule>) {
        self.drop.get_or_insert_with(|| Place {
            chains: self.path.clone(),
            rule: rule.map(|rule| rule.text.clone()),
        });
    }
}

/// What follows a rule.
enum Step {
    Ended,
    /// The chain is left.
    Left,
    /// The next rule.
    On,
}

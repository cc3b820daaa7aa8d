//! Knocking by rules of a firewall: a source that comes to a port is put on a list, one that is on the
//! list and comes to the next port on the next list, and who is on the last one is let in. Each way to
//! that list is a sequence.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use knock_core::sequence::{Sequence, Step};
use knock_core::service::{Ports, Service};

use super::draft::{Draft, Trigger, UNTIL_CLOSED, name, write};
use super::{Converted, Note};
use crate::ctl::listed;

/// No more doors are made of one set of rules.
const MAX_DOORS: usize = 64;
/// Rules are looked at so often, whatever jumps where.
const MAX_VISITS: usize = 100_000;
/// Chains lie within each other no deeper.
const MAX_DEPTH: usize = 32;
/// Who is let in everywhere is let in here.
const SSH: u16 = 22;

/// The rules of a firewall, as far as they matter here.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// What they are called in the result.
    pub(super) from: &'static str,
    /// By their names.
    pub(super) chains: BTreeMap<String, Vec<Rule>>,
    /// The chains where packets to this machine begin.
    pub(super) roots: Vec<String>,
    /// What was not understood.
    pub(super) notes: Vec<Note>,
}

/// One rule. All of its conditions hold at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Rule {
    /// Its number, from 1.
    pub(super) line: usize,
    /// The lists that the source is on, and since when at most.
    pub(super) on: Vec<(String, Option<Duration>)>,
    /// The lists that it is not on.
    pub(super) off: Vec<String>,
    /// Where the packet goes; empty for anywhere.
    pub(super) at: Vec<Service>,
    /// Conditions that a door has no equal for.
    pub(super) other: Vec<String>,
    /// The lists that the source is put on, and for how long.
    pub(super) adds: Vec<(String, Option<Duration>)>,
    pub(super) end: End,
}

impl Rule {
    /// Whether all that it asks is that the source is not on a list.
    fn is_only_off(&self) -> bool {
        self.on.is_empty() && self.at.is_empty() && self.other.is_empty() && self.off.len() == 1
    }

    /// Whether no packet comes past it.
    fn is_last(&self) -> bool {
        let asks = !self.on.is_empty() || !self.off.is_empty() || !self.at.is_empty();
        let goes_on = matches!(self.end, End::Next | End::Jump(_));
        !asks && self.other.is_empty() && !goes_on
    }
}

/// What a rule does with the packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    /// It goes on to the next rule.
    #[default]
    Next,
    Accept,
    Drop,
    Return,
    /// It goes through this chain, and then on.
    Jump(String),
    /// It goes through this chain instead.
    Goto(String),
}

/// That a source is put on a list.
#[derive(Clone, Debug)]
struct Mark {
    line: usize,
    /// The list that it must be on.
    from: Option<(String, Option<Duration>)>,
    step: Step,
    to: String,
    time: Option<Duration>,
}

/// That who is on a list is let in.
#[derive(Clone, Debug)]
struct Admission {
    line: usize,
    list: String,
    at: Vec<Service>,
    time: Option<Duration>,
}

/// What has been found out of the rules.
#[derive(Default)]
struct Found {
    marks: Vec<Mark>,
    admissions: Vec<Admission>,
    /// Conditions that were left out: of which rule, and in which line they stand.
    others: BTreeSet<(usize, usize, String)>,
    /// Lists that sources are put on wherever they come to.
    idle: Vec<(usize, String)>,
    visits: usize,
}

/// What is known of a packet that has come as far as a rule.
#[derive(Clone, Debug, Default)]
struct State {
    on: Vec<(String, Option<Duration>)>,
    off: Vec<String>,
    at: Vec<Service>,
    /// Conditions that a door has no equal for, with their lines.
    other: Vec<(usize, String)>,
}

/// Makes doors of rules.
pub(super) fn convert(rules: Rules) -> Converted {
    let mut found = Found::default();
    for root in &rules.roots {
        found.walk(&rules, root, State::default(), 0);
    }
    let mut notes = rules.notes;
    let mut used = BTreeSet::new();
    let mut drafts: Vec<Draft> = Vec::new();
    let mut seen: Vec<(Vec<Step>, Vec<Service>)> = Vec::new();
    let marks = found.by_list();
    let mut budget = MAX_VISITS;
    for admission in &found.admissions {
        if drafts.len() >= MAX_DOORS || budget == 0 {
            let text =
                "there are more ways in than are looked for: the rest is left out".to_owned();
            notes.push(Note { line: 0, text });
            break;
        }
        for way in ways(&marks, &admission.list, &mut budget) {
            let steps: Vec<Step> = way.iter().map(|mark| mark.step).collect();
            let door = (steps, admission.at.clone());
            if drafts.len() >= MAX_DOORS || seen.contains(&door) {
                continue;
            }
            used.insert(admission.line);
            used.extend(way.iter().map(|mark| mark.line));
            drafts.push(draft(admission, &way, &mut notes));
            seen.push(door);
        }
    }
    found.remarks(&used, &mut notes);
    if !drafts.is_empty() {
        notes.push(Note {
            line: 0,
            text:
                "the rules stay where they are: take those of the knocking away when the doors are \
                   tried"
                    .to_owned(),
        });
        notes.push(Note::guarded());
    }
    Converted {
        text: write(&drafts, rules.from).into_bytes(),
        notes,
    }
}

fn draft(admission: &Admission, way: &[&Mark], notes: &mut Vec<Note>) -> Draft {
    let line = admission.line;
    let mut note = |text: String| notes.push(Note { line, text });
    let mut open = admission.at.clone();
    if open.is_empty() {
        let ssh = Ports::new(SSH, SSH).map(Service::Tcp);
        open.extend(ssh);
        note(format!(
            "this lets in at every port, which a door does not: name those that are meant in `open`, \
             where {} stands now",
            listed(&open)
        ));
    }
    let stay = way.last().and_then(|mark| mark.time).or(admission.time);
    if stay.is_none() {
        note("how long it is open is not said here: `open_for` is a day".to_owned());
    }
    // From each list to the next there is a time of its own; a door has one for all of them.
    let times = way.windows(2).map(|pair| match pair {
        [before, after] => {
            let asked = after.from.as_ref().and_then(|(_, time)| *time);
            asked.or(before.time)
        }
        _ => None,
    });
    let time: Option<Duration> = times
        .collect::<Option<Vec<_>>>()
        .map(|times| times.iter().sum());
    let steps: Vec<Step> = way.iter().map(|mark| mark.step).collect();
    let is_ssh = |service: &Service| Ports::new(SSH, SSH).map(Service::Tcp) == Some(*service);
    let name = if open.iter().all(is_ssh) {
        "ssh".to_owned()
    } else {
        name(&admission.list)
    };
    Draft {
        name,
        comments: Vec::new(),
        trigger: Trigger::Steps(steps, time.filter(|time| !time.is_zero())),
        open,
        open_for: stay.unwrap_or(UNTIL_CLOSED),
        more: Vec::new(),
    }
}

impl Found {
    fn walk(&mut self, rules: &Rules, chain: &str, mut state: State, depth: usize) {
        let Some(chain) = rules.chains.get(chain).filter(|_| depth < MAX_DEPTH) else {
            return;
        };
        for rule in chain {
            self.visits += 1;
            if self.visits > MAX_VISITS {
                return;
            }
            let Some(here) = state.and(rule) else {
                continue;
            };
            self.marks(rule, &here);
            self.admissions(rule, &here);
            match &rule.end {
                End::Jump(next) | End::Goto(next) => self.walk(rules, next, here, depth + 1),
                // Who is not on the list leaves the chain: who goes on is on it.
                End::Return | End::Drop if rule.is_only_off() => {
                    state
                        .on
                        .extend(rule.off.first().map(|list| (list.clone(), None)));
                }
                _ => {}
            }
            if rule.is_last() {
                return;
            }
        }
    }

    fn marks(&mut self, rule: &Rule, here: &State) {
        for (to, time) in &rule.adds {
            // A list of those who come anywhere is no knock.
            let steps = here.at.iter().filter_map(|service| {
                let (protocol, ports) = service.ports()?;
                let port = ports.first();
                (ports.count() == 1).then_some(Step { protocol, port })
            });
            for step in steps {
                self.marks.push(Mark {
                    line: rule.line,
                    from: here.on.last().cloned(),
                    step,
                    to: to.clone(),
                    time: *time,
                });
                self.others(rule, here);
            }
            if here.at.is_empty() {
                self.idle.push((rule.line, to.clone()));
            }
        }
    }

    fn admissions(&mut self, rule: &Rule, here: &State) {
        let on = here.on.last().filter(|_| rule.end == End::Accept);
        let kept_out = rule.end == End::Drop && !here.at.is_empty();
        let off = here
            .off
            .last()
            .filter(|_| kept_out)
            .map(|list| (list.clone(), None));
        let Some((list, time)) = on.cloned().or(off) else {
            return;
        };
        self.admissions.push(Admission {
            line: rule.line,
            list,
            at: here.at.clone(),
            time,
        });
        self.others(rule, here);
    }

    fn others(&mut self, rule: &Rule, here: &State) {
        let others = here.other.iter().cloned();
        self.others
            .extend(others.map(|(line, text)| (rule.line, line, text)));
    }

    /// The marks, by the list that they lead to.
    fn by_list(&self) -> Marks<'_> {
        let mut marks = Marks::new();
        for mark in &self.marks {
            marks.entry(&mark.to).or_default().push(mark);
        }
        marks
    }

    /// What of the rules is not in the doors.
    fn remarks(&self, used: &BTreeSet<usize>, notes: &mut Vec<Note>) {
        for (_, line, text) in self.others.iter().filter(|(rule, ..)| used.contains(rule)) {
            let text = format!("a door has no equal for {text}: left out");
            notes.push(Note { line: *line, text });
        }
        for (line, list) in &self.idle {
            let list = list.escape_debug();
            let text = format!("who is put on the list {list} has not knocked: left out");
            notes.push(Note { line: *line, text });
        }
        let unused = self.marks.iter().filter(|mark| !used.contains(&mark.line));
        for mark in unused {
            let text = format!(
                "who is put on the list {} is let in nowhere: left out",
                mark.to.escape_debug()
            );
            let line = mark.line;
            notes.push(Note { line, text });
        }
        for admission in self
            .admissions
            .iter()
            .filter(|one| !used.contains(&one.line))
        {
            let text = format!(
                "no knock leads to the list {}: left out",
                admission.list.escape_debug()
            );
            let line = admission.line;
            notes.push(Note { line, text });
        }
    }
}

/// By the list that they lead to.
type Marks<'a> = BTreeMap<&'a str, Vec<&'a Mark>>;

/// Every way to a list, from the first step to the last, without going in a circle.
/// `budget` is how many marks may be looked at yet, for all lists together.
fn ways<'a>(marks: &Marks<'a>, list: &'a str, budget: &mut usize) -> Vec<Vec<&'a Mark>> {
    let mut search = Search {
        marks,
        path: vec![list],
        way: Vec::new(),
        ways: Vec::new(),
        budget,
    };
    search.back(list);
    search.ways
}

/// A search from a list backwards.
struct Search<'m, 'a> {
    marks: &'m Marks<'a>,
    /// The lists that it has come through.
    path: Vec<&'a str>,
    /// The marks that it has come by, the last one first.
    way: Vec<&'a Mark>,
    ways: Vec<Vec<&'a Mark>>,
    budget: &'m mut usize,
}

impl<'a> Search<'_, 'a> {
    fn back(&mut self, list: &'a str) {
        for mark in self.marks.get(list).into_iter().flatten() {
            *self.budget = self.budget.saturating_sub(1);
            let is_enough = self.ways.len() >= MAX_DOORS || self.way.len() >= Sequence::MAX;
            if *self.budget == 0 || is_enough {
                return;
            }
            self.way.push(mark);
            match &mark.from {
                None => self.ways.push(self.way.iter().rev().copied().collect()),
                Some((from, _)) if !self.path.contains(&from.as_str()) => {
                    self.path.push(from);
                    self.back(from);
                    self.path.pop();
                }
                Some(_) => {}
            }
            self.way.pop();
        }
    }
}

impl State {
    /// With the conditions of a rule, if they can hold together.
    fn and(&self, rule: &Rule) -> Option<Self> {
        let mut all = self.clone();
        all.on.extend(rule.on.iter().cloned());
        all.off.extend(rule.off.iter().cloned());
        let others = rule.other.iter().cloned();
        all.other.extend(others.map(|text| (rule.line, text)));
        let is_in =
            |service: &&Service| self.at.iter().any(|known| known.union(**service).is_some());
        all.at = match (self.at.is_empty(), rule.at.is_empty()) {
            (_, true) => self.at.clone(),
            (true, false) => rule.at.clone(),
            (false, false) => rule.at.iter().filter(is_in).copied().collect(),
        };
        let is_nowhere = all.at.is_empty() && !(self.at.is_empty() && rule.at.is_empty());
        (!is_nowhere).then_some(all)
    }
}

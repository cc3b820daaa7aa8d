//! The kernel's end of the packet socket: the filter, which follows doors and interfaces.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use knock_core::door::{Door, DoorId, SequenceSource};
use knock_core::filter::{Instruction, Scope, compile};
use knock_core::sequence::Sequence;
use knock_sys::attach_filter;

use super::Problem;

/// A filter of so many instructions at the most is taken by every kernel: it needs less than the
/// 20 KiB of option memory (`net.core.optmem_max`) that kernels had for long.
const SMALL: usize = 512;

/// Sets the filter of a ring, from outside the listener.
#[derive(Debug)]
pub(super) struct Capture {
    /// The ring's socket.
    socket: Arc<OwnedFd>,
    only_ipv4: bool,
    doors: Arc<[Door]>,
    sequences: BTreeMap<DoorId, Sequence>,
    /// Where sealed packets arrive.
    spa_ports: Vec<u16>,
    /// Whether there are codes on paper, which arrive there too.
    codes: bool,
    /// What is in force.
    program: Vec<Instruction>,
}

impl Capture {
    pub(super) fn new(socket: Arc<OwnedFd>, only_ipv4: bool) -> Self {
        Self {
            socket,
            only_ipv4,
            doors: Arc::new([]),
            sequences: BTreeMap::new(),
            spa_ports: Vec::new(),
            codes: false,
            program: Vec::new(),
        }
    }

    pub(super) fn set_doors(
        &mut self,
        doors: Arc<[Door]>,
        sequences: &[(DoorId, Option<Sequence>)],
        spa_ports: &[u16],
    ) {
        self.doors = doors;
        self.spa_ports = spa_ports.to_vec();
        self.sequences.clear();
        for (door, sequence) in sequences {
            self.set_sequence(*door, sequence.clone());
        }
    }

    pub(super) fn set_codes(&mut self, codes: bool) {
        self.codes = codes;
    }

    pub(super) fn set_sequence(&mut self, door: DoorId, sequence: Option<Sequence>) {
        match sequence {
            Some(sequence) => self.sequences.insert(door, sequence),
            None => self.sequences.remove(&door),
        };
    }

    /// Puts the filter for the doors and for `interfaces` (`None`: every one) in force, in place
    /// of the one before. If the kernel has no memory for it, a small and wider one, and that is
    /// the problem that is given.
    pub(super) fn attach(&mut self, interfaces: &Option<Vec<u32>>) -> io::Result<Option<Problem>> {
        let scope = Scope {
            interfaces: interfaces.as_deref(),
            only_ipv4: self.only_ipv4,
            spa_ports: &self.spa_ports,
            codes: self.codes,
        };
        let program = compile(self.wanted(), &scope);
        if program == self.program {
            return Ok(None);
        }
        let problem = match self.put(&program) {
            Ok(()) => None,
            Err(error) if program.len() > SMALL => {
                self.put(&self.widest(&scope))?;
                Some(Problem::FilterTooLarge(error))
            }
            Err(error) => return Err(error),
        };
        self.program = program;
        Ok(problem)
    }

    /// Lets `socket` hear nothing, so that it can be bound before it is needed.
    pub(super) fn prepare(&self, socket: &Arc<OwnedFd>) -> io::Result<()> {
        put(socket, &nothing())
    }

    /// From now on `socket`, which is prepared, hears what the one before has heard; that one hears
    /// nothing any more. As for [`Capture::attach`], what is a problem is given. After a failure nothing
    /// has changed.
    pub(super) fn change_to(
        &mut self,
        socket: Arc<OwnedFd>,
        interfaces: &Option<Vec<u32>>,
    ) -> io::Result<Option<Problem>> {
        put(&self.socket, &nothing())?;
        let (before, program) = (self.socket.clone(), self.program.clone());
        self.socket = socket;
        self.program.clear();
        let attached = self.attach(interfaces);
        if attached.is_err() {
            self.socket = before;
            self.program.clear();
            if self.attach(interfaces).is_err() {
                self.program = program;
            }
        }
        attached
    }

    fn wanted(&self) -> impl Iterator<Item = (&knock_core::door::Trigger, Option<&Sequence>)> {
        (0..=u16::MAX).zip(self.doors.iter()).map(|(id, door)| {
            let sequence = match &door.trigger.source {
                SequenceSource::Fixed(sequence) => Some(sequence),
                SequenceSource::OneTime(_) => self.sequences.get(&DoorId(id)),
                SequenceSource::None => None,
            };
            (&door.trigger, sequence)
        })
    }

    /// A filter for the same doors that passes every port: as if all of them were strict.
    fn widest(&self, scope: &Scope<'_>) -> Vec<Instruction> {
        let strict: Vec<_> = self
            .wanted()
            .map(|(trigger, sequence)| {
                let mut trigger = trigger.clone();
                trigger.strict = true;
                (trigger, sequence)
            })
            .collect();
        compile(strict.iter().map(|(trigger, s)| (trigger, *s)), scope)
    }

    fn put(&self, program: &[Instruction]) -> io::Result<()> {
        put(&self.socket, program)
    }
}

fn put(socket: &OwnedFd, program: &[Instruction]) -> io::Result<()> {
    let words = program.iter().map(|i| (i.code, i.jt, i.jf, i.k));
    attach_filter(socket, words)
}

/// A program that drops every packet.
fn nothing() -> Vec<Instruction> {
    compile([], &Scope::default())
}

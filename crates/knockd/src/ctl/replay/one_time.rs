//! The current sequence of every door. One-time files are read once and never written.

use std::fs;

use knock_core::door::{Door, DoorId, SequenceSource};
use knock_core::one_time;
use knock_core::sequence::Sequence;

use crate::config_file;

#[derive(Debug)]
enum Source {
    Fixed(Sequence),
    /// What the file would hold now, and its current line.
    OneTime(Vec<u8>, Option<one_time::Line>),
    None,
}

/// The sequences of the doors, by their ids.
#[derive(Debug)]
pub(super) struct Sequences {
    doors: Vec<Source>,
    notes: Vec<String>,
}

impl Sequences {
    /// Reads the one-time files of `doors`; a door whose file cannot be read stays shut.
    pub(super) fn read(doors: &[Door]) -> Self {
        let mut notes = Vec::new();
        let read = |door: &Door| match &door.trigger.source {
            SequenceSource::Fixed(sequence) => Source::Fixed(sequence.clone()),
            SequenceSource::OneTime(path) => {
                let bytes = fs::read(path).unwrap_or_else(|error| {
                    let reason = config_file::reason(&error);
                    let name = &door.name;
                    notes.push(format!("door {name} stays shut: {path}: {reason}"));
                    Vec::new()
                });
                let current = one_time::parse(&bytes).current;
                Source::OneTime(bytes, current)
            }
            SequenceSource::None => Source::None,
        };
        let doors = doors.iter().map(read).collect();
        Self { doors, notes }
    }

    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What must be knocked at a door now.
    pub(super) fn current(&self, door: DoorId) -> Option<&Sequence> {
        match self.doors.get(usize::from(door.0))? {
            Source::Fixed(sequence) => Some(sequence),
            Source::OneTime(_, current) => current.as_ref().map(|line| &line.sequence),
            Source::None => None,
        }
    }

    /// Every door with its current sequence.
    pub(super) fn all(&self) -> impl Iterator<Item = (DoorId, Option<&Sequence>)> {
        let ids = (0..=u16::MAX).map(DoorId).zip(&self.doors);
        ids.map(|(id, _)| (id, self.current(id)))
    }

    /// Every one-time door with its current sequence.
    pub(super) fn one_time(&self) -> impl Iterator<Item = (DoorId, Option<&Sequence>)> {
        let one_time = self
            .doors
            .iter()
            .map(|door| matches!(door, Source::OneTime(..)));
        self.all()
            .zip(one_time)
            .filter(|(_, is)| *is)
            .map(|(door, _)| door)
    }

    /// Goes on to the next line of a one-time door; `false` if it is none.
    pub(super) fn spend(&mut self, door: DoorId) -> bool {
        let Some(Source::OneTime(bytes, current)) = self.doors.get_mut(usize::from(door.0)) else {
            return false;
        };
        if let Some(first) = current.take().and_then(|line| bytes.get_mut(line.offset)) {
            *first = b'#';
        }
        *current = one_time::parse(bytes).current;
        true
    }
}

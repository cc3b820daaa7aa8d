//! The engine against a model that is as plain as can be: one list of attempts, no bound, every
//! question answered by looking at all of them. Random doors, packets, times and changes.

use super::*;
use proptest::prelude::*;
use proptest::sample::select;

/// A door and its current steps; none while it is shut.
struct ModelDoor {
    door: Door,
    steps: Vec<Step>,
}

#[derive(Clone)]
struct ModelAttempt {
    source: IpAddr,
    door: usize,
    /// 0 while it cools down.
    stage: usize,
    /// Of the packet that was its last step.
    flags: TcpFlags,
    deadline: Timestamp,
}

/// What the engine should do.
#[derive(Default)]
struct Model {
    doors: Vec<ModelDoor>,
    /// In the order in which they began.
    attempts: Vec<ModelAttempt>,
    clock: Timestamp,
    events: Vec<Event>,
}

impl ModelDoor {
    fn new(door: &Door) -> Self {
        let steps = match &door.trigger.source {
            SequenceSource::Fixed(sequence) => sequence.steps().to_vec(),
            SequenceSource::OneTime(_) | SequenceSource::None => Vec::new(),
        };
        Self {
            door: door.clone(),
            steps,
        }
    }

    fn is_one_time(&self) -> bool {
        matches!(self.door.trigger.source, SequenceSource::OneTime(_))
    }

    fn hears(&self, packet: &Packet, local: bool) -> bool {
        let trigger = &self.door.trigger;
        !self.steps.is_empty()
            && (packet.protocol == Protocol::Udp || trigger.flags.matches(packet.flags))
            && trigger.listens_at(packet.destination, local)
    }
}

impl Model {
    fn event(&mut self, door: usize, source: IpAddr, at: Timestamp, kind: EventKind) {
        let door = DoorId(u16::try_from(door).unwrap());
        self.events.push(Event {
            door,
            source,
            at,
            kind,
        });
    }

    fn set_doors(&mut self, doors: &[Door]) {
        let mut old: Vec<Option<ModelDoor>> = self.doors.drain(..).map(Some).collect();
        let mut moved = alloc::vec![None; old.len()];
        for (new, door) in doors.iter().enumerate() {
            let same = |o: &ModelDoor| o.door.name == door.name && o.door.trigger == door.trigger;
            let place = old.iter().position(|o| o.as_ref().is_some_and(same));
            let mut model = ModelDoor::new(door);
            if let Some(place) = place {
                moved[place] = Some(new);
                model.steps = old[place].take().unwrap().steps;
            }
            self.doors.push(model);
        }
        self.attempts.retain(|a| moved[a.door].is_some());
        for attempt in &mut self.attempts {
            attempt.door = moved[attempt.door].unwrap();
        }
    }

    fn set_sequence(&mut self, door: usize, sequence: Option<Sequence>) {
        if self.doors.get(door).is_some_and(ModelDoor::is_one_time) {
            self.doors[door].steps = sequence.map_or(Vec::new(), |s| s.steps().to_vec());
            self.attempts.retain(|a| a.door != door || a.stage == 0);
        }
    }

    /// Ends what is late, of one source or of all.
    fn timeouts(&mut self, now: Timestamp, source: Option<IpAddr>) {
        self.clock = self.clock.max(now);
        let clock = self.clock;
        let is_late = |a: &ModelAttempt| {
            a.deadline <= clock && source.is_none_or(|source| a.source == source)
        };
        let mut late: Vec<_> = self
            .attempts
            .iter()
            .filter(|a| is_late(a))
            .cloned()
            .collect();
        self.attempts.retain(|a| !is_late(a));
        match source {
            Some(_) => late.sort_by_key(|a| a.door),
            None => late.sort_by_key(|a| (a.deadline, a.door)),
        }
        for a in late.iter().filter(|a| a.stage > 0) {
            let stage = u8::try_from(a.stage).unwrap();
            self.event(a.door, a.source, a.deadline, EventKind::Timeout { stage });
        }
    }

    fn packet(&mut self, packet: &Packet, local: bool, now: Timestamp) {
        self.clock = self.clock.max(now);
        let step = packet.step();
        let strict = |trigger: &Trigger| trigger.strict && trigger.source != SequenceSource::None;
        let any_strict = self.doors.iter().any(|d| strict(&d.door.trigger));
        if !any_strict && !self.doors.iter().any(|d| d.steps.contains(&step)) {
            return;
        }
        self.timeouts(now, Some(packet.source));
        let mut names = self.doors.iter().filter(|d| d.steps.contains(&step));
        let visible = names.any(|d| d.hears(packet, local));
        let mut spent = Vec::new();
        for door in 0..self.doors.len() {
            if self.doors[door].hears(packet, local) && self.knock(door, packet, visible) {
                spent.push(door);
            }
        }
        for door in spent {
            self.set_sequence(door, None);
        }
    }

    /// A packet at a door that hears it. Whether that spends a one-time sequence.
    fn knock(&mut self, door: usize, packet: &Packet, visible: bool) -> bool {
        let (source, step, now) = (packet.source, packet.step(), self.clock);
        let trigger = self.doors[door].door.trigger.clone();
        let steps = self.doors[door].steps.clone();
        let mine = |a: &ModelAttempt| a.source == source && a.door == door;
        let stage = match self.attempts.iter_mut().find(|a| mine(a)) {
            Some(a) if a.stage == 0 => return false,
            Some(a) if steps[a.stage] == step => {
                a.stage += 1;
                a.flags = packet.flags;
                a.stage
            }
            Some(a) if steps[a.stage - 1] == step && a.flags == packet.flags => return false,
            Some(a) if visible || trigger.strict => {
                let stage = u8::try_from(a.stage).unwrap();
                self.attempts.retain(|a| !mine(a));
                self.event(door, source, now, EventKind::Broken { stage, by: step });
                usize::from(steps[0] == step)
            }
            Some(_) => return false,
            None => usize::from(steps[0] == step),
        };
        if stage == 0 {
            return false;
        }
        self.event(
            door,
            source,
            now,
            EventKind::Stage(u8::try_from(stage).unwrap()),
        );
        let new = |stage, time| ModelAttempt {
            source,
            door,
            stage,
            flags: packet.flags,
            deadline: now.saturating_add(time),
        };
        if stage < steps.len() {
            if stage == 1 {
                self.attempts.push(new(1, trigger.seq_timeout));
            }
            return false;
        }
        self.attempts.retain(|a| !mine(a));
        self.event(door, source, now, EventKind::Opening);
        if !trigger.cooldown.is_zero() {
            self.attempts.push(new(0, trigger.cooldown));
        }
        self.doors[door].is_one_time()
    }
}

/// What happens to both.
#[derive(Clone, Debug)]
enum Operation {
    Packet(Packet, bool),
    /// Milliseconds pass, and then time-outs are looked after, or not.
    Pass(u64, bool),
    SetDoors(Vec<Door>),
    SetSequence(u16, Option<Sequence>),
}

fn steps() -> impl Strategy<Value = Step> + Clone {
    let step = |(port, udp)| {
        if udp {
            Step::udp(port)
        } else {
            Step::tcp(port)
        }
    };
    (0..4_u16, prop::bool::weighted(0.3)).prop_map(step)
}

fn sequences() -> impl Strategy<Value = Sequence> + Clone {
    prop::collection::vec(steps(), 1..5).prop_map(|steps| Sequence::new(steps).unwrap())
}

fn doors_of_all_kinds() -> impl Strategy<Value = Vec<Door>> + Clone {
    let syn = FlagMatch::ANY.and_set(TcpFlags::SYN);
    let flags = select(alloc::vec![
        FlagMatch::ANY,
        syn,
        syn.and_clear(TcpFlags::ACK)
    ]);
    let targets = select(alloc::vec!["", "", "192.0.2.1", "192.0.2.0/24"]);
    let times = select(alloc::vec![0_u64, 3, 10, 10, 40]);
    let cooldowns = select(alloc::vec![0_u64, 0, 0, 3, 10]);
    let source = prop_oneof![
        4 => sequences().prop_map(SequenceSource::Fixed),
        1 => Just(SequenceSource::OneTime("f".to_string())),
        1 => Just(SequenceSource::None),
    ];
    let strict = prop::bool::weighted(0.15);
    let name = select(alloc::vec!["A", "B", "C"]);
    let door = (name, source, flags, targets, times, strict, cooldowns).prop_map(
        |(name, source, flags, target, time, strict, cooldown)| {
            with(syn_door(name), |t| {
                t.source = source;
                t.flags = flags;
                t.targets = target.parse().into_iter().collect();
                t.seq_timeout = Duration::from_millis(time);
                t.strict = strict;
                t.cooldown = Duration::from_millis(cooldown);
            })
        },
    );
    prop::collection::vec(door, 1..7)
}

fn syn_door(name: &str) -> Door {
    syn(name, "1")
}

fn packets() -> impl Strategy<Value = (Packet, bool)> {
    let addresses = |list: &[&str]| {
        let parsed: Vec<IpAddr> = list.iter().map(|a| a.parse().unwrap()).collect();
        select(parsed)
    };
    let sources = addresses(&["10.0.0.1", "10.0.0.2", "::ffff:10.0.0.1", "fd77::1"]);
    let destinations = addresses(&["192.0.2.1", "192.0.2.2", "198.51.100.1"]);
    let flags = select(alloc::vec!["S", "S", "S", "SA", "A", ""]);
    (
        sources,
        destinations,
        steps(),
        flags,
        prop::bool::weighted(0.9),
    )
        .prop_map(|(source, destination, step, flags, local)| {
            let flags = match step.protocol {
                Protocol::Tcp => flags_of(flags),
                Protocol::Udp => TcpFlags::NONE,
            };
            let packet = Packet {
                source,
                destination,
                protocol: step.protocol,
                source_port: 9,
                destination_port: step.port,
                flags,
            };
            (packet, local)
        })
}

fn operations() -> impl Strategy<Value = Operation> {
    let some_sequence = prop::option::weighted(0.8, sequences());
    prop_oneof![
        30 => packets().prop_map(|(packet, local)| Operation::Packet(packet, local)),
        6 => (0..6_u64, prop::bool::ANY).prop_map(|(ms, look)| Operation::Pass(ms, look)),
        1 => (0..6_u16, some_sequence).prop_map(|(door, s)| Operation::SetSequence(door, s)),
    ]
}

/// Operations in which the doors change now and then, to others or to some of the same.
fn lives() -> impl Strategy<Value = (Vec<Door>, Vec<Operation>)> {
    (doors_of_all_kinds(), doors_of_all_kinds()).prop_flat_map(|(first, second)| {
        let all: Vec<Door> = first.iter().chain(&second).cloned().collect();
        let change = prop::sample::subsequence(all.clone(), 1..=all.len())
            .prop_shuffle()
            .prop_map(Operation::SetDoors);
        let operation = prop_oneof![60 => operations(), 1 => change];
        let operations = prop::collection::vec(operation, 1..150);
        (Just(first), operations)
    })
}

fn take_events(engine: &mut Engine) -> Vec<Event> {
    core::iter::from_fn(|| engine.poll_event()).collect()
}

fn run(engine: &mut Engine, operation: &Operation, now: &mut Timestamp) {
    match operation {
        Operation::Packet(packet, local) => engine.handle_packet(packet, *local, *now),
        Operation::Pass(ms, look) => {
            *now = now.saturating_add(Duration::from_millis(*ms));
            while *look && engine.poll_timeout().is_some_and(|due| due <= *now) {
                engine.handle_timeout(*now);
            }
        }
        Operation::SetDoors(doors) => engine.set_doors(doors),
        Operation::SetSequence(door, sequence) => {
            engine.set_sequence(DoorId(*door), sequence.clone());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_engine_does_what_the_model_does((doors, operations) in lives()) {
        let limits = Limits { max_attempts: 1000 };
        let mut engine = Engine::new(&doors, limits, [5, 6]);
        let mut model = Model::default();
        model.set_doors(&doors);
        let mut now = Timestamp::ZERO;
        for operation in &operations {
            run(&mut engine, operation, &mut now);
            match operation {
                Operation::Packet(packet, local) => model.packet(packet, *local, now),
                Operation::Pass(_, true) => model.timeouts(now, None),
                Operation::Pass(_, false) => {}
                Operation::SetDoors(doors) => model.set_doors(doors),
                Operation::SetSequence(door, sequence) => {
                    model.set_sequence(usize::from(*door), sequence.clone());
                }
            }
            let events = core::mem::take(&mut model.events);
            prop_assert_eq!(take_events(&mut engine), events, "after {:?}", operation);
            prop_assert_eq!(engine.attempts(), model.attempts.len());
            let first = model.attempts.iter().map(|a| a.deadline).min();
            let due = engine.poll_timeout();
            prop_assert_eq!(due.is_some(), first.is_some());
            prop_assert!(due <= first, "{:?} is later than {:?}", due, first);
            engine.table.check();
        }
    }

    #[test]
    fn a_small_table_is_never_over_full_and_always_whole(
        (doors, operations) in lives(),
        max_attempts in 1..8_u32,
    ) {
        let mut engine = Engine::new(&doors, Limits { max_attempts }, [5, 6]);
        let mut now = Timestamp::ZERO;
        for operation in &operations {
            run(&mut engine, operation, &mut now);
            engine.table.check();
            prop_assert!(engine.attempts() <= usize::try_from(max_attempts).unwrap());
            take_events(&mut engine);
        }
    }

    #[test]
    fn packets_that_are_prepared_together_do_the_same(
        doors in doors_of_all_kinds(),
        batches in prop::collection::vec(prop::collection::vec(packets(), 1..8), 1..20),
        max_attempts in 1..8_u32,
    ) {
        let engine = || Engine::new(&doors, Limits { max_attempts }, [5, 6]);
        let (mut one_by_one, mut together) = (engine(), engine());
        for (n, batch) in (1..).zip(&batches) {
            let now = Timestamp::from_millis(n);
            let prepare = |(waiting, (packet, _)): (usize, &(Packet, bool))| {
                together.prepare(packet, waiting, &Slowly)
            };
            let prepared: Vec<Prepared> = batch.iter().enumerate().map(prepare).collect();
            for ((packet, local), prepared) in batch.iter().zip(prepared) {
                one_by_one.handle_packet(packet, *local, now);
                let mut told = Vec::new();
                let tell = |event| told.push(event);
                together.handle_prepared(packet, prepared, *local, now, tell);
                together.table.check();
                prop_assert_eq!(told, take_events(&mut one_by_one));
            }
        }
        let end = Timestamp::from_millis(3_600_000);
        while together.poll_timeout().is_some() {
            let mut told = Vec::new();
            together.handle_timeout_prefetched(end, &Slowly, |event| told.push(event));
            one_by_one.handle_timeout(end);
            prop_assert_eq!(told, take_events(&mut one_by_one));
        }
        prop_assert_eq!(together.counters(), one_by_one.counters());
    }
}

/// Fetches by reading.
struct Slowly;

impl Prefetch for Slowly {
    fn prefetch<T>(&self, place: &T) {
        core::hint::black_box(place);
    }
}

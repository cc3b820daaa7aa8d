use super::*;
use proptest::prelude::*;

fn step() -> impl Strategy<Value = Step> {
    (any::<bool>(), any::<u16>()).prop_map(|(udp, port)| {
        if udp {
            Step::udp(port)
        } else {
            Step::tcp(port)
        }
    })
}

fn kind(v6: bool, source: IpAddr) -> impl Strategy<Value = ReportKind> {
    let stage = || 1..=32u8;
    let dump = (step(), any::<[u8; 16]>(), any::<(u16, u8, u32)>()).prop_map(
        move |(step, to, (source_port, flags, bytes))| ReportKind::Dump {
            packet: Packet {
                source,
                destination: address(if v6 { 6 } else { 4 }, to).unwrap(),
                protocol: step.protocol,
                source_port,
                destination_port: step.port,
                flags: TcpFlags::from_bits(flags),
            },
            bytes,
        },
    );
    prop_oneof![
        stage().prop_map(ReportKind::Stage),
        Just(ReportKind::Opening),
        stage().prop_map(|stage| ReportKind::Timeout { stage }),
        (stage(), step()).prop_map(|(stage, by)| ReportKind::Broken { stage, by }),
        any::<u32>().prop_map(|lines| ReportKind::LeftOut { lines }),
        dump,
        (0..Layer::ALL.len(), state()).prop_map(|(n, s)| ReportKind::Layer(Layer::ALL[n], s)),
        Just(ReportKind::Ready),
        any::<u32>().prop_map(|packets| ReportKind::Dropped { packets }),
        (0..Counter::ALL.len(), any::<u64>())
            .prop_map(|(n, value)| ReportKind::Counter(Counter::ALL[n], value)),
        any::<[u8; 10]>().prop_map(|code| ReportKind::Code(CodeBytes(code))),
    ]
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::On),
        any::<u32>().prop_map(State::Partly),
        any::<i32>().prop_map(State::Missing),
    ]
}

fn report() -> impl Strategy<Value = Report> {
    (any::<bool>(), any::<[u8; 16]>(), any::<(u64, u16, u64)>()).prop_flat_map(
        |(v6, from, (doors, door, at))| {
            let source = address(if v6 { 6 } else { 4 }, from).unwrap();
            kind(v6, source).prop_map(move |kind| Report {
                doors: Checksum(doors),
                door: DoorId(door),
                source,
                at: Timestamp::from_nanos(at),
                kind,
            })
        },
    )
}

proptest! {
    #[test]
    fn every_report_survives_the_way(report in report()) {
        prop_assert_eq!(Report::decode(&report.encode()), Ok(report));
    }

    #[test]
    fn what_is_taken_is_what_would_have_been_written(
        report in report(), at in 0..LENGTH, to in any::<u8>(),
    ) {
        let mut bytes = report.encode();
        bytes[at] = to;
        if let Ok(other) = Report::decode(&bytes) {
            prop_assert_eq!(other.encode(), bytes);
        }
    }
}

fn opening() -> Report {
    Report {
        doors: Checksum(7),
        door: DoorId(3),
        source: IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1)),
        at: Timestamp::from_millis(5),
        kind: ReportKind::Opening,
    }
}

#[test]
fn another_length_is_refused() {
    let bytes = opening().encode();
    assert_eq!(Report::decode(&bytes[..LENGTH - 1]), Err(NotAReport));
    assert_eq!(
        Report::decode(&[bytes.as_slice(), &[0]].concat()),
        Err(NotAReport)
    );
    assert_eq!(Report::decode(&[]), Err(NotAReport));
}

#[test]
fn an_unused_field_that_is_not_zero_is_refused() {
    for at in (4..8).chain(24..32).chain(36..LENGTH) {
        let mut bytes = opening().encode();
        bytes[at] = 1;
        assert_eq!(Report::decode(&bytes), Err(NotAReport), "byte {at}");
    }
}

#[test]
fn a_stage_that_no_sequence_has_is_refused() {
    for stage in [0, 33, 255] {
        let kind = ReportKind::Stage(stage);
        let bytes = Report { kind, ..opening() }.encode();
        assert_eq!(Report::decode(&bytes), Err(NotAReport), "stage {stage}");
    }
}

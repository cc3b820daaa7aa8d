//! The random streams are worth their name: they open doors, and they see every difference.

use fastrand::Rng;
use testbed::classic::{Differences, Model};
use testbed::in_process;
use testbed::script::{self, Word};
use testbed::stream::Stream;
use testbed::trace::What;

fn streams(count: u64) -> impl Iterator<Item = Stream> {
    (0..count).map(|seed| Stream::random(&mut Rng::with_seed(seed), 150))
}

#[test]
fn most_streams_open_doors() {
    let mut openings = 0;
    let mut without = 0;
    for stream in streams(300) {
        let marks = Model::judge(&stream.doors, Differences::ALL, &stream.knocks);
        let here = marks.iter().filter(|m| m.what == What::Opening).count();
        openings += here;
        without += usize::from(here == 0);
    }
    assert!(openings > 3000, "{openings} openings in 300 streams");
    assert!(without < 30, "{without} of 300 streams open nothing");
}

#[test]
fn a_model_that_lacks_one_difference_disagrees_with_the_engine() {
    let all = Differences::ALL;
    let lacking = [
        (
            "C01",
            Differences {
                attempts_apart: false,
                ..all
            },
        ),
        (
            "C02",
            Differences {
                repeats_ignored: false,
                ..all
            },
        ),
        (
            "C03",
            Differences {
                restarts: false,
                ..all
            },
        ),
        (
            "C05",
            Differences {
                doors_apart: false,
                ..all
            },
        ),
        (
            "C04 and C05",
            Differences {
                doors_apart: false,
                breaking_starts: false,
                ..all
            },
        ),
    ];
    for (name, differences) in lacking {
        let disagrees = |stream: Stream| {
            let model = Model::judge(&stream.doors, differences, &stream.knocks);
            in_process::marks(&stream.config(), &stream.knocks).unwrap() != model
        };
        let seen = streams(40).filter(|s| disagrees(s.clone())).count();
        assert!(seen >= 10, "{name}: only {seen} of 40 streams see it");
    }
}

#[test]
fn a_stream_is_written_as_a_script_and_read_back() {
    for stream in streams(50) {
        let words = script::parse(&stream.script(), false).unwrap();
        let knocks: Vec<_> = words
            .into_iter()
            .map(|word| match word {
                Word::Packet(knock) => knock,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(knocks.len(), stream.knocks.len());
        for (read, sent) in knocks.iter().zip(&stream.knocks) {
            assert_eq!(
                (read.source, read.destination),
                (sent.source, sent.destination)
            );
            assert_eq!((read.protocol, read.port), (sent.protocol, sent.port));
            if read.protocol == knock_core::sequence::Protocol::Tcp {
                assert_eq!(read.flags, sent.flags);
            }
        }
    }
}

//! What holds for every file, tried on random ones.

mod random;
mod text;

use super::keys::KEYS;
use super::*;
use crate::door::{Native, SequenceSource, Widening};
use crate::spa::Spa;
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::*;

use random::{doors, options};
use text::render;

const NO_SERVICES: Services<'static> = &|_, _| None;

/// Whatever is in a file, the answer is consistent.
fn check(bytes: &[u8]) {
    let parsed = parse(bytes, NO_SERVICES);
    let is_error = |d: &Diagnostic| d.severity == Severity::Error;
    assert_eq!(
        parsed.config.is_none(),
        parsed.diagnostics.iter().any(is_error)
    );
    let starts: Vec<usize> = parsed.diagnostics.iter().map(|d| d.span.start).collect();
    assert!(starts.is_sorted());
    let mut spans: Vec<Range<usize>> = parsed.diagnostics.into_iter().map(|d| d.span).collect();
    for door in &parsed.places.doors {
        spans.push(door.header.clone());
        spans.extend(
            door.keys
                .iter()
                .flat_map(|k| [k.line.clone(), k.value.clone()]),
        );
    }
    if let Some(config) = &parsed.config {
        assert_eq!(config.doors.len(), parsed.places.doors.len());
        config
            .doors
            .iter()
            .for_each(|door| check_native(door, config));
        config.doors.iter().for_each(check_spa);
        check_options(&config.options);
        let lints = lint(config, &parsed.places);
        spans.extend(lints.into_iter().map(|d| d.span));
    }
    for span in spans {
        assert!(
            bytes.get(span.clone()).is_some(),
            "{span:?} of {}",
            bytes.len()
        );
    }
}

/// What the types of a native door promise, whatever was written.
fn check_native(door: &Door, config: &Config) {
    if let Some(native) = &door.action.native {
        let ports = native.open.iter().filter_map(|service| service.ports());
        let count: usize = ports.map(|(_, ports)| ports.count()).sum();
        assert!(count <= Native::MAX_PORTS && !native.open.is_empty());
        assert!((Native::MIN_TIME..=Native::MAX_TIME).contains(&native.open_for));
        let Widening { v4, v6 } = native.open_to;
        assert!((1..=32).contains(&v4) && (1..=128).contains(&v6));
        for (i, a) in native.open.iter().enumerate() {
            let mut others = native.open.iter().skip(i + 1);
            assert!(others.all(|b| a.union(*b).is_none()), "{native:?}");
        }
    }
    if let Some(closing) = &door.action.close {
        let mut named = config.doors.iter().filter(|d| d.name == closing.door);
        assert!(named.any(|d| d.action.native.is_some()));
    }
}

/// What the types of a door for sealed packets promise.
fn check_spa(door: &Door) {
    assert!(door.spa.is_some() || door.trigger.source != SequenceSource::None);
    assert!(!door.trigger.strict || door.trigger.source != SequenceSource::None);
    if let Some(spa) = &door.spa {
        assert!((1..=Spa::MAX_SOURCES).contains(&spa.keys.len()));
        let times = Native::MIN_TIME..=Native::MAX_TIME;
        assert!(spa.ttl_max.is_none_or(|time| times.contains(&time)));
    }
}

fn check_options(options: &Options) {
    let Options {
        spa_ports,
        spa_window,
        state_dir,
        revoked_keys,
        audit_file,
        ..
    } = options;
    assert!((1..=Spa::MAX_PORTS).contains(&spa_ports.len()) && !spa_ports.contains(&0));
    assert!((Spa::MIN_WINDOW..=Spa::MAX_WINDOW).contains(spa_window));
    assert!(state_dir.starts_with('/'));
    assert!(audit_file.iter().all(|path| path.starts_with('/')));
    assert!(revoked_keys.iter().all(|path| path.starts_with('/')));
}

/// Lines that are nearly right, which random bytes never are.
fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(KEYS).prop_map(|spec| spec.name.to_string());
    let word = prop_oneof![
        "[0-9]{1,6}",
        "[0-9]{1,5}:(tcp|udp|x|)",
        "-?[0-9]{1,9}(ms|s|m|h| |x)?",
        "!?(fin|syn|rst|psh|ack|urg|ece)",
        "(yes|no|json|debug|any|eth0)",
        "[0-9.:a-f]{1,12}(/[0-9]{1,3})?",
        "(tcp|UDP|icmp|ssh|)[/: ]?[0-9]{0,5}[-/:]?[0-9]{0,5}",
        "/?[0-9]{0,3}",
        "(A|B|off|keep|run|extend|/j)",
        "[~/]?[a-z*?.]{0,3}[/~]?[a-z*]{0,3}",
        "(iptables|nft|-A|INPUT|%IP%|%ip%|add|\"|;|#)",
        "\\PC{0,5}",
    ];
    let value = prop::collection::vec(word, 0..6);
    let entry = (
        key,
        prop_oneof!["=", " = ", ""],
        value,
        prop_oneof![",", " ", ", "],
    );
    prop_oneof![
        6 => entry.prop_map(|(key, is, words, sep)| key + &is + &words.join(&sep)),
        2 => "\\[(A|B|options|Options|)\\]?( #x)?",
        1 => "\\PC{0,20}",
        1 => "[ \t]*#?",
    ]
}

proptest! {
    #[test]
    fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&bytes);
    }

    #[test]
    fn any_lines_have_an_answer(
        lines in prop::collection::vec(line(), 0..30),
        end in prop_oneof!["\n", "\r\n"],
    ) {
        check(lines.join(&end).as_bytes());
    }

    #[test]
    fn any_damage_to_a_file_has_an_answer(
        config in (options(), doors(3)),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (options, doors) = config;
        let mut bytes = render(&Config { options, doors }).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        check(&bytes);
        check(&bytes[..at]);
    }

    #[test]
    fn a_file_says_what_was_written(
        options in options(),
        doors in doors(4),
    ) {
        let config = Config { options, doors };
        let text = render(&config);
        let parsed = parse(text.as_bytes(), NO_SERVICES);
        prop_assert_eq!(parsed.config, Some(config), "{}\n{:?}", text, parsed.diagnostics);
    }
}

//! Files of one-time sequences: one a line, struck off in place by one byte.
//!
//! Writing `#` over the first byte of the current line makes the next good line current, for
//! good: a struck line is a remark ever after, and a bad line is never struck in its place.

use alloc::vec::Vec;
use core::ops::Range;

use crate::sequence::{Sequence, StepError, StepErrorKind, is_blank, parse_step};

/// A line that can be knocked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// The line's number, from 1.
    pub number: usize,
    /// Where the line's first byte is in the file; writing `#` there strikes it off.
    pub offset: usize,
    /// What must be knocked.
    pub sequence: Sequence,
}

/// A line that is neither a sequence, nor a comment, nor blank: skipped, and never struck off in
/// place of another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadLine {
    /// The line's number, from 1.
    pub number: usize,
    /// Which bytes of the file are at fault.
    pub span: Range<usize>,
    /// What is wrong and what was expected.
    pub problem: &'static str,
}

/// What a file of one-time sequences holds now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OneTime {
    /// The first line that is not spent, if there is one.
    pub current: Option<Line>,
    /// How many lines are left, the current one included.
    pub left: usize,
    /// Lines that were skipped.
    pub bad: Vec<BadLine>,
}

/// Reads the bytes of a one-time sequence file.
///
/// A line is as `sequence` in `knockd.conf`, but its ports are numbers. Blank lines and lines
/// whose first character but blanks is `#` are skipped, and so is what follows a `#` in a line
/// and a byte order mark.
#[must_use]
pub fn parse(bytes: &[u8]) -> OneTime {
    let mut found = OneTime::default();
    let mut offset = 0;
    for (i, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let number = i + 1;
        let unmarked = match line.strip_prefix(BYTE_ORDER_MARK) {
            Some(unmarked) if i == 0 => unmarked,
            _ => line,
        };
        let start = offset + line.len() - unmarked.len();
        match sequence(unmarked) {
            Ok(None) => {}
            Ok(Some(sequence)) => {
                found.left += 1;
                let line = Line {
                    number,
                    offset,
                    sequence,
                };
                found.current.get_or_insert(line);
            }
            Err(Fault { span, problem }) => found.bad.push(BadLine {
                number,
                span: start + span.start..start + span.end,
                problem,
            }),
        }
        offset += line.len();
    }
    found
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What is wrong with a line, and where in it.
struct Fault {
    span: Range<usize>,
    problem: &'static str,
}

/// The sequence of a line, if it has one.
fn sequence(line: &[u8]) -> Result<Option<Sequence>, Fault> {
    let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
    let text = match core::str::from_utf8(line) {
        Ok(text) => text.trim_end_matches(is_blank),
        Err(error) => {
            let span = error.valid_up_to()..line.len();
            let problem = "not UTF-8; expected ports, such as `7000,8000:udp`";
            return Err(Fault { span, problem });
        }
    };
    if text.trim_start_matches(is_blank).is_empty() {
        return Ok(None);
    }
    let mut steps = Vec::new();
    let mut start = 0;
    for part in text.split(',') {
        let step = parse_step(part).map_err(|StepError { kind, span }| Fault {
            span: start + span.start..start + span.end,
            problem: problem(kind),
        })?;
        steps.push(step);
        if steps.len() > Sequence::MAX {
            let span = start..text.len();
            let problem = "too many ports; expected at most 32";
            return Err(Fault { span, problem });
        }
        start += part.len() + 1;
    }
    Ok(Sequence::new(steps).ok())
}

const fn problem(kind: StepErrorKind) -> &'static str {
    match kind {
        StepErrorKind::NoPort => "no port; expected a number from 0 to 65535",
        StepErrorKind::NotAPort => "not a port; expected a number from 0 to 65535",
        StepErrorKind::PortRange => "a range of ports; expected each port of it, with commas",
        StepErrorKind::PortTooBig => "port too big; expected a number from 0 to 65535",
        StepErrorKind::UnknownProtocol => "unknown protocol; expected `tcp` or `udp`",
        StepErrorKind::TooManyParts => "more than a port and a protocol; expected `port:protocol`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;
    use proptest::prelude::*;

    fn current(bytes: &[u8]) -> (usize, usize, alloc::string::String) {
        let line = parse(bytes).current.unwrap();
        (line.number, line.offset, line.sequence.to_string())
    }

    /// Strikes the current line off, as the daemon does.
    fn strike(bytes: &mut [u8]) {
        let line = parse(bytes).current.unwrap();
        bytes[line.offset] = b'#';
    }

    #[test]
    fn the_first_line_that_is_not_spent_is_current() {
        let file = b"# Monday\n\n#000,8000\n  # more\n\t7001, 8001:UDP\n7002\n";
        assert_eq!(current(file), (5, 29, "7001,8001:udp".into()));
        assert_eq!(parse(file).left, 2);
        assert_eq!(parse(b""), OneTime::default());
        assert_eq!(parse(b"#7000\n \r\n"), OneTime::default());
    }

    #[test]
    fn a_struck_line_loses_its_first_byte_and_nothing_else() {
        let mut file = b"7000,8000\n 7001\n".to_vec();
        strike(&mut file);
        assert_eq!(file, b"#000,8000\n 7001\n");
        strike(&mut file);
        assert_eq!(file, b"#000,8000\n#7001\n");
        assert_eq!(parse(&file), OneTime::default());
    }

    #[test]
    fn any_line_ending_a_mark_and_a_remark_are_taken() {
        assert_eq!(current(b"7000,8000\r\n7001"), (1, 0, "7000,8000".into()));
        assert_eq!(current(b"#\r\n7001"), (2, 3, "7001".into()));
        assert_eq!(current(b"7000,8000 # Monday"), (1, 0, "7000,8000".into()));
        let mut marked = b"\xef\xbb\xbf7000\n7001\n".to_vec();
        assert_eq!(current(&marked), (1, 0, "7000".into()));
        strike(&mut marked);
        assert_eq!(current(&marked), (2, 8, "7001".into()));
        assert!(parse(&marked).bad.is_empty());
    }

    #[test]
    fn a_bad_line_is_reported_with_its_place_and_never_current() {
        let many = [b"1,".repeat(32), b"1".to_vec()].concat();
        let lines: [(&[u8], &[u8], &str); 10] = [
            (b"7000, x1,8000", b"x1", "not a port"),
            (b"7000,,8000", b"", "no port"),
            (b"7000,", b"", "no port"),
            (b"7000-7003", b"7000-7003", "a range"),
            (b"70000", b"70000", "port too big"),
            (b"7000:sctp", b"sctp", "unknown protocol"),
            (b"7000:tcp:x", b"tcp:x", "more than a port"),
            (b"7000,80\x0000", b"80\x0000", "not a port"),
            (b"7000,\xff1", b"\xff1", "not UTF-8"),
            (&many, b"1", "too many ports"),
        ];
        let mut file = b"\xef\xbb\xbf".to_vec();
        for (line, ..) in lines {
            file.extend([line, b"\r\n"].concat());
        }
        file.extend(b"7000");
        let found = parse(&file);
        assert_eq!(found.current.map(|line| line.number), Some(11));
        assert_eq!((found.left, found.bad.len()), (1, 10));
        for (i, (bad, (_, blame, problem))) in found.bad.iter().zip(lines).enumerate() {
            assert_eq!(bad.number, i + 1);
            assert!(bad.problem.starts_with(problem), "{bad:?}");
            assert_eq!(&file[bad.span.clone()].trim_ascii_end(), &blame, "{bad:?}");
        }
    }

    #[test]
    fn thirty_two_steps_are_a_line() {
        let most = vec!["65535:udp"; Sequence::MAX].join(" ,\t");
        assert_eq!(
            parse(most.as_bytes())
                .current
                .unwrap()
                .sequence
                .steps()
                .len(),
            32
        );
    }

    #[test]
    fn a_huge_file_is_read_to_its_end() {
        let mut file = b"#001,7002\n".repeat(500_000);
        file.extend(b"7001,7002\n".repeat(100));
        let found = parse(&file);
        assert_eq!((found.left, found.bad.len()), (100, 0));
        assert_eq!(found.current.unwrap().offset, 5_000_000);
    }

    /// A line of a file as people write it, good or bad.
    fn line() -> impl Strategy<Value = Vec<u8>> {
        let good = "[ \t]{0,2}[0-9]{1,4}(:udp|:TCP)?( ?, ?[0-9]{1,4}){0,3}[ \r]?";
        prop_oneof![
            4 => good.prop_map(alloc::string::String::into_bytes),
            1 => "[ #x7:,-]{0,12}".prop_map(alloc::string::String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..12),
        ]
    }

    fn file() -> impl Strategy<Value = Vec<u8>> {
        let mark = prop_oneof![3 => Just(vec![]), 1 => Just(BYTE_ORDER_MARK.to_vec())];
        let lines = prop::collection::vec(line(), 0..12);
        (mark, lines, any::<bool>()).prop_map(|(mark, lines, ended)| {
            let mut file = [mark, lines.join(&b'\n')].concat();
            file.extend(ended.then_some(b'\n'));
            file
        })
    }

    proptest! {
        #[test]
        fn striking_makes_the_next_line_current_and_no_spent_line_comes_back(mut file in file()) {
            let before = parse(&file);
            let mut spent = vec![];
            while let Some(line) = parse(&file).current {
                prop_assert!(spent.iter().all(|number| *number < line.number));
                spent.push(line.number);
                strike(&mut file);
                let after = parse(&file);
                prop_assert_eq!(after.left, before.left - spent.len());
                prop_assert_eq!(&after.bad, &before.bad);
            }
            prop_assert_eq!(spent.len(), before.left);
        }

        #[test]
        fn any_bytes_are_read_and_every_fault_lies_in_its_line(
            file in prop_oneof![file(), prop::collection::vec(any::<u8>(), 0..200)],
        ) {
            let starts = || file.split_inclusive(|byte| *byte == b'\n').scan(0, |next, line| {
                let start = *next;
                *next += line.len();
                Some(start..*next)
            });
            let found = parse(&file);
            for bad in &found.bad {
                let line = starts().nth(bad.number - 1).unwrap();
                prop_assert!(line.start <= bad.span.start && bad.span.end <= line.end);
                prop_assert!(bad.span.start <= bad.span.end);
            }
            if let Some(line) = found.current {
                prop_assert_eq!(starts().nth(line.number - 1).unwrap().start, line.offset);
                prop_assert!(![b'#', b'\n'].contains(&file[line.offset]));
            }
        }
    }
}

//! What is said of doors that a scan opens.

use super::super::super::lint;
use super::super::tests::{door, parsed};
use core::fmt::Write;

use super::*;

/// The warnings of scans in `text`: what is wrong, what is expected, and the hint.
fn warnings(text: &str) -> String {
    let parsed = parsed(text);
    let mut out = String::new();
    for lint in lint(&parsed.config.unwrap(), &parsed.places) {
        if lint.message.contains("scan") {
            let help = lint.help.unwrap_or_default();
            writeln!(out, "{}\n{}\n{help}", lint.message, lint.expected).unwrap();
        }
    }
    out
}

#[test]
fn a_sequence_that_rises_is_told_with_strict_and_another_order() {
    assert_eq!(
        warnings(&door("7000,8000,9000", "seq_timeout = 5")),
        "an ascending port scan opens this door (at 401 ports a second or more)\n\
         `strict = yes` beside it\n\
         then the chance of a scan is 1 in 4 billion; \
         it is 1 in 6 if only the order is another, such as `7000,9000,8000`\n"
    );
}

#[test]
fn a_sequence_in_no_order_is_told_if_a_random_order_is_likely() {
    assert_eq!(
        warnings(&door("7000,9000,8000", "")),
        "a port scan in random order opens this door with a chance of 1 in 6 \
         (at 2,622 ports a second or more)\n\
         `strict = yes` beside it\n\
         then the chance of a scan is 1 in 4 billion\n"
    );
    assert_eq!(warnings(&door("1,7,6,5,4,3,2", "")), "");
    assert_eq!(warnings(&door("7000,9000,8000", "strict")), "");
}

#[test]
fn two_ports_are_always_in_some_order() {
    assert_eq!(
        warnings("[A]\nsequence = 9000,7000\n"),
        "a descending port scan opens this door (at 81 ports a second or more)\n\
         `strict = yes` with `tcpflags = syn` beside it\n\
         then the chance of a scan is 1 in 65,535, and with a third port 1 in 4 billion\n"
    );
}

#[test]
fn neighbours_in_a_row_need_another_order_also_with_strict() {
    let strict = "`strict` does not help where no port lies between the steps";
    let message = "an ascending port scan opens this door (at 1 port a second or more)";
    assert_eq!(
        warnings(&door("7000,7001,7002", "strict")),
        format!("{message}\nanother order, such as `7000,7002,7001`\n{strict}\n")
    );
    assert_eq!(
        warnings(&door("7000,7001", "strict")),
        format!("{message}\nports that are no neighbours\n{strict}\n")
    );
    assert_eq!(
        warnings(&door("7000,7001,7002", "")),
        format!(
            "{message}\n`strict = yes` beside it, and another order, such as `7000,7002,7001`\n\
             then the chance of a scan is 1 in 4 billion\n"
        )
    );
}

#[test]
fn the_order_that_is_proposed_is_no_other_doors() {
    let other = |sequence| door("7,8,9", "strict") + &door(sequence, "strict");
    assert!(warnings(&other("7,9,8")).contains("such as `8,7,9`"));
    assert!(warnings(&other("9,8")).contains("such as `8,7,9`"));
    let both = door("8,7,9", "strict") + &other("7,9,8");
    assert!(warnings(&both).contains("ports that are no neighbours"));
}

#[test]
fn what_is_proposed_ends_the_warning() {
    for sequence in [
        "1,2",
        "1,3",
        "9,5,1",
        "1,2,3",
        "3:udp,2:udp,1:udp",
        "1,2,3,4,7",
        "1,3,2",
    ] {
        let said = warnings(&door(sequence, ""));
        let expected = said.lines().nth(1).unwrap();
        let order = expected.split_once("such as `").map(|(_, order)| order);
        let order = order.map(|order| order.trim_end_matches('`'));
        let ports = expected.contains("no neighbours").then_some("1,9");
        let proposed = door(order.or(ports).unwrap_or(sequence), "strict");
        assert_eq!(warnings(&proposed), "", "{sequence}");
    }
}

#[test]
fn doors_that_no_scan_opens_and_doors_of_one_step_are_left_alone() {
    for (sequence, more) in [
        ("7000,8000:udp", ""),
        ("7000,7000", ""),
        ("7000,8000", "tcpflags = !syn"),
        ("7000", "cooldown = 1s"),
    ] {
        assert_eq!(warnings(&door(sequence, more)), "", "{sequence} {more}");
    }
}

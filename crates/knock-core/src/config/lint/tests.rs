use super::super::{Severity, parse};
use super::*;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::fmt::Write;

/// The lints of `text`, one a line: what at `these bytes`.
fn lints(text: &str) -> String {
    let parsed = parse(text.as_bytes(), &|_, _| None);
    let config = parsed.config.unwrap();
    let mut out = String::new();
    for lint in lint(&config, &parsed.places) {
        assert_eq!(lint.severity, Severity::Warning);
        writeln!(out, "`{}`: {}", &text[lint.span], lint.message).unwrap();
    }
    out
}

/// A door that nothing is wrong with, but for what `more` says.
fn door(name: &str, sequence: &str, more: &str) -> String {
    format!("[{name}]\nsequence = {sequence}\ntcpflags = syn\nstrict = yes\n{more}\n")
}

#[test]
fn a_careful_file_has_no_lint() {
    let text = "[options]\nstrict = yes\n".to_owned()
        + &door(
            "ssh",
            "7000,9000,8000",
            "start_command = /usr/sbin/iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n\
             start_command_6 = ip6tables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n\
             stop_command = /usr/sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n\
             stop_command_6 = ip6tables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
        )
        + &door(
            "wake",
            "1:udp",
            "cooldown = 10s\ncommand = /path/script %IP%",
        );
    assert_eq!(lints(&text), "");
}

#[test]
fn a_single_step_wants_a_cooldown() {
    assert_eq!(
        lints(&door("A", "7000", "seq_timeout = 0")),
        "`7000`: every packet to this port opens the door again\n"
    );
    assert_eq!(lints(&door("A", "7000", "cooldown = 1s")), "");
}

#[test]
fn no_time_for_several_steps_is_told() {
    assert_eq!(
        lints(&door("A", "7000,9000,8000", "seq_timeout = 0")),
        "`0`: nobody can knock so fast: this door never opens\n"
    );
}

#[test]
fn doors_without_flags_are_told_unless_they_are_for_udp() {
    let any = "any TCP segment to these ports counts as a knock";
    assert_eq!(
        lints("[A]\nsequence = 7:udp,9\n"),
        format!("`7:udp,9`: {any}\n")
    );
    assert_eq!(
        lints("[A]\none_time_sequences = /f\n"),
        format!("`/f`: {any}\n")
    );
    let udp = lints("[A]\nsequence = 7:udp,9:udp,8:udp\n");
    assert!(!udp.contains(any), "{udp}");
}

#[test]
fn strict_without_flags_is_told_also_for_udp() {
    let strict = "`strict` without `tcpflags`: any segment of any connection ends an attempt";
    assert_eq!(
        lints("[A]\nsequence = 7:udp,9:udp,8:udp\nstrict = yes\n"),
        format!("`yes`: {strict}\n")
    );
    assert_eq!(
        lints("[A]\nsequence = 7,9,8\n[options]\nstrict\n"),
        format!("`[A]`: {strict}\n")
    );
}

#[test]
fn doors_with_one_name_are_told() {
    let text = door("A", "1,3,2", "") + &door("A", "4,6,5", "");
    assert_eq!(lints(&text), "`[A]`: another door has this name\n");
}

#[test]
fn doors_that_open_together_are_told_once_each() {
    let text = door("A", "1,3,2", "") + &door("B", "1,3,2", "") + &door("C", "1,3,2", "");
    let same = "`1,3,2`: the door `A` has the same sequence\n";
    assert_eq!(lints(&text), same.repeat(2));
}

#[test]
fn a_sequence_within_another_is_told_wherever_it_begins() {
    let text = door("long", "5,1,3,2,9", "") + &door("A", "1,3,2", "") + &door("B", "5,3,9", "");
    assert_eq!(
        lints(&text),
        "`5,1,3,2,9`: knocking this opens the door `A` on the way\n"
    );
}

#[test]
fn doors_that_no_packet_can_reach_together_are_no_matter() {
    let text = door("A", "1,3,2", "target = 10.0.0.1") + &door("B", "1,3,2", "target = 10.0.0.2");
    assert_eq!(lints(&text), "");
    let text = door("A", "1,3,2", "") + "[B]\nsequence = 1,3,2\ntcpflags = !syn,ack\n";
    assert_eq!(lints(&text), "");
    let text = door("A", "1,3,2", "target = 10.0.0.1") + &door("B", "1,3,2", "target = 10.0.0.0/8");
    assert!(lints(&text).contains("the door `A` has the same sequence"));
}

#[test]
fn the_old_recipes_pitfalls_are_told() {
    let text = door(
        "A",
        "1,3,2",
        "command = /sbin/iptables -A INPUT --dport 22 -j ACCEPT",
    );
    let command = "`/sbin/iptables -A INPUT --dport 22 -j ACCEPT`";
    assert_eq!(
        lints(&text),
        format!(
            "{command}: this opens for everybody, not only for who knocked\n\
             {command}: what this opens is never closed\n\
             {command}: a knock over IPv6 runs this too, and iptables knows no IPv6 address\n\
             `-A`: this rule goes to the end of the chain\n"
        )
    );
}

#[test]
fn a_rule_that_is_removed_somewhere_is_closed() {
    let open = door("A", "1,3,2", "command = nft add element t s { %IP% }");
    assert!(lints(&open).contains("never closed"));
    let close = door("B", "2,1,3", "command = nft delete element t s { %IP% }");
    assert_eq!(lints(&(open + &close)), "");
    let timed = "command = nft add element t s { %IP% timeout 10s }";
    assert_eq!(lints(&door("A", "1,3,2", timed)), "");
}

#[test]
fn doors_for_ipv4_alone_need_no_command_for_ipv6() {
    let command = "command = iptables -I INPUT -s %IP%\nstop_command = iptables -D INPUT -s %IP%";
    assert!(lints(&door("A", "1,3,2", command)).contains("IPv6"));
    assert_eq!(
        lints(&door(
            "A",
            "1,3,2",
            &format!("{command}\ntarget = 10.0.0.1")
        )),
        ""
    );
    assert_eq!(
        lints(&door("A", "1,3,2", &format!("{command}\ncommand_6 ="))),
        ""
    );
}

#[test]
fn placeholders_in_small_letters_are_told() {
    let text = door(
        "A",
        "1,3,2",
        "command = x %ip% %IP% %%Door%%\nstop_command = y %Family%",
    );
    assert_eq!(
        lints(&text),
        "`%ip%`: `%ip%` is not replaced\n\
         `%Door%`: `%Door%` is not replaced\n\
         `%Family%`: `%Family%` is not replaced\n"
    );
}

#[test]
fn a_port_that_a_door_opens_is_told_where_it_is_a_step() {
    let own = door("A", "7000,22,8000,22", "open = tcp/20-25, udp/7000");
    assert_eq!(
        lints(&own),
        "`7000,22,8000,22`: the door `A` opens tcp/22, which is knocked at here\n"
    );
    let others = door("A", "7000,9:udp,8000", "") + &door("B", "4,6,5", "open = udp/9");
    assert_eq!(
        lints(&others),
        "`7000,9:udp,8000`: the door `B` opens udp/9, which is knocked at here\n"
    );
    assert_eq!(lints(&door("A", "7000,9,8000", "open = udp/9, tcp/22")), "");
}

#[test]
fn a_network_that_is_very_wide_is_told() {
    let width = |to: &str| {
        lints(&door(
            "A",
            "7000,9,8000",
            &format!("open = icmp\nopen_to = {to}"),
        ))
    };
    assert_eq!(width("/16, /48"), "");
    assert_eq!(
        width("/8"),
        "`/8`: one knock opens the door for 16,777,216 addresses\n"
    );
    assert_eq!(
        width("/47"),
        "`/47`: one knock opens the door for networks of whole providers (/47)\n"
    );
}

#[test]
fn to_keep_doors_open_without_a_journal_is_told_if_commands_must_close_them() {
    let options = "[options]\non_stop = keep\njournal = off\n";
    let native = door("A", "7000,9,8000", "open = icmp");
    assert_eq!(lints(&format!("{options}{native}")), "");
    let commands = door("A", "7000,9,8000", "command = a\nstop_command = b");
    assert_eq!(
        lints(&format!("{options}{commands}")),
        "`keep`: without a journal, stop commands that are owed at a stop never run\n"
    );
}

#[test]
fn a_careful_door_for_sealed_packets_has_no_lint() {
    let sealed = "[A]\nauthorized_keys = /k\nopen = tcp/22\nopen_for = 1m\nttl_max = 1m\n";
    assert_eq!(lints(&format!("[options]\nstrict = yes\n{sealed}")), "");
    assert_eq!(lints(&(sealed.to_owned() + &door("B", "1,3,2", ""))), "");
}

#[test]
fn a_step_at_a_port_of_sealed_packets_is_told() {
    let knocked = door("A", "7,51443:udp,51443", "");
    assert_eq!(lints(&knocked), "");
    assert_eq!(
        lints(&(knocked + "[B]\nauthorized_keys = /k\n")),
        "`7,51443:udp,51443`: sealed packets arrive at 51443, which is knocked at here\n"
    );
}

#[test]
fn a_longest_time_that_is_less_than_the_usual_one_is_told() {
    let most = |more: &str| {
        lints(&format!(
            "[A]\nauthorized_keys = /k\nttl_max = 20s\n{more}\n"
        ))
    };
    assert_eq!(most("open = icmp\nopen_for = 20s"), "");
    assert_eq!(most("command = a\nstop_command = b"), "");
    assert_eq!(
        most("open = icmp"),
        "`20s`: this is less than `open_for`, for which the door is open unless asked\n"
    );
    assert_eq!(
        most("command = a\nstop_command = b\ncmd_timeout = 1m"),
        "`20s`: this is less than `cmd_timeout`, for which the door is open unless asked\n"
    );
}

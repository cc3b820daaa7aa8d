//! The keys of doors that a sealed packet opens.

use super::*;
use crate::spa::Spa;

fn spa(body: &str) -> Option<Spa> {
    door(body).spa
}

fn keys(spa: &Spa) -> Vec<String> {
    spa.keys.iter().map(ToString::to_string).collect()
}

#[test]
fn the_gate_drops_what_comes_to_the_ports_unless_it_is_told_not_to() {
    let door = "[A]\nauthorized_keys = /k\nopen = tcp/22\n";
    for (options, ports) in [
        ("", &[51_443][..]),
        ("spa_port = 1, 2\nspa_silent = yes\n", &[1, 2]),
        ("spa_silent = no\n", &[]),
    ] {
        let text = format!("[options]\n{options}{door}");
        let config = parse(text.as_bytes(), &|_, _| None).config;
        assert_eq!(config.unwrap().silent_ports(), ports, "{options}");
    }
    let none = parse(b"[A]\nsequence = 1\nopen = tcp/22\n", &|_, _| None);
    assert!(none.config.unwrap().silent_ports().is_empty());
}

#[test]
fn authorized_keys_alone_makes_a_door_for_sealed_packets() {
    let door = door("authorized_keys = /etc/knockd/keys/*.pub\nopen = tcp/22");
    assert_eq!(door.trigger.source, SequenceSource::None);
    let spa = door.spa.unwrap();
    assert_eq!(keys(&spa), ["/etc/knockd/keys/*.pub"]);
    assert_eq!(
        (spa.ttl_max, spa.confirm, spa.require_claim),
        (None, false, false)
    );
}

#[test]
fn a_door_may_have_a_sequence_or_sealed_packets_or_both() {
    let both = door("sequence = 1\nauthorized_keys = /k");
    assert_eq!(steps(&both), "1");
    assert!(both.spa.is_some());
    assert_eq!(spa("sequence = 1"), None);
    let both = door("one_time_sequences = /f\nspa\nauthorized_keys = /k");
    assert_eq!(
        (steps(&both).as_str(), both.spa.is_some()),
        ("file /f", true)
    );
}

#[test]
fn all_keys_of_a_door_for_sealed_packets_are_read() {
    let config = clean(
        "[options]\nspa_port = 51443 , 53\nspa_window = 2m\nstate_dir = /var/lib/x\n\
         [A]\nspa = YES\nauthorized_keys = ~admin/.ssh/authorized_keys , /etc/my keys\n\
         ttl_max = 8h\nconfirm\nrequire_claim = on\nopen = tcp/22\n",
    );
    assert_eq!(config.options.spa_ports, [51443, 53]);
    assert_eq!(config.spa_ports(), [51443, 53]);
    assert_eq!(config.options.spa_window, Duration::from_secs(120));
    assert_eq!(config.options.state_dir, "/var/lib/x");
    let spa = config.doors[0].spa.as_ref().unwrap();
    assert_eq!(keys(spa), ["~admin/.ssh/authorized_keys", "/etc/my keys"]);
    assert_eq!(spa.ttl_max, Some(Duration::from_secs(8 * 3600)));
    assert!(spa.confirm && spa.require_claim);
}

#[test]
fn ports_for_sealed_packets_are_heard_only_if_a_door_has_use_for_them() {
    let options = clean("[A]\nsequence = 1\n");
    assert_eq!(options.options.spa_ports, [Spa::PORT]);
    assert_eq!(options.spa_ports(), []);
    let off = clean("[A]\nsequence = 1\nspa = no\nauthorized_keys = /k\nconfirm\n");
    assert_eq!(
        (off.doors[0].spa.as_ref(), off.spa_ports()),
        (None, &[][..])
    );
}

#[test]
fn a_door_that_nothing_opens_is_an_error() {
    assert_eq!(
        mistakes("[A]\nopen = tcp/22\n[B]\nspa = no\nauthorized_keys = /k\n[C]\nspa = yes\n"),
        "Error `[A]`: a door without a sequence\n\
         Error `[B]`: a door without a sequence\n\
         Error `spa = yes`: `spa` lets nobody in without `authorized_keys`\n"
    );
    assert_eq!(
        mistakes("[A]\nauthorised_keys = /k\n"),
        "Error `authorised_keys`: unknown key `authorised_keys`\n"
    );
    assert_eq!(
        mistakes("[A]\nauthorized_keys = k\nttl_max = 1h\nopen = icmp\n"),
        "Error `k`: `k` is no path from / on\n"
    );
}

#[test]
fn what_is_said_of_the_other_kind_of_door_is_told() {
    assert_eq!(
        mistakes(
            "[a]\nsequence = 1\nttl_max = 1h\nconfirm = no\n\
             [b]\nauthorized_keys = /k\nseq_timeout = 5\ntcpflags = syn\nstrict\ncooldown = 1\n\
             [c]\nauthorized_keys = /k\nttl_max = 1m\ncommand = x\n\
             [d]\nauthorized_keys = /k\nttl_max = 1m\ncommand = x\nstop_command = y\ntarget = ::1\n"
        ),
        "Warning `ttl_max = 1h`: this has no meaning in a door without `authorized_keys`\n\
         Warning `confirm = no`: this has no meaning in a door without `authorized_keys`\n\
         Warning `seq_timeout = 5`: this has no meaning in a door without a sequence\n\
         Warning `tcpflags = syn`: this has no meaning in a door without a sequence\n\
         Warning `strict`: this has no meaning in a door without a sequence\n\
         Warning `cooldown = 1`: this has no meaning in a door without a sequence\n\
         Warning `ttl_max = 1m`: this door is open for no time that could be asked for\n"
    );
}

#[test]
fn what_is_strict_by_default_is_nothing_to_a_door_without_a_sequence() {
    let text = "[A]\nauthorized_keys = /k\n";
    let strict = clean(&format!("[options]\nstrict\n{text}"));
    assert_eq!(strict.doors, clean(text).doors);
}

#[test]
fn the_bounds_of_what_is_said_of_sealed_packets_hold() {
    for (window, problem) in [
        ("5s", ""),
        ("10m", ""),
        ("4999ms", "Error `4999ms`: the time is too short\n"),
        ("601", "Error `601`: the time is too long\n"),
    ] {
        assert_eq!(
            mistakes(&format!("[options]\nspa_window = {window}\n")),
            problem
        );
    }
    let ports = |value: &str| mistakes(&format!("[options]\nspa_port = {value}\n"));
    assert_eq!(ports("1,2,3,4,5,6,7,65535"), "");
    assert_eq!(ports("1,2,3,4,5,6,7,8,9"), "Error `9`: too many ports\n");
    assert_eq!(ports("7,7"), "Warning `7`: `7` stands twice\n");
    assert_eq!(
        ports("0,65536,+1"),
        "Error `0`: `0` is no port\nError `65536`: `65536` is no port\nError `+1`: `+1` is no port\n"
    );
    let files = |count: usize| {
        let files: Vec<String> = (0..count).map(|i| format!("/k{i}")).collect();
        mistakes(&format!("[A]\nauthorized_keys = {}\n", files.join(",")))
    };
    assert_eq!(files(Spa::MAX_SOURCES), "");
    assert_eq!(
        files(Spa::MAX_SOURCES + 2),
        format!("Error `/k{}`: too many files\n", Spa::MAX_SOURCES)
    );
    assert_eq!(
        mistakes("[options]\nstate_dir = lib\n"),
        "Error `lib`: `lib` is no path from / on\n"
    );
}

#[test]
fn the_list_of_what_is_revoked_is_a_path_or_none() {
    let revoked = |value: &str| {
        let text = format!("[options]\n{value}\n[A]\nauthorized_keys = /k\n");
        parse(text.as_bytes(), &|_, _| None)
            .config
            .unwrap()
            .options
            .revoked_keys
    };
    assert_eq!(revoked(""), None);
    assert_eq!(
        revoked("RevokedKeys = /etc/ssh/a list").as_deref(),
        Some("/etc/ssh/a list")
    );
    assert_eq!(revoked("revoked_keys = /k\nrevoked_keys = NONE"), None);
    assert_eq!(
        mistakes("[options]\nrevoked_keys = off\n[A]\nsequence = 1\nrevoked_keys = /k\n"),
        "Error `off`: `off` is no path from / on\n\
         Error `revoked_keys`: `revoked_keys` is no key of a door\n"
    );
}

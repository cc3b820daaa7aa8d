//! A golden file for every kind of mistake, by topic, as an administrator sees them.

use super::*;
use insta::assert_snapshot;
use knock_core::config;
use knock_core::sequence::Protocol;

fn services(name: &str, protocol: Protocol) -> Option<u16> {
    (name == "ssh" && protocol == Protocol::Tcp).then_some(22)
}

fn mistakes(bytes: &[u8]) -> Vec<Diagnostic> {
    config::parse(bytes, &services).diagnostics
}

fn rendered(bytes: &[u8]) -> String {
    render(Path::new("knockd.conf"), bytes, &mistakes(bytes), false)
}

#[test]
fn ten_mistakes_have_ten_carets() {
    let text = "\
[options]
\tlogfle = /var/log/knockd.log
\tinterface = enp0s31f6-and-more

[openSSH]
\tsequence    = 7000,70000,9000
\tseq_timeout = abc
\ttcpflags    = syn, ece
\tcommand     = /usr/sbin/nft add element inet fw open { %IP% }
\tcmd_timeout = -1
\ttarget      = ssh.example.org

[closeSSH]
\tsequence = 9000-9003
; closes it again
[logSSH]
\tcommand = logger %IP%
";
    let out = rendered(text.as_bytes());
    let carets = out
        .lines()
        .filter(|line| line.trim_start_matches(['|', ' ']).starts_with('^'))
        .count();
    assert_eq!((mistakes(text.as_bytes()).len(), carets), (10, 10));
    assert_snapshot!(out);
}

#[test]
fn mistakes_of_a_sequence() {
    let many: Vec<String> = (1..=33).map(|port| port.to_string()).collect();
    let text = format!(
        "\
[A]
sequence = 70000,-1,7000-7005,1-100,9-1,0x1b58,abc,abc:udp
[B]
sequence = 7000:,7000:sctp,7000:udp:tcp,7000:8000,:udp,7000/udp
[C]
sequence = ,7000,,\"8000\",80 90,7x,
[D]
sequence =
[E]
sequence = {}
[F]
",
        many.join(",")
    );
    assert_snapshot!(rendered(text.as_bytes()));
}

#[test]
fn oddities_of_a_sequence_that_are_accepted() {
    assert_snapshot!(rendered(
        b"[A]\nsequence = +7000,08000,0\n[B]\nsequence = 7000,8000 # not 9000\n"
    ));
}

#[test]
fn mistakes_of_sections() {
    assert_snapshot!(rendered(
        b"\
sequence = 7000
logfile = /tmp/log
[]
sequence = 7000
[A] # the first
sequence = 7000
[B
sequence = 7000
[ options ]
sequence = 7000
[Options]
logfile = /tmp/log
[options]
target = 192.0.2.1
"
    ));
}

#[test]
fn mistakes_of_lines() {
    assert_snapshot!(rendered(
        b"\
; a comment
// another
[A]
sequence = 7000
= 7000
sequence
seq_timeout: 5
command iptables
wibble
wibble = 1
start_comand = true
usesyslog
"
    ));
}

#[test]
fn keys_that_take_the_place_of_others() {
    assert_snapshot!(rendered(
        b"\
[A]
sequence = 7000
timeout = 5
seq_timeout = 10
one_time_sequences = /etc/knockd/once
[B]
sequence = 7000
stop_command = true
"
    ));
}

#[test]
fn mistakes_of_values() {
    assert_snapshot!(rendered(
        b"\
[options]
usesyslog = maybe
strict = 2
log_format = jsn
log_level =
max_attempts = 0
max_commands = many
max_commands = -1
interface = eth0, , a b
interface = eth0:1, eth0, ./x
interface =
[A]
one_time_sequences =
user =
user = two words
logfile = /tmp/log
"
    ));
}

#[test]
fn mistakes_of_times() {
    assert_snapshot!(rendered(
        b"\
[A]
sequence = 7000
seq_timeout = -5
[B]
sequence = 7000
cmd_timeout = -5
cooldown = 1.5
[C]
sequence = 7000
seq_timeout = 10 minutes
cmd_timeout = 5000000000
cooldown = 10 # not 5
[D]
sequence = 7000
seq_timeout =
"
    ));
}

#[test]
fn mistakes_of_flags_and_targets() {
    assert_snapshot!(rendered(
        b"\
[A]
sequence = 7000
tcpflags = sin,,syn ack,!cwr # none of these
tcpflags =
target = 192.0.2.1/33, 2001:db8::/x, 192.0.2, ,example.org/24
[B]
sequence = 7000
target =
"
    ));
}

#[test]
fn mistakes_of_what_a_door_opens() {
    assert_snapshot!(rendered(
        b"\
[A]
sequence = 7000
open = 22/tcp, tcp:22, 22, ping, tcp/22-, tcp/-22, tcp/0, tcp/9-3, tcp
[B]
sequence = 7000
open = ssh, tcp/shh, udp/ssh, tcp/65536, tcp/022, tcp/22:25, tcp/*, tcp/22/udp, tcp 22,
[C]
sequence = 7000
open = sctp/22, tpc/22, any/53, icmp/8, /22, tcp/, \"tcp/22\", tcp/80 443, 80-90, wibble
[D]
sequence = 7000
open = tcp/1-1000, udp/1-1000
[E]
sequence = 7000
open = tcp/1-65535 # all
[F]
sequence = 7000
open = tcp/22, tcp/20-25
[G]
sequence = 7000
open =
"
    ));
}

#[test]
fn mistakes_of_how_long_and_for_whom_a_door_opens() {
    assert_snapshot!(rendered(
        b"\
[A]
sequence = 7000
open = icmp
open_for = 500ms
open_to = /0
[B]
sequence = 7000
open = icmp
open_for = 1 year
open_to = 24, 192.0.2.0/24, 255.255.255.0, /129, /x,
[C]
sequence = 7000
open = icmp
open_for = 400 days
open_to = /24, /32
[D]
sequence = 7000
open = icmp
open_for = 9000h
open_to = /64, /33
cmd_timeout = 60
[E]
sequence = 7000
open_for = 1m
open_to = /24
reopen = extend
kill = yes
"
    ));
}

#[test]
fn mistakes_of_what_a_door_closes() {
    assert_snapshot!(rendered(
        b"\
[options]
on_stop = stay
journal = none
journal = knockd.journal
journal = /var/lib/knockd/journal # grants
[open ssh]
sequence = 7000
open = tcp/22
close = open ssh
[ web ]
sequence = 7000
open = tcp/80
[log]
sequence = 7000
command = logger %IP%
reopen = extend
[A]
sequence = 7000
close = open-ssh
[B]
sequence = 7000
close = web
[C]
sequence = 7000
close = log
[D]
sequence = 7000
close = [open ssh]
[E]
sequence = 7000
close = open ssh # at once
kill = perhaps
reopen = no
[F]
sequence = 7000
close =
"
    ));
}

#[test]
fn mistakes_about_metrics() {
    assert_snapshot!(rendered(
        b"\
[options]
metrics_socket = metrics.sock
metrics_address = 0.0.0.0:9115
metrics_address = [2001:db8::1]:9115
metrics_address = localhost:9115
metrics_address = 127.0.0.1
metrics_address = [::1]:0
metrics_address = 127.0.0.1:9115 # here
metrics_adress = none
[A]
sequence = 7000
command = x
metrics_socket = none
"
    ));
}

#[test]
fn mistakes_of_doors_for_sealed_packets() {
    assert_snapshot!(rendered(
        b"\
[options]
spa_port = udp/51443, 51443:udp, tcp/22, 1-9, 80 90,, 0x1
spa_port = 1,2,3,4,5,6,7,7,8,9
spa_window = 1h
state_dir = lib/knockd
RevokedKeys = off
revoked_keys = revoked
[A]
spa = yes
[B]
spa = no
authorized_keys = /etc/knockd/keys/*
[C]
authorized_keys = keys, ~/.ssh/authorized_keys, ~*/.ssh/authorized_keys, ~admin, /etc/keys/
[D]
authorized_keys = %h/.ssh/authorized_keys, ssh-ed25519 AAAAC3Nz me@here, /home/**/k, \"/k\", /a /b,
[E]
authorized_keys = /k, /k
ttl_max = 1h
confirm = maybe
cooldown = 5s
[F]
sequence = 7000
require_claim = yes
ttl_max = 0
"
    ));
}

#[test]
fn bytes_that_are_no_text() {
    assert_snapshot!(rendered(
        b"# caf\xe9 in a comment is nobody's business\n\
          [caf\xe9]\nsequence = 7000\n[A]\nsequence = 7000\n\
          command = echo \xff \xfe\nstop_command = a\0b\n"
    ));
}

#[test]
fn marks_at_the_start_of_a_file() {
    assert_snapshot!(rendered(b"\xef\xbb\xbf[A]\nsequence = 7000\n"));
    assert_snapshot!(rendered(b"\xff\xfe[\0A\0]\0\n\0"));
}

#[test]
fn things_that_are_too_long() {
    let text = format!(
        "[{}]\nsequence = 7000\ncommand = {}\n",
        "n".repeat(128),
        "x".repeat(5000)
    );
    assert_snapshot!(rendered(text.as_bytes()));
}

#[test]
fn too_many_doors() {
    assert_snapshot!(rendered(&b"[A]\nsequence=1\n".repeat(65_536)));
}

#[test]
fn no_control_character_reaches_the_terminal() {
    let text = "[A]\nsequence = \x1b[2J\x07\r7,\u{9b}2J,\u{202e}8,\u{200b}\n\x1b]0;x\x07 = 1\n";
    let all = mistakes(text.as_bytes());
    let plain = render(Path::new("\x1b[1m"), text.as_bytes(), &all, false);
    let lines = all
        .iter()
        .map(|d| one_line(Path::new("\n"), text.as_bytes(), d));
    let bad = |c: char| shown_as(c) != c && c != '\n';
    assert!(!plain.contains(bad), "{plain:?}");
    for line in lines {
        assert!(!line.contains(|c: char| shown_as(c) != c), "{line:?}");
    }
}

#[test]
fn colours_are_there_only_where_they_are_asked_for() {
    let text = b"[A]\n";
    let coloured = render(Path::new("f"), text, &mistakes(text), true);
    let plain = render(Path::new("f"), text, &mistakes(text), false);
    assert!(coloured.contains("\x1b[") && !plain.contains('\x1b'));
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain);
}

#[test]
fn a_file_without_mistakes_has_nothing_to_say() {
    assert_eq!(rendered(b"[A]\nsequence = 7000\n"), "");
}

#[test]
fn very_many_mistakes_are_counted_and_errors_come_first() {
    let mut text = "[A]\nsequence = 7000\n".to_string();
    text.push_str(&"timeout = 1\n".repeat(200));
    text.push_str("wibble\n");
    let out = rendered(text.as_bytes());
    assert!(
        out.contains("unknown key `wibble`") && out.len() < 1000,
        "{out}"
    );
    assert!(
        out.ends_with("error: knockd.conf: 1 error, 199 warnings\n"),
        "{out}"
    );
}

#[test]
fn a_mistake_fits_in_a_line_of_a_log() {
    let text = "[A]\nsequence = 7000,é,9000-9001\n";
    let all = mistakes(text.as_bytes());
    let lines: Vec<_> = all
        .iter()
        .map(|d| one_line(Path::new("/etc/knockd.conf"), text.as_bytes(), d))
        .collect();
    assert_snapshot!(lines.join("\n"));
}

#[test]
fn huge_lines_are_cut() {
    let text = format!(
        "[A]\n{}=1\nsequence = {}70000\n",
        "k".repeat(1 << 20),
        "1,".repeat(9)
    );
    let out = rendered(text.as_bytes());
    assert!(
        out.lines().all(|line| line.chars().count() < 600),
        "{}",
        out.len()
    );
}

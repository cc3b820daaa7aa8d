//! What is said of firewalls, by the texts that their programs print. That it is true, and that
//! the lines work, is shown by `tests/firewall` with a real kernel.

use std::time::Duration;

use knock_core::door::{Action, Native, SequenceSource, Trigger, Widening};
use knock_core::flags::FlagMatch;
use knock_core::service::{Ports, Service};
use proptest::prelude::*;
use serde_json::json;

use super::model::{Family, Table};
use super::*;

const FIREWALLD: &str = include_str!("texts/firewalld.json");
const NFT_INET: &str = include_str!("texts/nft-inet.json");
const NFT_IP_AND_IP6: &str = include_str!("texts/nft-ip-and-ip6.json");

/// The rulesets of the tests with a real kernel.
macro_rules! ruleset {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/firewall/rulesets/",
            $name
        ))
    };
}

fn tcp(first: u16, last: u16) -> Service {
    Service::Tcp(Ports::new(first, last).unwrap())
}

fn door(open: &[Service], targets: &[&str]) -> Door {
    Door {
        name: "door".to_owned(),
        spa: None,
        trigger: Trigger {
            source: SequenceSource::OneTime("/nonexistent".to_owned()),
            seq_timeout: Duration::from_secs(5),
            flags: FlagMatch::default(),
            targets: targets
                .iter()
                .map(|target| target.parse().unwrap())
                .collect(),
            strict: true,
            cooldown: Duration::ZERO,
        },
        action: Action {
            native: Some(Native {
                open: open.to_vec(),
                open_for: Native::DEFAULT_TIME,
                open_to: Widening::default(),
            }),
            ..Action::default()
        },
    }
}

/// What is said for a host with an address of each family, and clients on eth0.
fn judged(tables: &[Table], door: Door) -> Look {
    let local = ["192.0.2.1", "2001:db8::1"].map(|address| address.parse().unwrap());
    let wanted = Wanted::of(&[door], &["eth0".to_owned()], &local).unwrap();
    let rulesets = Rulesets {
        tables: tables.to_vec(),
        unread: Vec::new(),
    };
    Look::of(&rulesets, &wanted)
}

fn plain(look: &Look) -> String {
    anstream::adapter::strip_str(&look.to_string()).to_string()
}

fn nft(text: &str) -> Vec<Table> {
    nft::parse(text).unwrap()
}

fn iptables(text: &str) -> Vec<Table> {
    xtables::parse(text, "iptables", Family::V4)
}

/// Both families of one iptables.
fn both(v4: &str, v6: &str) -> Vec<Table> {
    let v6 = xtables::parse(v6, "ip6tables", Family::V6);
    iptables(v4).into_iter().chain(v6).collect()
}

/// How tcp/22 comes through these rules of an `INPUT` that drops, in one word.
fn fate(rules: &str) -> &'static str {
    let text =
        format!("*filter\n:INPUT DROP [0:0]\n:mine - [0:0]\n:other - [0:0]\n{rules}\nCOMMIT");
    word(&judged(&iptables(&text), door(&[tcp(22, 22)], &[])))
}

/// The same, of the statements of rules of an nftables chain that drops.
fn fate_nft(rules: &[serde_json::Value]) -> &'static str {
    word(&judged(&nft_chain(rules), door(&[tcp(22, 22)], &[])))
}

fn nft_chain(rules: &[serde_json::Value]) -> Vec<Table> {
    let at = json!({"family": "inet", "table": "t", "name": "in", "type": "filter",
        "hook": "input", "prio": 0, "policy": "drop"});
    let mine = json!({"family": "inet", "table": "t", "name": "mine"});
    let mut objects = vec![
        json!({"metainfo": {"json_schema_version": 1}}),
        json!({"set": {"family": "inet", "table": "t", "name": "ports", "elem":
            [{"range": [20, 25]}, {"elem": {"val": 80, "timeout": 9}}]}}),
        json!({"map": {"family": "inet", "table": "t", "name": "verdicts", "elem":
            [[22, {"jump": {"target": "mine"}}]]}}),
        json!({"chain": at}),
        json!({"chain": mine}),
        json!({"rule": {"family": "inet", "table": "t", "chain": "mine", "handle": 9,
            "expr": [{"accept": null}]}}),
    ];
    for (handle, expr) in rules.iter().enumerate() {
        objects.push(
            json!({"rule": {"family": "inet", "table": "t", "chain": "in",
            "handle": handle, "expr": expr}}),
        );
    }
    nft(&json!({ "nftables": objects }).to_string())
}

fn word(look: &Look) -> &'static str {
    match look.verdicts[0].level {
        Level::Ok => "passes",
        Level::Amiss => "drops",
        Level::Unknown => "may drop",
        Level::Note => "notes",
    }
}

#[test]
fn each_firewall_gets_its_line() {
    let ssh = || door(&[tcp(22, 22)], &[]);
    let iptables = both(ruleset!("iptables.v4.rules"), ruleset!("iptables.v6.rules"));
    let ufw = both(ruleset!("ufw.v4.rules"), ruleset!("ufw.v6.rules"));
    let said = [
        judged(&nft(NFT_INET), ssh()),
        judged(&nft(NFT_IP_AND_IP6), ssh()),
        judged(&iptables, ssh()),
        judged(&nft(FIREWALLD), ssh()),
        judged(&ufw, ssh()),
    ];
    insta::assert_snapshot!(said.iter().map(plain).collect::<Vec<_>>().join("\n"));
}

#[test]
fn other_hosts_get_their_line_too() {
    let far = || {
        door(
            &[tcp(22, 22), Service::Icmp],
            &["198.51.100.9", "2001:db8:9::1"],
        )
    };
    let iptables = both(ruleset!("iptables.v4.rules"), ruleset!("iptables.v6.rules"));
    let ufw = both(ruleset!("ufw.v4.rules"), ruleset!("ufw.v6.rules"));
    let said = [
        judged(&nft(NFT_INET), far()),
        judged(&iptables, far()),
        judged(&nft(FIREWALLD), far()),
        judged(&ufw, far()),
    ];
    insta::assert_snapshot!(said.iter().map(plain).collect::<Vec<_>>().join("\n"));
}

#[test]
fn several_services_are_one_line() {
    let udp = Service::Udp(Ports::new(8000, 8010).unwrap());
    let look = judged(
        &nft(FIREWALLD),
        door(&[tcp(22, 22), udp, Service::Icmp], &[]),
    );
    insta::assert_snapshot!(plain(&look));
}

#[test]
fn a_look_as_json() {
    let look = judged(&nft(NFT_INET), door(&[tcp(22, 22)], &[]));
    insta::assert_snapshot!(serde_json::to_string_pretty(&look).unwrap());
}

#[test]
fn what_comes_through_is_well() {
    let open = judged(&nft(NFT_INET), door(&[tcp(443, 443)], &[]));
    assert!(open.is_well());
    assert_eq!(
        plain(&open),
        "ok      firewall: lets granted connections through to tcp/443\n"
    );
}

#[test]
fn what_could_not_be_read_is_unknown_and_nothing_is_well_then() {
    let wanted = Wanted::of(&[door(&[tcp(22, 22)], &[])], &[], &[]).unwrap();
    let rulesets = Rulesets {
        tables: Vec::new(),
        unread: vec!["nftables: there is no program nft".to_owned()],
    };
    let look = Look::of(&rulesets, &wanted);
    assert!(!look.is_well());
    assert_eq!(
        plain(&look),
        "unknown firewall: cannot be read: nftables: there is no program nft\n        \
         => run this as root, with nft and iptables installed\n"
    );
}

#[test]
fn no_native_door_is_nothing_to_look_at() {
    let mut door = door(&[tcp(22, 22)], &[]);
    door.action.native = None;
    assert_eq!(look(&[door], &[]), None);
}

#[test]
fn the_mark_is_understood_in_every_spelling() {
    for rule in [
        "-A INPUT -m connmark --mark 0x20000000/0x20000000 -j ACCEPT",
        "-A INPUT -m connmark --mark 0x20000000 -j ACCEPT",
        "-A INPUT -m connmark ! --mark 0x0/0x20000000 -j ACCEPT",
    ] {
        assert_eq!(fate(rule), "passes", "{rule}");
    }
    assert_eq!(
        fate("-A INPUT -m connmark --mark 0x1/0x1 -j ACCEPT"),
        "drops"
    );
    assert_eq!(fate("-A INPUT -m mark --mark 0x1 -j ACCEPT"), "may drop");
    let ct = json!({"ct": {"key": "mark"}});
    let bit = 0x2000_0000;
    for (op, left, right) in [
        ("==", json!({"&": [ct, bit]}), json!(bit)),
        ("!=", json!({"&": [ct, bit]}), json!(0)),
        ("==", ct.clone(), json!(bit)),
    ] {
        let test = json!({"match": {"op": op, "left": left, "right": right}});
        assert_eq!(fate_nft(&[json!([test, {"accept": null}])]), "passes");
    }
}

#[test]
fn the_client_is_a_stranger_to_the_firewall() {
    assert_eq!(fate("-A INPUT -s 192.0.2.0/24 -j ACCEPT"), "drops");
    assert_eq!(fate("-A INPUT ! -s 192.0.2.0/24 -j ACCEPT"), "passes");
    assert_eq!(fate("-A INPUT -s 0.0.0.0/0 -j ACCEPT"), "passes");
    assert_eq!(
        fate("-A INPUT -m set --match-set office src -j ACCEPT"),
        "drops"
    );
    assert_eq!(
        fate("-A INPUT -m set ! --match-set bad src -j ACCEPT"),
        "passes"
    );
    let saddr = json!({"payload": {"protocol": "ip", "field": "saddr"}});
    let listed = json!({"match": {"op": "==", "left": saddr, "right": "@office"}});
    assert_eq!(
        fate_nft(&[json!([listed, {"drop": null}]), json!([{"accept": null}])]),
        "passes"
    );
}

#[test]
fn a_single_connection_is_below_every_limit() {
    for rule in [
        "-A INPUT -m limit --limit 3/min -j ACCEPT",
        "-A INPUT -m recent --update --seconds 60 --hitcount 4 --name x --rsource -j DROP\n\
         -A INPUT -j ACCEPT",
        "-A INPUT -m connlimit --connlimit-above 3 --connlimit-mask 32 -j DROP\n\
         -A INPUT -j ACCEPT",
        "-A INPUT -m rpfilter --invert -j DROP\n-A INPUT -j ACCEPT",
    ] {
        assert_eq!(fate(rule), "passes", "{rule}");
    }
    let over = json!([{"limit": {"rate": 3, "per": "minute", "inv": true}}, {"drop": null}]);
    let meter = json!([{"set": {"op": "add", "elem": {"payload": {"protocol": "ip",
        "field": "saddr"}}, "set": "@m", "stmt": [{"limit": {"rate": 3, "inv": true}}]}},
        {"drop": null}]);
    assert_eq!(
        fate_nft(&[over, meter, json!([{"accept": null}])]),
        "passes"
    );
}

#[test]
fn what_is_not_understood_is_said_and_has_its_line() {
    let text = "*filter\n:INPUT DROP [0:0]\n-A INPUT -m socket -j ACCEPT\nCOMMIT";
    let look = judged(&iptables(text), door(&[tcp(22, 22)], &[]));
    assert!(!look.is_well());
    insta::assert_snapshot!(plain(&look));
}

#[test]
fn an_unknown_answer_changes_nothing_if_all_ways_lead_to_the_same() {
    assert_eq!(fate("-A INPUT -m socket -j DROP"), "drops");
    assert_eq!(
        fate("-A INPUT -m socket -j ACCEPT\n-A INPUT -j ACCEPT"),
        "passes"
    );
    assert_eq!(
        fate("-A INPUT -m socket -j mine\n-A INPUT -j ACCEPT"),
        "passes"
    );
    assert_eq!(fate("-A INPUT -j NFQUEUE --queue-num 0"), "may drop");
}

#[test]
fn chains_are_left_as_the_kernel_leaves_them() {
    let accept = "-A INPUT -j ACCEPT";
    assert_eq!(
        fate(&format!("-A INPUT -j mine\n{accept}\n-A mine -j RETURN")),
        "passes"
    );
    assert_eq!(
        fate(&format!("-A INPUT -j mine\n{accept}\n-A mine -j DROP")),
        "drops"
    );
    // Behind a goto the chain that went is over.
    assert_eq!(
        fate(&format!(
            "-A INPUT -g mine\n{accept}\n-A mine -s 1.2.3.4 -j ACCEPT"
        )),
        "drops"
    );
    let nested = "-A INPUT -j mine\n-A INPUT -j ACCEPT\n-A mine -g other\n-A mine -j DROP";
    assert_eq!(fate(nested), "passes");
    let perhaps = "-A INPUT -j mine\n-A INPUT -j ACCEPT\n-A mine -m socket -j RETURN\n\
                   -A mine -j DROP";
    assert_eq!(fate(perhaps), "may drop");
}

#[test]
fn sets_and_maps_are_looked_up() {
    let dport = json!({"payload": {"protocol": "tcp", "field": "dport"}});
    let listed = json!({"match": {"op": "==", "left": dport, "right": "@ports"}});
    assert_eq!(fate_nft(&[json!([listed, {"accept": null}])]), "passes");
    let named = json!({"vmap": {"key": dport, "data": "@verdicts"}});
    assert_eq!(fate_nft(&[json!([named])]), "passes");
    let inline = json!({"vmap": {"key": dport, "data": {"set":
        [["*", {"accept": null}], [22, {"drop": null}]]}}});
    assert_eq!(fate_nft(&[json!([inline])]), "drops");
    let other = json!({"vmap": {"key": dport, "data": {"set":
        [[23, {"drop": null}], ["*", {"accept": null}]]}}});
    assert_eq!(fate_nft(&[json!([other])]), "passes");
    let nowhere = json!({"match": {"op": "==", "left": dport, "right": "@gone"}});
    assert_eq!(fate_nft(&[json!([nowhere, {"accept": null}])]), "may drop");
}

#[test]
fn flags_are_alternatives_or_all_at_once() {
    let flags = json!({"payload": {"protocol": "tcp", "field": "flags"}});
    let masked = json!({"&": [flags, ["fin", "syn", "rst", "ack"]]});
    let rule = |op: &str, left: &serde_json::Value, right: serde_json::Value| json!([{"match": {"op": op, "left": left, "right": right}}, {"accept": null}]);
    // Only the first packet has these flags; what follows is then dropped or not understood.
    let rest = json!([{"match": {"op": "in", "left": {"ct": {"key": "state"}},
        "right": ["established", "related"]}}, {"accept": null}]);
    for (rule, word) in [
        (rule("==", &masked, json!("syn")), "passes"),
        (rule("==", &masked, json!(["syn", "ack"])), "drops"),
        (rule("in", &flags, json!(["syn", "ack"])), "passes"),
    ] {
        assert_eq!(fate_nft(&[rest.clone(), rule.clone()]), word, "{rule}");
    }
    let xt = "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n-A INPUT -p tcp -m tcp \
              --tcp-flags FIN,SYN,RST,ACK SYN -m comment --comment \"-j DROP\" -j ACCEPT";
    assert_eq!(fate(xt), "passes");
}

#[test]
fn what_is_dropped_before_the_gate_has_no_line() {
    let text =
        "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 22 -j DROP\nCOMMIT";
    let look = judged(&iptables(text), door(&[tcp(22, 22)], &[]));
    assert_eq!(look.lines().next(), None);
    insta::assert_snapshot!(plain(&look));
}

#[test]
fn a_rule_that_takes_the_mark_away_is_noted() {
    let notes = |options: &str| {
        let text = format!(
            "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j CONNMARK {options}\nCOMMIT"
        );
        let look = judged(&iptables(&text), door(&[tcp(22, 22)], &[]));
        assert!(look.is_well());
        look.verdicts.len() - 1
    };
    assert_eq!(notes("--set-xmark 0x1/0xffffffff"), 1);
    assert_eq!(notes("--set-xmark 0x1/0xff"), 0);
    assert_eq!(notes("--set-xmark 0x20000001/0xffffffff"), 0);
    assert_eq!(
        notes("--save-mark --nfmask 0xffffffff --ctmask 0xffffffff"),
        1
    );
    assert_eq!(notes("--save-mark --nfmask 0xff --ctmask 0xff"), 0);
    assert_eq!(
        notes("--restore-mark --nfmask 0xffffffff --ctmask 0xffffffff"),
        0
    );
    let ct = json!({"ct": {"key": "mark"}});
    for (value, count) in [
        (json!(1), 1),
        (json!({"|": [ct, 1]}), 0),
        (json!({"&": [ct, 255]}), 1),
        (json!({"|": [{"&": [ct, 0xffff_ff00_u32]}, 1]}), 0),
        (json!({"meta": {"key": "mark"}}), 1),
    ] {
        let set = json!([{"mangle": {"key": ct, "value": value}}, {"accept": null}]);
        let look = judged(&nft_chain(&[set]), door(&[tcp(22, 22)], &[]));
        assert_eq!(look.verdicts.len() - 1, count, "{value}");
    }
}

#[test]
fn docker_keeps_a_chain_for_the_administrator() {
    let text =
        "*filter\n:FORWARD DROP [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\nCOMMIT";
    let look = judged(&iptables(text), door(&[tcp(22, 22)], &["198.51.100.9"]));
    assert_eq!(
        look.lines().collect::<Vec<_>>(),
        ["iptables -I DOCKER-USER -m connmark --mark 0x20000000/0x20000000 -j ACCEPT"]
    );
}

#[test]
fn a_refusal_of_the_administrator_in_firewalld_has_no_line() {
    let dport = json!({"payload": {"protocol": "tcp", "field": "dport"}});
    let mut whole: serde_json::Value = serde_json::from_str(FIREWALLD).unwrap();
    let rule = json!({"rule": {"family": "inet", "table": "firewalld",
        "chain": "filter_IN_public_deny", "handle": 99, "expr":
        [{"match": {"op": "==", "left": dport, "right": 22}}, {"reject": null}]}});
    whole["nftables"].as_array_mut().unwrap().push(rule);
    let look = judged(&nft(&whole.to_string()), door(&[tcp(22, 22)], &[]));
    assert_eq!(look.lines().next(), None);
    assert!(plain(&look).contains("a rule of yours refuses it"));
}

#[test]
fn a_name_that_needs_quotes_gets_no_line() {
    let text = NFT_INET.replace("\"filter\"", "\"a; reboot\"");
    let text = text.replace("\"type\": \"a; reboot\"", "\"type\": \"filter\"");
    let look = judged(&nft(&text), door(&[tcp(22, 22)], &[]));
    assert!(!look.is_well());
    assert_eq!(look.lines().next(), None);
}

#[test]
fn the_gate_itself_is_left_out() {
    let text = NFT_INET.replace("\"filter\"", "\"postern\"");
    let text = text.replace("\"type\": \"postern\"", "\"type\": \"filter\"");
    assert!(judged(&nft(&text), door(&[tcp(22, 22)], &[])).is_well());
}

#[test]
fn a_table_that_iptables_cannot_show_is_none_of_its() {
    let text = "# Table `filter' contains incompatible base-chains, use 'nft' tool to list them.\n\
                *filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n*mangle\n:INPUT DROP [0:0]\nCOMMIT";
    let names: Vec<_> = iptables(text).into_iter().map(|table| table.name).collect();
    assert_eq!(names, ["mangle"]);
}

#[test]
fn a_host_without_ipv6_needs_no_line_for_it() {
    let wanted = Wanted::of(
        &[door(&[tcp(22, 22)], &[])],
        &[],
        &["192.0.2.1".parse().unwrap()],
    );
    let verdicts = judge::judge(&nft(NFT_IP_AND_IP6), &wanted.unwrap());
    assert_eq!(verdicts.len(), 1);
    assert!(
        verdicts[0].text.contains("over IPv4:"),
        "{}",
        verdicts[0].text
    );
}

#[test]
fn of_a_range_each_port_is_judged() {
    let open = "-A INPUT -p tcp -m multiport --dports 8000:8005,8007 -j ACCEPT";
    let text = format!("*filter\n:INPUT DROP [0:0]\n{open}\nCOMMIT");
    let judge = |first, last| word(&judged(&iptables(&text), door(&[tcp(first, last)], &[])));
    assert_eq!(judge(8000, 8005), "passes");
    assert_eq!(judge(8000, 8007), "drops");
}

proptest! {
    #[test]
    fn no_text_of_iptables_stops_the_reader(lines in proptest::collection::vec(
        "(\\*filter|:INPUT DROP \\[0:0\\]|-A INPUT( !)? -[a-z-]{1,12} [a-zA-Z0-9:/,.\"\\\\-]{0,9}( -j [A-Z]{3,6})?|.{0,20})",
        0..12,
    )) {
        let tables = iptables(&lines.join("\n"));
        judged(&tables, door(&[tcp(22, 22), Service::Icmp], &[]));
    }

    #[test]
    fn no_text_of_nft_stops_the_reader(text in ".{0,60}", cut in 0_usize..4_000) {
        let changed = NFT_INET.replacen("input", &text.replace(['"', '\\'], ""), 2);
        for text in [changed.as_str(), NFT_INET.get(..cut).unwrap_or_default()] {
            if let Some(tables) = nft::parse(text) {
                judged(&tables, door(&[tcp(22, 22)], &[]));
            }
        }
    }
}

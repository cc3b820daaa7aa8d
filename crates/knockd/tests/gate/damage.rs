//! What others do to the table is noticed, and mended.

use std::process::Command;
use std::time::Duration;

use knock_core::service::Service;
use knockd::gate::{Changes, Damage, Gate, GateError, Plan, Trial, Watch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::net::{CLIENT, Net, OTHER, after, door, grant, nft, now, opening, tcp_ports, until};
use crate::{Case, Outcome};

pub(crate) const CASES: &[(&str, Case)] = &[
    ("every_foreign_edit_is_noticed_and_mended", foreign),
    ("our_own_edits_wake_nobody", own),
    ("other_tables_are_none_of_our_business", others),
    ("lost_news_are_told", lost),
    ("a_grant_into_a_flushed_table_is_no_grant", flushed),
    (
        "a_grant_has_its_own_end_also_where_an_element_is_there_already",
        there_already,
    ),
    (
        "a_grant_that_the_gate_is_not_up_for_is_refused",
        not_guarded,
    ),
    ("without_the_capability_it_says_so", not_permitted),
    ("an_element_about_to_end_is_no_damage", ends),
];

/// What an administrator may do, and what we say that it has damaged.
const EDITS: &[(&str, &str)] = &[
    ("flush ruleset", "Gone"),
    ("delete table inet postern", "Gone"),
    ("delete table inet postern; add table inet postern", "Table"),
    ("add table inet postern { flags dormant; }", "Table"),
    ("flush table inet postern", "Rules"),
    ("flush chain inet postern prerouting", "Rules"),
    ("flush chain inet postern guard", "Rules"),
    ("insert rule inet postern prerouting accept", "Rules"),
    ("add rule inet postern grants tcp dport 22 accept", "Rules"),
    ("DELETE FIRST RULE OF prerouting", "Rules"),
    ("DELETE FIRST RULE OF guard", "Rules"),
    ("REPLACE FIRST RULE OF guard", "Rules"),
    ("add chain inet postern more", "Chains"),
    (
        "add chain inet postern prerouting { policy drop; }",
        "Chains",
    ),
    (
        "add chain inet postern early { type filter hook prerouting priority -200; }",
        "Chains",
    ),
    ("add set inet postern more { type inet_proto; }", "Sets"),
    ("flush set inet postern guarded", "Guard"),
    ("delete element inet postern guarded { tcp . 22 }", "Guard"),
    ("add element inet postern guarded { tcp . 443 }", "Guard"),
    ("flush set inet postern guarded_ping", "Guard"),
    ("flush set inet postern granted4", "Grants"),
    (
        "delete element inet postern granted4 { 10.77.0.1 . tcp . 22 }",
        "Grants",
    ),
    (
        "add element inet postern granted4 { 10.77.0.3 . tcp . 22 timeout 1h }",
        "Grants",
    ),
    (
        "add element inet postern granted4 { 10.77.0.3 . tcp . 22 }",
        "Grants",
    ),
    (
        "delete element inet postern granted4 { 10.77.0.1 . tcp . 22 }; \
         add element inet postern granted4 { 10.77.0.1 . tcp . 22 timeout 9h }",
        "Grants",
    ),
    (
        "add element inet postern pinged6 { fd77::3 timeout 1h }",
        "Grants",
    ),
];

fn foreign(_net: &Net) -> Outcome {
    let ssh = door("ssh", &[], &[tcp_ports(22, 22), Service::Icmp]);
    let plan = Plan::of(std::slice::from_ref(&ssh));
    let mut gate = Gate::new()?;
    let mut watch = gate.watch()?;
    gate.up(&plan, &Trial::new(), now())?;
    grant(&mut gate, &ssh, CLIENT, 600)?;
    for (edit, expected) in EDITS {
        assert_eq!(gate.check(now())?, None, "before {edit}");
        edit_by_name(edit)?;
        until(|| Ok(watch.handle_readable()? == Changes::Foreign))
            .map_err(|error| format!("{edit}: {error}"))?;
        let damage = gate.check(now())?;
        let name = format!("{damage:?}");
        assert!(
            name.starts_with(&format!("Some({expected}")),
            "{edit}: {name}"
        );
        gate.up(&plan, &Trial::new(), now())?;
    }
    assert_eq!(gate.check(now())?, None);
    Ok(())
}

/// Rules are known to nft by numbers.
fn edit_by_name(edit: &str) -> Outcome {
    let (verb, chain) = match edit.split_once(" FIRST RULE OF ") {
        Some((verb, chain)) => (verb.to_lowercase(), chain),
        None => {
            for command in edit
                .split_inclusive("; ")
                .filter(|_| edit.starts_with("delete"))
            {
                nft(command)?;
            }
            if !edit.starts_with("delete") {
                nft(edit)?;
            }
            return Ok(());
        }
    };
    let output = Command::new("nft")
        .args(["-a", "list", "chain", "inet", "postern", chain])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let mut handles = text.lines().filter_map(|line| line.split_once("# handle "));
    let (_, handle) = handles.nth(1).ok_or("no rule")?;
    let rule = if verb == "replace" { "drop" } else { "" };
    nft(&format!(
        "{verb} rule inet postern {chain} handle {handle} {rule}"
    ))?;
    Ok(())
}

fn own(_net: &Net) -> Outcome {
    let ssh = door("ssh", &[], &[tcp_ports(22, 40)]);
    let plan = Plan::of(std::slice::from_ref(&ssh));
    let mut gate = Gate::new()?;
    let mut watch = gate.watch()?;
    for _ in 0..3 {
        gate.up(&plan, &Trial::new(), now())?;
        grant(&mut gate, &ssh, CLIENT, 600)?;
        grant(&mut gate, &ssh, CLIENT, 900)?;
        gate.revoke(opening(&ssh, CLIENT).key(), now())?;
    }
    gate.down()?;
    assert!(!readable(&watch)?);
    assert_eq!(watch.handle_readable()?, Changes::None);
    Ok(())
}

fn readable(watch: &Watch) -> Outcome<bool> {
    let mut fds = [PollFd::new(watch, PollFlags::IN)];
    Ok(poll(
        &mut fds,
        Some(&Timespec::try_from(Duration::from_millis(50))?),
    )? > 0)
}

fn others(_net: &Net) -> Outcome {
    let gate = Gate::new()?;
    let mut watch = gate.watch()?;
    nft("add table inet postern2; add chain inet postern2 c; add rule inet postern2 c accept")?;
    nft("add table ip postern; add chain ip postern c")?;
    assert_eq!(watch.handle_readable()?, Changes::None);
    nft("add table inet postern")?;
    assert_eq!(watch.handle_readable()?, Changes::Foreign);
    assert_eq!(watch.handle_readable()?, Changes::None);
    Ok(())
}

fn lost(_net: &Net) -> Outcome {
    let gate = Gate::new()?;
    let mut watch = gate.watch()?;
    nft("add table inet more; add set inet more s { type inet_service . inet_service; }")?;
    for first in 0..60 {
        let elements: Vec<_> = (0..2_000).map(|i| format!("{first} . {i}")).collect();
        let text = format!("add element inet more s {{ {} }}", elements.join(","));
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(&file, text)?;
        let status = Command::new("nft").arg("-f").arg(file.path()).status()?;
        assert!(status.success());
    }
    let mut heard = Vec::new();
    while readable(&watch)? {
        heard.push(watch.handle_readable()?);
    }
    assert!(heard.contains(&Changes::Lost), "{heard:?}");
    nft("add table inet postern")?;
    assert_eq!(watch.handle_readable()?, Changes::Foreign);
    Ok(())
}

fn flushed(_net: &Net) -> Outcome {
    let ssh = door("ssh", &[], &[tcp_ports(22, 22)]);
    let plan = Plan::of(std::slice::from_ref(&ssh));
    let mut gate = Gate::new()?;
    gate.up(&plan, &Trial::new(), now())?;
    nft("flush ruleset")?;
    let refused = gate.grant(&opening(&ssh, CLIENT), after(60), now());
    let error = refused.err().ok_or("granted")?;
    assert!(error.is_gone(), "{error}");
    assert_eq!(gate.grants().count(), 0);
    assert_eq!(gate.check(now())?, Some(Damage::Gone));
    gate.up(&plan, &Trial::new(), now())?;
    grant(&mut gate, &ssh, CLIENT, 60)
}

fn there_already(_net: &Net) -> Outcome {
    let ssh = door("ssh", &[], &[tcp_ports(22, 23)]);
    let web = door("web", &[], &[tcp_ports(23, 24)]);
    let plan = Plan::of(&[ssh.clone(), web.clone()]);
    let mut gate = Gate::new()?;
    gate.up(&plan, &Trial::new(), now())?;
    let element = format!("{CLIENT} . tcp . 22");
    for stays in ["", "timeout 9h", "timeout 5s"] {
        nft(&format!(
            "add element inet postern granted4 {{ {element} {stays} }}"
        ))?;
        grant(&mut gate, &ssh, CLIENT, 600)?;
        assert_eq!(gate.check(now())?, None, "{stays}");
        // What another door has given as well stays as long as the longer of both.
        grant(&mut gate, &web, CLIENT, 60)?;
        assert_eq!(gate.check(now())?, None, "{stays}");
        gate.revoke(opening(&ssh, CLIENT).key(), now())?;
        assert_eq!(gate.check(now())?, None, "{stays}");
        gate.revoke(opening(&web, CLIENT).key(), now())?;
        assert_eq!(gate.check(now())?, None, "{stays}");
    }
    Ok(())
}

fn not_guarded(_net: &Net) -> Outcome {
    let ssh = door("ssh", &[], &[tcp_ports(22, 22)]);
    let web = door("web", &["10.88.0.1"], &[tcp_ports(80, 80)]);
    let mut gate = Gate::new()?;
    for opening in [opening(&ssh, CLIENT), opening(&web, OTHER)] {
        let refused = gate.grant(&opening, after(60), now());
        assert!(matches!(refused, Err(GateError::NotGuarded { .. })));
        gate.up(&Plan::of(std::slice::from_ref(&ssh)), &Trial::new(), now())?;
    }
    assert_eq!(gate.grants().count(), 0);
    Ok(())
}

fn not_permitted(_net: &Net) -> Outcome {
    let plan = Plan::of(&[door("ssh", &[], &[tcp_ports(22, 22)])]);
    // Capabilities are a thread's own; this one ends with the case.
    let none = rustix::thread::CapabilitySets {
        effective: rustix::thread::CapabilitySet::empty(),
        permitted: rustix::thread::CapabilitySet::empty(),
        inheritable: rustix::thread::CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)?;
    let mut gate = Gate::new()?;
    let refused = gate.up(&plan, &Trial::new(), now());
    let error = refused.err().ok_or("it is up")?;
    assert!(matches!(error, GateError::NotPermitted), "{error:?}");
    assert_eq!(error.to_string(), "not permitted: CAP_NET_ADMIN is missing");
    Ok(())
}

fn ends(_net: &Net) -> Outcome {
    let ssh = door("ssh", &[], &[tcp_ports(22, 22)]);
    let plan = Plan::of(std::slice::from_ref(&ssh));
    let mut gate = Gate::new()?;
    gate.up(&plan, &Trial::new(), now())?;
    grant(&mut gate, &ssh, CLIENT, 1)?;
    let end = after(2);
    while now() < end {
        assert_eq!(gate.check(now())?, None);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(gate.expire(now()).len(), 1);
    assert_eq!(gate.check(now())?, None);
    Ok(())
}

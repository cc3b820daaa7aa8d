use knock_core::config;
use knock_core::door::{Native, Widening};
use knock_core::service::Ports;

use super::*;

fn door(targets: &[&str], open: &[Service], v4: u8) -> Door {
    let parsed = config::parse(b"[door]\nsequence = 7000\n", &|_, _| None);
    let mut door = parsed.config.unwrap().doors.remove(0);
    let targets = targets.iter().map(|target| target.parse().unwrap());
    door.trigger.targets = targets.collect();
    door.action.native = Some(Native {
        open: open.to_vec(),
        open_for: Native::DEFAULT_TIME,
        open_to: Widening { v4, v6: 128 },
    });
    door
}

fn tcp(first: u16, last: u16) -> Service {
    Service::Tcp(Ports::new(first, last).unwrap())
}

#[test]
fn doors_of_the_same_places_are_one_scope() {
    let plan = Plan::of(&[
        door(&["10.0.0.0/8", "192.0.2.1"], &[tcp(22, 23)], 32),
        door(
            &["192.0.2.1", "10.1.0.0/16", "10.0.0.0/8"],
            &[tcp(23, 24), Service::Icmp],
            24,
        ),
        door(&[], &[tcp(80, 80)], 32),
    ]);
    let guarded: Vec<_> = plan.guarded().map(|it| it.to_string()).collect();
    let at = "at 10.0.0.0/8, 192.0.2.1";
    assert_eq!(
        guarded,
        [
            "tcp/80".to_owned(),
            format!("tcp/22 {at}"),
            format!("tcp/23 {at}"),
            format!("tcp/24 {at}"),
            format!("icmp {at}"),
        ]
    );
}

#[test]
fn ports_of_sealed_packets_are_guarded_where_there_is_a_gate() {
    let behind = door(&["10.0.0.0/8"], &[tcp(22, 22)], 32);
    let plan = Plan::of(std::slice::from_ref(&behind)).silent_at(&[51_443, 53]);
    let guarded: Vec<_> = plan.guarded().map(|it| it.to_string()).collect();
    // Of the host itself, whatever the doors are of; and nobody gets a grant for them.
    assert_eq!(guarded, ["udp/53", "udp/51443", "tcp/22 at 10.0.0.0/8"]);
    let host = plan.scopes.first_key_value().unwrap().1;
    assert!(host.sets.is_empty());
    assert_eq!(
        Plan::of(std::slice::from_ref(&behind)).silent_at(&[]),
        Plan::of(&[behind])
    );
    assert!(Plan::default().silent_at(&[51_443]).is_empty());
}

#[test]
fn doors_without_services_guard_nothing() {
    let mut commands = door(&[], &[tcp(22, 22)], 32);
    commands.action.native = None;
    assert!(Plan::of(&[commands]).is_empty());
}

#[test]
fn a_plan_does_not_depend_on_the_order_of_the_doors() {
    let doors = [
        door(&["10.0.0.1"], &[tcp(22, 22), tcp(80, 90)], 32),
        door(&[], &[tcp(80, 90), tcp(22, 22)], 8),
        door(&["10.0.0.1"], &[tcp(85, 95)], 16),
    ];
    let [a, b, c] = doors.clone();
    assert_eq!(Plan::of(&doors), Plan::of(&[c, a, b]));
}

#[test]
fn sets_are_known_again_by_their_names() {
    let host: Targets = [].into();
    let one: Targets = ["10.0.0.1".parse().unwrap()].into();
    let two: Targets = ["10.0.0.2".parse().unwrap()].into();
    for ping in [false, true] {
        for (ipv4, width) in [(true, 32), (true, 1), (false, 128), (false, 64)] {
            let shape = Shape { ping, ipv4, width };
            for targets in [&host, &one] {
                let name = shape.name(targets);
                assert_eq!(Shape::from_name(&name, targets), Some(shape), "{name}");
                assert_eq!(Shape::from_name(&name, &two), None, "{name}");
            }
            assert_eq!(Shape::from_name(&shape.name(&one), &host), None);
        }
    }
    for name in [
        "granted",
        "granted4_",
        "granted4_32",
        "granted4_33",
        "granted5",
        "guarded",
        "x",
    ] {
        assert_eq!(Shape::from_name(name, &host), None, "{name}");
    }
}

#[test]
fn a_scope_of_one_family_has_sets_of_that_family() {
    let plan = Plan::of(&[door(&["10.0.0.1"], &[tcp(22, 22)], 32)]);
    let sets: Vec<_> = plan.scopes.values().flat_map(|scope| &scope.sets).collect();
    assert!(sets.iter().all(|shape| shape.ipv4) && sets.len() == 1);
}

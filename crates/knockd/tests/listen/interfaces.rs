//! Interfaces that come and go, their addresses, and what lies below or above them.

use knockd::listen::{DefaultInterface, InterfaceChange, default_interface};

use crate::bench::Bench;
use crate::knocks::A;
use crate::net::{Net, Tun, knocks};
use crate::{Case, Outcome};

pub(crate) const CASES: &[(&str, Case)] = &[
    ("an_interface_that_is_absent_is_waited_for", absent),
    ("an_interface_that_is_made_anew_is_heard_again", made_anew),
    (
        "an_interface_that_goes_down_is_heard_when_it_is_up_again",
        down_and_up,
    ),
    ("an_interface_that_gets_a_name_is_heard_by_it", renamed),
    ("an_address_that_comes_later_counts", later_address),
    (
        "an_address_that_is_replaced_counts_and_the_old_one_does_not",
        replaced_address,
    ),
    ("several_interfaces_are_heard_and_no_others", several),
    ("the_names_of_interfaces_can_change", other_names),
    ("a_tagged_frame_counts_on_the_interface_below", tagged),
    ("any_hears_every_interface_also_a_new_one", any),
    (
        "any_counts_a_packet_once_though_a_bridge_shows_it_twice",
        bridge,
    ),
    (
        "any_counts_a_packet_to_a_target_once_too",
        bridge_with_target,
    ),
    (
        "an_interface_that_leaves_a_bridge_is_still_there",
        left_bridge,
    ),
    (
        "without_a_name_it_is_eth0_or_the_default_route_or_any",
        by_default,
    ),
];

/// Where tun interfaces can be made.
pub(crate) const TUN: &[(&str, Case)] = &[("a_tun_interface_hears_both_families", tun)];

const ALL: &str = "7000 8000 9000";
const OPENS: &str = "A.1 A.2 A.3 A!";

fn absent(net: &Net) -> Outcome {
    let mut bench = Bench::new(A, &["late0"])?;
    bench.changes("late0", &InterfaceChange::Absent)?;
    let cable = net.lay("client1", "late0")?;
    net.server.add_address("late0", "10.77.0.2/24")?;
    bench.changes("late0", &InterfaceChange::Appeared)?;
    bench.wait_for_addresses("late0", &["10.77.0.2"])?;
    assert_eq!(bench.knock(&cable, ALL)?, OPENS);
    Ok(())
}

fn made_anew(net: &Net) -> Outcome {
    let mut bench = Bench::new(A, &["server0"])?;
    assert_eq!(bench.knock(&net.cable, ALL)?, OPENS);
    for _ in 0..3 {
        net.server.delete("server0")?;
        bench.changes("server0", &InterfaceChange::Gone)?;
        let cable = net.lay("client0", "server0")?;
        net.server.add_address("server0", "10.77.0.2/24")?;
        bench.wait_for_addresses("server0", &["10.77.0.2"])?;
        assert_eq!(bench.knock(&cable, ALL)?, OPENS);
    }
    Ok(())
}

fn down_and_up(net: &Net) -> Outcome {
    let mut bench = Bench::new(A, &["server0"])?;
    assert_eq!(bench.knock(&net.cable, "7000 8000")?, "A.1 A.2");
    net.server.set_up("server0", false)?;
    bench.changes("server0", &InterfaceChange::Down)?;
    net.server.set_up("server0", true)?;
    bench.changes("server0", &InterfaceChange::Up)?;
    assert_eq!(bench.knock(&net.cable, "9000")?, "A.3 A!");
    Ok(())
}

fn renamed(net: &Net) -> Outcome {
    let mut bench = Bench::new(A, &["other0"])?;
    bench.changes("other0", &InterfaceChange::Absent)?;
    net.server.set_up("server0", false)?;
    net.server.rename("server0", "other0")?;
    net.server.set_up("other0", true)?;
    bench.wait_for_addresses("other0", &["10.77.0.2"])?;
    assert_eq!(bench.knock(&net.cable, ALL)?, OPENS);
    Ok(())
}

fn later_address(net: &Net) -> Outcome {
    let cable = net.lay("client1", "server1")?;
    let mut bench = Bench::new(A, &["server1"])?;
    assert_eq!(bench.knock(&cable, ALL)?, "");
    net.server.add_address("server1", "10.77.0.2/24")?;
    bench.wait_for_addresses("server1", &["10.77.0.2"])?;
    assert_eq!(bench.knock(&cable, ALL)?, OPENS);
    net.server.add_address("server1", "fd77::22/64")?;
    bench.wait_for_addresses("server1", &["10.77.0.2", "fd77::22"])?;
    assert_eq!(
        bench.knock_from_to(&cable, "fd77::1", "fd77::22", ALL)?,
        OPENS
    );
    Ok(())
}

fn replaced_address(net: &Net) -> Outcome {
    let mut bench = Bench::new(A, &["server0"])?;
    assert_eq!(bench.knock(&net.cable, "7000 8000")?, "A.1 A.2");
    net.server.remove_address("server0", "10.77.0.2/24")?;
    net.server.add_address("server0", "10.77.0.3/24")?;
    bench.wait_for_addresses("server0", &["10.77.0.3", "fd77::2"])?;
    assert_eq!(bench.knock(&net.cable, "9000")?, "", "to the old address");
    let rest = bench.knock_from_to(&net.cable, "10.77.0.1", "10.77.0.3", "9000")?;
    assert_eq!(rest, "A.3 A!", "the attempt goes on");
    Ok(())
}

fn several(net: &Net) -> Outcome {
    let (second, third) = (
        net.lay("client1", "server1")?,
        net.lay("client2", "server2")?,
    );
    net.server.add_address("server1", "10.78.0.2/24")?;
    net.server.add_address("server2", "10.79.0.2/24")?;
    let mut bench = Bench::new(A, &["server0", "server1"])?;
    assert_eq!(bench.knock(&net.cable, ALL)?, OPENS);
    assert_eq!(
        bench.knock_from_to(&second, "10.78.0.1", "10.78.0.2", ALL)?,
        OPENS
    );
    for knock in knocks("10.79.0.1", "10.79.0.2", ALL)? {
        third.send(&knock)?;
    }
    assert_eq!(bench.knock(&net.cable, "")?, "");
    // An address counts where it is.
    assert_eq!(
        bench.knock_from_to(&second, "10.77.0.1", "10.77.0.2", ALL)?,
        ""
    );
    Ok(())
}

fn other_names(net: &Net) -> Outcome {
    let cable = net.lay("client1", "server1")?;
    net.server.add_address("server1", "10.78.0.2/24")?;
    let mut bench = Bench::new(A, &["server0"])?;
    assert_eq!(bench.knock(&net.cable, "7000 8000")?, "A.1 A.2");
    bench.side.set_interfaces(vec!["server1".to_owned()]);
    assert_eq!(
        bench.knock_from_to(&cable, "10.77.0.1", "10.78.0.2", "9000")?,
        "A.3 A!"
    );
    for knock in knocks("10.77.0.1", "10.77.0.2", ALL)? {
        net.cable.send(&knock)?;
    }
    assert_eq!(
        bench.knock_from_to(&cable, "10.78.0.1", "10.78.0.2", ALL)?,
        OPENS
    );
    Ok(())
}

fn tagged(net: &Net) -> Outcome {
    let mut bench = Bench::new(A, &["server0"])?;
    for (from, to) in [("10.77.0.1", "10.77.0.2"), ("fd77::1", "fd77::2")] {
        for knock in knocks(from, to, ALL)? {
            net.cable.send_tagged(&knock, 5)?;
        }
        let reports = bench.reports(&net.cable)?;
        assert_eq!(bench.text(&reports), OPENS);
    }
    Ok(())
}

fn tun(net: &Net) -> Outcome {
    let mut bench = Bench::new(A, &["tun0"])?;
    let mut tun = Tun::new(&net.server, "tun0")?;
    net.server.add_address("tun0", "10.80.0.2/24")?;
    net.server.add_address("tun0", "fd80::2/64")?;
    bench.wait_for_addresses("tun0", &["10.80.0.2", "fd80::2"])?;
    let v4 = knocks("10.80.0.1", "10.80.0.2", "7000 5555 8000 9000")?;
    assert_eq!(bench.knock_tun(&mut tun, &v4)?, OPENS);
    let v6 = knocks("fd80::1", "fd80::2", "7000 5555 8000 9000")?;
    assert_eq!(bench.knock_tun(&mut tun, &v6)?, OPENS);
    Ok(())
}

fn any(net: &Net) -> Outcome {
    let mut bench = Bench::new(A, &["any"])?;
    assert_eq!(bench.knock(&net.cable, ALL)?, OPENS);
    let cable = net.lay("client1", "server1")?;
    net.server.add_address("server1", "10.78.0.2/24")?;
    // Nothing is told of single interfaces, so all there is to wait for is that it works.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while bench.knock_from_to(&cable, "10.78.0.1", "10.78.0.2", ALL)? != OPENS {
        assert!(
            std::time::Instant::now() < deadline,
            "the new interface is not heard"
        );
    }
    assert_eq!(bench.knock(&net.cable, ALL)?, OPENS);
    Ok(())
}

/// `br0` with the server's addresses, and `server0` as its port.
fn make_bridge(net: &Net) -> Outcome {
    for address in ["10.77.0.2/24", "fd77::2/64"] {
        net.server.remove_address("server0", address)?;
    }
    net.server.add_bridge("br0", &["server0"])?;
    for address in ["10.77.0.2/24", "fd77::2/64"] {
        net.server.add_address("br0", address)?;
    }
    Ok(())
}

const ONE_AND_TWICE: &str = "[ONE]\nsequence = 7000\n[TWICE]\nsequence = 7100,7100\n";

fn bridge(net: &Net) -> Outcome {
    make_bridge(net)?;
    let mut bench = Bench::new(ONE_AND_TWICE, &["any"])?;
    assert_eq!(bench.knock(&net.cable, "7000 7100")?, "ONE.1 ONE! TWICE.1");
    assert_eq!(
        bench.knock(&net.cable, "7100 7000")?,
        "TWICE.2 TWICE! ONE.1 ONE!"
    );
    Ok(())
}

fn bridge_with_target(net: &Net) -> Outcome {
    make_bridge(net)?;
    let doors = ONE_AND_TWICE.replace("\n[", "\ntarget = 10.77.0.2\n[");
    let mut bench = Bench::new(&format!("{doors}target = 10.77.0.2\n"), &["any"])?;
    assert_eq!(bench.knock(&net.cable, "7000 7100")?, "ONE.1 ONE! TWICE.1");
    assert_eq!(
        bench.knock(&net.cable, "7100 7000")?,
        "TWICE.2 TWICE! ONE.1 ONE!"
    );
    Ok(())
}

fn left_bridge(net: &Net) -> Outcome {
    net.server.add_bridge("br0", &["server0"])?;
    let mut bench = Bench::new(A, &["server0"])?;
    assert_eq!(bench.knock(&net.cable, "7000 8000")?, "A.1 A.2");
    net.server.delete("br0")?;
    // What the kernel tells of the bridge has come before this.
    net.server.add_address("server0", "10.77.0.3/24")?;
    bench.wait_for_addresses("server0", &["10.77.0.2", "10.77.0.3", "fd77::2"])?;
    assert_eq!(bench.knock(&net.cable, "9000")?, "A.3 A!");
    Ok(())
}

fn by_default(net: &Net) -> Outcome {
    assert_eq!(default_interface()?, DefaultInterface::Any);
    net.server.add_default_route("10.77.0.1".parse()?)?;
    assert_eq!(
        default_interface()?,
        DefaultInterface::DefaultRoute("server0".into())
    );
    net.lay("client1", "eth0")?;
    assert_eq!(default_interface()?, DefaultInterface::Eth0);
    Ok(())
}

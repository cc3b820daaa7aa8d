//! What comes through, and what does not.

use std::net::{SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use knock_core::service::Service;
use knockd::gate::{ENDED, Gate, MARK, Plan, Trial};

use crate::net::{
    CLIENT, CLIENT_6, Echo, INNER, INNER_6, Net, OTHER, OTHER_6, SERVER, SERVER_6, after, door,
    grant, is_cut, nft, now, opening, talks, tcp_ports, udp_port, until, up, widened,
};
use crate::{Case, Outcome};

pub(crate) const CASES: &[(&str, Case)] = &[
    ("a_guarded_port_is_open_only_to_who_has_a_grant", tcp),
    ("udp_and_ping_are_guarded_alike", udp_and_ping),
    ("the_kernel_closes_by_itself", closes),
    ("what_stands_outlives_its_grant", stands),
    ("a_range_opens_and_its_neighbours_do_not", range),
    ("the_widest_door_opens_and_closes", wide_range),
    ("what_is_sent_to_all_is_guarded_too", to_all),
    ("a_widened_grant_is_for_the_network", widening),
    ("two_doors_on_one_port_do_not_close_each_other", shared),
    ("a_host_behind_is_guarded_too", forwarded),
    ("a_grant_of_any_door_is_enough", overlapping),
    (
        "a_redirected_port_is_guarded_by_its_first_number",
        redirected,
    ),
    ("the_host_reaches_itself", loopback),
    ("to_put_it_up_again_lets_nothing_through", atomic),
    ("the_chain_stays_while_its_rules_are_replaced", in_place),
    ("grants_survive_that_it_is_put_up_again", survives),
    ("another_daemon_takes_grants_over", adopted),
    ("a_guard_on_trial_goes_by_itself", on_trial),
    (
        "kill_ends_a_connection_also_if_the_server_speaks_first",
        kill,
    ),
    (
        "an_ended_connection_comes_back_with_a_grant",
        kill_and_grant,
    ),
    ("connections_from_before_the_gate_stand", from_before),
    ("segments_out_of_nowhere_are_dropped", midstream),
    ("untracked_packets_need_a_grant_too", untracked),
    ("admitted_connections_are_marked", marked),
    ("down_opens_everything", down),
];

fn tcp(net: &Net) -> Outcome {
    let _listener = Net::listen(&net.server, 22)?;
    let _open = Net::listen(&net.server, 80)?;
    let ssh = door("ssh", &[], &[tcp_ports(22, 22)]);
    assert!(net.gets_tcp(CLIENT, SERVER, 22)? && net.gets_tcp(CLIENT_6, SERVER_6, 22)?);
    let mut gate = up(std::slice::from_ref(&ssh))?;
    assert!(!net.tcp(CLIENT, SERVER, 22)? && !net.tcp(CLIENT_6, SERVER_6, 22)?);
    assert!(net.gets_tcp(CLIENT, SERVER, 80)?, "not guarded");
    grant(&mut gate, &ssh, CLIENT, 60)?;
    assert!(net.gets_tcp(CLIENT, SERVER, 22)?);
    assert!(!net.tcp(OTHER, SERVER, 22)? && !net.tcp(CLIENT_6, SERVER_6, 22)?);
    grant(&mut gate, &ssh, CLIENT_6, 60)?;
    assert!(net.gets_tcp(CLIENT_6, SERVER_6, 22)? && !net.tcp(OTHER_6, SERVER_6, 22)?);
    assert!(gate.revoke(opening(&ssh, CLIENT).key(), now())?);
    assert!(!gate.revoke(opening(&ssh, CLIENT).key(), now())?);
    assert!(!net.tcp(CLIENT, SERVER, 22)? && net.gets_tcp(CLIENT_6, SERVER_6, 22)?);
    Ok(())
}

fn udp_and_ping(net: &Net) -> Outcome {
    let echo = Echo::start(&net.server, 5_000)?;
    let doors = [door("both", &[], &[udp_port(5_000), Service::Icmp])];
    assert!(net.gets_ping(CLIENT, SERVER)? && net.gets_ping(CLIENT_6, SERVER_6)?);
    let mut gate = up(&doors)?;
    for (client, other, server) in [(CLIENT, OTHER, SERVER), (CLIENT_6, OTHER_6, SERVER_6)] {
        assert!(!net.udp(client, server, 5_000)? && !net.ping(client, server)?);
        grant(&mut gate, &doors[0], client, 60)?;
        assert!(net.gets_udp(client, server, 5_000)? && net.gets_ping(client, server)?);
        assert!(!net.udp(other, server, 5_000)? && !net.ping(other, server)?);
    }
    echo.stop(&net.server)
}

fn closes(net: &Net) -> Outcome {
    let _listener = Net::listen(&net.server, 22)?;
    let ssh = door("ssh", &[], &[tcp_ports(22, 22)]);
    let mut gate = up(std::slice::from_ref(&ssh))?;
    grant(&mut gate, &ssh, CLIENT, 3)?;
    assert!(net.gets_tcp(CLIENT, SERVER, 22)?);
    assert!(gate.expire(now()).is_empty());
    // Nobody does anything: that is what is tested.
    drop(gate);
    until(|| Ok(!net.tcp(CLIENT, SERVER, 22)?))
}

fn stands(net: &Net) -> Outcome {
    let listener = Net::listen(&net.server, 22)?;
    let ssh = door("ssh", &[], &[tcp_ports(22, 22)]);
    let mut gate = up(std::slice::from_ref(&ssh))?;
    grant(&mut gate, &ssh, CLIENT, 60)?;
    let connection = net.connect(CLIENT, SERVER, 22, Duration::from_secs(20))?;
    let connection = connection.ok_or("closed")?;
    let (server, _) = listener.accept()?;
    gate.revoke(opening(&ssh, CLIENT).key(), now())?;
    assert!(!net.tcp(CLIENT, SERVER, 22)?);
    assert!(talks(&connection, &server)?);
    Ok(())
}

fn range(net: &Net) -> Outcome {
    let mut listeners = Vec::new();
    for port in 8_000..=8_004 {
        listeners.push(Net::listen(&net.server, port)?);
    }
    let web = door("web", &[], &[tcp_ports(8_001, 8_003)]);
    let all = door("all", &[], &[tcp_ports(8_000, 8_004)]);
    let mut gate = up(&[web.clone(), all])?;
    grant(&mut gate, &web, CLIENT, 60)?;
    for port in 8_000..=8_004 {
        if (8_001..=8_003).contains(&port) {
            assert!(net.gets_tcp(CLIENT, SERVER, port)?, "{port}");
        } else {
            assert!(!net.tcp(CLIENT, SERVER, port)?, "{port}");
        }
    }
    Ok(())
}

fn wide_range(net: &Net) -> Outcome {
    let _listener = Net::listen(&net.server, 9_023)?;
    let all = door("all", &[], &[tcp_ports(8_000, 9_023)]);
    let mut gate = up(std::slice::from_ref(&all))?;
    grant(&mut gate, &all, CLIENT, 60)?;
    grant(&mut gate, &all, CLIENT_6, 60)?;
    assert!(net.gets_tcp(CLIENT, SERVER, 9_023)? && net.gets_tcp(CLIENT_6, SERVER_6, 9_023)?);
    assert!(gate.revoke(opening(&all, CLIENT).key(), now())?);
    assert!(!net.tcp(CLIENT, SERVER, 9_023)? && net.gets_tcp(CLIENT_6, SERVER_6, 9_023)?);
    assert_eq!(gate.check(now())?, None);
    Ok(())
}

fn to_all(net: &Net) -> Outcome {
    let echo = Echo::start(&net.server, 5_000)?;
    let interface = net.client.index("client0")?;
    let answered = |from: &str, to: SocketAddr| -> Outcome<bool> {
        net.client.run(|| {
            let socket = UdpSocket::bind((from, 0))?;
            socket.set_broadcast(true)?;
            socket.set_read_timeout(Some(Duration::from_millis(300)))?;
            socket.send_to(b"x", to)?;
            Ok(socket.recv_from(&mut [0; 8]).is_ok())
        })?
    };
    let all = SocketAddr::V6(SocketAddrV6::new("ff02::1".parse()?, 5_000, 0, interface));
    let all: [(&str, SocketAddr); 3] = [
        (CLIENT, "10.77.0.255:5000".parse()?),
        (CLIENT, "255.255.255.255:5000".parse()?),
        (CLIENT_6, all),
    ];
    let door = door("udp", &[], &[udp_port(5_000)]);
    for (from, to) in all {
        until(|| answered(from, to)).map_err(|error| format!("{to}: {error}"))?;
    }
    let mut gate = up(std::slice::from_ref(&door))?;
    for (from, to) in all {
        assert!(!answered(from, to)?, "{to}");
        grant(&mut gate, &door, from, 60)?;
        until(|| answered(from, to)).map_err(|error| format!("{to}: {error}"))?;
        gate.revoke(opening(&door, from).key(), now())?;
    }
    echo.stop(&net.server)
}

fn widening(net: &Net) -> Outcome {
    net.client.add_address("client0", "10.77.0.200/24")?;
    net.client.add_address("client0", "fd77::1:0:0:1/64")?;
    let _listener = Net::listen(&net.server, 22)?;
    let ssh = widened(door("ssh", &[], &[tcp_ports(22, 22)]), 25, 80);
    let mut gate = up(std::slice::from_ref(&ssh))?;
    grant(&mut gate, &ssh, CLIENT, 60)?;
    grant(&mut gate, &ssh, CLIENT_6, 60)?;
    assert!(net.gets_tcp(CLIENT, SERVER, 22)? && net.gets_tcp(OTHER, SERVER, 22)?);
    assert!(!net.tcp("10.77.0.200", SERVER, 22)?);
    assert!(net.gets_tcp(CLIENT_6, SERVER_6, 22)? && net.gets_tcp(OTHER_6, SERVER_6, 22)?);
    assert!(!net.tcp("fd77::1:0:0:1", SERVER_6, 22)?);
    let neighbour = OTHER.parse()?;
    assert_eq!(
        gate.grants_of("ssh", neighbour),
        [opening(&ssh, CLIENT).key().clone()]
    );
    assert!(gate.grants_of("ssh", "10.77.0.200".parse()?).is_empty());
    assert!(gate.grants_of("other", neighbour).is_empty());
    Ok(())
}

fn shared(net: &Net) -> Outcome {
    let _listener = Net::listen(&net.server, 22)?;
    let a = door("a", &[], &[tcp_ports(22, 22)]);
    let b = door("b", &[], &[tcp_ports(22, 22)]);
    let mut gate = up(&[a.clone(), b.clone()])?;
    grant(&mut gate, &a, CLIENT, 60)?;
    grant(&mut gate, &b, CLIENT, 1)?;
    assert!(nft("list set inet postern granted4")?.contains("comment \"a\""));
    gate.revoke(opening(&b, CLIENT).key(), now())?;
    assert!(net.gets_tcp(CLIENT, SERVER, 22)?);
    grant(&mut gate, &b, CLIENT, 60)?;
    gate.revoke(opening(&a, CLIENT).key(), now())?;
    assert!(net.gets_tcp(CLIENT, SERVER, 22)?);
    assert!(nft("list set inet postern granted4")?.contains("comment \"b\""));
    gate.revoke(opening(&b, CLIENT).key(), now())?;
    assert!(!net.tcp(CLIENT, SERVER, 22)?);
    Ok(())
}

fn forwarded(net: &Net) -> Outcome {
    let (_inner, _server) = (Net::listen(&net.inner, 80)?, Net::listen(&net.server, 80)?);
    let web = door("web", &["10.88.0.0/24", INNER_6], &[tcp_ports(80, 80)]);
    let mut gate = up(std::slice::from_ref(&web))?;
    assert!(!net.tcp(CLIENT, INNER, 80)? && !net.tcp(CLIENT_6, INNER_6, 80)?);
    assert!(net.gets_tcp(CLIENT, SERVER, 80)?, "no target");
    assert!(
        !net.tcp(CLIENT, "10.88.0.254", 80)?,
        "a target, and the host's own"
    );
    grant(&mut gate, &web, CLIENT, 60)?;
    grant(&mut gate, &web, CLIENT_6, 60)?;
    let patience = Duration::from_secs(20);
    assert!(net.connect(CLIENT, INNER, 80, patience)?.is_some(), "v4");
    assert!(
        net.connect(CLIENT_6, INNER_6, 80, patience)?.is_some(),
        "v6"
    );
    assert!(!net.tcp(OTHER, INNER, 80)? && !net.tcp(OTHER_6, INNER_6, 80)?);
    Ok(())
}

fn overlapping(net: &Net) -> Outcome {
    let _listener = Net::listen(&net.server, 22)?;
    let host = door("host", &[], &[tcp_ports(22, 22)]);
    let address = door("address", &[SERVER], &[tcp_ports(22, 22)]);
    let network = door("network", &["10.77.0.0/24", SERVER_6], &[tcp_ports(22, 22)]);
    let mut gate = up(&[host.clone(), address.clone(), network.clone()])?;
    assert!(!net.tcp(CLIENT, SERVER, 22)? && !net.tcp(CLIENT_6, SERVER_6, 22)?);
    for door in [host, address, network] {
        grant(&mut gate, &door, CLIENT, 60)?;
        assert!(net.gets_tcp(CLIENT, SERVER, 22)? && !net.tcp(OTHER, SERVER, 22)?);
        gate.revoke(opening(&door, CLIENT).key(), now())?;
        assert!(!net.tcp(CLIENT, SERVER, 22)?);
    }
    Ok(())
}

fn redirected(net: &Net) -> Outcome {
    nft("add table ip engine; \
         add chain ip engine pre { type nat hook prerouting priority dstnat; }; \
         add rule ip engine pre fib daddr type local tcp dport 8080 dnat to 10.88.0.1:80")?;
    let (_inner, _server) = (Net::listen(&net.inner, 80)?, Net::listen(&net.server, 80)?);
    let web = door("web", &[], &[tcp_ports(8_080, 8_080)]);
    let mut gate = up(std::slice::from_ref(&web))?;
    assert!(!net.tcp(CLIENT, SERVER, 8_080)?);
    assert!(net.gets_tcp(CLIENT, SERVER, 80)?, "not guarded");
    grant(&mut gate, &web, CLIENT, 60)?;
    assert!(net.gets_tcp(CLIENT, SERVER, 8_080)? && !net.tcp(OTHER, SERVER, 8_080)?);
    Ok(())
}

fn loopback(net: &Net) -> Outcome {
    let listener = Net::listen(&net.server, 22)?;
    let _gate = up(&[door("ssh", &[], &[tcp_ports(22, 22)])])?;
    for address in ["127.0.0.1", "::1", SERVER, SERVER_6] {
        std::net::TcpStream::connect((address, 22))?;
    }
    drop(listener);
    Ok(())
}

fn atomic(net: &Net) -> Outcome {
    let _listener = Net::listen(&net.server, 22)?;
    let echo = Echo::start(&net.server, 5_000)?;
    let [one, two] = [
        Plan::of(&[door("a", &[], &[tcp_ports(22, 22), udp_port(5_000)])]),
        Plan::of(&[
            door("a", &[], &[tcp_ports(22, 23), udp_port(5_000)]),
            door("b", &["10.88.0.0/24"], &[tcp_ports(22, 22)]),
        ]),
    ];
    let mut gate = Gate::new()?;
    gate.up(&one, &Trial::new(), now())?;
    let (done, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let through = std::thread::scope(|scope| {
        let prober = scope.spawn(|| {
            net.client.run(|| {
                let socket = UdpSocket::bind((CLIENT, 0))?;
                socket.set_nonblocking(true)?;
                while !done.load(Ordering::Relaxed) {
                    socket.send_to(b"x", (SERVER, 5_000))?;
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(100));
                Ok::<_, std::io::Error>(socket.recv_from(&mut [0; 8]).is_ok())
            })
        });
        until(|| Ok(sent.load(Ordering::Relaxed) > 100))?;
        for plan in [&one, &two].iter().cycle().take(200) {
            gate.up(plan, &Trial::new(), now())?;
        }
        done.store(true, Ordering::Relaxed);
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(prober.join())
    })?;
    let through = through.map_err(|_| "panicked")???;
    println!(
        "{} datagrams while it was put up 200 times",
        sent.into_inner()
    );
    assert!(!through);
    echo.stop(&net.server)
}

fn in_place(_net: &Net) -> Outcome {
    let ssh = door("ssh", &[], &[tcp_ports(22, 22)]);
    let web = door("web", &["10.88.0.1"], &[tcp_ports(80, 80), Service::Icmp]);
    let mut gate = Gate::new()?;
    let mut handles = Vec::new();
    for doors in [
        &[ssh.clone()][..],
        &[ssh.clone(), web.clone()],
        &[web],
        &[ssh],
    ] {
        gate.up(&Plan::of(doors), &Trial::new(), now())?;
        let text = nft("-a list chain inet postern prerouting")?;
        let chain = text.lines().find(|line| line.contains("chain prerouting"));
        handles.push(chain.ok_or("no chain")?.to_owned());
    }
    handles.dedup();
    assert_eq!(handles.len(), 1, "{handles:?}");
    Ok(())
}

fn survives(net: &Net) -> Outcome {
    let _listener = Net::listen(&net.server, 22)?;
    let ssh = door("ssh", &[], &[tcp_ports(22, 22)]);
    let more = door("more", &[], &[tcp_ports(80, 80)]);
    let mut gate = up(std::slice::from_ref(&ssh))?;
    grant(&mut gate, &ssh, CLIENT, 60)?;
    gate.up(
        &Plan::of(&[ssh.clone(), more.clone()]),
        &Trial::new(),
        now(),
    )?;
    assert!(net.gets_tcp(CLIENT, SERVER, 22)?);
    nft("flush ruleset")?;
    gate.up(&Plan::of(&[ssh, more]), &Trial::new(), now())?;
    assert!(net.gets_tcp(CLIENT, SERVER, 22)? && !net.tcp(OTHER, SERVER, 22)?);
    let text = nft("list set inet postern granted4")?;
    assert!(text.contains("expires 5"), "{text}");
    Ok(())
}

fn adopted(net: &Net) -> Outcome {
    let _listener = Net::listen(&net.server, 22)?;
    let ssh = door("ssh", &[], &[tcp_ports(22, 23), Service::Icmp]);
    let web = widened(door("web", &["10.88.0.0/24"], &[tcp_ports(80, 80)]), 24, 64);
    let plan = Plan::of(&[ssh.clone(), web.clone()]);
    let mut before = up(&[ssh.clone(), web.clone()])?;
    grant(&mut before, &ssh, CLIENT, 60)?;
    grant(&mut before, &ssh, CLIENT_6, 90)?;
    grant(&mut before, &web, CLIENT, 30)?;
    let mut known: Vec<_> = before.grants().map(|(key, _)| key.clone()).collect();
    drop(before);
    let mut gate = Gate::new()?;
    assert_eq!(gate.adopt(&plan, now())?, 3);
    assert_eq!(gate.adopt(&plan, now())?, 0);
    gate.up(&plan, &Trial::new(), now())?;
    let mut found: Vec<_> = gate.grants().map(|(key, _)| key.clone()).collect();
    known.sort();
    found.sort();
    assert_eq!(found, known);
    assert_eq!(gate.check(now())?, None);
    assert!(net.gets_tcp(CLIENT, SERVER, 22)?);
    let ends = gate.next_end().ok_or("none")?;
    assert!(ends > after(25) && ends < after(35));
    let reading = gate.read(&plan)?.ok_or("no table")?;
    assert_eq!((reading.guarded.len(), reading.granted.len()), (4, 7));
    assert!(reading.admitted >= 1);
    assert!(gate.revoke(opening(&ssh, CLIENT).key(), now())?);
    assert!(!net.tcp(CLIENT, SERVER, 22)?);
    assert!(gate.read(&plan)?.ok_or("no table")?.dropped >= 1);
    Ok(())
}

fn on_trial(net: &Net) -> Outcome {
    let (_ssh, _web) = (Net::listen(&net.server, 22)?, Net::listen(&net.server, 80)?);
    let ports = [tcp_ports(22, 22), tcp_ports(80, 80), Service::Icmp];
    let plan = Plan::of(&[door("all", &[], &ports)]);
    let on_trial = plan.guarded().filter(|it| it.to_string() != "tcp/80");
    let trial: Trial = on_trial.map(|it| (it, after(4))).collect();
    let mut gate = Gate::new()?;
    gate.up(&plan, &trial, now())?;
    assert!(!net.tcp(CLIENT, SERVER, 22)? && !net.tcp(CLIENT, SERVER, 80)?);
    assert!(!net.ping(CLIENT, SERVER)?);
    until(|| Ok(net.gets_tcp(CLIENT, SERVER, 22)? && net.gets_ping(CLIENT, SERVER)?))?;
    assert!(!net.tcp(CLIENT, SERVER, 80)?);
    assert_eq!(gate.check(now())?, None);
    let guarded = gate.read(&plan)?.ok_or("no table")?.guarded;
    assert_eq!(guarded.len(), 1, "{guarded:?}");
    Ok(())
}

fn kill(net: &Net) -> Outcome {
    let listener = Net::listen(&net.server, 22)?;
    let ssh = door("ssh", &[], &[tcp_ports(22, 22)]);
    let mut gate = up(std::slice::from_ref(&ssh))?;
    for (source, server) in [(CLIENT, SERVER), (CLIENT_6, SERVER_6)] {
        grant(&mut gate, &ssh, source, 60)?;
        let connect = || -> Outcome<_> {
            let client = net.connect(source, server, 22, Duration::from_secs(20))?;
            Ok((client.ok_or("closed")?, listener.accept()?.0))
        };
        let (first, second) = (connect()?, connect()?);
        assert!(talks(&first.0, &first.1)? && talks(&second.0, &second.1)?);
        gate.revoke(opening(&ssh, source).key(), now())?;
        assert_eq!(gate.end_connections(&opening(&ssh, OTHER))?, 0);
        assert_eq!(gate.end_connections(&opening(&ssh, source))?, 2);
        std::io::Write::write_all(&mut &first.1, b"the server speaks first")?;
        assert!(is_cut(&first.0, &first.1)?);
        assert!(is_cut(&second.0, &second.1)?);
    }
    Ok(())
}

fn kill_and_grant(net: &Net) -> Outcome {
    let echo = Echo::start(&net.server, 5_000)?;
    let vpn = door("vpn", &[], &[udp_port(5_000)]);
    let mut gate = up(std::slice::from_ref(&vpn))?;
    grant(&mut gate, &vpn, CLIENT, 60)?;
    let socket = net.client.run(|| UdpSocket::bind((CLIENT, 4_000)))??;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    let answered = || -> Outcome<bool> {
        // Answers that came too late for the last question.
        socket.set_nonblocking(true)?;
        while socket.recv_from(&mut [0; 8]).is_ok() {}
        socket.set_nonblocking(false)?;
        socket.send_to(b"x", (SERVER, 5_000))?;
        Ok(socket.recv_from(&mut [0; 8]).is_ok())
    };
    until(answered)?;
    until(answered)?;
    gate.revoke(opening(&vpn, CLIENT).key(), now())?;
    until(answered)?;
    assert_eq!(gate.end_connections(&opening(&vpn, CLIENT))?, 1);
    assert!(!answered()?);
    grant(&mut gate, &vpn, CLIENT, 60)?;
    until(answered)?;
    gate.revoke(opening(&vpn, CLIENT).key(), now())?;
    until(answered)?;
    echo.stop(&net.server)
}

fn from_before(net: &Net) -> Outcome {
    let listener = Net::listen(&net.server, 22)?;
    let patience = Duration::from_secs(20);
    let mut connections = Vec::new();
    for (client, server) in [(CLIENT, SERVER), (CLIENT_6, SERVER_6)] {
        let connection = net.connect(client, server, 22, patience)?;
        connections.push((connection.ok_or("closed")?, listener.accept()?.0));
    }
    // Connection tracking begins with the gate: of itself it knows nothing of these connections.
    let _gate = up(&[door("ssh", &[], &[tcp_ports(22, 22)])])?;
    for (client, server) in &connections {
        assert!(talks(client, server)?);
    }
    Ok(())
}

fn midstream(net: &Net) -> Outcome {
    let listener = Net::listen(&net.inner, 22)?;
    let connection = net.connect(CLIENT, INNER, 22, Duration::from_secs(20))?;
    let connection = connection.ok_or("closed")?;
    let (inner, _) = listener.accept()?;
    // Of the connections of other hosts there is no list.
    let _gate = up(&[door("ssh", &[INNER], &[tcp_ports(22, 22)])])?;
    assert!(is_cut(&connection, &inner)?);
    Ok(())
}

fn untracked(net: &Net) -> Outcome {
    nft("add table inet raw; \
         add chain inet raw pre { type filter hook prerouting priority raw; }; \
         add chain inet raw out { type filter hook output priority raw; }; \
         add rule inet raw pre notrack; add rule inet raw out notrack")?;
    let listener = Net::listen(&net.server, 22)?;
    let echo = Echo::start(&net.server, 5_000)?;
    let doors = [door("ssh", &[], &[tcp_ports(22, 22), udp_port(5_000)])];
    let mut gate = up(&doors)?;
    assert!(!net.tcp(CLIENT, SERVER, 22)? && !net.udp(CLIENT, SERVER, 5_000)?);
    grant(&mut gate, &doors[0], CLIENT, 60)?;
    assert!(net.gets_udp(CLIENT, SERVER, 5_000)?);
    let connection = net.connect(CLIENT, SERVER, 22, Duration::from_secs(20))?;
    let connection = connection.ok_or("closed")?;
    let (server, _) = listener.accept()?;
    gate.revoke(opening(&doors[0], CLIENT).key(), now())?;
    assert!(talks(&connection, &server)?);
    echo.stop(&net.server)
}

fn marked(net: &Net) -> Outcome {
    let (_ssh, _web) = (Net::listen(&net.server, 22)?, Net::listen(&net.server, 80)?);
    nft(&format!(
        "add table inet own; \
         add chain inet own in {{ type filter hook input priority filter; policy drop; }}; \
         add rule inet own in ct state established,related accept; \
         add rule inet own in meta l4proto icmpv6 accept; \
         add rule inet own in ct mark and {MARK:#x} != 0 accept"
    ))?;
    assert_eq!(MARK & ENDED, 0);
    let ssh = door("ssh", &[], &[tcp_ports(22, 22)]);
    let mut gate = up(std::slice::from_ref(&ssh))?;
    grant(&mut gate, &ssh, CLIENT, 60)?;
    assert!(net.gets_tcp(CLIENT, SERVER, 22)?);
    assert!(!net.tcp(CLIENT, SERVER, 80)?);
    Ok(())
}

fn down(net: &Net) -> Outcome {
    let _listener = Net::listen(&net.server, 22)?;
    let mut gate = up(&[door("ssh", &[], &[tcp_ports(22, 22)])])?;
    assert!(!net.tcp(CLIENT, SERVER, 22)?);
    gate.down()?;
    gate.down()?;
    assert!(net.gets_tcp(CLIENT, SERVER, 22)?);
    assert!(nft("list tables")?.is_empty());
    Ok(())
}

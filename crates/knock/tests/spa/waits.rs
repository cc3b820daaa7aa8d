//! Waiting for the port behind a door, and profiles of single packets.

use serde_json::Value;

use super::*;

/// A port that nobody has.
fn free() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn the_port_that_the_server_names_is_waited_for() {
    let port = free();
    let (user, _server) = pair(&Ways {
        gate: Some(port),
        ..Ways::default()
    });
    let (code, out, err) = user.knock(&["--wait", HOME]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let mut lines = out.lines();
    assert!(lines.next().unwrap().starts_with("ssh open for"), "{out}");
    let answers = format!("tcp {HOME}:{port} answers after ");
    assert!(lines.next().unwrap().starts_with(&answers), "{out}");
    let (code, out, _) = user.knock(&["--json", "--wait", HOME]);
    assert_eq!(code, 0);
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(said["wait"]["to"], format!("{HOME}:{port}"));
    assert_eq!(
        (&said["wait"]["answers"], &said["exit"]),
        (&true.into(), &0.into())
    );
}

#[test]
fn a_door_that_is_said_to_be_open_and_is_not_is_no_answer() {
    let (user, server) = pair(&Ways::default());
    let port = format!("tcp/{}", free());
    let wait = ["--wait", &port, "--timeout", "200ms", "--retry", "1", HOME];
    let (code, out, err) = user.knock(&wait);
    assert_eq!(code, 3);
    assert!(out.starts_with("ssh open for"), "{out}");
    assert!(err.contains("does not answer within "), "{err}");
    assert!(
        err.contains(", after 2 knocks: Connection refused"),
        "{err}"
    );
    assert_eq!(server.heard().len(), 2);
}

#[test]
fn silence_is_knocked_at_again_and_a_refusal_is_not() {
    let lossy = Ways {
        lose: 3,
        ..Ways::default()
    };
    let (user, server) = pair(&lossy);
    // The port of the server itself is open in TCP's sense for nobody: one of ours is.
    let service = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = format!("tcp/{}", service.local_addr().unwrap().port());
    let (code, out, err) = user.knock(&["--wait", &port, "--retry", "1", HOME]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains(", after 2 knocks"), "{out}");
    assert_eq!(server.heard().len(), 4);
    let line = user.key("other", "ed25519");
    let server = Server::start(&format!("doors=\"web\" {line}"), &Ways::default());
    user.store(HOME, &profile(server.port, &[]));
    let key = user.path(".ssh/other");
    let retry = [
        "--wait",
        "--retry",
        "5",
        "--identity",
        key.to_str().unwrap(),
        HOME,
    ];
    let (code, _, err) = user.knock(&retry);
    assert_eq!(code, 1, "{err}");
    assert_eq!(server.heard().len(), 1);
}

#[test]
fn a_profile_says_which_door_and_for_how_long() {
    let (user, server) = pair(&Ways::default());
    let text = format!("host = \"{HOME}\"\ndoor = \"web\"\nfor = \"10m\"\n");
    let path = user.path("config/knock/profiles/office.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let (code, out, err) = user.knock(&["office"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.starts_with("web open") && out.ends_with("(600 s)\n"),
        "{out}"
    );
    let (code, out, _) = user.knock(&["--for", "5m", "--door", "ssh", "office"]);
    assert_eq!(code, 0);
    assert!(
        out.starts_with("ssh open") && out.ends_with("(300 s)\n"),
        "{out}"
    );
    assert_eq!(server.heard().len(), 2);
    let (code, out, _) = user.knock(&["profile", "list"]);
    assert_eq!(code, 0);
    assert!(out.contains("single packets, doors ssh, web"), "{out}");
    assert!(out.contains("single packets, options"), "{out}");
    let (_, out, _) = user.knock(&["profile", "show", HOME]);
    assert!(out.contains("# doors     ssh, web"), "{out}");
    assert!(!out.contains("AgI"), "no keys: {out}");
}

#[test]
fn connect_and_doctor_know_profiles_too() {
    let (user, server) = pair(&Ways::default());
    let path = user.path("config/knock/profiles/office.toml");
    let write = |text: &str| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write(&format!("host = \"{HOME}\"\ndoor = \"web\"\n"));
    let (_, out, _) = user.knock(&["doctor", "--no-open", "office"]);
    assert!(out.contains("web would open"), "{out}");
    let service = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = service.local_addr().unwrap().port().to_string();
    let accepted = thread::spawn(move || service.accept().map(drop));
    let (code, _, err) = user.knock(&["connect", "office", &port]);
    accepted.join().unwrap().unwrap();
    assert_eq!((code, err.as_str()), (0, ""));
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.door.as_str() == "web"));
    write("ports = [7000]\n");
    for arguments in [&["connect", "office", "22"][..], &["doctor", "office"]] {
        let (code, out, err) = user.knock(arguments);
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains("it is a sequence"), "{err}");
    }
}

#[test]
fn what_has_no_meaning_for_a_single_packet_is_refused() {
    let (user, server) = pair(&Ways::default());
    for (arguments, code) in [
        (&["--wait", "--ask", HOME][..], 2),
        (&["--wait=udp/53", HOME], 1),
        (&["--retry", "2", HOME], 1),
        (&["--flags", "fin", HOME], 1),
        (&["--spacing", "1s", "--ask", HOME], 2),
    ] {
        assert_eq!(user.knock(arguments).0, code, "{arguments:?}");
    }
    assert_eq!(server.heard().len(), 0);
}

//! `knock doctor`: what it says when all is well, and of each thing that is not.

use super::*;

/// A port at which nobody listens.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn gated(ways: &Ways) -> (User, Server, u16) {
    let port = free_port();
    let (user, server) = pair(&Ways {
        gate: Some(port),
        ..ways.clone()
    });
    (user, server, port)
}

fn purposes(server: &Server) -> Vec<Purpose> {
    server.asked().iter().map(|asked| asked.purpose).collect()
}

/// The line that has this text.
#[track_caller]
fn line<'a>(out: &'a str, text: &str) -> &'a str {
    let found = out.lines().find(|line| line.contains(text));
    assert!(found.is_some(), "{text:?} is not in\n{out}");
    found.unwrap_or_default()
}

#[test]
fn all_is_well() {
    let (user, server, port) = gated(&Ways::default());
    let (code, out, err) = user.knock(&["doctor", HOME]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for text in [
        "profile  ",
        "epoch 1",
        "127.0.0.1 is 127.0.0.1 (IPv4)",
        "from 127.0.0.1, a private address",
        "is silent to a stranger",
        "1. SHA256:",
        &format!("ssh would open tcp/{port}"),
        "ms ahead of the server's",
        "the server sees 127.0.0.1, which is this machine's",
        &format!("tcp 127.0.0.1:{port} refuses before the knock"),
        "ssh open for 127.0.0.1 until",
        &format!("tcp 127.0.0.1:{port} is open: connected after"),
    ] {
        // A clock that two processes read is behind as often as ahead.
        let text = text.replace("ms ahead of", "ms ");
        let out = out
            .replace("ms ahead of", "ms ")
            .replace("ms behind", "ms ");
        assert!(line(&out, &text).starts_with("ok  "), "{text}\n{out}");
    }
    assert!(out.lines().all(|line| line.starts_with("ok ")), "{out}");
    assert_eq!(purposes(&server), [Purpose::Ask, Purpose::Open]);
}

#[test]
fn a_port_that_is_open_before_the_knock_is_the_problem() {
    let (user, server, port) = gated(&Ways::default());
    let _service = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let (code, out, _) = user.knock(&["doctor", HOME]);
    assert_eq!(code, 1, "{out}");
    let found = line(
        &out,
        "was open before the knock: your gate protects nothing",
    );
    assert!(found.starts_with("problem  port"), "{found}");
    assert!(found.contains("`knockctl gate show`"), "{found}");
    // What it said was not because of an earlier knock.
    let expected = [Purpose::Ask, Purpose::Close, Purpose::Open];
    assert_eq!(purposes(&server), expected);
}

#[test]
fn what_an_earlier_knock_has_opened_is_no_problem() {
    let (user, server, _) = gated(&Ways::default());
    assert_eq!(user.knock(&[HOME]).0, 0);
    let (code, out, _) = user.knock(&["doctor", HOME]);
    assert_eq!(code, 0, "{out}");
    line(&out, "an earlier knock had opened it, and is taken back");
    let expected = [Purpose::Open, Purpose::Ask, Purpose::Close, Purpose::Open];
    assert_eq!(purposes(&server), expected);
}

#[test]
fn with_no_open_nothing_is_opened_or_closed() {
    let (user, server, port) = gated(&Ways::default());
    let (code, out, _) = user.knock(&["doctor", "--no-open", HOME]);
    assert_eq!(code, 0, "{out}");
    assert_eq!(purposes(&server), [Purpose::Ask]);
    let _service = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let (code, out, _) = user.knock(&["doctor", "--no-open", HOME]);
    assert_eq!(code, 1);
    let found = line(&out, "was open before the knock");
    assert!(
        found.contains("if an earlier knock has opened it"),
        "{found}"
    );
    assert_eq!(purposes(&server), [Purpose::Ask, Purpose::Ask]);
}

#[test]
fn a_port_that_stays_closed_is_a_problem() {
    // What the server calls open is a port at which nobody listens.
    let (user, _server) = pair(&Ways::default());
    let port = free_port().to_string();
    let (code, out, _) = user.knock(&["doctor", "--port", &port, HOME]);
    assert_eq!(code, 1, "{out}");
    let found = line(&out, "cannot be reached after the knock");
    assert!(found.contains("nothing listens there"), "{found}");
}

#[test]
fn a_profile_that_is_missing_or_open_to_others_is_told() {
    let (user, _server, _) = gated(&Ways::default());
    let (code, out, _) = user.knock(&["doctor", "nowhere.invalid"]);
    assert_eq!(code, 1);
    let found = line(&out, "there is no profile");
    assert!(found.ends_with("run `knock enroll [USER@]HOST`"), "{found}");
    assert_eq!(out.lines().count(), 1, "the rest follows from it: {out}");
    let path = user.profile_path(HOME);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, out, _) = user.knock(&["doctor", "--no-open", HOME]);
    assert_eq!(code, 1);
    let found = line(&out, "others can read the site key in it (mode 0644)");
    assert!(found.ends_with(&format!("`chmod 600 {}`", path.display())));
    user.store(HOME, "{");
    let (code, out, _) = user.knock(&["doctor", HOME]);
    assert_eq!(code, 1);
    assert!(
        line(&out, "not a profile").starts_with("problem  profile"),
        "{out}"
    );
}

#[test]
fn who_is_not_answered_is_told_where_to_look() {
    let (user, server, _) = gated(&Ways::default());
    let stranger = user.key("stranger", "ed25519");
    assert!(!stranger.is_empty());
    let file = user.path(".ssh/stranger");
    let args = ["doctor", "--identity", file.to_str().unwrap(), HOME];
    let (code, out, _) = user.knock(&args);
    assert_eq!(code, 1);
    let found = line(&out, "no answer from udp 127.0.0.1:");
    assert!(found.contains("whether knockd runs"), "{found}");
    assert_eq!(purposes(&server), []);
    // Nobody is there at all, and the kernel says so.
    user.store(HOME, &profile(free_port(), &[]));
    let (code, out, _) = user.knock(&["doctor", HOME]);
    assert_eq!(code, 1);
    let told = line(&out, "ICMP \"port unreachable\"");
    assert!(told.starts_with("ok  "), "a closed port is well: {told}");
    assert!(
        line(&out, "no answer from").contains("the host is reached"),
        "{out}"
    );
}

#[test]
fn a_refusal_says_what_to_do() {
    let user = User::new();
    let line_of_key = user.key("id_ed25519", "ed25519");
    let server = Server::start(&format!("doors=\"web\" {line_of_key}"), &Ways::default());
    user.store(HOME, &profile(server.port, &[]));
    let (code, out, _) = user.knock(&["doctor", HOME]);
    assert_eq!(code, 1);
    let found = line(
        &out,
        "ssh is refused for 127.0.0.1: no such door for this key",
    );
    assert!(found.contains("`doors=`"), "{found}");
    let (_, out, _) = user.knock(&["doctor", "--door", "cellar", HOME]);
    assert!(
        line(&out, "it names no door cellar").starts_with("warning"),
        "{out}"
    );
}

#[test]
fn a_clock_that_is_off_is_told_and_no_obstacle() {
    let (user, _server, _) = gated(&Ways {
        ahead: 412_000,
        ..Ways::default()
    });
    let (code, out, _) = user.knock(&["doctor", HOME]);
    assert_eq!(code, 0, "{out}");
    let found = line(&out, "the clock here is 41");
    assert!(found.contains(" s behind the server's"), "{found}");
    assert!(found.starts_with("warning  clock"), "{found}");
}

#[test]
fn a_port_that_answers_strangers_is_a_problem() {
    let (user, _server, _) = gated(&Ways {
        echo: true,
        ..Ways::default()
    });
    let (code, out, _) = user.knock(&["doctor", "--no-open", HOME]);
    assert_eq!(code, 1);
    let found = line(&out, "is answered with 256 bytes");
    assert!(
        found.contains("another program listens at `spa_port`"),
        "{found}"
    );
}

/// A server with an address of each family.
const BOTH: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

#[test]
fn both_families_are_looked_at() {
    let user = User::new();
    let ways = Ways {
        gate: Some(free_port()),
        ..Ways::default()
    };
    let server = Server::start(&user.key("id_ed25519", "ed25519"), &ways);
    user.store("server.invalid", &profile(server.port, &BOTH));
    let (code, out, _) = user.knock(&["doctor", "server.invalid"]);
    assert_eq!(code, 0, "{out}");
    let found = line(&out, "no name server has the name");
    assert!(found.starts_with("warning  name"), "{found}");
    for address in ["127.0.0.1", "::1"] {
        line(&out, &format!("ssh open for {address} until"));
    }
    assert_eq!(server.asked().len(), 4);
}

#[test]
fn one_family_that_is_not_answered_is_no_obstacle() {
    let user = User::new();
    let ways = Ways {
        gate: Some(free_port()),
        deaf_v6: true,
        ..Ways::default()
    };
    let server = Server::start(&user.key("id_ed25519", "ed25519"), &ways);
    user.store("server.invalid", &profile(server.port, &BOTH));
    let (code, out, _) = user.knock(&["doctor", "server.invalid"]);
    assert_eq!(code, 0, "{out}");
    let found = line(&out, "IPv6: no answer from udp [::1]:");
    assert!(found.starts_with("warning  answer"), "{found}");
    let asked = purposes(&server);
    assert_eq!(asked, [Purpose::Ask, Purpose::Open], "of IPv4 alone");
}

#[test]
fn address_translation_is_told() {
    let (user, _server, _) = gated(&Ways {
        sees: Some([203, 0, 113, 7].into()),
        ..Ways::default()
    });
    let (code, out, _) = user.knock(&["doctor", "--no-open", HOME]);
    assert_eq!(code, 0, "{out}");
    let found = line(
        &out,
        "the server sees 203.0.113.7, and this machine is 127.0.0.1",
    );
    assert!(found.contains("address translation"), "{found}");
}

#[test]
fn as_json_it_is_one_object() {
    let (user, _server, _) = gated(&Ways::default());
    let (code, out, _) = user.knock(&["doctor", "--json", HOME]);
    assert_eq!((code, out.lines().count()), (0, 1));
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["exit"], 0);
    assert_eq!(told["host"], HOME);
    let checks = told["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["level"] == "ok"), "{out}");
    assert!(checks.iter().any(|check| check["check"] == "clock"));
    user.store(HOME, "{");
    let (code, out, _) = user.knock(&["doctor", "--json", HOME]);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["exit"]), (1, &1.into()));
    assert!(told["checks"][0]["todo"].is_string(), "{out}");
}

#[test]
fn a_wrong_command_line_is_2() {
    let user = User::new();
    for args in [
        &["doctor"][..],
        &["doctor", "a b"],
        &["doctor", "--port", "0", HOME],
        &["doctor", "--source", "nowhere", HOME],
        &["doctor", "--nonsense", HOME],
    ] {
        assert_eq!(user.knock(args).0, 2, "{args:?}");
    }
}

//! What is on the screen while things happen.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::net::{CLIENT, KNOCKCTL, Net, exit_code, signal};
use crate::page;
use crate::tmux::Terminal;
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("a_live_knock_and_a_flood_show_at_once", live),
    ("a_grant_is_closed_from_the_keyboard", close),
    ("a_daemon_that_starts_anew_is_found_again", restart),
    ("the_terminal_is_given_back_however_it_ends", ends),
    (
        "a_terminal_that_cannot_be_drawn_on_is_refused_with_a_hint",
        refused,
    ),
    ("one_screen_is_printed_as_plain_text", once),
];

const DOORS: &str = "[ssh]\nsequence = 7000:udp,8000:udp,9000:udp\nopen = tcp/22\nopen_for = 10m\n\
    [lamp]\nsequence = 7001:udp,7002:udp\nstart_command = true\ncmd_timeout = 600\nstop_command = true\n";

const UTF8: &str = "LC_ALL=C.UTF-8";

/// Sends first knocks from very many addresses until it is told to stop.
fn flood(net: &Net, stop: &AtomicBool) -> Outcome {
    let socket = |number: u32| {
        let [_, b, c, d] = number.to_be_bytes();
        UdpSocket::bind((std::net::Ipv4Addr::new(127, b | 1, c, d), 0))
    };
    net.server.run(|| {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            number = (number + 1) % 60_000;
            for _ in 0..2 {
                // One that is not taken is none too few.
                socket(number)?.send_to(&[0], ("127.0.0.1", 7000)).ok();
            }
        }
        Ok(())
    })?
}

/// With a flood from the host itself, so interfaces of both count.
fn busy_net() -> Outcome<Net> {
    let net = Net::new(DOORS)?;
    let text = net.configuration()?;
    net.configure(&text.replace("interface = server0", "interface = server0, lo"))?;
    Ok(net)
}

fn live() -> Outcome {
    let net = busy_net()?;
    let _daemon = net.start()?;
    let terminal = Terminal::new(&net, UTF8)?;
    terminal.shows(&["gate up", "listener confined", "doors 2", "grants 0"])?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&net, &stop));
        let seen = watch_a_knock(&net, &terminal);
        stop.store(true, Ordering::Relaxed);
        flood.join().map_err(|_| "the flood has failed")??;
        seen
    })?;
    terminal.press(&["q"])?;
    terminal.is_given_back("0")
}

fn watch_a_knock(net: &Net, terminal: &Terminal<'_>) -> Outcome {
    let is_flooded = |screen: &str| {
        let rate = screen.lines().nth(1).unwrap_or_default();
        screen.contains("k left out") && rate.contains("k/s")
    };
    terminal.await_screen("a flood", is_flooded)?;
    net.knock(CLIENT, &[7000, 8000])?;
    // It is further than all of the flood, so it comes first.
    terminal.shows(&["10.77.0.1", "●●○ 2/3"])?;
    net.knock(CLIENT, &[9000])?;
    let screen = terminal.shows(&["10.77.0.1: ssh: OPEN SESAME", "grants 1", "1 open"])?;
    assert!(screen.contains("left out"), "{screen}");
    let (seen, told) = (page::fixed(&screen), page::fixed(page::screen()?));
    if seen != told {
        return Err(format!(
            "docs/guide/watch.md shows another screen:\n{seen:?}\n{told:?}\n{screen}"
        )
        .into());
    }
    terminal.resize(120, 40)?;
    terminal.await_screen("a wider screen", |screen| {
        screen
            .lines()
            .any(|line| line.starts_with("grants") && line.chars().count() == 120)
    })?;
    terminal.resize(40, 10)?;
    terminal.shows(&["40x10 is too small: 50x12 is needed"])?;
    terminal.resize(80, 24)?;
    terminal.shows(&["grants 1", "? help"]).map(drop)
}

fn close() -> Outcome {
    let net = Net::new(DOORS)?;
    let _daemon = net.start()?;
    net.ctl(&["open", "ssh", "10.9.8.7"])?;
    net.ctl(&["open", "lamp", "10.9.8.7"])?;
    let terminal = Terminal::new(&net, "LC_ALL=C")?;
    let screen = terminal.shows(&["grants 2", "commands 0"])?;
    assert!(screen.is_ascii(), "{screen}");
    terminal.press(&["/", "ssh", "Enter", "Down", "c"])?;
    terminal.shows(&["Close ssh for 10.9.8.7? y/n"])?;
    terminal.press(&["n"])?;
    terminal.shows(&["not closed"])?;
    terminal.press(&["c", "y"])?;
    terminal.press(&["Escape", "Escape"])?;
    terminal.shows(&["grants 1", "closed by operator uid 0"])?;
    let grants = net.status()?.grants;
    assert_eq!(grants.total, 1);
    assert!(grants.shown.iter().all(|grant| grant.door == "lamp"));
    Ok(())
}

fn restart() -> Outcome {
    let net = Net::new(DOORS)?;
    let mut daemon = net.start()?;
    let terminal = Terminal::new(&net, UTF8)?;
    terminal.shows(&["gate up", "a listener is ready"])?;
    signal(&daemon, Signal::STOP)?;
    terminal.shows(&["knockd is not there: it does not answer"])?;
    signal(&daemon, Signal::CONT)?;
    terminal.shows(&["gate up"])?;
    signal(&daemon, Signal::KILL)?;
    exit_code(&mut daemon)?;
    terminal.shows(&["knockd is not there: it does not run; waiting for 0:0"])?;
    let _next = net.start()?;
    terminal.shows(&["gate up", "grants 0"])?;
    net.ctl(&["open", "ssh", "10.9.8.7"])?;
    terminal.shows(&["grants 1", "10.9.8.7: ssh: opened by operator"])?;
    Ok(())
}

fn ends() -> Outcome {
    let net = Net::new(DOORS)?;
    let mut daemon = net.start()?;
    // The shell adds 128 to the number of a signal.
    for (signal, status) in [
        (Signal::TERM, "143"),
        (Signal::HUP, "129"),
        (Signal::INT, "130"),
    ] {
        let terminal = Terminal::new(&net, UTF8)?;
        terminal.shows(&["gate up"])?;
        terminal.signal(signal)?;
        terminal.is_given_back(status)?;
    }
    let terminal = Terminal::new(&net, UTF8)?;
    terminal.shows(&["gate up"])?;
    terminal.press(&["C-c"])?;
    terminal.is_given_back("0")?;
    drop(terminal);
    let terminal = Terminal::new(&net, UTF8)?;
    terminal.shows(&["gate up"])?;
    terminal.cut()?;
    // With the daemon gone, too.
    let terminal = Terminal::new(&net, UTF8)?;
    terminal.shows(&["gate up"])?;
    signal(&daemon, Signal::TERM)?;
    exit_code(&mut daemon)?;
    terminal.shows(&["waiting for"])?;
    terminal.press(&["q"])?;
    terminal.is_given_back("0")
}

fn refused() -> Outcome {
    let net = Net::new(DOORS)?;
    let terminal = Terminal::new(&net, "TERM=dumb")?;
    terminal.shows(&["knockctl: this terminal (TERM=dumb) shows nothing but lines"])?;
    terminal.shows(&["knockctl events --follow", "it ended with 1"])?;
    let said = net.ctl_fails(&["watch"])?;
    assert!(
        said.starts_with("knockctl: this is no terminal; `knockctl watch --once`"),
        "{said}"
    );
    let said = net.ctl_fails(&["watch", "--once"])?;
    assert!(said.contains("knockd does not run"), "{said}");
    Ok(())
}

fn once() -> Outcome {
    let net = Net::new(DOORS)?;
    let _daemon = net.start()?;
    net.ctl(&["open", "ssh", "10.9.8.7"])?;
    let mut command = std::process::Command::new(KNOCKCTL);
    command
        .args(["watch", "--once", "-s"])
        .arg(net.path("sock"));
    command.envs([("LC_ALL", "C"), ("COLUMNS", "100"), ("LINES", "30")]);
    let output = command.output()?;
    let text = String::from_utf8(output.stdout)?;
    assert!(output.status.success());
    assert_eq!(text.lines().count(), 30, "{text}");
    assert!(text.is_ascii() && !text.contains('\u{1b}'), "{text}");
    assert!(
        text.contains("10.9.8.7") && text.contains("tcp/22"),
        "{text}"
    );
    assert!(text.lines().any(|line| line.len() == 100), "{text}");
    Ok(())
}

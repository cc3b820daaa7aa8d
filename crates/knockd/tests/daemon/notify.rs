//! What a service manager is told (sd_notify(3)).

use std::io;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::site::{Site, Stranger, eventually, exit_code};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("a_manager_hears_of_start_reload_and_stop", hears),
    ("the_main_process_of_a_service_stays_in_spite_of_d", stays),
    (
        "with_an_inherited_socket_d_goes_into_the_background",
        inherited,
    ),
    ("commands_do_not_see_what_is_meant_for_the_daemon", hidden),
];

const DOOR: &str = "[A]\nsequence = 7000:udp\ncommand = true\n";

/// The manager's end.
fn manager(site: &Site) -> Outcome<UnixDatagram> {
    let socket = UnixDatagram::bind(site.path("notify"))?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(socket)
}

/// The next message that begins with `state`.
fn hear(manager: &UnixDatagram, state: &str) -> Outcome<String> {
    loop {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes)?;
        let message = str::from_utf8(bytes.get(..length).unwrap_or_default())?;
        if message.starts_with(state) {
            return Ok(message.to_owned());
        }
    }
}

fn hears() -> Outcome {
    let site = Site::new(DOOR)?;
    let manager = manager(&site)?;
    let mut knockd = site.knockd(&["-c", "knockd.conf"]);
    let mut process = site
        .host
        .spawn(knockd.env("NOTIFY_SOCKET", site.path("notify")))?;
    hear(&manager, "READY=1")?;
    process.signal(Signal::HUP)?;
    let reloading = hear(&manager, "RELOADING=1")?;
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    hear(&manager, "READY=1")?;
    process.signal(Signal::TERM)?;
    hear(&manager, "STOPPING=1")?;
    assert_eq!(exit_code(&mut process)?, Some(15));
    Ok(())
}

fn stays() -> Outcome {
    let site = Site::new(DOOR)?;
    let manager = manager(&site)?;
    let mut shell = Command::new("/bin/sh");
    let script = "SYSTEMD_EXEC_PID=$$ exec \"$0\" -d -c knockd.conf -p pid";
    shell
        .args(["-c", script, env!("CARGO_BIN_EXE_knockd")])
        .env("NOTIFY_SOCKET", site.path("notify"))
        .current_dir(site.path(""));
    let mut process = site.host.spawn(&mut shell)?;
    hear(&manager, "READY=1")?;
    assert_eq!(site.read("pid"), format!("{}\n", process.id()));
    process.signal(Signal::INT)?;
    assert_eq!(exit_code(&mut process)?, Some(2));
    Ok(())
}

fn inherited() -> Outcome {
    let site = Site::new(DOOR)?;
    let manager = manager(&site)?;
    let mut knockd = site.knockd(&["-d", "-c", "knockd.conf", "-p", "pid"]);
    knockd.env("NOTIFY_SOCKET", site.path("notify"));
    assert!(site.output(&mut knockd)?.status.success());
    let daemon = Stranger::of(&site.path("pid"))?;
    daemon.signal(Signal::TERM)?;
    daemon.await_end()?;
    manager.set_nonblocking(true)?;
    let silence = manager.recv(&mut [0; 64]);
    assert!(
        matches!(&silence, Err(error) if error.kind() == io::ErrorKind::WouldBlock),
        "{silence:?}"
    );
    Ok(())
}

fn hidden() -> Outcome {
    let site = Site::new("[A]\nsequence = 7000:udp\ncommand = env > $OUT.new; mv $OUT.new $OUT\n")?;
    let manager = manager(&site)?;
    let environment = |out: &str| -> Outcome {
        site.knock(&[7000])?;
        eventually("the environment", || site.path(out).exists())?;
        let environment = site.read(out);
        assert!(environment.contains("KNOCK_DOOR=A"), "{environment}");
        for name in ["NOTIFY_SOCKET", "KNOCKD_IN_BACKGROUND"] {
            assert!(!environment.contains(name), "{environment}");
        }
        Ok(())
    };
    let mut knockd = site.knockd(&["-d", "-c", "knockd.conf", "-p", "pid"]);
    knockd.env("OUT", site.path("background"));
    assert!(site.output(&mut knockd)?.status.success());
    let daemon = Stranger::of(&site.path("pid"))?;
    environment("background")?;
    drop(daemon);
    let mut knockd = site.knockd(&["-c", "knockd.conf"]);
    knockd.env("OUT", site.path("foreground"));
    let _process = site
        .host
        .spawn(knockd.env("NOTIFY_SOCKET", site.path("notify")))?;
    hear(&manager, "READY=1")?;
    environment("foreground")
}

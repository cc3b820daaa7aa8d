//! What is said when the configuration is written: what it guards, how it is opened, what comes next.

use std::io::IsTerminal;
use std::path::Path;

use knock_core::service::Service;
use nix::unistd::gethostname;

use super::answers::{Answers, Guard, How};
use super::machine::{Machine, Running};
use super::{Options, text};
use crate::config_file::Loaded;
use crate::ctl::check;
use crate::ctl::doctor::firewall;
use crate::ctl::{listed, qr};

/// The whole text.
pub(super) fn story(
    options: &Options,
    answers: &Answers,
    machine: &Machine,
    loaded: &Loaded,
) -> String {
    let path = options.output.display();
    let (checked, _) = check::report(loaded);
    let address = || machine.address(&answers.interfaces).map(|a| a.to_string());
    let host = options.host.clone().or_else(address);
    let host = host.unwrap_or_else(|| "HOST".to_owned());
    [
        format!("{path} is written, for its owner alone.\n\n{checked}\n"),
        client(options, answers, &host),
        outside(answers, loaded),
        running(machine.daemon),
        next(options, answers, machine),
    ]
    .concat()
}

/// How the door is opened from elsewhere.
fn client(options: &Options, answers: &Answers, host: &str) -> String {
    let How::Sequence(sequence) = &answers.how else {
        return format!(
            "On your own machine, once, and then to open the door:\n\
             \x20   knock enroll --sudo YOU@{host}\n    knock {host}\n\
             For a phone: sudo knockctl profile --qr{}\n",
            config(options)
        );
    };
    let steps: Vec<_> = sequence.steps().iter().map(ToString::to_string).collect();
    let line = format!("knock {host} {}", steps.join(" "));
    let mut told = format!("To open the door, from elsewhere:\n    {line}\n");
    let shown = options.qr || std::io::stdout().is_terminal();
    if let Some(drawing) = qr::draw(&line).filter(|_| shown) {
        told.push_str("The same for a phone; who sees this screen can read it:\n");
        told.push_str(&drawing);
    }
    told.push_str("Keep it where you keep your keys. It is also in the file.\n");
    told.push_str(&profile(answers, host));
    told
}

/// How a client keeps it, so that it stands on no command line.
fn profile(answers: &Answers, host: &str) -> String {
    let name = gethostname().ok().and_then(|name| name.into_string().ok());
    let name = name.unwrap_or_else(|| "NAME".to_owned());
    let tcp = answers.services.iter().find_map(|service| match service {
        Service::Tcp(ports) => Some(format!(" --wait tcp/{}", ports.first())),
        Service::Udp(_) | Service::Icmp => None,
    });
    let wait = tcp.unwrap_or_default();
    format!(
        "Or once, so that it stands on no command line; the ports are asked for:\n\
         \x20   knock profile add --host {host}{wait} {name}\n    knock {name}\n"
    )
}

/// What the firewall of this machine needs to be told.
fn outside(answers: &Answers, loaded: &Loaded) -> String {
    if matches!(answers.guard, Guard::Firewall(_)) {
        return String::new();
    }
    let config = &loaded.config;
    let Some(look) = firewall::look(&config.doors, &config.options.interfaces) else {
        return String::new();
    };
    let lines: String = look.lines().map(|line| format!("    {line}\n")).collect();
    match (lines.is_empty(), look.is_well()) {
        (true, true) => String::new(),
        (true, false) => "\nWhether your firewall lets in who has knocked could not be seen: \
                          sudo knockctl doctor --firewall\n"
            .to_owned(),
        (false, _) => {
            format!("\nYour firewall drops also who has knocked. This line lets them in:\n{lines}")
        }
    }
}

fn running(daemon: Running) -> String {
    match daemon {
        Running::No => String::new(),
        Running::Ours(pid) => format!(
            "\nknockd runs already (process {pid}), with the configuration that it was started with.\n"
        ),
        Running::Other(pid) => format!(
            "\nThe knockd that runs (process {pid}) seems to be the distribution's. It must end before \
             this one\nstarts: docs/migrate.md.\n"
        ),
    }
}

/// What to do now.
fn next(options: &Options, answers: &Answers, machine: &Machine) -> String {
    let config = config(options);
    let mut steps = Vec::new();
    if matches!(answers.how, How::Sealed(_)) {
        steps.push(format!("sudo knockctl keys init{config}"));
    }
    if answers.guard == Guard::Gate {
        steps.push(format!("sudo knockctl arm --for 5m{config}"));
    }
    steps.push(match config.as_str() {
        "" => "sudo systemctl restart knockd       # OpenRC: rc-service knock restart".to_owned(),
        config => format!("sudo knockd -d{config}"),
    });
    let lines: String = steps.iter().map(|step| format!("    {step}\n")).collect();
    let mut told = format!("\nNothing has changed yet. Next, in this order:\n{lines}");
    if answers.guard == Guard::Gate {
        told.push_str(&format!(
            "Then knock from another terminal, come in, and say there:\n\
             \x20   sudo knockctl arm --confirm{config}\n\
             If you do not, the trial ends by itself and {} as open as before.\n",
            be(answers, machine)
        ));
    }
    told.push_str("The whole way, with what can go wrong: docs/guide/first-door.md\n");
    told
}

/// `ssh is`, or the ports.
fn be(answers: &Answers, machine: &Machine) -> String {
    match (text::name(answers, machine), answers.services.len()) {
        ("ssh", 1) => "ssh is".to_owned(),
        (_, 1) => format!("{} is", listed(&answers.services)),
        _ => format!("{} are", listed(&answers.services)),
    }
}

/// What commands need that read another file than the usual one.
fn config(options: &Options) -> String {
    // A daemon in the background has another folder.
    let path = std::path::absolute(&options.output);
    match path.unwrap_or_else(|_| options.output.clone()) {
        path if path == Path::new(crate::cli::DEFAULT_CONFIG) => String::new(),
        path => format!(" -c {}", path.display()),
    }
}

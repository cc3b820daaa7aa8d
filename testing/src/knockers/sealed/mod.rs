//! Sealed packets as an administrator uses them: a real ssh, with a real ssh-agent, to a real sshd
//! behind a port that is shut before and after.

mod stage;

use self::stage::{NAMES, NEEDS, OPEN_PORT, PUBLIC, Stage};
use super::{Programs, Scenario};
use crate::Result;

/// How often ssh passes the closed port.
const ROUNDS: usize = 20;

/// What a command of the user took in each round, in milliseconds, without what leads to it.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// ssh through the closed port, which knocks.
    pub(crate) through: Vec<f64>,
    /// ssh through an open port.
    pub(crate) plain: Vec<f64>,
    /// A knock by itself: the whole program, which starts, reads, asks the agent and the server.
    pub(crate) knock: Vec<f64>,
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let tools = ["scp", "rsync", "git"];
    let needs: Vec<_> = NEEDS.into_iter().chain(tools).collect();
    vec![
        Scenario::new(
            "sealed: enrolled over an open door, ssh passes a closed one with its first SYN, 20 times",
            &NEEDS,
            first_syn,
        )
        .for_root()
        .alone(),
        Scenario::new(
            "sealed: ssh, scp, rsync and git knock by `Match exec` of `knock ssh-config`",
            &needs,
            match_exec,
        )
        .for_root(),
        Scenario::new(
            "sealed: ssh, scp, rsync and git knock by `ProxyCommand` of `knock ssh-config`",
            &needs,
            proxy_command,
        )
        .for_root(),
        Scenario::new(
            "sealed: a door that wants addresses confirmed, from a private and from a public one",
            &NEEDS,
            confirmed,
        )
        .for_root(),
        Scenario::new(
            "sealed: where a door does not open, ssh says why, and nothing else",
            &NEEDS,
            reasons,
        )
        .for_root(),
    ]
}

fn first_syn(programs: &Programs) -> Result<()> {
    let Times {
        through,
        plain,
        knock,
    } = rounds(programs)?;
    // How long it may take is judged by the bench.
    println!(
        "      ssh through a closed port: {:.1} ms, through an open one: {:.1} ms; \
         a knock by itself: {:.1} ms",
        median(through),
        median(plain),
        median(knock),
    );
    Ok(())
}

/// A user who has enrolled over an open door passes the closed one with one SYN, twenty times; the
/// grant is closed between, or has expired; by turns IPv4 and IPv6.
pub(crate) fn rounds(programs: &Programs) -> Result<Times> {
    let stage = Stage::new(programs)?;
    for (name, _) in NAMES {
        stage.enroll(name)?;
    }
    let mut times = Times::default();
    for round in 0..ROUNDS {
        let name = if round % 2 == 0 {
            "four.example"
        } else {
            "six.example"
        };
        let expires = round % 4 < 2;
        let open_for = if expires { "--for 1s" } else { "" };
        let connect = format!("knock connect {open_for} %h %p");
        stage.is_shut()?;
        stage.has_counted()?;
        times.through.push(time(
            &stage,
            &format!("ssh -o ProxyCommand=\"{connect}\" root@{name} true"),
        )?);
        let syns = stage.syns()?;
        stage.site.require(syns == 1, || {
            format!("round {round}: {syns} SYNs were sent")
        })?;
        times.plain.push(time(
            &stage,
            &format!("ssh -p {OPEN_PORT} root@{name} true"),
        )?);
        times
            .knock
            .push(time(&stage, &format!("knock -q {open_for} {name}"))?);
        stage.others_are_kept_out()?;
        if expires {
            stage.wait_until_shut()?;
        } else {
            stage.close(name)?;
        }
    }
    Ok(times)
}

/// How many milliseconds a command of the user takes, without what leads to it.
fn time(stage: &Stage, command: &str) -> Result<f64> {
    let said = stage.must(&format!(
        "begun=$EPOCHREALTIME; {command} && echo $((${{EPOCHREALTIME/./}} - ${{begun/./}}))"
    ))?;
    Ok(said.trim().parse::<f64>()? / 1000.0)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::INFINITY)
}

fn match_exec(programs: &Programs) -> Result<()> {
    with_lines(programs, first_form)
}

fn proxy_command(programs: &Programs) -> Result<()> {
    with_lines(programs, second_form)
}

fn first_form(lines: &str) -> String {
    lines.to_owned()
}

/// It is printed as a comment.
fn second_form(lines: &str) -> String {
    let commented = lines.lines().filter_map(|line| line.strip_prefix('#'));
    let lines = commented.filter(|line| !line.starts_with(' ') || line.starts_with("    "));
    lines.collect::<Vec<_>>().join("\n")
}

/// What each program must do; `{host}` is the server, `{dir}` a folder that is there and empty.
const TOOLS: [(&str, &str); 4] = [
    ("ssh", "ssh root@{host} cat {dir}/../sent > {dir}/file"),
    ("scp", "scp -q {dir}/../sent root@{host}:{dir}/file"),
    ("rsync", "rsync {dir}/../sent root@{host}:{dir}/file"),
    (
        "git",
        "git clone -q root@{host}:{dir}/../repository {dir}/clone && mv {dir}/clone/sent {dir}/file",
    ),
];

fn with_lines(programs: &Programs, choose: fn(&str) -> String) -> Result<()> {
    let stage = Stage::new(programs)?;
    let site = &stage.site;
    let sent = "what is sent\n".repeat(1000);
    std::fs::write(site.path("sent"), &sent)?;
    site.server_must(
        "git init -q repository && cp sent repository && cd repository && git add sent \
         && git -c user.name=a -c user.email=a@example commit -q -m sent",
    )?;
    let mut config = String::new();
    for (name, _) in NAMES {
        stage.enroll(name)?;
        config.push_str(&choose(&stage.must(&format!("knock ssh-config {name}"))?));
        config.push('\n');
    }
    stage.write_ssh_config(&config)?;
    for (name, _) in NAMES {
        for (tool, command) in TOOLS {
            let folder = format!("{tool}.{name}");
            std::fs::create_dir(site.path(&folder))?;
            let dir = site.path(&folder).display().to_string();
            let command = command.replace("{host}", name).replace("{dir}", &dir);
            stage.is_shut()?;
            stage.has_counted()?;
            stage.must(&command)?;
            let syns = stage.syns()?;
            let arrived = site.read(&format!("{folder}/file"));
            site.require(arrived == sent, || format!("`{command}`: not the same"))?;
            site.require(syns == 1, || format!("`{command}`: {syns} SYNs"))?;
            stage.others_are_kept_out()?;
            stage.close(name)?;
        }
    }
    Ok(())
}

/// A public address is named in the packet, so that it is no question; of another the server asks
/// whether it is right.
fn confirmed(programs: &Programs) -> Result<()> {
    let stage = Stage::with(programs, "\tconfirm = yes\n")?;
    let connect = "knock connect %h %p";
    for (name, packets) in [("four.example", 2), ("six.example", 2), (PUBLIC.0, 1)] {
        stage.enroll(name)?;
        stage.has_counted()?;
        stage.asks()?;
        stage.must(&format!(
            "ssh -o ProxyCommand=\"{connect}\" root@{name} true"
        ))?;
        let (syns, asks) = (stage.syns()?, stage.asks()?);
        stage.site.require((syns, asks) == (1, packets), || {
            format!("{name}: {syns} SYNs, {asks} sealed packets")
        })?;
        stage.others_are_kept_out()?;
        stage.close(name)?;
    }
    Ok(())
}

/// What ssh leaves on the terminal, with either form.
fn reasons(programs: &Programs) -> Result<()> {
    let stage = Stage::new(programs)?;
    let (site, name) = (&stage.site, "four.example");
    stage.enroll(name)?;
    let lines = stage.must(&format!("knock ssh-config {name}"))?;
    let keys = site.read("authorized");
    let ssh = format!("ssh -o ConnectTimeout=6 root@{name} echo in");
    for form in [first_form, second_form] {
        stage.write_ssh_config(&form(&lines))?;
        std::fs::write(site.path("authorized"), &keys)?;
        let output = stage.user(&ssh)?;
        let said = (output.stdout.as_slice(), output.stderr.as_slice());
        site.require(said == (b"in\n", b""), || format!("{output:?}"))?;
        stage.close(name)?;
        let elsewhere = format!("from=\"192.0.2.1\" {keys}");
        for (keys, why) in [
            (
                elsewhere.as_str(),
                "knock: ssh refused for 10.77.0.1: the key may not be used from this address; key SHA256:",
            ),
            ("", "knock: no answer from udp 10.77.0.2:51443: "),
        ] {
            std::fs::write(site.path("authorized"), keys)?;
            let output = stage.user(&ssh)?;
            let said = String::from_utf8_lossy(&output.stderr);
            let told = output.status.code() == Some(255) && said.starts_with(why);
            site.require(told, || format!("{output:?}"))?;
            stage.is_shut()?;
        }
    }
    Ok(())
}

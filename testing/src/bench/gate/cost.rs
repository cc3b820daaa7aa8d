//! The CPU time of one grant, opened and closed, with few and with many alive: all that the thread
//! uses in the call, in user space and in the kernel, which does its part meanwhile. The two gates
//! take turns. Beside it, what a command takes that does the like, its shell included.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::time::Duration;

use knock_core::door::Door;
use knockd::gate::{Gate, Opening, Plan, Trial};
use knockd::lab::Host;
use knockd::listen::now;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use tempfile::NamedTempFile;

use super::side::By;
use crate::Result;
use crate::bench::report::{Figure, Samples};
use crate::bench::{Line, TURNS};

const FEW: u32 = 10;
const MANY: u32 = 100_000;
/// Rules are looked at one by one: nobody has more.
const MANY_RULES: u32 = 1_000;

/// In a turn.
const GRANTS: u32 = 400;
const COMMANDS: u32 = 10;

/// Longer than the bench runs.
const OPEN_FOR: Duration = Duration::from_secs(3600);

pub(super) fn run() -> Result<Vec<Line>> {
    let (mut few, mut many) = (Alive::new(FEW)?, Alive::new(MANY)?);
    for _ in 0..TURNS {
        few.turn()?;
        many.turn()?;
    }
    let nft = [FEW, MANY].map(|count| command(By::Nft, count));
    let iptables = [FEW, MANY_RULES].map(|count| command(By::Iptables, count));
    let [nft_few, nft_many] = nft;
    let [iptables_few, iptables_many] = iptables;
    let (nft_few, nft_many) = (nft_few?, nft_many?);
    let note = format!(
        "theirs is nft add element; iptables -I {:.0} µs with {FEW} rules, {:.0} µs with {MANY_RULES}",
        iptables_few?.value, iptables_many?.value
    );
    let line = |what: &str, count: u32, figure: Figure| {
        Line::new(
            format!("CPU to {what} one grant, {count} alive"),
            " µs",
            figure,
        )
        .at_most(30.0)
    };
    let compared = |line: Line, few: Figure| line.beside("10 alive", few).bare_ratio_at_most(1.5);
    let (opened, closed) = (few.opened.median(), few.closed.median());
    Ok(vec![
        line("open", FEW, opened).theirs(nft_few).note(note),
        compared(line("open", MANY, many.opened.median()), opened).theirs(nft_many),
        line("close", FEW, closed),
        compared(line("close", MANY, many.closed.median()), closed),
    ])
}

/// A gate with so many grants.
struct Alive {
    _host: Host,
    gate: Gate,
    door: Door,
    opened: Samples,
    closed: Samples,
    /// How many sources have had a grant.
    sources: u32,
}

impl Alive {
    fn new(count: u32) -> Result<Self> {
        let host = Host::new("server")?;
        let mut gate = host.run(Gate::new)??;
        let door = super::door("[A]\nsequence = 7000\nopen = tcp/22\n")?;
        let plan = Plan::of(std::slice::from_ref(&door));
        gate.up(&plan, &Trial::new(), now())?;
        let mut alive = Self {
            _host: host,
            gate,
            door,
            opened: Samples::default(),
            closed: Samples::default(),
            sources: 0,
        };
        for _ in 0..count {
            let opening = alive.next()?;
            alive.open(&opening)?;
        }
        Ok(alive)
    }

    fn turn(&mut self) -> Result<()> {
        for _ in 0..GRANTS {
            let opening = self.next()?;
            let begun = cpu()?;
            self.open(&opening)?;
            let opened = cpu()?;
            self.gate.revoke(opening.key(), now())?;
            let closed = cpu()?;
            self.opened.push(micros(opened.saturating_sub(begun)));
            self.closed.push(micros(closed.saturating_sub(opened)));
        }
        Ok(())
    }

    fn open(&mut self, opening: &Opening) -> Result<()> {
        let now = now();
        let until = now.saturating_add(OPEN_FOR);
        Ok(self.gate.grant(opening, until, now)?)
    }

    fn next(&mut self) -> Result<Opening> {
        self.sources += 1;
        let source: IpAddr = source(self.sources).into();
        Opening::of(&self.door, source).ok_or_else(|| "the door opens nothing".into())
    }
}

fn source(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0b00_0000 + number)
}

/// What the command of a door takes, with so many open before.
fn command(by: By, alive: u32) -> Result<Figure> {
    let host = Host::new("server")?;
    let shell = |text: &str| -> Result<()> {
        let mut shell = Command::new("sh");
        shell.args(["-c", text]).stdin(Stdio::null());
        if host.spawn(&mut shell)?.wait()?.success() {
            return Ok(());
        }
        Err(format!("failed: {text}").into())
    };
    shell(by.firewall())?;
    let mut file = NamedTempFile::new()?;
    let path = file.path().display().to_string();
    let sources = (1..=alive).map(source);
    if by == By::Nft {
        let sources: Vec<_> = sources.map(|source| source.to_string()).collect();
        let sources = sources.join(",");
        write!(file, "add element inet theirs granted {{ {sources} }}")?;
        shell(&format!("nft -f {path}"))?;
    } else {
        writeln!(file, "*filter")?;
        for source in sources {
            writeln!(file, "-I INPUT -s {source} -p tcp --dport 22 -j ACCEPT")?;
        }
        writeln!(file, "COMMIT")?;
        shell(&format!("iptables-restore -n {path}"))?;
    }
    let mut times = Samples::default();
    for number in 1..=COMMANDS {
        let source = source(alive + number).to_string();
        let begun = cpu_of_children()?;
        shell(&by.command().replace("%IP%", &source))?;
        times.push(micros(cpu_of_children()?.saturating_sub(begun)));
    }
    Ok(times.median())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The thread's CPU time so far.
pub(super) fn cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// That of the processes that have ended.
fn cpu_of_children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

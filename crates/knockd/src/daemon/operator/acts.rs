//! Opening, closing, reading the configuration again and changing the log level for an operator.

use std::net::IpAddr;
use std::time::Duration;

use knock_core::door::{Door, DoorId, Native};
use knock_core::time::{InUnits, Timestamp};

use super::asked;
use crate::clock;
use crate::control::{Answer, Closed, Code, Commands, LogLevel, Opened};
use crate::daemon::gatekeeper::{in_short, to};
use crate::daemon::sealed::{Came, closes_by_itself, time_of};
use crate::daemon::serve::Daemon;
use crate::events::{Grant, Kind, Reason, Who};
use crate::keeper::{Begun, DoorRef, Opener, Why};
use crate::listen;

/// What is answered: that it was done, or why it was not.
pub(super) type Done = Result<Answer, Refused>;

/// Why something was not done.
pub(super) struct Refused {
    code: Code,
    message: String,
    details: Vec<String>,
}

fn error(code: Code, message: impl Into<String>) -> Refused {
    Refused {
        code,
        message: message.into(),
        details: Vec::new(),
    }
}

impl Daemon {
    pub(super) fn open_for_operator(
        &mut self,
        name: &str,
        source: IpAddr,
        for_ms: Option<u64>,
        uid: u32,
    ) -> Done {
        let source = source.to_canonical();
        let door = self.door_named(name)?;
        let time = time_asked(&door, for_ms)?;
        // Where nothing is said, gate and commands have each their own time, as after a knock.
        let lasting = for_ms.and_then(|_| door.lasting(time));
        let door = lasting.unwrap_or(door);
        let runs = door.action.for_source(source).is_some();
        if !runs && door.action.native.is_none() {
            let family = if source.is_ipv4() { "IPv4" } else { "IPv6" };
            let text = format!("the door '{name}' opens nothing for an address of {family}");
            return Err(error(Code::NotOpened, text));
        }
        let text = format!("open {name} for {source}");
        let line = asked(uid, Reason::Open, &text);
        self.log(line.of(name).about(source).quietly());
        let who = Who::Operator(uid);
        let mut how = format!("opened by {who}");
        if closes_by_itself(&door, source) {
            how.push_str(&format!(" for {}", InUnits(time)));
        }
        let opener = Opener {
            how: &how,
            who: Some(&who),
        };
        let now = listen::now();
        let came = self.open_sealed(&door, source, &opener, now);
        let commands = self.commands_of(&came)?;
        Ok(Answer::Opened(opened(&door, source, &came, commands, now)))
    }

    /// How the commands of an opening are, or why it is not open.
    fn commands_of(&self, came: &Came) -> Result<Option<Commands>, Refused> {
        let not = |what: &str| error(Code::NotOpened, format!("{what}; the log says why"));
        let gate = if came.gate.is_some() {
            "the gate is open, but "
        } else {
            ""
        };
        match came.commands {
            None if came.gate.is_none() => Err(not("it was not opened")),
            None | Some(Begun::Refused) => Err(not(&format!("{gate}no command was run"))),
            Some(Begun::Nothing) => Ok(None),
            Some(Begun::Extended) => Ok(Some(Commands::Extended)),
            Some(Begun::Grant(id)) if self.keeper.is_running(id) => Ok(Some(Commands::Started)),
            Some(Begun::Grant(id)) if self.keeper.is_waiting(id) => Ok(Some(Commands::Waiting)),
            Some(Begun::Grant(_)) => Err(not(&format!("{gate}its command was not started"))),
        }
    }

    pub(super) fn close_for_operator(
        &mut self,
        door: Option<&str>,
        source: Option<IpAddr>,
        all: bool,
        kill: bool,
        uid: u32,
    ) -> Done {
        let source = source.map(|source| source.to_canonical());
        let what = match (door, source) {
            (None, None) if !all => {
                let text = "neither a door nor an address is named, nor all";
                return Err(error(Code::BadRequest, text));
            }
            (Some(_), _) | (_, Some(_)) if all => {
                let text = "all is everything: it goes with neither a door nor an address";
                return Err(error(Code::BadRequest, text));
            }
            (None, None) => "everything".to_owned(),
            (Some(door), None) => door.to_owned(),
            (None, Some(source)) => format!("all of {source}"),
            (Some(door), Some(source)) => format!("{door} of {source}"),
        };
        let line = asked(uid, Reason::Close, &format!("close {what}"));
        let line = door.iter().fold(line, |line, door| line.of(door));
        let line = source.iter().fold(line, |line, source| line.about(*source));
        self.log(line.quietly());
        self.close_where(door, source, kill, uid)
    }

    fn close_where(
        &mut self,
        door: Option<&str>,
        source: Option<IpAddr>,
        kill: bool,
        uid: u32,
    ) -> Done {
        let now = listen::now();
        let who = Who::Operator(uid);
        let text = format!("closed by {who}");
        let why = Why {
            who: Some(&who),
            ..Why::new(&text, Reason::Operator)
        };
        let is_door = |name: &str| door.is_none_or(|door| door == name);
        let is_source = |of| source.is_none_or(|source| source == of);
        let which = |name: &str, of| is_door(name) && is_source(of);
        let (by_commands, starting) = self.keeper.close_where(which, &why, now);
        let mut closed: Vec<_> = by_commands
            .iter()
            .map(|grant| Closed {
                door: grant.door.to_string(),
                to: grant.source.to_string(),
                grant: Grant::Commands(grant.id.0),
            })
            .collect();
        let (mut ended, mut failed) = (0, 0);
        if let Some(gatekeeper) = &mut self.gatekeeper {
            let lets_in =
                |of: &knock_core::target::Target| source.is_none_or(|source| of.contains(source));
            let taken = gatekeeper.take_back_where(
                |key| is_door(key.door()) && lets_in(&key.sources()),
                kill,
                &why,
                now,
            );
            closed.extend(taken.closed.iter().map(|key| Closed {
                door: key.door().to_owned(),
                to: to(key),
                grant: Grant::Gate,
            }));
            (ended, failed) = (taken.ended, taken.failed);
            taken
                .lines
                .into_iter()
                .for_each(|line| self.keeper.tell(line, now));
        }
        if failed > 0 {
            let text = format!("{failed} were not closed; the log says why");
            return Err(error(Code::NotClosed, text));
        }
        if closed.is_empty() && starting > 0 {
            let text = format!("{starting} are being opened: their start commands have not ended");
            return Err(error(Code::NotClosed, text));
        }
        Ok(Answer::Closed {
            closed,
            connections_ended: u64::try_from(ended).unwrap_or(u64::MAX),
        })
    }

    pub(super) fn reload_for_operator(&mut self, uid: u32) -> Done {
        let line = asked(uid, Reason::Reload, "reload");
        self.log(line);
        match self.reload() {
            Ok(warnings) => Ok(Answer::Reloaded { warnings }),
            Err(details) => Err(Refused {
                code: Code::NotReloaded,
                message: "the configuration that was running stays in force".to_owned(),
                details,
            }),
        }
    }

    pub(super) fn set_log_level(&mut self, level: LogLevel, uid: u32) -> Done {
        let name = match level {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
        };
        let line = asked(uid, Reason::LogLevel, &format!("log level {name}"));
        self.log(line);
        self.settings.log.debug = level == LogLevel::Debug;
        self.scribe.set_debug(self.settings.log.debug);
        Ok(Answer::LogLevel { level })
    }

    fn door_named(&self, name: &str) -> Result<DoorRef, Refused> {
        let doors = self.doors.now();
        let mut all = (0_u16..).zip(doors.iter());
        let found = all.find(|(_, door)| door.name == name);
        let found = found.and_then(|(id, _)| DoorRef::new(doors, DoorId(id)));
        found.ok_or_else(|| {
            let names: Vec<_> = doors.iter().map(|door| door.name.clone()).collect();
            let text = format!(
                "there is no door '{name}' (there are: {})",
                in_short(&names)
            );
            error(Code::NoSuchDoor, text)
        })
    }
}

/// For how long the door is to be open. What an operator says counts whatever the door's own time is.
fn time_asked(door: &Door, for_ms: Option<u64>) -> Result<Duration, Refused> {
    let Some(asked) = for_ms else {
        return Ok(time_of(door, None));
    };
    let time = Duration::from_millis(asked);
    if (Native::MIN_TIME..=Native::MAX_TIME).contains(&time) {
        return Ok(time);
    }
    let (least, most) = (InUnits(Native::MIN_TIME), InUnits(Native::MAX_TIME));
    let text = format!(
        "a door can be opened for {least} to {most}, not for {}",
        InUnits(time)
    );
    Err(error(Code::BadTime, text))
}

fn opened(
    door: &Door,
    source: IpAddr,
    came: &Came,
    commands: Option<Commands>,
    now: Timestamp,
) -> Opened {
    let of_commands = door.action.for_source(source);
    let stops = of_commands.is_some_and(|commands| commands.stop.is_some());
    let soonest = stops.then(|| now.saturating_add(door.action.cmd_timeout));
    let until = came.gate.as_ref().map_or(soonest, |gate| gate.until);
    Opened {
        door: door.name.clone(),
        source,
        services: came
            .gate
            .iter()
            .flat_map(|gate| gate.services.clone())
            .collect(),
        until: until.map(clock::on_the_wall),
        extended: came
            .gate
            .as_ref()
            .is_some_and(|gate| gate.kind == Kind::Extend)
            || commands == Some(Commands::Extended),
        commands,
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        Self::Error {
            code: refused.code,
            message: refused.message,
            details: refused.details,
        }
    }
}

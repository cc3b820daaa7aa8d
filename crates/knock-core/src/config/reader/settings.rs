//! Values to settings: what each key of the table sets.

use alloc::format;
use alloc::string::String;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use super::super::keys::{Key, KeySpec, Shape};
use super::super::report::Report;
use super::super::text::{Text, is_blank};
use super::super::{
    ControlPlace, JournalPlace, LogFormat, LogLevel, OnStop, Sandbox, open, prefixes, spa, steps,
    values,
};
use super::{Reader, Section};
use crate::door::{Reopen, SequenceSource};
use crate::template::Template;

impl Reader<'_> {
    /// Reads the value of a key that may stand in the current section.
    pub(super) fn value(&mut self, spec: &KeySpec, value: Text<'_>) {
        let value = self.without_comment(spec, value);
        let report = &mut self.report;
        if value.str.is_empty() && !spec.shape.has_empty() {
            report.error(
                value.span(),
                format!("`{}` has no value", spec.name),
                values::expected(spec.shape),
                (),
            );
            return;
        }
        match spec.shape {
            Shape::Switch => {
                if let Some(on) = values::switch(value, report) {
                    self.set_switch(spec.key, on);
                }
            }
            Shape::Path => self.set_path(spec, value),
            Shape::Interfaces => {
                self.options.interfaces = values::interfaces(value, report).unwrap_or_default();
            }
            Shape::Choice(words) => {
                if let Some(index) = values::choice(value, words, report) {
                    self.set_choice(spec.key, index);
                }
            }
            Shape::Number { min, max } => {
                if let Some(number) = values::number(value, min, max, report) {
                    self.set_number(spec.key, number);
                }
            }
            Shape::Account => {
                if let Some(name) = account(spec, value, report) {
                    self.set_account(name);
                }
            }
            Shape::PathOrOff => {
                if let Some(place) = journal(spec, value, report) {
                    self.options.journal = place;
                }
            }
            Shape::PathOrNone => {
                if let Some(path) = path_or_none(spec, value, report) {
                    self.set_path_or_none(spec.key, path);
                }
            }
            Shape::Loopback => {
                if let Some(address) = loopback(spec, value, report) {
                    self.options.metrics_address = address;
                }
            }
            Shape::Directory => {
                if let Some(path) = absolute(spec, value, report) {
                    self.options.state_dir = path;
                }
            }
            Shape::UdpPorts => {
                if let Some(ports) = spa::ports(value, report) {
                    self.options.spa_ports = ports;
                }
            }
            Shape::Within { min, max } => {
                if let Some(time) = values::duration_within(value, min, max, report) {
                    self.set_time_within(spec.key, time);
                }
            }
            Shape::Command if self.section == Section::Options => {
                let template = command(value, "", report);
                self.set_option_command(spec.key, template);
            }
            _ => self.door_value(spec, value),
        }
    }

    /// An empty one is none.
    fn set_option_command(&mut self, key: Key, template: Template) {
        let template = Some(template).filter(|template| !template.as_str().is_empty());
        match key {
            Key::OnStart => self.options.on_start = template,
            Key::OnExit => self.options.on_exit = template,
            Key::OnOpen => self.options.hooks.open = template,
            Key::OnClose => self.options.hooks.close = template,
            _ => self.options.hooks.refuse = template,
        }
    }

    /// The value up to a `#`. The original read numbers up to there, so that it worked by
    /// accident; in file names and commands it is a character like any other.
    fn without_comment<'t>(&mut self, spec: &KeySpec, value: Text<'t>) -> Text<'t> {
        let whole = [
            Shape::Path,
            Shape::PathOrOff,
            Shape::PathOrNone,
            Shape::Directory,
            Shape::Command,
            Shape::Account,
            Shape::Door,
        ];
        if whole.contains(&spec.shape) {
            return value;
        }
        let (before, Some(comment)) = value.split_comment() else {
            return value;
        };
        let message = "a comment cannot follow a value";
        let expected = "the comment on a line of its own";
        match spec.shape {
            Shape::Sequence | Shape::Duration { .. } => {
                self.report
                    .warn(comment.span(), message, expected, "it is skipped");
            }
            _ => self.report.error(comment.span(), message, expected, ()),
        }
        before
    }

    fn door_value(&mut self, spec: &KeySpec, value: Text<'_>) {
        let report = &mut self.report;
        let Some(door) = self.doors.last_mut() else {
            return;
        };
        match spec.shape {
            Shape::Sequence => {
                let sequence = steps::sequence(value, self.services, report);
                door.source = sequence.map(SequenceSource::Fixed);
            }
            Shape::Duration { negative_is_zero } => {
                if let Some(time) = values::duration(value, negative_is_zero, report) {
                    match spec.key {
                        Key::SeqTimeout => door.seq_timeout = time,
                        Key::CmdTimeout => door.cmd_timeout = time,
                        _ => door.cooldown = time,
                    }
                }
            }
            Shape::KeyFiles => door.key_files = spa::key_files(value, report),
            Shape::Services => door.open = open::services(value, self.services, report),
            Shape::Prefixes => {
                door.open_to = prefixes::widening(value, report).unwrap_or_default();
            }
            Shape::Door => door.close = Some(value.str.into()),
            Shape::Flags => {
                door.flags = values::flags(value, door.flags, report).unwrap_or(door.flags);
            }
            Shape::Targets => {
                door.targets = values::targets(value, report).unwrap_or_default();
            }
            Shape::Command => {
                let template = command(value, &door.name, report);
                match spec.key {
                    Key::StartCommand => door.start.any = Some(template),
                    Key::StartCommand6 => door.start.v6 = Some(template),
                    Key::StopCommand => door.stop.any = Some(template),
                    Key::OnOpen => door.hooks.open = Some(template),
                    Key::OnClose => door.hooks.close = Some(template),
                    Key::OnRefuse => door.hooks.refuse = Some(template),
                    _ => door.stop.v6 = Some(template),
                }
            }
            _ => {}
        }
    }

    fn set_account(&mut self, name: String) {
        match (self.section, self.doors.last_mut()) {
            (Section::Door, Some(door)) => door.user = Some(name),
            _ => self.options.user = Some(name),
        }
    }

    /// A switch, which also stands without a value.
    pub(super) fn set_switch(&mut self, key: Key, on: bool) {
        match (key, self.section, self.doors.last_mut()) {
            (Key::UseSyslog, ..) => self.options.syslog = on,
            (Key::SpaSilent, ..) => self.options.spa_silent = on,
            (Key::Shadow, ..) => self.options.shadow = on,
            (Key::Kill, _, Some(door)) => door.kill = on,
            (Key::Spa, _, Some(door)) => door.spa = Some(on),
            (Key::Confirm, _, Some(door)) => door.confirm = on,
            (Key::RequireClaim, _, Some(door)) => door.require_claim = on,
            (_, Section::Door, Some(door)) => door.strict = Some(on),
            _ => self.strict = on,
        }
    }

    /// An empty name is none, as in the original.
    fn set_path(&mut self, spec: &KeySpec, value: Text<'_>) {
        note_comment(value, &mut self.report);
        let path = Some(String::from(value.str)).filter(|path| !path.is_empty());
        match spec.key {
            Key::LogFile => self.options.logfile = path,
            Key::PidFile => self.options.pidfile = path,
            _ => {
                let Some(door) = self.doors.last_mut() else {
                    return;
                };
                if path.is_none() {
                    let expected = spec.shape.expected();
                    self.report
                        .error(value.span(), "the file has no name", expected, ());
                }
                door.source = path.map(SequenceSource::OneTime);
            }
        }
    }

    fn set_choice(&mut self, key: Key, index: usize) {
        match (key, index) {
            (Key::OnStop, 0) => self.options.on_stop = OnStop::Close,
            (Key::OnStop, _) => self.options.on_stop = OnStop::Keep,
            (Key::Reopen, _) => {
                if let Some(door) = self.doors.last_mut() {
                    door.reopen = if index == 0 {
                        Reopen::Run
                    } else {
                        Reopen::Extend
                    };
                }
            }
            (Key::LogFormat, 0) => self.options.log_format = LogFormat::Classic,
            (Key::LogFormat, 1) => self.options.log_format = LogFormat::Rfc3339,
            (Key::LogFormat, _) => self.options.log_format = LogFormat::Json,
            (Key::Sandbox, 0) => self.options.sandbox = Sandbox::On,
            (Key::Sandbox, 1) => self.options.sandbox = Sandbox::Require,
            (Key::Sandbox, _) => self.options.sandbox = Sandbox::Off,
            (_, 0) => self.options.log_level = LogLevel::Info,
            _ => self.options.log_level = LogLevel::Debug,
        }
    }

    fn set_time_within(&mut self, key: Key, time: Duration) {
        match (key, self.doors.last_mut()) {
            (Key::OpenFor, Some(door)) => door.open_for = time,
            (Key::TtlMax, Some(door)) => door.ttl_max = Some(time),
            _ => self.options.spa_window = time,
        }
    }

    fn set_path_or_none(&mut self, key: Key, path: Option<String>) {
        match key {
            Key::ControlSocket => {
                self.options.control = path.map_or(ControlPlace::None, ControlPlace::At);
            }
            Key::AuditFile => self.options.audit_file = path,
            Key::MetricsSocket => self.options.metrics_socket = path,
            _ => self.options.revoked_keys = path,
        }
    }

    fn set_number(&mut self, key: Key, number: u32) {
        match key {
            Key::MaxAttempts => self.options.max_attempts = number,
            _ => self.options.max_commands = number,
        }
    }
}

/// What looks like a comment and is none.
fn note_comment(path: Text<'_>, report: &mut Report) {
    if let Some(blank) = path.str.find(" #") {
        report.warn(
            path.at + blank + 1..path.span().end,
            "this is a part of the file's name",
            "comments on a line of their own",
            (),
        );
    }
}

/// The path of the journal. A relative one, which depends on where the daemon was started, would
/// be another journal after the next start.
fn journal(spec: &KeySpec, value: Text<'_>, report: &mut Report) -> Option<JournalPlace> {
    let off = |word: &&str| value.str.eq_ignore_ascii_case(word);
    if off(&"off") {
        return Some(JournalPlace::Off);
    }
    let is_none = ["none", "no", "false", "0", "never", "disabled"]
        .iter()
        .any(off);
    if !is_none {
        return absolute(spec, value, report).map(JournalPlace::At);
    }
    let message = format!("`{}` is no path from / on", value.str);
    let help = "write off to have none";
    report.error(value.span(), message, spec.shape.expected(), help);
    None
}

/// A path from `/` on, or none, for which sshd_config(5) has the same word.
fn path_or_none(spec: &KeySpec, value: Text<'_>, report: &mut Report) -> Option<Option<String>> {
    if value.str.eq_ignore_ascii_case("none") {
        return Some(None);
    }
    let off = ["off", "no", "false", "0", "never", "disabled"];
    if !off.iter().any(|word| value.str.eq_ignore_ascii_case(word)) {
        return absolute(spec, value, report).map(Some);
    }
    let message = format!("`{}` is no path from / on", value.str);
    let help = "write none to have none";
    report.error(value.span(), message, spec.shape.expected(), help);
    None
}

/// An address that only this host itself reaches, with a port, or none.
fn loopback(spec: &KeySpec, value: Text<'_>, report: &mut Report) -> Option<Option<SocketAddr>> {
    if value.str.eq_ignore_ascii_case("none") {
        return Some(None);
    }
    let expected = spec.shape.expected();
    match value.str.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() && address.port() != 0 => Some(Some(address)),
        Ok(address) if !address.ip().is_loopback() => {
            let message = format!("`{}` is reached from elsewhere too", value.str);
            let help = "who reaches it may read it: for others, put a proxy or a tunnel before it";
            report.error(value.span(), message, expected, help);
            None
        }
        _ => {
            let message = format!("`{}` is no address with a port", value.str);
            report.error(value.span(), message, expected, ());
            None
        }
    }
}

/// A path from `/` on.
fn absolute(spec: &KeySpec, value: Text<'_>, report: &mut Report) -> Option<String> {
    if value.str.starts_with('/') {
        note_comment(value, report);
        return Some(value.str.into());
    }
    let message = format!("`{}` is no path from / on", value.str);
    let help = "a relative path depends on where knockd is started";
    report.error(value.span(), message, spec.shape.expected(), help);
    None
}

/// The name of an account.
fn account(spec: &KeySpec, value: Text<'_>, report: &mut Report) -> Option<String> {
    if value.str.contains(is_blank) {
        let message = format!("`{}` is no name of an account", value.str);
        report.error(value.span(), message, spec.shape.expected(), ());
        return None;
    }
    Some(value.str.into())
}

/// A command; one that is too long with even the shortest address could never run.
fn command(value: Text<'_>, door: &str, report: &mut Report) -> Template {
    let template = Template::new(value.str);
    let shortest = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    let too_long = || {
        shortest
            .iter()
            .all(|ip| template.expand(*ip, door).is_err())
    };
    if may_be_long(value.str, door) && too_long() {
        report.error(
            value.span(),
            "the command is too long to run",
            format!("at most {} bytes", Template::MAX_EXPANDED),
            "put it into a script",
        );
    }
    template
}

/// Whether a command can exceed its limit at all. Nearly none can, and this is quick to tell.
fn may_be_long(command: &str, door: &str) -> bool {
    let placeholders = command.bytes().filter(|b| *b == b'%').count() / 2;
    let longest = door.len().max("255.255.255.255".len());
    command.len() + placeholders * longest > Template::MAX_EXPANDED
}

//! Files that say what a configuration says.

use super::super::*;
use crate::door::{Hooks, SequenceSource, Trigger, Widening};
use crate::template::Template;
use crate::time::InUnits;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use core::fmt::{Display, Write};

/// A file that says what `config` says.
pub(super) fn render(config: &Config) -> String {
    let mut out = String::from("[options]\n");
    let mut line = |key: &str, value: &dyn Display| writeln!(out, "{key} = {value}").unwrap();
    let options = &config.options;
    line("usesyslog", &if options.syslog { "yes" } else { "no" });
    line("logfile", &options.logfile.as_deref().unwrap_or_default());
    line("pidfile", &options.pidfile.as_deref().unwrap_or_default());
    if !options.interfaces.is_empty() {
        line("interface", &options.interfaces.join(", "));
    }
    line("log_format", &format!("{:?}", options.log_format));
    line("log_level", &format!("{:?}", options.log_level));
    line("max_attempts", &options.max_attempts);
    line("max_commands", &options.max_commands);
    line("sandbox", &format!("{:?}", options.sandbox));
    line("on_stop", &format!("{:?}", options.on_stop));
    match &options.journal {
        JournalPlace::Usual => {}
        JournalPlace::At(path) => line("journal", path),
        JournalPlace::Off => line("journal", &"OFF"),
    }
    match &options.control {
        ControlPlace::Usual => {}
        ControlPlace::At(path) => line("control_socket", path),
        ControlPlace::None => line("control_socket", &"none"),
    }
    if let Some(path) = &options.metrics_socket {
        line("metrics_socket", path);
    }
    if let Some(address) = &options.metrics_address {
        line("metrics_address", address);
    }
    let ports: Vec<String> = options.spa_ports.iter().map(ToString::to_string).collect();
    line("spa_port", &ports.join(" ,"));
    line("spa_window", &InUnits(options.spa_window));
    line("state_dir", &options.state_dir);
    line("spa_silent", &if options.spa_silent { "yes" } else { "no" });
    line(
        "revoked_keys",
        &options.revoked_keys.as_deref().unwrap_or("None"),
    );
    if let Some(user) = &options.user {
        line("user", user);
    }
    line(
        "audit_file",
        &options.audit_file.as_deref().unwrap_or("none"),
    );
    let once = [
        ("on_start", &options.on_start),
        ("on_exit", &options.on_exit),
    ];
    for (key, command) in once.into_iter().chain(hooks_of(&options.hooks)) {
        line(key, &command.as_ref().map_or("", Template::as_str));
    }
    line("shadow", &u8::from(options.shadow));
    for door in &config.doors {
        out.push_str(&render_door(door));
    }
    out
}

fn hooks_of(hooks: &Hooks) -> [(&'static str, &Option<Template>); 3] {
    [
        ("on_open", &hooks.open),
        ("on_close", &hooks.close),
        ("on_refuse", &hooks.refuse),
    ]
}

fn render_door(door: &Door) -> String {
    let mut out = format!("[{}]\n", door.name);
    let mut line = |key: &str, value: &dyn Display| writeln!(out, "{key} = {value}").unwrap();
    let Trigger { source, flags, .. } = &door.trigger;
    match source {
        SequenceSource::Fixed(sequence) => line("sequence", sequence),
        SequenceSource::OneTime(path) => line("one_time_sequences", path),
        SequenceSource::None => {}
    }
    if let Some(spa) = &door.spa {
        let keys: Vec<String> = spa.keys.iter().map(ToString::to_string).collect();
        line("authorized_keys", &keys.join(", "));
        if let Some(time) = spa.ttl_max {
            line("ttl_max", &InUnits(time));
        }
        line("confirm", &u8::from(spa.confirm));
        line("require_claim", &u8::from(spa.require_claim));
    }
    if !flags.is_any() {
        line("tcpflags", flags);
    }
    let targets: Vec<String> = door
        .trigger
        .targets
        .iter()
        .map(ToString::to_string)
        .collect();
    if !targets.is_empty() {
        line("target", &targets.join(","));
    }
    line(
        "seq_timeout",
        &format!("{}ms", door.trigger.seq_timeout.as_millis()),
    );
    line(
        "cooldown",
        &format!("{}ms", door.trigger.cooldown.as_millis()),
    );
    line(
        "cmd_timeout",
        &format!("{}ms", door.action.cmd_timeout.as_millis()),
    );
    line("strict", &u8::from(door.trigger.strict));
    if let Some(user) = &door.action.user {
        line("user", user);
    }
    line("reopen", &format!("{:?}", door.action.reopen));
    if let Some(native) = &door.action.native {
        let open: Vec<String> = native.open.iter().map(ToString::to_string).collect();
        line("open", &open.join(" , "));
        line("open_for", &InUnits(native.open_for));
        let Widening { v4, v6 } = native.open_to;
        line("open_to", &format!("/{v4},/{v6}"));
    }
    if let Some(closing) = &door.action.close {
        line("close", &closing.door);
        line("kill", &if closing.kill { "yes" } else { "no" });
    }
    for (key, command) in hooks_of(&door.action.hooks) {
        line(key, &command.as_ref().map_or("", Template::as_str));
    }
    for (suffix, commands) in [("", &door.action.v4), ("_6", &door.action.v6)] {
        let start = commands.as_ref().map(|c| c.start.to_string());
        let stop = commands.as_ref().and_then(|c| c.stop.as_ref());
        line(
            &format!("start_command{suffix}"),
            &start.unwrap_or_default(),
        );
        let stop: Box<dyn Display> = match stop {
            Some(stop) => Box::new(stop),
            None => Box::new(""),
        };
        line(&format!("stop_command{suffix}"), &*stop);
    }
    out
}

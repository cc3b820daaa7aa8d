//! Commands that run beside doors, the audit trail, and shadows.

use super::*;
use crate::door::Hooks;

fn texts(hooks: &Hooks) -> [Option<&str>; 3] {
    [&hooks.open, &hooks.close, &hooks.refuse].map(|hook| hook.as_ref().map(|t| t.as_str()))
}

#[test]
fn a_door_has_the_hooks_of_options_unless_it_names_its_own_or_none() {
    let config = clean(
        "[A]\nsequence = 1\nopen = icmp\non_open = own %IP% # too\non_close =\n\
         [B]\nsequence = 2\nopen = icmp\n\
         [options]\non_open = /a %IP%\non_close = /b\non_refuse = /c\n",
    );
    let [a, b] = &config.doors[..] else {
        panic!("two doors")
    };
    assert_eq!(
        texts(&a.action.hooks),
        [Some("own %IP% # too"), None, Some("/c")]
    );
    assert_eq!(
        texts(&b.action.hooks),
        [Some("/a %IP%"), Some("/b"), Some("/c")]
    );
    assert_eq!(a.action.hooks.is_empty(), b.action.hooks.is_empty());
}

#[test]
fn what_runs_once_and_where_the_trail_goes_are_options() {
    let config = clean(
        "[options]\non_start = /a b\non_exit = c; d\naudit_file = /var/log/x y.jsonl\nshadow\n\
         [A]\nsequence = 1\n",
    );
    let options = &config.options;
    let once = [&options.on_start, &options.on_exit];
    let once = once.map(|command| command.as_ref().map(|t| t.as_str()));
    assert_eq!(once, [Some("/a b"), Some("c; d")]);
    assert_eq!(options.audit_file.as_deref(), Some("/var/log/x y.jsonl"));
    assert!(options.shadow);
    let none = "[options]\non_start =\naudit_file = NONE\nshadow = no\n[A]\nsequence = 1\n";
    let options = clean(none).options;
    assert_eq!((options.on_start, options.audit_file), (None, None));
    assert!(!options.shadow);
}

#[test]
fn mistakes_of_hooks_are_told() {
    assert_eq!(
        mistakes(
            "[options]\naudit_file = audit\n[A]\nsequence = 1\non_start = x\non_close = y\n\
             shadow = yes\n"
        ),
        "Error `audit`: `audit` is no path from / on\n\
         Error `on_start`: `on_start` is no key of a door\n\
         Warning `on_close = y`: nothing that this door does is ever closed\n\
         Error `shadow`: `shadow` is no key of a door\n"
    );
}

//! Guides that are wrong, each in one way: following them must fail, and say where.

use super::follow_text;
use crate::Result;
use crate::scenario::{Programs, Scenario};

/// What is wrong, the guide, and what is said of it.
const WRONG: [(&str, &str, &str); 11] = [
    (
        "a command that fails",
        "```sh\nsudo knockctl check -c /nowhere\n```\n",
        "line 2: `sudo knockctl check -c /nowhere` on server: exit status 1 in place of exit status 0",
    ),
    (
        "an option that is none",
        "```console\nclient$ knock --nonsense server.example.com 7000\n```\n",
        "on client: exit status 1 in place of exit status 0; it printed\nerror: unexpected argument",
    ),
    (
        "output that is another one",
        "```console\nserver# echo one\ntwo\n```\n",
        "it does not print: two",
    ),
    (
        "output that has more",
        "```console\nserver# printf 'one\\ntwo\\n'\none\n```\n",
        "it does not print: (no more)",
    ),
    (
        "output of the command before that is not there",
        "```sh\nsudo echo one\n```\n\n```text\ntwo\n```\n",
        "line 5: it does not print: two",
    ),
    (
        "a line to copy that nothing has printed",
        "```sh\nsudo echo knock 203.0.113.9 7000\nknock 203.0.113.2 7000  # your line\n```\n",
        "line 3: no line like `knock 203.0.113.2 7000` was printed",
    ),
    (
        "a line that differs in more than is said",
        "<!-- differs: take … now -->\n```console\nserver# echo take 5 later\ntake 6 now\n```\n",
        "it does not print: take … now",
    ),
    (
        "what should hang and does not",
        "```sh\nssh you@server.example.com true  # hangs: the door is shut\n```\n",
        "in place of that it hangs",
    ),
    (
        "what should fail and does not",
        "```sh\nssh you@server.example.com true  # fails: nobody is let in\n```\n",
        "in place of a failure",
    ),
    (
        "a configuration with a mistake",
        "```conf\n[ssh]\n    sequence = 7000,70000\n    open = tcp/22\n```\n\n```sh\nsudo knockctl check\n```\n",
        "exit status 1 in place of exit status 0",
    ),
    (
        "a knock at the wrong ports",
        "```conf\n[ssh]\n    sequence = 7000,9000,8000\n    open = tcp/22\n```\n\n```sh\nsudo systemctl start knockd\n\
         knock server.example.com 7000 8000 9000\nssh -o ConnectTimeout=2 you@server.example.com true\n```\n",
        "line 10: `ssh",
    ),
];

/// One that says nothing of a block, and what is said of that.
const UNMARKED: (&str, &str) = (
    "```\nsudo knockctl check\n```\n",
    "line 1: nothing is known of this block",
);

/// One for each of them.
pub(super) fn scenarios() -> Vec<Scenario> {
    let scenario = |(what, guide, said)| {
        let name = format!("wrong guide: {what}");
        let run = move |programs: &Programs| fails(guide, said, programs);
        Scenario::new(name, &super::NEEDS, run).for_root()
    };
    let run = |programs: &Programs| fails(UNMARKED.0, UNMARKED.1, programs);
    // No machine is made for it, so everybody can run it.
    let unmarked = Scenario::new("wrong guide: a block of which nothing is said", &[], run);
    WRONG.into_iter().map(scenario).chain([unmarked]).collect()
}

fn fails(guide: &str, said: &str, programs: &Programs) -> Result<()> {
    match follow_text(guide, programs) {
        Ok(_) => Err("it was followed without a complaint".into()),
        Err(error) if error.to_string().contains(said) => Ok(()),
        Err(error) => Err(format!("the complaint is another one: {error}").into()),
    }
}

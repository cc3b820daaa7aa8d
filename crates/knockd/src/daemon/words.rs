//! Commands that need no shell.

/// The words of a command with which a shell would do nothing but start a program: the first is the
/// program's path from the root, and there is no character that means anything to `sh` (POSIX.1-2024,
/// XCU 2.2 and 2.6) but the spaces between. `None` for every other command.
pub(super) fn plain_words(command: &str) -> Option<Vec<&str>> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " \t/._-:,=@%+".contains(c);
    let words: Vec<&str> = command
        .split([' ', '\t'])
        .filter(|w| !w.is_empty())
        .collect();
    let program = words.first()?;
    // With a `=` it would be an assignment.
    let is_path = program.starts_with('/') && !program.contains('=');
    (is_path && command.chars().all(is_plain)).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipes_of_the_manual_need_no_shell() {
        let command = "/usr/sbin/iptables -I INPUT -s 2001:db8::7 -p tcp --dport 22  -j ACCEPT";
        assert_eq!(
            plain_words(command).unwrap(),
            [
                "/usr/sbin/iptables",
                "-I",
                "INPUT",
                "-s",
                "2001:db8::7",
                "-p",
                "tcp",
                "--dport",
                "22",
                "-j",
                "ACCEPT"
            ]
        );
        assert_eq!(plain_words("/bin/dd if=/a").unwrap(), ["/bin/dd", "if=/a"]);
        assert_eq!(plain_words(" /bin/true\t").unwrap(), ["/bin/true"]);
    }

    #[test]
    fn whatever_a_shell_may_see_otherwise_needs_it() {
        for command in [
            "",
            " ",
            "true",
            "iptables -F",
            "./here",
            "A=1 /bin/true",
            "/a=b",
            "/bin/true; /bin/false",
            "/bin/true\n/bin/false",
            "/bin/true &",
            "/bin/true | /bin/cat",
            "/bin/echo > /tmp/x",
            "/bin/echo < /tmp/x",
            "/bin/echo $KNOCK_IP",
            "/bin/echo `id`",
            "/bin/echo \"a b\"",
            "/bin/echo 'a'",
            "/bin/echo a\\ b",
            "/bin/echo *",
            "/bin/ech?",
            "/bin/echo [a]",
            "/bin/echo {a,b}",
            "/bin/echo ~",
            "/bin/echo # all",
            "/bin/echo !",
            "/bin/echo a^b",
            "(/bin/true)",
            "/bin/echo ü",
        ] {
            assert_eq!(plain_words(command), None, "{command}");
        }
    }
}

//! A machine of a guide: namespaces of its own for network, processes and mounts, and a shell in
//! them, which is the reader's terminal.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use knockd::lab::{Host, Process};

use super::page::End;
use crate::Result;
use crate::scenario::Programs;

/// How long a command may take; `knockctl try` takes longest.
const PATIENCE: Duration = Duration::from_secs(60);

/// After how many seconds a command hangs.
const HANGS: u32 = 3;

/// Makes memory of all places where somebody writes, then becomes the shell. There is no overlay where
/// `knockctl try` lays its own: the kernel allows few on top of each other. The programs are where a
/// package has them, and so are the units; the account `you` is root by another name, so that `sudo`
/// has nothing to do.
const FURNISH: &str = r#"set -e
umask 022
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lay/programs /run/lay/checkout /run/lock /run/sshd
mount --bind "$PROGRAMS" /run/lay/programs
mount --bind "$CHECKOUT" /run/lay/checkout
mkdir /run/lay/usr /run/lay/usr.work
mount -t overlay -o lowerdir=/usr,upperdir=/run/lay/usr,workdir=/run/lay/usr.work overlay /usr
cp -a /etc /run/lay/etc
cut -d ' ' -f 2 /proc/mounts | grep -E '^/(etc|home|root|tmp|usr/local|var)/' | sort -r | xargs -r -n 1 umount -l 2>/dev/null || true
for dir in home root tmp usr/local var; do mount -t tmpfs -o mode=755 tmpfs /$dir; done
mount --bind /run/lay/etc /etc
chmod 1777 /tmp
mkdir /var/lib /var/log /var/tmp
ln -sfn /run /var/run
rm -rf /etc/knockd* /etc/default/knockd /etc/systemd/system/knockd* /var/log/knockd* /home/you
for program in sbin/knockd sbin/knockctl bin/knock; do
    ln -sf /run/lay/programs/${program#*/} /usr/$program
done
mkdir -p /home/you/.ssh /usr/local/bin /usr/local/sbin /etc/systemd/system /run/units
cp /run/lay/checkout/pkg/systemd/*.service /etc/systemd/system
sed -i '1i you:x:0:0::/home/you:/bin/bash' /etc/passwd
grep -q ^_knockd: /etc/passwd || echo '_knockd:x:993:993::/:/usr/sbin/nologin' >> /etc/passwd
grep -q ^_knockd: /etc/group || echo '_knockd:x:993:' >> /etc/group
printf '%s\n' "$HOSTS" > /etc/hosts
echo 'hosts: files' > /etc/nsswitch.conf
echo 'precedence ::ffff:0:0/96 100' > /etc/gai.conf
printf '#!/bin/sh\nexec "$@"\n' > /usr/local/bin/sudo
cp /run/lay/checkout/testing/tools/systemctl.py /usr/local/bin/systemctl
printf '#!/bin/sh\nexec cat "/run/units/$2.log"\n' > /usr/local/bin/journalctl
chmod 755 /usr/local/bin/sudo /usr/local/bin/systemctl /usr/local/bin/journalctl
chmod 700 /home/you /home/you/.ssh
export HOME=/home/you USER=you LOGNAME=you LC_ALL=C.UTF-8 TERM=dumb
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
unset PROGRAMS CHECKOUT HOSTS
cd
exec bash --norc
"#;

/// How a command went.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) status: i32,
    pub(super) said: String,
}

/// See the [module](self). All of it ends with the value.
#[derive(Debug)]
pub(super) struct Terminal {
    shell: Process,
    lines: Receiver<String>,
    commands: usize,
}

impl Terminal {
    /// A new machine in the network of `host`, where `hosts` is /etc/hosts.
    pub(super) fn new(host: &Host, programs: &Programs, hosts: &str) -> Result<Self> {
        let beside = programs.knockd.parent().ok_or("a daemon in no folder")?;
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--mount", "--pid", "--fork", "--kill-child=KILL"])
            .args(["--mount-proc", "sh", "-c", FURNISH])
            .env("PROGRAMS", beside)
            .env("CHECKOUT", concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .env("HOSTS", hosts)
            .env_remove("SSH_AUTH_SOCK")
            .env_remove("XDG_CONFIG_HOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut shell = host.spawn(&mut unshare)?;
        let stdout = shell.stdout.take().ok_or("no standard output")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = Vec::new();
            while stdout.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).into_owned();
                if sender.send(text).is_err() {
                    break;
                }
                line.clear();
            }
        });
        Ok(Self {
            shell,
            lines,
            commands: 0,
        })
    }

    /// Runs a command as it was typed, which is expected to end in that way.
    pub(super) fn run(&mut self, command: &str, end: End) -> Result<Outcome> {
        self.commands += 1;
        let mark = format!("that was command {}: ", self.commands);
        let command = if end == End::Never {
            format!("timeout -s INT {HANGS} bash -c {}", quote(command))
        } else {
            command.to_owned()
        };
        let stdin = self.shell.stdin.as_mut().ok_or("no standard input")?;
        let typed = format!("{{\n{command}\n}} </dev/null 2>&1\nprintf '\\n{mark}%s\\n' $?\n");
        stdin.write_all(typed.as_bytes())?;
        stdin.flush()?;
        let deadline = Instant::now() + PATIENCE;
        let mut said = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("it does not end; it said\n{said}").into());
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("the machine is gone; it said\n{said}").into());
                }
            };
            if let Some(status) = line.strip_prefix(&mark) {
                // The mark has a line of its own, whatever the command ended with.
                let status = status.trim_end().parse()?;
                said.pop();
                return Ok(Outcome { status, said });
            }
            said.push_str(&line);
        }
    }

    /// Runs a command that prepares something, and must not fail.
    pub(super) fn must(&mut self, command: &str) -> Result<String> {
        let outcome = self.run(command, End::With(0))?;
        if outcome.status == 0 {
            return Ok(outcome.said);
        }
        Err(format!("`{command}`: {}: {}", outcome.status, outcome.said).into())
    }
}

/// One word for a shell.
pub(super) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

//! Every way to knock that people use, as a shell command; `$KNOCK` is our client.

use super::clients::Firewall;

/// A way to knock.
pub(super) struct Way {
    /// What it is.
    pub(super) name: &'static str,
    /// The programs that it needs.
    pub(super) needs: &'static [&'static str],
    /// The shell command.
    pub(super) command: &'static str,
    /// The door that it opens.
    pub(super) door: &'static str,
    times: Times,
}

/// How often the door opens.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Times {
    Once,
    Thrice,
    /// Once if the ports answer. If they do not there is a second round, in an order that may be
    /// the right one again.
    OnceOrTwice,
}

impl Way {
    /// Whether so many openings are right behind `firewall`.
    pub(super) const fn may_open(&self, count: usize, firewall: Firewall) -> bool {
        match (self.times, firewall) {
            (Times::OnceOrTwice, Firewall::Drop) => count == 1 || count == 2,
            (Times::Once | Times::OnceOrTwice, _) => count == 1,
            (Times::Thrice, _) => count == 3,
        }
    }

    /// Over which family.
    pub(super) fn is_v6(&self) -> bool {
        self.command.contains("fd77::2")
    }
}

/// One that opens the door once.
const fn way(
    name: &'static str,
    needs: &'static [&'static str],
    command: &'static str,
    door: &'static str,
) -> Way {
    Way {
        name,
        needs,
        command,
        door,
        times: Times::Once,
    }
}

impl Way {
    const fn times(self, times: Times) -> Self {
        Self { times, ..self }
    }
}

pub(super) const WAYS: &[Way] = &[
    way(
        "the original knock",
        &["knock"],
        "/usr/bin/knock 10.77.0.2 7000 8000 9000",
        "A",
    ),
    way(
        "the original knock -d",
        &["knock"],
        "/usr/bin/knock -d 20 10.77.0.2 7000 8000 9000",
        "A",
    ),
    way(
        "the original knock -u",
        &["knock"],
        "/usr/bin/knock -u -d 20 10.77.0.2 7100 7200 7300",
        "U",
    ),
    way(
        "the original knock, mixed",
        &["knock"],
        "/usr/bin/knock -d 20 10.77.0.2 7400:tcp 7500:udp 7600:tcp",
        "M",
    ),
    way("our knock", &[], "$KNOCK 10.77.0.2 7000 8000 9000", "A"),
    way(
        "our knock -u",
        &[],
        "$KNOCK -u 10.77.0.2 7100 7200 7300",
        "U",
    ),
    way(
        "our knock, mixed",
        &[],
        "$KNOCK 10.77.0.2 7400 7500:udp 7600:TCP",
        "M",
    ),
    way(
        "nc -z (openbsd)",
        &["nc.openbsd"],
        "for p in 7000 8000 9000; do nc.openbsd -z -w1 10.77.0.2 $p; done; true",
        "A",
    ),
    way(
        "nc -z -w2 (openbsd), which sends each SYN twice if nobody answers",
        &["nc.openbsd"],
        "for p in 7000 8000 9000; do nc.openbsd -z -w2 10.77.0.2 $p; done; true",
        "A",
    ),
    way(
        "nc -u (openbsd)",
        &["nc.openbsd"],
        "for p in 7100 7200 7300; do echo x | nc.openbsd -u -w1 10.77.0.2 $p; done; true",
        "U",
    ),
    way(
        "nc -z (traditional)",
        &["nc.traditional"],
        "for p in 7000 8000 9000; do nc.traditional -z -w1 10.77.0.2 $p; done; true",
        "A",
    ),
    way(
        "nmap -Pn -r, the ports in ascending order",
        &["nmap"],
        "nmap -n -Pn -r --max-retries 0 -p 7000,8000,9000 10.77.0.2",
        "A",
    ),
    way(
        "nmap for each port with its defaults, which probes twice if nobody answers",
        &["nmap"],
        "for p in 7000 8000 9000; do nmap -n -Pn -p $p 10.77.0.2; done",
        "A",
    ),
    way(
        "hping3 -S",
        &["hping3"],
        "for p in 7000 8000 9000; do hping3 -q -n -S -c 1 -p $p 10.77.0.2; done; true",
        "A",
    ),
    way(
        "hping3 -2",
        &["hping3"],
        "for p in 7100 7200 7300; do hping3 -q -n -2 -c 1 -p $p 10.77.0.2; done; true",
        "U",
    ),
    way(
        "bash /dev/tcp",
        &["bash"],
        "for p in 7000 8000 9000; do timeout .9 bash -c \"</dev/tcp/10.77.0.2/$p\"; done; true",
        "A",
    ),
    way(
        "bash /dev/udp",
        &["bash"],
        "for p in 7100 7200 7300; do echo x > /dev/udp/10.77.0.2/$p; sleep .02; done; true",
        "U",
    ),
    way(
        "the original knock -d 300",
        &["knock"],
        "/usr/bin/knock -d 300 10.77.0.2 7000 8000 9000",
        "A",
    ),
    way(
        "a user who clicks everything twice",
        &["knock"],
        "/usr/bin/knock -d 20 10.77.0.2 7000 7000 8000 8000 9000 9000",
        "A",
    ),
    way(
        "a user who starts again in the middle",
        &["knock"],
        "/usr/bin/knock -d 20 10.77.0.2 7000 8000; $KNOCK 10.77.0.2 7000 8000 9000",
        "A",
    ),
    way(
        "three knocks in a row",
        &["knock"],
        "for i in 1 2 3; do /usr/bin/knock -d 20 10.77.0.2 7000 8000 9000; done",
        "A",
    )
    .times(Times::Thrice),
    way(
        "nc -z (openbsd) with a range of ports",
        &["nc.openbsd"],
        "nc.openbsd -z -w1 10.77.0.2 7700-7702; true",
        "R",
    ),
    way(
        "nc -z -w2 (traditional), which sends each SYN twice if nobody answers",
        &["nc.traditional"],
        "for p in 7000 8000 9000; do nc.traditional -n -z -w2 10.77.0.2 $p; done; true",
        "A",
    ),
    way(
        "nc -u (traditional)",
        &["nc.traditional"],
        "for p in 7100 7200 7300; do echo x | nc.traditional -n -u -w1 10.77.0.2 $p; done; true",
        "U",
    ),
    way(
        "nmap -Pn -r with a second round for ports that do not answer",
        &["nmap"],
        "nmap -n -Pn -r -p 7000,8000,9000 10.77.0.2",
        "A",
    )
    .times(Times::OnceOrTwice),
    way(
        "nmap for each port, --host-timeout 201 --max-retries 0",
        &["nmap"],
        "for p in 7000 8000 9000; do \
         nmap -n -Pn --host-timeout 201 --max-retries 0 -p $p 10.77.0.2; done",
        "A",
    ),
    way(
        "bash /dev/tcp with patience, which sends each SYN twice if nobody answers",
        &["bash"],
        "for p in 7000 8000 9000; do timeout 1.8 bash -c \"</dev/tcp/10.77.0.2/$p\"; done; true",
        "A",
    ),
    way(
        "the original knock over IPv6",
        &["knock"],
        "/usr/bin/knock -6 -d 20 fd77::2 7000 8000 9000",
        "A",
    ),
    way(
        "our knock over IPv6",
        &[],
        "$KNOCK -6 fd77::2 7000 8000 9000",
        "A",
    ),
    way(
        "nc -6 -z (openbsd)",
        &["nc.openbsd"],
        "for p in 7000 8000 9000; do nc.openbsd -6 -z -w1 fd77::2 $p; done; true",
        "A",
    ),
    way(
        "bash /dev/udp over IPv6",
        &["bash"],
        "for p in 7100 7200 7300; do echo x > /dev/udp/fd77::2/$p; sleep .02; done; true",
        "U",
    ),
];

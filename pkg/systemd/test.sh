#!/bin/sh
# Tries the units in a throw-away machine that a real systemd starts: as they are, with each drop-in,
# after the death of a process, and at boot.
#
#     pkg/systemd/test.sh FOLDER    # with what pkg/lab/root.sh and pkg/deb/build.sh have put there
# shellcheck disable=SC2016 # the words of inner shells
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
folder="$(realpath "${1:?usage: pkg/systemd/test.sh FOLDER}")"
# shellcheck source-path=SCRIPTDIR source=../lab/machine.sh
. "${here}/../lab/machine.sh"
trap machine_gone EXIT
trap 'exit 1' INT TERM

active() { inside systemctl is-active --quiet knockd; }
ran() { inside test -e /run/ran; }
opens() { # a native door
	until_true "it is shut" fails reaches 2222
	knocks 7000 9000 8000
	until_true "a knock opens a native door" reaches 2222
	knocks 7003 9003 8003
	until_true "another closes it" fails reaches 2222
}
runs_commands() {
	inside rm -f /run/ran
	knocks 7001 9001 8001
	until_true "a knock runs a command" ran
	inside nft flush chain inet mine in
	knocks 7002 9002 8002
	until_true "another has nft make a rule" inside sh -c 'nft list chain inet mine in | grep -q 10.77.0.1'
}
main_pid() { inside systemctl show -P MainPID knockd; }
is_another() { active && [ "$(main_pid)" != "$1" ] && [ "$(main_pid)" != 0 ]; }
survives() {
	before="$(main_pid)"
	inside kill -KILL "${before}"
	until_true "after kill -9 it is there again" is_another "${before}"
	before="$(inside pgrep -x knockd-listener)"
	inside kill -KILL "${before}"
	until_true "so is its other process" inside sh -c "pgrep -x knockd-listener | grep -vqx ${before}"
}
with() { # drop-in, or nothing
	echo "== knockd.service ${1:+with $1}"
	inside sh -c 'rm -rf /etc/systemd/system/knockd.service.d && mkdir /etc/systemd/system/knockd.service.d'
	[ -z "$1" ] || cp "${here}/$1" "${machine_work}/root/etc/systemd/system/knockd.service.d/"
	inside systemctl daemon-reload
	is_sh "systemd-analyze verify says nothing" \
		'test -z "$(systemd-analyze verify --man=no knockd.service knockd-gate.service 2>&1)"'
	inside systemctl restart knockd
	is_true "it runs" active
	is_sh "knockctl doctor finds its listener well" \
		'knockctl doctor >/root/doctor; test "$(grep -c "^ok  *listener: " /root/doctor)" -ge 5 &&
		! grep "^[a-z]*  *listener: " /root/doctor | grep -Ev "^(ok|note) "'
	inside sh -c ': >/var/log/knockd.log'
	inside systemctl reload knockd
	until_true "reload" inside grep -q re-reading /var/log/knockd.log
}
# The exposure that systemd-analyze computes, times ten: lower is better.
exposure() { # unit, at most
	is_true "systemd-analyze security gives $1 no more than $2" \
		inside systemd-analyze security --no-pager --threshold="$2" "$1" >/dev/null
	inside systemd-analyze security --no-pager "$1" | tail -n 1
}

machine "${folder}/root" systemd "$(find "${folder}" -name 'postern_*.deb')"
inside sh -c 'dpkg -i /root/postern_*.deb >/dev/null'
network
listens 2222
cat >"${machine_work}/root/etc/knockd.conf" <<'DOORS'
[options]
	logfile = /var/log/knockd.log
[native]
	sequence = 7000,9000,8000
	tcpflags = syn
	open = tcp/2222
	open_for = 60s
[shut]
	sequence = 7003,9003,8003
	tcpflags = syn
	close = native
[command]
	sequence = 7001,9001,8001
	tcpflags = syn
	command = touch /run/ran
[nft]
	sequence = 7002,9002,8002
	tcpflags = syn
	command = nft add rule inet mine in ip saddr %IP% accept
DOORS
inside chmod 600 /etc/knockd.conf
inside sh -c 'nft add table inet mine && nft add chain inet mine in'
inside systemctl --quiet enable knockd

with ""
exposure knockd.service 91
exposure knockd-gate.service 25
opens
runs_commands
survives

with hardening.conf
exposure knockd.service 46
opens
runs_commands
survives

with native.conf
exposure knockd.service 33
opens
inside rm -f /run/ran
knocks 7001 9001 8001
until_true "a command is refused" inside sh -c 'tail -n 3 /var/log/knockd.log | grep -i permission'
is_true "it has not run" fails ran
survives

echo "== boot"
machine_again
until_true "knockd has come" active
moment() { inside systemctl show -P ActiveEnterTimestampMonotonic "$1"; }
is_true "the gate was up before it" [ "$(moment knockd-gate)" -lt "$(moment knockd)" ]
is_sh "the gate's unit is before the network" \
	"systemctl show -P Before knockd-gate | grep -q network-pre.target"
network
listens 2222
opens
is_sh "a stop leaves the gate shut" "systemctl stop knockd && knockctl gate show | grep -q 2222"
is_true "the port is shut" fails reaches 2222
is_sh "its folder in /run is gone" "! test -e /run/knockd"
echo "passed"

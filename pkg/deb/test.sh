#!/bin/sh
# Tries the Debian package in throw-away machines, most of them started by a real systemd: fresh, in
# the place of the distribution's knockd, installed anew, removed and purged.
#
#     pkg/deb/test.sh FOLDER    # with what pkg/lab/root.sh and pkg/deb/build.sh have put there
# shellcheck disable=SC2016 # the words of inner shells
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
folder="$(realpath "${1:?usage: pkg/deb/test.sh FOLDER}")"
# shellcheck source-path=SCRIPTDIR source=../lab/machine.sh
. "${here}/../lab/machine.sh"

ours="$(find "${folder}" -name 'postern_*.deb')"
new() { # systemd|plain
	machine "${folder}/root" "$1" "${ours}" "${folder}/knockd.deb"
	ours_inside="/root/$(basename "${ours}")"
	theirs_inside=/root/knockd.deb
}
apt() { # verb, package…: with no question, and no answer to one
	inside apt-get -qq -o Dpkg::Use-Pty=0 --yes "$@" >"${log}" 2>&1 || {
		cat "${log}" >&2
		return 1
	}
	! grep -q "Configuration file '" "${log}"
}
log="$(mktemp)"
trap 'machine_gone; rm -f "${log}"' EXIT
trap 'exit 1' INT TERM

write() { # file: what comes in
	inside sh -c 'printf "%s\n" "$1" >"$2"' sh "$(cat)" "$1"
}
mode_of() { [ "$(inside stat -c '%a %U' "$1")" = "$2" ]; }
runs_ours() { inside sh -c 'pid=$(systemctl show -P MainPID knockd); [ "${pid}" != 0 ] &&
	readlink /proc/${pid}/exe | grep -qx /usr/sbin/knockd && knockd --version | grep -q "^knockd 0.1"'; }

doors() {
	write /etc/knockd.conf <<-'DOORS'
		[options]
			logfile = /var/log/knockd.log
		[native]
			sequence = 7000,9000,8000
			tcpflags = syn
			open = tcp/2222
			open_for = 60s
		[command]
			sequence = 7001,9001,8001
			tcpflags = syn
			command = echo %IP% >/run/knocked
	DOORS
}
edited() {
	write /etc/knockd.conf <<-'DOORS'
		# edited by hand
		[options]
			logfile = /var/log/knockd.log
		[command]
			sequence = 7001,9001,8001
			tcpflags = syn
			command = echo %IP% >/run/knocked
	DOORS
	printf 'START_KNOCKD=1\nKNOCKD_OPTS="-i server0"\n' | write /etc/default/knockd
	inside sh -c 'cd / && sha256sum etc/knockd.conf etc/default/knockd >/root/sums'
}
as_edited() { inside sh -c 'cd / && sha256sum --quiet -c /root/sums'; }
enabled() { inside systemctl is-enabled --quiet knockd; }
active() { inside systemctl is-active --quiet knockd; }
installed() { [ "$(inside dpkg-query -Wf '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
knocked() { inside grep -qsx 10.77.0.1 /run/knocked; }
opens_by_command() {
	inside rm -f /run/knocked
	knocks 7001 9001 8001
	until_true "a knock runs the door's command" knocked
}

echo "== fresh"
new systemd
is_true "it installs" apt install "${ours_inside}"
is_sh "there is no door yet" "[ ! -e /etc/knockd.conf ]"
is_true "it says how to make one" grep -q "knockctl init" "${log}"
is_true "/etc/default/knockd is there" mode_of /etc/default/knockd "644 root"
is_true "so is the account" inside getent passwd _knockd
is_true "the service does not start at boot" fails enabled
is_true "nor does it run" fails active
is_sh "what man would show is there" "dpkg -L postern | grep -q man1/knockctl.1"
is_true "it installs again" apt install --reinstall "${ours_inside}"
network
doors
listens 2222
is_true "the port is open before" reaches 2222
is_sh "it starts, and comes at boot" "systemctl enable --now knockd"
is_true "it runs" active
is_sh "its folders are its own" \
	'[ "$(stat -c "%a %U" /run/knockd /var/lib/knockd | uniq)" = "700 root" ]'
is_sh "the gate's unit has run" "systemctl is-active knockd-gate"
is_true "the port is shut" fails reaches 2222
knocks 7000 9000 8000
until_true "a knock opens it" reaches 2222
opens_by_command
is_sh "the listener has an account of its own" '[ "$(ps -C knockd-listener -o user=)" = _knockd ]'
inside systemctl reload knockd
until_true "reload" inside grep -q re-reading /var/log/knockd.log
is_true "an upgrade keeps it running" apt install --reinstall "${ours_inside}"
is_true "it runs" active
is_true "the gate has stayed, and is closed, as on_stop says" fails reaches 2222
is_true "it is removed" apt remove postern
is_true "nothing is shut any more" reaches 2222
is_sh "nothing of it runs" "! pgrep knockd"
is_sh "the configuration stays" "grep -q native /etc/knockd.conf"
is_true "it installs after a removal" apt install "${ours_inside}"
is_sh "the configuration stayed" "grep -q native /etc/knockd.conf"
is_true "it is purged" apt purge postern
is_sh "nothing is left" '! ls -d /etc/knockd.conf* /etc/default/knockd* /etc/init.d/knockd \
	/etc/logrotate.d/knockd /var/lib/knockd /usr/share/postern /usr/sbin/knock* \
	/etc/systemd/system/multi-user.target.wants/knockd.service /etc/rc?.d/*knockd 2>/dev/null'
is_sh "no diversion is left" '! dpkg-divert --list | grep knockd'

# docs/guide/first-door.md, command by command. There is no sshd: a connection that the printed line has
# let in stands for the session, as sshd tells of one.
echo "== the first five minutes"
new systemd
begun="$(date +%s)"
is_true "it installs" apt install "${ours_inside}"
network
listens 2222
is_sh "a first door is written, with no question" \
	"knockctl init --yes --port tcp/2222 --host 10.77.0.2 >/root/said"
is_true "it is root's alone" mode_of /etc/knockd.conf "600 root"
is_sh "nothing overwrites it" "! knockctl init --yes --port tcp/2222 2>/dev/null"
ports="$(inside sed -n 's/^ *knock 10\.77\.0\.2 //p' /root/said)"
is_sh "it is put on trial" "knockctl arm --for 2m"
is_sh "the daemon starts" "systemctl restart knockd"
is_true "the port is shut" fails reaches 2222
# shellcheck disable=SC2086 # words
knocks ${ports}
until_true "the printed line opens it" reaches 2222
inside sh -c "setsid ip netns exec client sh -c 'sleep 60 | nc -p 40000 10.77.0.2 2222' >/dev/null 2>&1 &"
came_in() { inside sh -c "ss -Htn state established sport = :2222 | grep -q 10.77.0.1:40000"; }
until_true "a session has come in" came_in
is_sh "a session that has not is no proof" \
	'! SSH_CONNECTION="10.77.0.1 40001 10.77.0.2 2222" knockctl arm --confirm 2>/dev/null'
is_sh "the session confirms" 'SSH_CONNECTION="10.77.0.1 40000 10.77.0.2 2222" knockctl arm --confirm'
is_sh "it comes at boot" "systemctl enable --quiet knockd"
is_sh "what is guarded can be seen" "knockctl gate show | grep -q tcp/2222"
is_sh "and who is in, and until when" "knockctl status | grep -q 10.77.0.1"
took="$(($(date +%s) - begun))"
is_true "it took ${took} s, which is less than five minutes" [ "${took}" -lt 300 ]
machine_again
network
listens 2222
until_true "after a boot the port is shut" fails reaches 2222
until_true "and the daemon is there" active
# shellcheck disable=SC2086 # words
knocks ${ports}
until_true "to whom the same line is known" reaches 2222

for way in "apt-get" "dpkg"; do
	echo "== in the place of a knockd that runs, by ${way}"
	new systemd
	apt install "${theirs_inside}"
	network
	edited
	inside systemctl enable --quiet --now knockd
	is_true "theirs runs" active
	if [ "${way}" = apt-get ]; then
		is_true "ours installs, and asks nothing" apt install "${ours_inside}"
	else
		is_true "ours installs, and asks nothing" inside dpkg -i "${ours_inside}" </dev/null
	fi
	is_true "what was edited is as it was" as_edited
	is_true "theirs is gone" fails installed knockd
	is_true "the service still starts at boot" enabled
	is_true "it runs" active
	is_true "it is ours" runs_ours
	is_sh "no other is left" '[ "$(pgrep -xc knockd)" = 1 ]'
	is_sh "with the options of before" 'tr "\0" " " </proc/$(pgrep -x knockd)/cmdline | grep -q "i server0"'
	opens_by_command
	is_true "theirs is purged" apt purge knockd
	is_sh "the script for sysvinit stays" "test -x /etc/init.d/knockd"
	is_true "what was edited is as it was" as_edited
	is_true "the service still starts at boot" enabled
	is_true "ours installs again" apt install --reinstall "${ours_inside}"
	is_true "what was edited is as it was" as_edited
	is_true "it runs" active
	# Theirs would ask what shall become of files that it does not know.
	is_true "theirs comes back" inside sh -c "apt-get -qq --yes -o Dpkg::Options::=--force-confold \
		install ${theirs_inside} >/dev/null 2>&1"
	is_true "ours is gone" fails installed postern
	is_true "what was edited is as it was" as_edited
	is_true "what is left of ours is purged" apt purge postern
	is_true "what was edited is as it was, and theirs" as_edited
	is_true "ours takes over again" apt install "${ours_inside}"
	is_true "ours is purged" apt purge postern
done

echo "== in the place of a knockd that was never started"
new systemd
apt install "${theirs_inside}"
inside sh -c 'cd / && sha256sum etc/knockd.conf etc/default/knockd >/root/sums'
is_true "ours installs" apt install "${ours_inside}"
is_true "it says that everybody can read the sequences" grep -q "chmod 600 /etc/knockd.conf" "${log}"
is_true "the configuration is as it was" as_edited
is_true "it does not start at boot" fails enabled
is_true "it does not run" fails active

echo "== after a knockd that was removed"
new systemd
apt install "${theirs_inside}"
edited
apt remove knockd
is_true "ours installs" apt install "${ours_inside}"
is_true "what was edited is as it was" as_edited
is_true "what is left of theirs is purged" apt purge knockd
is_true "what was edited is as it was" as_edited
is_true "ours is purged" apt purge postern
is_sh "nothing is left" '! ls -d /etc/knockd.conf* /etc/default/knockd* /etc/init.d/knockd 2>/dev/null'

echo "== over a configuration with a mistake that the original overlooks"
new systemd
apt install "${theirs_inside}"
network
edited
inside sh -c 'printf "[wrong]\n\tsequence = 7000,8000\n\tcommand = true\n\tcmd_timeout = abc\n" >>/etc/knockd.conf'
inside systemctl enable --quiet --now knockd
before="$(inside pgrep -x knockd)"
is_true "ours installs" apt install "${ours_inside}"
is_true "it says so" grep -q "the configuration has mistakes, so the daemon that runs is left alone" "${log}"
is_true "the daemon that ran still runs" [ "$(inside pgrep -x knockd)" = "${before}" ]
inside rm -f /run/knocked
knocks 7001 9001 8001
until_true "and opens its door" knocked

echo "== without systemd"
new plain
apt install "${theirs_inside}"
network
edited
inside sh -c '/etc/init.d/knockd start'
is_true "theirs runs" inside pgrep -x knockd
inside sh -c 'printf "#!/bin/sh\nexit 0\n" >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d'
is_true "ours installs" apt install "${ours_inside}"
is_true "what was edited is as it was" as_edited
is_sh "ours runs" '/etc/init.d/knockd status'
opens_by_command
is_sh "it is told to reload" '/etc/init.d/knockd reload'
until_true "it does" inside grep -q re-reading /var/log/knockd.log
is_sh "restart" '/etc/init.d/knockd restart && /etc/init.d/knockd status'
opens_by_command
is_sh "stop" '/etc/init.d/knockd stop && ! /etc/init.d/knockd status && ! pgrep knockd'
inside sed -i 's/START_KNOCKD=1/START_KNOCKD=0/' /etc/default/knockd
is_sh "with START_KNOCKD=0 it is not started" '/etc/init.d/knockd start && ! pgrep knockd'
is_true "an upgrade does not start it" apt install --reinstall "${ours_inside}"
is_sh "it does not run" '! pgrep knockd'
is_true "it is purged" apt purge postern knockd
is_sh "nothing is left" '! ls -d /etc/knockd.conf* /etc/default/knockd* /etc/init.d/knockd \
	/etc/rc?.d/*knockd /var/lib/knockd 2>/dev/null'
echo "passed"

#!/bin/sh
# Tries knock.initd and knock-gate.initd with a real OpenRC, in namespaces of its own: nothing of
# this machine is touched. Needs root, openrc, and a knockd, with its knockctl and knock beside it for
# the last parts: `pkg/openrc/test.sh [/usr/sbin/knockd]`.
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
knockd="$(realpath "${1:-/usr/sbin/knockd}")"

if [ "${2:-}" != inside ]; then
	exec unshare --mount --pid --net --fork --mount-proc "$0" "${knockd}" inside
fi

mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mkdir -p /run/lock
# What OpenRC itself makes at boot.
for dir in starting started stopping inactive wasinactive failed hotplugged daemons options \
	exclusive scheduled tmp; do
	mkdir -p "/run/openrc/${dir}"
done
touch /run/openrc/softlevel
cp -a /etc /run/etc
mkdir -p /run/etc/conf.d
cp "${here}/knock.initd" /run/etc/init.d/knock
cp "${here}/knock-gate.initd" /run/etc/init.d/knock-gate
for service in localmount nftables net.lo; do
	printf '#!/sbin/openrc-run\nstart() { :; }\n' >"/run/etc/init.d/${service}"
	chmod +x "/run/etc/init.d/${service}"
done
echo 'depend() { provide net; }' >>/run/etc/init.d/net.lo
mount --bind /run/etc /etc
ip link set lo up

log=/run/knock.log
config=/run/knockd.conf
printf '[options]\n\tlogfile = %s\n\tpidfile = /run/another.pid\n' "${log}" >"${config}"
printf '[A]\n\tsequence = 7000\n\tcommand = true\n' >>"${config}"
checker=/run/checker
# shellcheck disable=SC2016 # the script's own words
printf '#!/bin/sh\n[ "$1 $2" = "check -c" ] && ! grep -q wrong "$3"\n' >"${checker}"
chmod +x "${checker}"

wait_for() { # what, command...: at most ten seconds
	what="$1"
	shift
	tries=0
	until "$@"; do
		tries=$((tries + 1))
		[ "${tries}" -lt 100 ] || { echo "FAILED: ${what}"; exit 1; }
		sleep 0.1
	done
	echo "ok: ${what}"
}
fails() { ! "$@"; }
lines() { test "$(grep -ic "$2" "${log}" 2>/dev/null || true)" -ge "$1" 2>/dev/null; }
private() { test "$(stat -c '%a %u' "$1")" = "700 0"; }
running() { [ "$(daemons)" -eq "$1" ]; }
daemons() {
	count=0
	for exe in /proc/[0-9]*/exe; do
		[ "$(readlink "${exe}" || true)" != "${knockd}" ] || count=$((count + 1))
	done
	echo "${count}"
}
status() { rc-service "${1:-knock}" status >/dev/null 2>&1; }

for supervisor in supervise-daemon ""; do
	for options in "-d -i lo -c ${config}" "-i lo -c ${config}" "-dv -ilo -c${config}"; do
		echo "== supervisor=\"${supervisor}\" OPTS=\"${options}\""
		rm -f "${log}"
		{
			echo "OPTS=\"${options}\""
			echo "supervisor=\"${supervisor}\""
			echo "KNOCKD=${knockd}"
			echo "KNOCKCTL=${checker}"
		} >/etc/conf.d/knock

		rc-service knock start
		wait_for "it starts" lines 1 "starting up"
		wait_for "it runs" fails running 0
		wait_for "status says started" status
		wait_for "the folder of the journal is root's alone" private /var/lib/knockd
		rc-service knock reload
		wait_for "it re-reads its configuration" lines 1 "re-reading config"
		mv "${log}" "${log}.1"
		rc-service knock reload
		wait_for "it opens the log anew" test -e "${log}"
		rc-service knock restart
		wait_for "it starts again" lines 1 "starting up"
		wait_for "it is there" fails running 0
		echo "# wrong" >>"${config}"
		wait_for "a restart with a wrong configuration is refused" fails rc-service knock restart
		wait_for "the old one still runs" fails running 0
		wait_for "status still says started" status
		rc-service knock stop
		wait_for "a start with a wrong configuration is refused" fails rc-service knock start
		sed -i /wrong/d "${config}"
		wait_for "it is gone" running 0
		wait_for "status says stopped" fails status
	done
done
echo "== knock-gate"
calls=/run/calls
keeper=/run/keeper
printf '#!/bin/sh\necho "$*" >>%s\nexec test ! -e /run/refused\n' "${calls}" >"${keeper}"
chmod +x "${keeper}"
echo "KNOCKCTL=${keeper}" >/etc/conf.d/knock-gate
called() { test "$(cat "${calls}" 2>/dev/null)" = "$1"; }
gate() { # what it calls, with these OPTS
	rm -f "${calls}"
	echo "OPTS=\"$2\"" >/etc/conf.d/knock
	rc-service knock-gate start
	wait_for "with \"$2\" it calls \"$1\"" called "$1"
	wait_for "status says started" status knock-gate
	rc-service knock-gate stop
	wait_for "at a stop it calls nothing" called "$1"
}
gate "gate up -c ${config}" "-d -i lo -c ${config}"
gate "gate up -c ${config}" "-dv -ilo -c${config}"
gate "gate up -c ${config}" "--config=${config}"
cp "${config}" /etc/knockd.conf
gate "gate up -c /etc/knockd.conf" "-d"
rm /etc/conf.d/knock /etc/knockd.conf "${calls}"
rc-service knock-gate start
wait_for "without a configuration it does nothing, and has started" status knock-gate
wait_for "it has called nothing" test ! -e "${calls}"
rc-service knock-gate stop
cp "${config}" /etc/knockd.conf
touch /run/refused
wait_for "it fails when the gate cannot be put up" fails rc-service knock-gate start
wait_for "status says stopped" fails status knock-gate
rm /run/refused

echo "== order"
order=/run/order
echo "KNOCKCTL=${keeper}" >/etc/conf.d/knock-gate
for service in nftables net.lo; do
	printf '#!/sbin/openrc-run\nstart() { echo %s >>%s; }\n' "${service}" "${order}" \
		>"/etc/init.d/${service}"
done
echo 'depend() { provide net; }' >>/etc/init.d/net.lo
printf '#!/bin/sh\necho knock-gate >>%s\n' "${order}" >"${keeper}"
{
	echo "OPTS=\"-i lo\""
	echo "supervisor=\"\""
	echo "KNOCKD=${knockd}"
	printf 'start_post() { echo knock >>%s; }\n' "${order}"
} >/etc/conf.d/knock
rm -rf /etc/runlevels
mkdir -p /etc/runlevels/sysinit /etc/runlevels/boot /etc/runlevels/default
for service in net.lo nftables knock knock-gate; do # any order will do
	ln -s "/etc/init.d/${service}" "/etc/runlevels/default/${service}"
done
openrc default
in_order() { test "$(tr '\n' ' ' <"${order}")" = "nftables knock-gate net.lo knock "; }
wait_for "rules of nftables, the gate, the net, the daemon: in this order" in_order
rc-service knock stop
rc-service knock-gate stop

knockctl="$(dirname "${knockd}")/knockctl"
echo "== as the old recipes say"
# The daemon of PPPoE: its link is called ppp0, and a client is at the other end.
unshare --net sleep infinity &
client=$!
trap 'kill "${client}"' EXIT
at_client() { nsenter --target "${client}" --net "$@"; }
is_apart() { [ "$(readlink "/proc/${client}/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }
wait_for "there is a client" is_apart
ip link add ppp0 type veth peer name client0 netns "${client}"
ip address add 10.77.0.2/24 dev ppp0
ip link set ppp0 up
at_client ip address add 10.77.0.1/24 dev client0
at_client ip link set client0 up
rm -rf /etc/runlevels/default /run/opened
mkdir /etc/runlevels/default
printf 'OPTS="-d -i ppp0"\nKNOCKD=%s\nKNOCKCTL=%s\n' "${knockd}" "${knockctl}" >/etc/conf.d/knock
printf '[A]\n\tsequence = 7000,9000,8000\n\tcommand = touch /run/opened\n' >/etc/knockd.conf
chmod 600 /etc/knockd.conf
opened() { test -e /run/opened; }
knocks() { # until it opens: nothing says when the daemon of a script listens
	at_client "$(dirname "${knockd}")/knock" 10.77.0.2 7000 9000 8000 && opened
}
rc-update add knock default
wait_for "rc-update knows it" sh -c 'rc-update show default | grep -q knock'
openrc default
wait_for "it comes with its runlevel" status
wait_for "a knock at ppp0 opens" knocks
/etc/init.d/knock status
/etc/init.d/knock reload
/etc/init.d/knock restart
rm -f /run/opened
wait_for "after a restart too" knocks
/etc/init.d/knock stop
wait_for "/etc/init.d/knock stops it" fails status
wait_for "nothing of it is left" running 0
/etc/init.d/knock start
wait_for "/etc/init.d/knock starts it" status
wait_for "/run/knockd is root's alone" private /run/knockd
rc-service knock stop
rc-update del knock default
rm /etc/knockd.conf
cp "${config}" /etc/knockd.conf

if "${knockctl}" gate up --help >/dev/null 2>&1; then
	echo "== knock-gate with the real knockctl"
	echo "KNOCKCTL=${knockctl}" >/etc/conf.d/knock-gate
	rm /etc/conf.d/knock
	guarded() { nft list table inet postern 2>/dev/null | grep -q "22"; }
	rc-service knock-gate start
	wait_for "without a native door it does nothing, and has started" status knock-gate
	wait_for "nothing is guarded" fails guarded
	rc-service knock-gate stop
	printf '[N]\n\tsequence = 7001,9001,8001\n\topen = tcp/22\n' >>/etc/knockd.conf
	rc-service knock-gate start
	wait_for "what a native door opens is guarded" guarded
	rc-service knock-gate stop
	wait_for "it stays guarded when the service is stopped" guarded
else
	echo "skipped: ${knockctl} has no command \"gate\""
fi
echo "passed"

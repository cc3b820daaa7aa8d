#!/bin/sh
# Tries knock.initd and knock-gate.initd with a real OpenRC, in namespaces of its own: nothing of
# this machine is touched. Needs root, openrc, and a knockd, with its knockctl beside it for the last
# part: `pkg/openrc/test.sh [/usr/sbin/knockd]`.
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
if "${knockctl}" gate up --help >/dev/null 2>&1; then
	echo "== knock-gate with the real knockctl"
	echo "KNOCKCTL=${knockctl}" >/etc/conf.d/knock-gate
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

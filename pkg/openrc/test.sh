#!/bin/sh
# Tries knock.initd with a real OpenRC, in namespaces of its own: nothing of this machine is
# touched. Needs root, openrc, and a knockd: `pkg/openrc/test.sh [/usr/sbin/knockd]`.
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
knockd="$(realpath "${1:-/usr/sbin/knockd}")"

if [ "${2:-}" != inside ]; then
	exec unshare --mount --pid --net --fork --mount-proc "$0" "${knockd}" inside
fi

mount -t tmpfs tmpfs /run
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
printf '#!/sbin/openrc-run\nstart() { :; }\n' >/run/etc/init.d/localmount
chmod +x /run/etc/init.d/localmount
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
running() { [ "$(daemons)" -eq "$1" ]; }
daemons() {
	count=0
	for exe in /proc/[0-9]*/exe; do
		[ "$(readlink "${exe}" || true)" != "${knockd}" ] || count=$((count + 1))
	done
	echo "${count}"
}
status() { rc-service knock status >/dev/null 2>&1; }

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
echo "passed"

# shellcheck shell=sh
#
# A throw-away machine: a copy of a root file system that is in memory alone, in namespaces of its own,
# started by the systemd in it or by nobody. To be sourced by a script with `set -eu`, as root, which
# calls `machine_gone` when it ends, however that is (`trap … EXIT`, `trap 'exit 1' INT TERM`).

machine_pid=
machine_parent=
machine_work=

# machine ROOT systemd|plain [FILE…]: starts one, with the files in its /root. `inside` runs
# commands in it, until `machine_gone`.
machine() {
	machine_root="$1"
	machine_kind="$2"
	shift 2
	machine_gone
	machine_work="$(mktemp -d)"
	mount -t tmpfs tmpfs "${machine_work}"
	mkdir "${machine_work}/up" "${machine_work}/work" "${machine_work}/root"
	mount -t overlay overlay "${machine_work}/root" -o \
		"lowerdir=${machine_root},upperdir=${machine_work}/up,workdir=${machine_work}/work"
	for machine_file in "$@"; do cp "${machine_file}" "${machine_work}/root/root/"; done
	machine_on
}

# Off at once, as when the power fails, and on again with the same disk.
machine_again() {
	machine_off
	machine_on
}

machine_on() {
	machine_cgroup="$(findmnt --noheadings --first-only --types cgroup2 --output TARGET)/$(
		basename "${machine_work}"
	)"
	mkdir "${machine_cgroup}"
	# The cgroup first: its namespace begins where the process is.
	# shellcheck disable=SC2016 # the inner shell's
	sh -c 'echo $$ >"$1/cgroup.procs" && exec unshare --mount --pid --net --uts --ipc --cgroup \
		--fork --kill-child "$2" "$3" "$4"' sh "${machine_cgroup}" \
		"$(dirname "$0")/../lab/boot.sh" "${machine_work}/root" "${machine_kind}" \
		>"${machine_work}/log" 2>&1 &
	machine_parent=$!
	until_true "the machine starts" machine_is_up
	inside ip link set lo up
}

machine_is_up() {
	kill -0 "${machine_parent}" || {
		cat "${machine_work}/log" >&2
		exit 1
	}
	machine_pid="$(pgrep -P "${machine_parent}")" || return 1
	case "$(cat "/proc/${machine_pid}/comm")" in
	systemd) inside systemctl is-system-running 2>/dev/null | grep -qE '^(running|degraded)$' ;;
	sh) ;;
	*) return 1 ;; # boot.sh is not done
	esac
}

inside() {
	nsenter --target "${machine_pid}" --mount --pid --net --uts --ipc --cgroup --root --wd \
		env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive \
		LC_ALL=C.UTF-8 "$@" </dev/null
}

machine_off() {
	kill -KILL "${machine_parent}" 2>/dev/null || true
	wait "${machine_parent}" 2>/dev/null || true
	machine_parent=
	until_true "its processes are gone" machine_has_no_cgroup >/dev/null
}

machine_gone() {
	[ -n "${machine_work}" ] || return 0
	[ -z "${machine_parent}" ] || machine_off
	umount --recursive --lazy "${machine_work}"
	rmdir "${machine_work}"
	machine_work=
}

machine_has_no_cgroup() {
	find "${machine_cgroup}" -depth -type d -exec rmdir {} + 2>/dev/null
	[ ! -e "${machine_cgroup}" ]
}

until_true() { # what, command…: at most twenty seconds
	machine_what="$1"
	shift
	machine_tries=0
	until "$@"; do
		machine_tries=$((machine_tries + 1))
		if [ "${machine_tries}" -ge 200 ]; then
			echo "FAILED: ${machine_what}" >&2
			exit 1
		fi
		sleep 0.1
	done
	echo "ok: ${machine_what}"
}

is_true() { # what, command…
	machine_what="$1"
	shift
	"$@" || {
		echo "FAILED: ${machine_what}: $*" >&2
		exit 1
	}
	echo "ok: ${machine_what}"
}

is_sh() { is_true "$1" inside sh -c "$2"; }

fails() { ! "$@"; }

# A network namespace "client", 10.77.0.1, beside the machine's own, which is 10.77.0.2.
network() {
	inside sh -c 'ip netns add client && ip link add server0 type veth peer name client0 netns client &&
		ip address add 10.77.0.2/24 dev server0 && ip link set server0 up &&
		ip netns exec client ip address add 10.77.0.1/24 dev client0 &&
		ip netns exec client ip link set client0 up'
}

listens() { # port: somebody does, on the machine
	inside sh -c "setsid nc -lk 10.77.0.2 $1 >/dev/null 2>&1 &"
	until_true "somebody listens at port $1" inside nc -z 10.77.0.2 "$1"
}

reaches() { # port: the client does
	inside ip netns exec client nc -z -w 1 10.77.0.2 "$1"
}

knocks() { # ports: the client does
	inside ip netns exec client knock 10.77.0.2 "$@"
}

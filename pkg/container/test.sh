#!/bin/sh
# Tries the programs of FOLDER, which must need no library, and containers with them, with podman in
# network namespaces of their own. No image is fetched: the stage of the Containerfile that compiles is
# left out, and for the game of the example ROOT is the file system, a Debian of pkg/lab/root.sh.
#
#     pkg/container/test.sh FOLDER ROOT
# shellcheck disable=SC2016 # the words of inner shells
set -eu

usage="usage: pkg/container/test.sh FOLDER ROOT"
here="$(cd "$(dirname "$0")" && pwd)"
programs="$(realpath "${1:?${usage}}")"
debian="$(realpath "${2:?${usage}}")"

if [ "${3:-}" != inside ]; then
	exec unshare --mount --pid --net --fork --kill-child --mount-proc "$0" "${programs}" "${debian}" inside
fi

mount -t tmpfs tmpfs /run
# crun refuses a mixture of both kinds of cgroups, which some machines have.
umount --recursive --lazy /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
work=/run/work
mkdir -p "${work}/context/pkg/container" "${work}/context/out"
podman() {
	command podman --root "${work}/storage" --runroot "${work}/run" --storage-driver vfs \
		--cgroup-manager cgroupfs --events-backend none --runtime crun "$@"
}
wait_for() { # what, command…: at most twenty seconds
	what="$1"
	shift
	tries=0
	until "$@"; do
		tries=$((tries + 1))
		[ "${tries}" -lt 200 ] || {
			echo "FAILED: ${what}"
			podman logs -l || true
			[ ! -e "${work}/log" ] || cat "${work}/log"
			exit 1
		}
		sleep 0.1
	done
	echo "ok: ${what}"
}
check() { # what, command…
	what="$1"
	shift
	"$@" || {
		echo "FAILED: ${what}: $*"
		exit 1
	}
	echo "ok: ${what}"
}
fails() { ! "$@"; }
is_static() { ldd "$1" 2>&1 | grep -qE 'statically linked|not a dynamic executable'; }

for name in knockd knockctl knock; do
	check "${name} needs no library ($(stat -c %s "${programs}/${name}") bytes)" \
		is_static "${programs}/${name}"
	cp "${programs}/${name}" "${work}/context/out/"
done
"${programs}/knockctl" try >"${work}/try" 2>&1 || {
	cat "${work}/try"
	exit 1
}
echo "ok: knockctl try with them"

ip link set lo up
unshare --net sleep infinity &
client=$!
at_client() { nsenter --target "${client}" --net "$@"; }
is_apart() { [ "$(readlink "/proc/${client}/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }
wait_for "there is a client" is_apart
ip link add server0 type veth peer name client0 netns "${client}"
ip address add 10.77.0.2/24 dev server0
ip link set server0 up
at_client ip address add 10.77.0.1/24 dev client0
at_client ip link set client0 up
knocks() { at_client "${programs}/knock" 10.77.0.2 "$@"; }
reaches() { at_client nc -z -w 1 10.77.0.2 "$1"; }
logs() { podman logs "$1" 2>&1 | grep -q "$2"; }

echo "== the image"
cp "${here}/passwd" "${here}/group" "${work}/context/pkg/container/"
# Its last stage, from what has been built.
sed -n '/^FROM scratch/,$p' "${here}/Containerfile" |
	sed -e 's|--from=build /out/|out/|' -e 's|/out/| out/|g' >"${work}/context/Containerfile"
podman build --quiet --isolation chroot -t postern -f "${work}/context/Containerfile" "${work}/context"
run() { # name, option…: knockd as the guide says
	name="$1"
	shift
	podman run --quiet --detach --name "${name}" --network host --cgroups disabled --cap-drop all \
		"$@" >/dev/null
}

mkdir "${work}/conf" "${work}/state"
printf '[A]\n\tsequence = 7000,9000,8000\n\ttcpflags = syn\n\topen = tcp/2222\n' >"${work}/conf/native"
nc -lk 10.77.0.2 2222 >/dev/null 2>&1 &
wait_for "somebody listens" nc -z 10.77.0.2 2222
run native --cap-add net_raw,net_admin,setuid,setgid,setpcap,kill,sys_nice \
	--volume "${work}/conf/native:/etc/knockd.conf:ro" --volume "${work}/state:/var/lib/knockd" postern
wait_for "it listens" logs native "listening"
check "the port is shut" fails reaches 2222
knocks 7000 9000 8000
wait_for "a knock opens it" reaches 2222
podman exec native /usr/sbin/knockctl doctor >"${work}/doctor" 2>&1 || true
check "its listener has an account of its own" grep -q '_knockd (997)' "${work}/doctor"
podman stop --time 10 native >/dev/null
check "a stop leaves the gate shut" fails reaches 2222
podman run --rm --quiet --network host --cgroups disabled --cap-drop all --cap-add net_admin \
	--volume "${work}/conf/native:/etc/knockd.conf:ro" --volume "${work}/state:/var/lib/knockd" \
	--entrypoint /usr/sbin/knockctl postern gate down >/dev/null
check "knockctl gate down opens it" reaches 2222

echo "== the game"
sed -e 's/PROGRAM/perl/' -e 's/30m/2s/;s/1m/500ms/' "${here}/game/knockd.conf" >"${work}/conf/game"
mkdir "${work}/debian" "${work}/up" "${work}/ovl"
mount -t overlay overlay "${work}/debian" \
	-o "lowerdir=${debian},upperdir=${work}/up,workdir=${work}/ovl"
cp "${programs}/knockd" "${work}/debian/usr/sbin/knockd"
cp "${work}/conf/game" "${work}/debian/etc/knockd.conf"
# The shell is what `init: true` is for: the first process of a container cannot be stopped.
cat >"${work}/debian/root/game" <<-'GAME'
	use IO::Socket::INET;
	my $server = IO::Socket::INET->new(LocalPort => 25565, Listen => 5, ReuseAddr => 1) or die;
	while (my $client = $server->accept) { print $client "play\n"; my $line = <$client>; }
GAME
podman run --quiet --detach --name game --network host --cgroups disabled \
	--rootfs "${work}/debian" sh -c 'perl /root/game & wait' >/dev/null
plays() { [ "$(at_client nc -w 1 10.77.0.2 25565 </dev/null | head -n 1)" = play ]; }
wait_for "it can be played" plays
# Where podman may make no cgroups it lets no container share the processes of another: this is what it
# would do.
in_game() {
	nsenter --target "$(podman inspect --format '{{.State.Pid}}' game)" --mount --pid "$@"
}
in_game setpriv --bounding-set=-all,+net_raw,+setuid,+setgid,+setpcap,+kill --inh-caps=-all \
	knockd -v >"${work}/log" 2>&1 &
knockd=$!
said() { grep -q "$1" "${work}/log"; }
wait_for "knockd listens" said "listening"
asleep() { in_game ps -C perl -o stat= | grep -q '^T'; }
wait_for "it can be played" plays
wait_for "nobody plays: it sleeps" asleep
wait_for "somebody connects: it wakes" plays
check "it is awake" fails asleep
(at_client sh -c '(sleep 5; echo) | nc -w 6 10.77.0.2 25565' >/dev/null) &
player=$!
wait_for "while somebody is connected it is not put to sleep" said "running command.*STOP"
check "it is awake" fails asleep
wait "${player}"
kill "${knockd}"
podman kill game >/dev/null
echo "passed"

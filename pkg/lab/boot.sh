#!/bin/sh
# The first process of a throw-away machine (machine.sh), in its namespaces: makes what a kernel
# finds at boot, and becomes systemd, or a process that only waits.
set -eu

root="$1"
mount --make-rprivate /
mount -t proc proc "${root}/proc"
mount -t sysfs -o ro sysfs "${root}/sys"
mount -t cgroup2 cgroup2 "${root}/sys/fs/cgroup"
mount -t tmpfs tmpfs "${root}/run"
mount -t tmpfs tmpfs "${root}/dev"
mkdir "${root}/dev/pts" "${root}/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "${root}/dev/pts"
ln -s pts/ptmx "${root}/dev/ptmx"
ln -s /proc/self/fd "${root}/dev/fd"
for node in null zero full random urandom tty; do
	touch "${root}/dev/${node}"
	mount --bind "/dev/${node}" "${root}/dev/${node}"
done

case "$2" in
systemd) set -- /lib/systemd/systemd --log-target=console --unit=multi-user.target ;;
plain) set -- /bin/sh -c "sleep infinity & wait" ;; # a shell that waits buries the dead
esac
# No chroot: what the kernel says of paths is then as on a machine of its own.
cd "${root}"
pivot_root . .
umount --lazy .
exec /usr/bin/env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"

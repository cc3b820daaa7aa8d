#!/bin/sh
# Tries the RPM package with a real rpm, in a throw-away machine that a real systemd starts. The machine
# is a Debian, so what the package depends on has other names there and is not asked for.
#
#     pkg/rpm/test.sh FOLDER    # with what pkg/lab/root.sh and pkg/rpm/build.sh have put there
# shellcheck disable=SC2154 # machine.sh has them
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
folder="$(realpath "${1:?usage: pkg/rpm/test.sh FOLDER}")"
# shellcheck source-path=SCRIPTDIR source=../lab/machine.sh
. "${here}/../lab/machine.sh"
trap machine_gone EXIT
trap 'exit 1' INT TERM

package="$(find "${folder}" -name 'postern-*.rpm')"
rpm_does() { # option…
	inside rpm --force-debian --nodeps "$@" "/root/$(basename "${package}")"
}
active() { inside systemctl is-active --quiet knockd; }
main_pid() { inside systemctl show -P MainPID knockd; }

machine "${folder}/root" systemd "${package}"
is_true "it installs" rpm_does --install
is_sh "the account is there" "getent passwd _knockd"
is_sh "every file is as it was packed" "rpm --force-debian --nodeps --verify postern"
is_sh "its state is root's alone" "stat -c '%a %U' /var/lib/knockd | grep -qx '700 root'"
is_sh "there is no door yet" "[ ! -e /etc/knockd.conf ]"
is_sh "it does not start at boot, and does not run" \
	"! systemctl is-enabled --quiet knockd && ! systemctl is-active --quiet knockd"
network
listens 2222
printf '[A]\n\tsequence = 7000,9000,8000\n\ttcpflags = syn\n\topen = tcp/2222\n' \
	>"${machine_work}/root/etc/knockd.conf"
inside systemctl --quiet enable --now knockd
is_true "it runs" active
is_true "the port is shut" fails reaches 2222
knocks 7000 9000 8000
until_true "a knock opens it" reaches 2222
before="$(main_pid)"
is_true "it is upgraded" rpm_does --upgrade --force
is_true "it runs" active
is_true "it is another process" [ "$(main_pid)" != "${before}" ]
is_sh "the configuration stays" "grep -q tcp/2222 /etc/knockd.conf"
is_sh "it is removed" "rpm --force-debian --erase postern"
is_true "nothing is shut any more" reaches 2222
is_sh "nothing of it runs" "! pgrep knockd"
is_sh "the configuration is still there" "grep -q tcp/2222 /etc/knockd.conf"
is_sh "nothing else is left" "! ls -d /usr/sbin/knock* /usr/lib/systemd/system/knockd* \
	/etc/systemd/system/multi-user.target.wants/knockd.service /usr/share/doc/postern 2>/dev/null"
echo "passed"

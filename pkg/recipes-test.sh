#!/bin/bash
# Tries the recipes whose systems are not here: Gentoo's ebuild and Alpine's APKBUILD. Their own
# functions for installing run, with what their systems would give them in its place, from what cargo
# has built in FROM; no portage and no abuild takes part.
#
#     FROM=target/debug pkg/recipes-test.sh
# shellcheck disable=SC2317 # the ebuild calls the stand-ins
set -euo pipefail

cd "$(dirname "$0")/.."
FROM="$(realpath "${FROM:-target/release}")"
export FROM
image="$(mktemp -d)"
trap 'rm -rf "${image}"' EXIT

check() { # what, command…
	local what="$1"
	shift
	"$@" || {
		echo "FAILED: ${what}: $*"
		exit 1
	}
	echo "ok: ${what}"
}
version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)"

echo "== Gentoo"
for file in pkg/gentoo/*/*/*.ebuild; do check "${file} is of bash's grammar" bash -n "${file}"; done
for file in pkg/gentoo/*/*/metadata.xml; do check "${file} is XML" xmllint --noout --nonet "${file}"; done
ebuild() { # function of the ebuild, with stand-ins for eclasses
	(
		inherit() { :; }
		cargo_target_dir() { echo "${FROM}"; }
		systemd_get_systemunitdir() { echo /usr/lib/systemd/system; }
		keepdir() { mkdir -p "${D}$1"; }
		fperms() { chmod "$1" "${D}$2"; }
		die() { exit 1; }
		D="${image}/gentoo"
		# shellcheck disable=SC2034 # the ebuild reads it
		PF=postern-9999
		# shellcheck source=/dev/null
		. pkg/gentoo/net-misc/postern/postern-9999.ebuild
		"$1"
	)
}
check "src_install" ebuild src_install
for file in etc/init.d/knock etc/init.d/knock-gate usr/sbin/knockd usr/sbin/knockctl usr/bin/knock; do
	check "/${file} is there, to be run" test -x "${image}/gentoo/${file}"
done
check "/etc/conf.d/knock is there" grep -q OPTS= "${image}/gentoo/etc/conf.d/knock"
check "the unit is there" test -f "${image}/gentoo/usr/lib/systemd/system/knockd.service"
check "the state is root's alone" test "$(stat -c %a "${image}/gentoo/var/lib/knockd")" = 700

echo "== Alpine"
check "APKBUILD is of sh's grammar" sh -n pkg/alpine/APKBUILD
check "it has our version" grep -qx "pkgver=${version}" pkg/alpine/APKBUILD
apk() { # function of the APKBUILD
	srcdir="${image}" pkgdir="${image}/alpine" sh -euc '. pkg/alpine/APKBUILD; "$1"' sh "$1"
}
check "package" apk package
check "/etc/init.d/knock is there, to be run" test -x "${image}/alpine/etc/init.d/knock"
check "there is no unit" test ! -e "${image}/alpine/usr/lib/systemd"
check "there is no door yet" test ! -e "${image}/alpine/etc/knockd.conf"
echo "passed"

#!/bin/sh
# Installs what was built, under DESTDIR: the one list of what goes where, for by hand, for the
# packages here and for those of a distribution. Nothing is started or enabled, no account is made,
# no door is made (`knockctl init` writes /etc/knockd.conf), and what is configured stays as it is.
#
#     cargo build --release --locked && cargo run -p completions -- target/completions
#     sudo INIT=systemd pkg/install.sh
#
# What may be set:
#     DESTDIR      nothing: the root of this machine
#     INIT         systemd, openrc, sysv, "systemd sysv", …; "none": no service
#     FROM         target/release: where the three programs are
#     COMPLETIONS  target/completions: where the completions are; "none": there are none
#     UNITDIR      /usr/lib/systemd/system
#     ZSHDIR       /usr/share/zsh/site-functions
#     DOCDIR       /usr/share/doc/postern
#     SAMPLES      nothing: options of services go to /etc; else to this folder's etc, to be copied
#     STRIP        "yes": symbols are taken out of the programs
set -eu

root="$(cd "$(dirname "$0")/.." && pwd)"
cd "${root}"
DESTDIR="${DESTDIR:-}"
FROM="${FROM:-target/release}"
COMPLETIONS="${COMPLETIONS:-target/completions}"
UNITDIR="${UNITDIR:-/usr/lib/systemd/system}"
ZSHDIR="${ZSHDIR:-/usr/share/zsh/site-functions}"
DOCDIR="${DOCDIR:-/usr/share/doc/postern}"
SAMPLES="${SAMPLES:-}"
STRIP="${STRIP:-no}"
: "${INIT:?set it to what starts the services: systemd, openrc, sysv or none}"

put() { # mode, file, where
	install -D -m "$1" "$2" "${DESTDIR}$3"
}
program() { # name, folder
	[ -f "${FROM}/$1" ] || {
		echo "pkg/install.sh: there is no ${FROM}/$1: cargo build --release --locked" >&2
		exit 1
	}
	put 755 "${FROM}/$1" "$2/$1"
	[ "${STRIP}" != yes ] || strip --strip-unneeded "${DESTDIR}$2/$1"
}
# The administrator's: what is there stays.
configuration() { # mode, file, where
	if [ -n "${SAMPLES}" ]; then
		put 644 "$2" "${SAMPLES}$3"
	elif [ ! -e "${DESTDIR}$3" ]; then
		put "$1" "$2" "$3"
	fi
}
completions() { # program
	put 644 "${COMPLETIONS}/$1.bash" "/usr/share/bash-completion/completions/$1"
	put 644 "${COMPLETIONS}/_$1" "${ZSHDIR}/_$1"
	put 644 "${COMPLETIONS}/$1.fish" "/usr/share/fish/vendor_completions.d/$1.fish"
}

for init in ${INIT}; do
	case "${init}" in
	systemd | openrc | sysv | none) ;;
	*)
		echo "pkg/install.sh: INIT has \"${init}\": expected systemd, openrc, sysv or none" >&2
		exit 2
		;;
	esac
done

program knockd /usr/sbin
program knockctl /usr/sbin
program knock /usr/bin
for page in man/*.1; do put 644 "${page}" "/usr/share/man/man1/$(basename "${page}")"; done
for page in man/*.5; do put 644 "${page}" "/usr/share/man/man5/$(basename "${page}")"; done
if [ "${COMPLETIONS}" != none ]; then
	[ -f "${COMPLETIONS}/knock.bash" ] || {
		echo "pkg/install.sh: no completions: cargo run -p completions -- ${COMPLETIONS}" >&2
		exit 1
	}
	for name in knock knockd knockctl; do completions "${name}"; done
fi

put 644 pkg/logrotate/knockd /etc/logrotate.d/knockd
put 644 pkg/sysusers.d/knockd.conf /usr/lib/sysusers.d/knockd.conf
put 644 pkg/tmpfiles.d/knockd.conf /usr/lib/tmpfiles.d/knockd.conf

for init in ${INIT}; do
	case "${init}" in
	systemd)
		put 644 pkg/systemd/knockd.service "${UNITDIR}/knockd.service"
		put 644 pkg/systemd/knockd-gate.service "${UNITDIR}/knockd-gate.service"
		configuration 644 pkg/default/knockd /etc/default/knockd
		;;
	sysv)
		put 755 pkg/sysv/knockd /etc/init.d/knockd
		configuration 644 pkg/default/knockd /etc/default/knockd
		;;
	openrc)
		put 755 pkg/openrc/knock.initd /etc/init.d/knock
		put 755 pkg/openrc/knock-gate.initd /etc/init.d/knock-gate
		configuration 644 pkg/openrc/knock.confd /etc/conf.d/knock
		;;
	esac
done

# What an administrator may want: see the first lines of each.
for file in pkg/knockd.conf pkg/systemd/*.conf pkg/sysctl.d/*.conf pkg/apparmor/usr.sbin.knockd; do
	put 644 "${file}" "${DOCDIR}/examples/$(basename "${file}")"
done
for file in README.md SECURITY.md docs/*.md docs/guide/*.md; do
	put 644 "${file}" "${DOCDIR}/${file}"
done
for file in LICENSE-MIT LICENSE-APACHE CHANGELOG.md; do put 644 "${file}" "${DOCDIR}/${file}"; done

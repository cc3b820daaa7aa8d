#!/bin/sh
# Makes FOLDER/root, a small Debian of the release that this machine has, and FOLDER/knockd.deb, the
# distribution's package; both stay there for the next time. Needs root and mmdebstrap.
set -eu

folder="$(realpath "${1:?usage: pkg/lab/root.sh FOLDER}")"
# shellcheck disable=SC1091 # the system's
codename="$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:?this is no Debian}")"

# Anew when this script has changed: it says what is in there.
if [ -z "$(find "${folder}/root/.made" -newer "$0" 2>/dev/null)" ]; then
	rm -rf "${folder}/root"
	exclude() { printf -- '--dpkgopt=path-exclude=/usr/share/%s/*' "$1"; }
	mmdebstrap --quiet --variant=apt "$(exclude doc)" "$(exclude locale)" "$(exclude man)" \
		--include=systemd,dbus,iproute2,iptables,nftables,netcat-openbsd,logrotate,libpcap0.8,procps,rpm \
		"${codename}" "${folder}/root"
	touch "${folder}/root/.made"
fi
if [ ! -e "${folder}/knockd.deb" ]; then
	(cd "${folder}" && apt-get -qq -o APT::Sandbox::User=root download knockd && mv knockd_*.deb knockd.deb)
fi

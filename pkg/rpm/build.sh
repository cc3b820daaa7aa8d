#!/bin/sh
# Builds FOLDER/postern-VERSION-1.ARCH.rpm from what cargo has built: see pkg/install.sh for what may be
# set. Needs rpmbuild.
set -eu

cd "$(dirname "$0")/../.."
folder="$(realpath "${1:?usage: pkg/rpm/build.sh FOLDER}")"
version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)"
work="$(mktemp -d)"
trap 'rm -rf "${work}"' EXIT
# Debian's rpm compresses manual pages by a script that its sh does not understand: they stay as they are.
if [ -e /etc/debian_version ]; then set -- --define "__brp_compress %{nil}"; else set --; fi
rpmbuild "$@" --quiet -bb --define "_topdir ${work}" --define "_rpmdir ${folder}" \
	--define "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" \
	--define "version ${version}" --define "top ${PWD}" pkg/rpm/postern.spec

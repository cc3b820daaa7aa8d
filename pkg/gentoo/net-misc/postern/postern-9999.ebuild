# Copyright 2026 The Postern authors
# Distributed under the terms of the MIT license or of the Apache License 2.0

EAPI=8

RUST_MIN_VER="1.89.0"

inherit cargo git-r3 systemd tmpfiles

DESCRIPTION="Port knocking: knockd, knock and knockctl, in the place of net-misc/knock"
HOMEPAGE="https://postern.invalid"
# Your clone: EGIT_OVERRIDE_REPO_NET_MISC_POSTERN=/path/to/it in /etc/portage/make.conf
EGIT_REPO_URI="https://postern.invalid/postern.git"

LICENSE="|| ( Apache-2.0 MIT )"
# Of the crates in the programs.
LICENSE+=" Apache-2.0 BSD ISC MIT Unicode-3.0 ZLIB"
SLOT="0"

RDEPEND="
	acct-group/_knockd
	acct-user/_knockd
	!net-misc/knock
"

# What cargo calls release is what is measured and shipped.
QA_FLAGS_IGNORED="usr/bin/knock usr/sbin/knockd usr/sbin/knockctl"

src_unpack() {
	git-r3_src_unpack
	cargo_live_src_unpack
}

src_compile() {
	cargo_src_compile
	cargo_src_compile --package completions
	"$(cargo_target_dir)"/completions target/completions || die
}

src_test() {
	# The tests make network namespaces: run `cargo xtask test` outside of portage's sandbox.
	cargo_src_test --package knock-core --package knock-spa
}

src_install() {
	DESTDIR="${D}" INIT="openrc systemd" FROM="$(cargo_target_dir)" DOCDIR="/usr/share/doc/${PF}" \
		UNITDIR="$(systemd_get_systemunitdir)" pkg/install.sh || die
	keepdir /var/lib/knockd
	fperms 0700 /var/lib/knockd
}

pkg_postinst() {
	tmpfiles_process knockd.conf
	elog "Let \`knockctl init\` write /etc/knockd.conf (docs/guide/first-door.md), then:"
	elog "  rc-update add knock-gate boot; rc-update add knock default; rc-service knock start"
	elog "or with systemd: systemctl enable --now knockd"
}

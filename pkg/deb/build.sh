#!/bin/sh
# Builds FOLDER/postern_VERSION_ARCH.deb from what cargo has built. pkg/install.sh says what may be set,
# and dpkg-deb(1) DPKG_DEB_COMPRESSOR_TYPE. Needs dpkg-dev, to find the libraries that are needed.
set -eu

cd "$(dirname "$0")/../.."
folder="$(realpath "${1:?usage: pkg/deb/build.sh FOLDER}")"
version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)-1"
architecture="$(dpkg --print-architecture)"
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}"

work="$(mktemp -d)"
trap 'rm -rf "${work}"' EXIT
tree="${work}/postern"
doc="${tree}/usr/share/doc/postern"

# Where the distribution's package has its unit. dpkg compares names: with another one for the same
# file, the removal of that package would take ours away.
DESTDIR="${tree}" INIT="systemd sysv" SAMPLES=/usr/share/postern STRIP=yes \
	UNITDIR="${UNITDIR:-/lib/systemd/system}" ZSHDIR=/usr/share/zsh/vendor-completions \
	pkg/install.sh

gzip -9n "${tree}"/usr/share/man/man*/*
mv "${doc}/CHANGELOG.md" "${doc}/changelog"
rm "${doc}/LICENSE-MIT" "${doc}/LICENSE-APACHE" # in the file "copyright"
sed -e "s/@VERSION@/${version}/" -e "s/@DATE@/$(date -u -R -d "@${SOURCE_DATE_EPOCH}")/" \
	pkg/deb/changelog.in >"${doc}/changelog.Debian"
gzip -9n "${doc}/changelog" "${doc}/changelog.Debian"
sed -n '5,$p' LICENSE-MIT | sed -e 's/^$/./' -e 's/^/ /' >"${work}/mit"
sed -e "/@MIT@/{r ${work}/mit" -e 'd}' pkg/deb/copyright >"${doc}/copyright"
chmod 644 "${doc}/copyright" "${doc}"/changelog*
install -D -m 644 pkg/deb/lintian-overrides "${tree}/usr/share/lintian/overrides/postern"

# dpkg-shlibdeps wants a source package around it.
mkdir "${work}/debian"
: >"${work}/debian/control"
depends="$(cd "${work}" && dpkg-shlibdeps -O postern/usr/sbin/knockd postern/usr/sbin/knockctl \
	postern/usr/bin/knock | sed -n 's/^shlibs:Depends=//p')"

install -d "${tree}/DEBIAN"
sed -e "s/@VERSION@/${version}/" -e "s/@ARCHITECTURE@/${architecture}/" \
	-e "s/@DEPENDS@/${depends}/" -e "s/@SIZE@/$(du -sk "${tree}" | cut -f 1)/" \
	pkg/deb/control.in >"${tree}/DEBIAN/control"
for script in preinst postinst prerm postrm; do
	install -m 755 "pkg/deb/${script}" "${tree}/DEBIAN/${script}"
done
(cd "${tree}" && find etc -type f -printf '/%p\n') >"${tree}/DEBIAN/conffiles"
(cd "${tree}" && find usr lib -type f -exec md5sum {} +) >"${tree}/DEBIAN/md5sums"
find "${tree}" -newermt "@${SOURCE_DATE_EPOCH}" -exec touch -hd "@${SOURCE_DATE_EPOCH}" {} +
dpkg-deb --root-owner-group --build "${tree}" "${folder}"

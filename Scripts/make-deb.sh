#!/usr/bin/env bash
# Makes a Debian package of a program with its manual, completions and schemas.
# Usage: make-deb.sh PROGRAM FOLDER
#
# The program must be linked with Swift's libraries statically, because Debian packages none of
# them. All other libraries are Debian's; dpkg-shlibdeps finds the versions needed. The same program,
# commit and tools give the same package.
set -euo pipefail
cd "$(dirname "$0")/.."

program=$1
folder=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/debian/condi-convert

version=$("$program" --version | awk 'NR == 1 { print $2 }')
architecture=$(dpkg --print-architecture)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

if readelf -d "$program" | grep -q 'NEEDED.*libswift'; then
  echo "$0: $program needs Swift's libraries, which Debian does not package;" \
    "'make build' links them statically" >&2
  exit 2
fi

mkdir -p "$root/DEBIAN"
cp packaging/debian/control "$work/debian/control"
cat >"$work/debian/changelog" <<END
condi-convert ($version) unstable; urgency=medium

  * See CHANGELOG.md.gz in /usr/share/doc/condi-convert.

 -- condi-convert developers <condi-convert@localhost>  $(date -R -u -d "@$SOURCE_DATE_EPOCH")
END

Scripts/stage.sh "$program" "$root/usr"
# Debian keeps its own packages' completions for zsh apart from those of the administrator.
mv "$root/usr/share/zsh/site-functions" "$root/usr/share/zsh/vendor-completions"
gzip -9n "$root"/usr/share/man/man1/*.1

documents=$root/usr/share/doc/condi-convert
install -D -m 644 packaging/debian/copyright "$documents/copyright"
gzip -9nc CHANGELOG.md >"$documents/CHANGELOG.md.gz"
gzip -9nc "$work/debian/changelog" >"$documents/changelog.gz"
install -D -m 644 packaging/debian/lintian-overrides \
  "$root/usr/share/lintian/overrides/condi-convert"

(
  cd "$work"
  dpkg-shlibdeps -Tdebian/substvars debian/condi-convert/usr/bin/condi-convert
  dpkg-gencontrol -pcondi-convert -Tdebian/substvars -Pdebian/condi-convert -fdebian/files
  cd debian/condi-convert
  find usr -type f -printf '%P\0' | LC_ALL=C sort -z \
    | (cd usr && xargs -0 md5sum) | sed 's|  |  usr/|' >DEBIAN/md5sums
)
find "$root" -type d -exec chmod 755 {} +
find "$root" -type f ! -path "$root/usr/bin/*" -exec chmod 644 {} +

mkdir -p "$folder"
package=$folder/condi-convert_${version}_$architecture.deb
dpkg-deb --root-owner-group --build "$root" "$package"
dpkg-deb --info "$package" | grep -E 'Installed-Size|Depends'
if command -v lintian >/dev/null; then
  # Root may run it as well; only what it calls an error fails.
  lintian --allow-root --fail-on error "$package"
fi

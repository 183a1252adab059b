#!/usr/bin/env bash
# Installs a package on a bare Debian, a folder made by mmdebstrap, and does a conversion there.
# Usage: deb-smoke-test.sh PACKAGE.deb
# Needs root, mmdebstrap, and a Debian mirror: MIRROR, SUITE (those of this system).
# BARE names a folder that mmdebstrap --variant=minbase made before, which is copied.
set -euo pipefail
cd "$(dirname "$0")/.."

package=$(realpath "$1")
suite=${SUITE:-$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")}
mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
  | grep -v security | head -n 1)}

if [ "$(id -u)" != 0 ] || ! command -v mmdebstrap >/dev/null; then
  echo "skipped: needs root and mmdebstrap" >&2
  exit 77
fi

bare=$(mktemp -d)
cleanup() {
  umount "$bare/proc" 2>/dev/null || true
  rm -rf --one-file-system "$bare"
}
trap cleanup EXIT

inside() { chroot "$bare" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"; }

if [ -n "${BARE-}" ]; then
  cp -a "$BARE/." "$bare/"
else
  log=$(mmdebstrap --quiet --variant=minbase --skip=cleanup/apt "$suite" "$bare" "$mirror" 2>&1) \
    || { tail -n 20 <<<"$log" >&2; exit 2; }
fi
mount -t proc proc "$bare/proc"
cp "$package" "$bare/tmp/condi-convert.deb"
cp Examples/swinir_light_x2.pth "$bare/tmp/model.pth"

echo '$ apt-get install ./condi-convert.deb'
inside DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
  /tmp/condi-convert.deb >"$bare/tmp/apt.log" 2>&1 || { tail -n 20 "$bare/tmp/apt.log" >&2; exit 2; }

run() {
  printf '$ %s\n' "$*"
  inside "$@"
}
run condi-convert --version
run condi-convert convert /tmp/model.pth /tmp/model.condi --bits 2 --limit 3
run condi-convert verify /tmp/model.condi --reference /tmp/model.pth --min-ratio paper=3.3 --limit 3
for file in /usr/share/man/man1/condi-convert.1.gz \
  /usr/share/bash-completion/completions/condi-convert \
  /usr/share/condi-convert/schemas/recipe.schema.json; do
  # Minimal systems may be told to leave documentation out; those are not.
  inside test -s "$file" || { echo "$file is missing" >&2; exit 1; }
done

echo '$ apt-get remove condi-convert'
inside DEBIAN_FRONTEND=noninteractive apt-get purge -y -qq condi-convert >/dev/null 2>&1
left=$(inside find / -xdev -path /tmp -prune -o -name '*condi-convert*' -print \
  | grep -v -e '^/var/log/' -e '^/proc/' || true)
[ -z "$left" ] || { printf 'left behind:\n%s\n' "$left" >&2; exit 1; }
echo 'installed, ran and was removed on a bare system'

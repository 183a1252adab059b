#!/usr/bin/env bash
# Installs a program with its manual, completions and schemas, or removes exactly that again.
# Usage: install.sh install PROGRAM PREFIX
#        install.sh uninstall PREFIX
# What DESTDIR says goes before PREFIX. The list of all that was installed, and of the folders that
# were made for it, is kept in PREFIX/share/condi-convert/installed.
set -euo pipefail

list=share/condi-convert/installed

fail() {
  echo "$0: $1" >&2
  exit 2
}

# Removes what the list of an installation names, and folders that were made for it and are empty.
uninstall() {
  local path
  while IFS= read -r path; do
    case /$path/ in
      */../* | //*) fail "$root/$list names '$path', which is not below the prefix" ;;
    esac
  done <"$root/$list"
  # From the end: files before folders, and folders before those that they lie in.
  tac "$root/$list" | while IFS= read -r path; do
    case $path in
      # The prefix itself, where it was made.
      ./) rmdir --ignore-fail-on-non-empty "$root" ;;
      */) [ ! -d "$root/$path" ] || rmdir --ignore-fail-on-non-empty "$root/$path" ;;
      *) rm -f "$root/$path" ;;
    esac
  done
}

case ${1-} in
  install)
    [ $# -eq 3 ] || fail 'install takes PROGRAM and PREFIX'
    prefix=$3
    case $prefix in /*) ;; *) fail "PREFIX must begin with '/', not '$prefix'" ;; esac
    root=${DESTDIR-}$prefix
    stage=$(mktemp -d)
    trap 'rm -rf "$stage"' EXIT
    "$(dirname "$0")/stage.sh" "$2" "$stage"
    made=
    # Before what is in it, whose removal goes the other way.
    if [ ! -d "$root" ]; then
      mkdir -p "$root"
      made=./$'\n'
    elif [ -f "$root/$list" ] && grep -qxF ./ "$root/$list"; then
      made=./$'\n'
    fi
    # What an earlier version installed and this one does not have must not stay.
    [ ! -f "$root/$list" ] || uninstall
    folders=$(cd "$stage" && find . -mindepth 1 -type d -printf '%P\n' | LC_ALL=C sort)
    files=$(cd "$stage" && find . -type f -printf '%P\n' | LC_ALL=C sort)
    while IFS= read -r folder; do
      if [ ! -d "$root/$folder" ]; then
        install -d -m 755 "$root/$folder"
        made+="$folder/"$'\n'
      fi
    done <<<"$folders"
    printf '%s%s\n%s\n' "$made" "$files" "$list" >"$root/$list"
    chmod 644 "$root/$list"
    while IFS= read -r file; do
      mode=644
      [ ! -x "$stage/$file" ] || mode=755
      install -m $mode "$stage/$file" "$root/$file"
    done <<<"$files"
    ;;
  uninstall)
    [ $# -eq 2 ] || fail 'uninstall takes PREFIX'
    case $2 in /*) ;; *) fail "PREFIX must begin with '/', not '$2'" ;; esac
    root=${DESTDIR-}$2
    [ -f "$root/$list" ] || fail "nothing is installed below $root: there is no $root/$list"
    uninstall
    ;;
  *) fail "expected 'install' or 'uninstall'" ;;
esac

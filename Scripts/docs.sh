#!/usr/bin/env bash
# Makes the documentation of all libraries, with DocC of the Swift toolchain and no plugin.
# Usage: docs.sh FOLDER [OPTION OF 'swift build']...
#
# FOLDER/condi-convert.doccarchive is a site for any web server; everything in it is static. What
# DocC warns of is an error, but for parameters without a sentence of their own beside others that have
# one: those whose name and type say all are left out on purpose.
set -euo pipefail
cd "$(dirname "$0")/.."

out=$1
shift
swift=$(command -v "${SWIFT:-swift}")
docc=${DOCC:-$(dirname "$(realpath "$swift")")/docc}
modules=(Storage LinearAlgebra Reports Imaging Formats Inspect Transform SuperResolution)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The graphs of all targets, tests as well; with the options of 'make build' and 'make test', what those
# have built is not built again.
"$swift" package "$@" dump-symbol-graph --minimum-access-level public --skip-synthesized-members \
  >"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; exit 2; }
graphs=$(sed -n 's/^Files written to //p' "$work/log")

convert() {
  local name=$1 catalog=$2
  shift 2
  "$docc" convert "$catalog" --fallback-display-name "$name" --fallback-bundle-identifier "$name" \
    --output-dir "$work/$name.doccarchive" "$@" >"$work/said" 2>&1 || {
    cat "$work/said" >&2
    exit 2
  }
  if grep '^warning: ' "$work/said" | grep -qv "^warning: Parameter '.*' is missing documentation"; then
    cat "$work/said" >&2
    exit 1
  fi
  archives+=("$work/$name.doccarchive")
}

archives=()
cp -R Documentation/condi-convert.docc "$work"
python3 Scripts/site-pages.py "$work/condi-convert.docc"
convert condi-convert "$work/condi-convert.docc"
for module in "${modules[@]}"; do
  mkdir "$work/$module"
  # A file of its own holds what a module adds to the types of another.
  cp "$graphs/$module.symbols.json" "$work/$module"
  find "$graphs" -name "$module@*.symbols.json" -exec cp {} "$work/$module" \;
  convert "$module" "Sources/$module/$module.docc" --additional-symbol-graph-dir "$work/$module"
done

mkdir -p "$out"
rm -rf "$out/condi-convert.doccarchive"
"$docc" merge "${archives[@]}" --synthesized-landing-page-name 'condi-convert and its libraries' \
  --output-path "$out/condi-convert.doccarchive"
echo "$out/condi-convert.doccarchive: $(find "$out/condi-convert.doccarchive/documentation" \
  -name index.html 2>/dev/null | wc -l) pages"

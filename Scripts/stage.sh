#!/usr/bin/env bash
# Lays out what is installed below one folder, as it will lie below a prefix.
# Usage: stage.sh PROGRAM FOLDER
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# Pages are dated by the last commit, or by today outside a repository.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

program=$1
stage=$2

# Symbols are half of a program that carries Swift's libraries.
install -D -m 755 "$program" "$stage/bin/condi-convert"
strip --strip-unneeded --remove-section=.comment "$stage/bin/condi-convert"

completion() {
  mkdir -p "$stage/$(dirname "$2")"
  "$program" --generate-completion-script "$1" >"$stage/$2"
}
completion bash share/bash-completion/completions/condi-convert
completion zsh share/zsh/site-functions/_condi-convert
# It is read by a shell, never run.
sed -i '1{/^#!/d}' "$stage/share/bash-completion/completions/condi-convert"
completion fish share/fish/vendor_completions.d/condi-convert.fish

python3 "$here/make-manual.py" "$program" "$stage/share/man/man1"
install -D -m 644 -t "$stage/share/condi-convert/schemas" "$here"/../schemas/*.json

# Whatever the mask of whoever builds.
find "$stage" -type d -exec chmod 755 {} +
find "$stage" -type f ! -path "$stage/bin/*" -exec chmod 644 {} +

#!/usr/bin/env bash
# Programs of the system that the real-parts suite uses; installs what is missing where it may.
set -euo pipefail
export PATH="$PATH:/usr/sbin"

missing=()
for pair in nginx:nginx-light jq:jq strace:strace; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  echo "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "please install: ${missing[*]}; tests that need them will fail" >&2
fi

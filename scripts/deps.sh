#!/usr/bin/env bash
# Installs the Debian packages that Vintner needs, and only those that are missing.
#
#   scripts/deps.sh          what building, serving and the demo need
#   scripts/deps.sh test     that, and what the tests need
#   scripts/deps.sh bench    that, and what the comparison with PyTorch needs
set -euo pipefail

packages=(
    libsqlite3-dev libmicrohttpd-dev libgnutls28-dev libdnnl-dev zlib1g-dev nettle-dev libjpeg-dev  # linked
    libjs-dygraphs                                                      # compiled in
    dataset-fashion-mnist                                               # the demo's data
    ca-certificates curl jq python3                                     # scripts and demo
)
case "${1:-build}" in
    build) ;;
    test) packages+=(chromium faketime openssl procps python3-venv strace systemd) ;;
    bench) packages+=(gcc libc6-dev python3-venv wrk) ;;
    *) echo "usage: scripts/deps.sh [build|test|bench]" >&2; exit 2 ;;
esac

if ! command -v swift > /dev/null; then
    echo "vintner: Swift 6.3 is needed and 'swift' was not found; see https://www.swift.org/install/linux/" >&2
    exit 1
fi

if ! command -v dpkg-query > /dev/null; then
    echo "vintner: this is no Debian; make sure that these packages' equivalents are here:" >&2
    echo "  ${packages[*]}" >&2
    exit 0
fi

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2> /dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    # Without a terminal sudo may not ask for a password; then it must work without one.
    if command -v sudo > /dev/null && { [ -t 0 ] || sudo -n true 2> /dev/null; }; then
        as_root=(sudo)
    else
        echo "vintner: ${#missing[@]} Debian packages are missing, and installing them needs root. Run:" >&2
        echo "  sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
fi

echo "vintner: installing ${missing[*]}"
install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends --quiet=2 "${missing[@]}" > /dev/null
}
# The package lists may be absent or stale: only then are they worth fetching.
if ! apt-cache show "${missing[@]}" > /dev/null 2>&1 || ! install 2> /dev/null; then
    "${as_root[@]}" apt-get update --quiet=2
    install || {
        echo "vintner: installing failed. By hand:" >&2
        echo "  sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    }
fi

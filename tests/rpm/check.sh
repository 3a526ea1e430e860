#!/usr/bin/env bash
# The RPM is whole, goes into a root of its own and out of it again.
#
#     check.sh PACKAGE.rpm
set -euo pipefail

package=$1
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

rpm --checksig --nosignature "$package"
# Scripts are run as check.py runs those of the Debian package; here is no shell to run them. Nor what it depends on.
in_root=(rpm --root "$root" --force-debian --noscripts --nodeps)
rpm --root "$root" --initdb
"${in_root[@]}" --install "$package"
"${in_root[@]}" --verify ipcd
"$root/usr/bin/ipcd" --version
"$root/usr/bin/ipc-client" --version
[[ $(rpm --root "$root" --query --configfiles ipcd) == /etc/ipcd/ipcd.toml ]]
"${in_root[@]}" --erase ipcd
left=$(find "$root" -name '*ipc*' ! -type d)
[[ -z $left ]] || { echo "left behind: $left" >&2; exit 1; }

#!/usr/bin/env bash
# The RPM is whole, serves once it is installed, and is gone once it is erased.
#
#     rpm.sh PACKAGE.rpm      as root, on a machine that may be thrown away afterwards
set -euo pipefail

package=$1
fail() { echo "FAILED: $*" >&2; exit 1; }
# No hold of a test's on the machine outlasts this.
deadline() { timeout --kill-after=5 60 "$@"; }
# This machine knows no RPMs, so that none of them has what this one needs; and Debian's rpm wants to be asked twice.
rpm=(deadline rpm --force-debian --nodeps)

echo "it is whole and installs"
deadline rpm --checksig --nosignature "$package"
"${rpm[@]}" --install "$package"
"${rpm[@]}" --verify ipcd
[[ $(rpm --query --configfiles ipcd) == /etc/ipcd/ipcd.toml ]] || fail "the configuration is no configuration to it"

echo "its socket is enabled and starts the service"
[[ $(systemctl is-enabled ipcd.socket) == enabled ]] || fail "the socket is not enabled"
deadline systemctl start ipcd.socket
deadline ipc-client bench --socket /run/ipcd/ipcd.sock -m tcp,shmem -n 200 >/dev/null
systemctl is-active --quiet ipcd.service || fail "the service is not active"
pid=$(systemctl show --property=MainPID --value ipcd.service)

echo "an upgrade restarts it"
"${rpm[@]}" --upgrade --replacepkgs --replacefiles "$package"
deadline ipc-client bench --socket /run/ipcd/ipcd.sock -m tcp -n 200 >/dev/null
[[ $(systemctl show --property=MainPID --value ipcd.service) != "$pid" ]] || fail "the old daemon still runs"

echo "erased, it is gone"
"${rpm[@]}" --erase ipcd
[[ -z $(pidof ipcd) ]] || fail "it still runs"
left=$(find /etc /usr/lib/systemd /usr/lib/sysusers.d /usr/bin /usr/share /run -name '*ipcd*' ! -type d -o -name 'ipc-client*' -o -name 'ipc-bench*')
[[ -z $left ]] || fail "left behind: $left"

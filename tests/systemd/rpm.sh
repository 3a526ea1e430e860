#!/usr/bin/env bash
# The RPM is whole, serves once it is installed, and is gone once it is erased.
#
#     rpm.sh PACKAGE.rpm      as root, on a machine that may be thrown away afterwards
set -euo pipefail

package=$1
here=$(dirname "$0")
fail() { echo "FAILED: $*" >&2; exit 1; }
# No hold of a test's on the machine outlasts this.
deadline() { timeout --kill-after=5 60 "$@"; }
# This machine knows no RPMs, so that none of them has what this one needs; and Debian's rpm wants to be asked twice.
rpm=(deadline rpm --force-debian --nodeps)
# Links below here that lead nowhere, which a machine may have already.
dangling() { find /etc/systemd -xtype l | sort; }
useradd --create-home alice
dangling=$(dangling)

echo "it is whole and installs"
deadline rpm --checksig --nosignature "$package"
"${rpm[@]}" --install "$package"
"${rpm[@]}" --verify ipcd
[[ $(rpm --query --configfiles ipcd) == /etc/ipcd/ipcd.toml ]] || fail "the configuration is not marked as such"
python3 -B "$here/links.py" /usr/share/doc/ipcd || fail "documents lead nowhere"

echo "its user is there, and its group has members"
[[ $(id --group --name ipcd) == ipcd ]] || fail "the user ipcd is missing"
usermod --append --groups ipcd alice

echo "its socket is enabled and starts the service"
[[ $(systemctl is-enabled ipcd.socket) == enabled ]] || fail "the socket is not enabled"
deadline systemctl start ipcd.socket
member=(deadline setpriv --reuid=alice --regid=alice --init-groups --reset-env --)
"${member[@]}" ipc-client bench --socket /run/ipcd/ipcd.sock -m tcp,shmem,fifo,mmap -n 200 >/dev/null
systemctl is-active --quiet ipcd.service || fail "the service is not active"
pid=$(systemctl show --property=MainPID --value ipcd.service)

echo "an upgrade restarts it"
"${rpm[@]}" --upgrade --replacepkgs --replacefiles "$package"
"${member[@]}" ipc-client bench --socket /run/ipcd/ipcd.sock -m tcp -n 200 >/dev/null
[[ $(systemctl show --property=MainPID --value ipcd.service) != "$pid" ]] || fail "the old daemon still runs"

echo "what is enabled stays so by an upgrade"
deadline systemctl enable --now ipc-bench@nightly.timer ipcd.service 2>/dev/null
"${rpm[@]}" --upgrade --replacepkgs --replacefiles "$package"
systemctl is-enabled --quiet ipc-bench@nightly.timer && systemctl is-active --quiet ipc-bench@nightly.timer || fail "the timer is not"

echo "erased, it is gone, and what was measured is not"
install -D /dev/null /var/lib/ipcd/history.sqlite
echo "# changed" >>/etc/ipcd/ipcd.toml
"${rpm[@]}" --erase ipcd
[[ -z $(pidof ipcd) ]] || fail "it still runs"
[[ $(dangling) == "$dangling" ]] || fail "links that lead nowhere: $(dangling)"
left=$(find /etc /usr/lib/systemd /usr/lib/sysusers.d /usr/bin /usr/share /run -name '*ipcd*' -o -name 'ipc-client*' -o -name 'ipc-bench*' | sort)
[[ $left == $'/etc/ipcd\n/etc/ipcd/ipcd.toml.rpmsave' ]] || fail "left behind: $left"
# As the README says.
for kept in /var/lib/ipcd/history.sqlite /etc/ipcd/ipcd.toml.rpmsave; do
  [[ -e $kept ]] || fail "$kept is gone"
done
getent passwd ipcd >/dev/null || fail "the user is gone, and its files have no owner"

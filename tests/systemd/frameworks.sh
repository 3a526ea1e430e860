#!/usr/bin/env bash
# Every method that is a feature works in the service's sandbox, for a member of its group, and in the timer's.
#
#     frameworks.sh      as root, on a machine that may be thrown away, with the programs of a build `--features full` in /usr/bin
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { echo "FAILED: $*" >&2; exit 1; }
methods=$(sed -n 's/^full = \[\(.*\)\]$/\1/p' Cargo.toml | tr -d '",')
[[ $methods ]] || fail "Cargo.toml does not say what \"full\" is"

useradd --create-home alice
install -D -m 644 -t /usr/lib/systemd/system systemd/ipcd.service systemd/ipcd.socket systemd/ipc-bench@.service
install -D -m 644 systemd/ipcd.sysusers /usr/lib/sysusers.d/ipcd.conf
install -D -m 644 -t /etc/ipcd packaging/ipcd.toml
# A machine that CI runs on is never quiet.
install -d /run/systemd/system/ipc-bench@.service.d
printf '[Unit]\nAssertCPUPressure=\n' >/run/systemd/system/ipc-bench@.service.d/quiet.conf
systemd-sysusers && systemctl daemon-reload && systemctl start ipcd.socket
usermod --append --groups ipcd alice

bench=(timeout --kill-after=5 60 setpriv --reuid=alice --regid=alice --init-groups --reset-env -- ipc-client bench -n 200)
crossing=""
for method in $methods; do
  # One that works within one user is refused, and says so.
  if said=$("${bench[@]}" -m "$method" 2>&1); then
    crossing+=" $method"
  else
    [[ $said == *"processes of one user"* ]] || fail "$method: $said"
  fi
  echo "    $method: $(grep -om 1 -e "p50 .*" -e "it works between processes of one user" <<<"$said")"
done
systemctl is-active --quiet ipcd.service || fail "it was not the service that served"
printf '\n[profile.full]\nmethod = [%s]\nrounds = 200\n' "$(printf '"%s", ' $crossing)" >>/etc/ipcd/ipcd.toml
timeout --kill-after=5 120 systemctl start ipc-bench@full.service || fail "$(journalctl -u ipc-bench@full.service)"
journalctl --sync
said=$(journalctl --unit ipc-bench@full.service --output cat)
# The journal has a summary, the history the results.
grep -q "^Grade: " <<<"$said" || fail "the timer's unit has no summary: $said"
recorded=$(ipc-client history --history /var/lib/ipcd/history.sqlite show last --format csv)
for method in $crossing; do
  grep -q "^$method:" <<<"$recorded" || fail "the timer's unit has not measured $method: $recorded"
done
echo "these work in the timer's:$crossing"

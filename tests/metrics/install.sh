#!/bin/sh
# Installs Prometheus and its node exporter from Debian, and sees to it that neither is started by that.
set -eu
if command -v prometheus promtool prometheus-node-exporter >/dev/null; then
  exit 0
fi
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  made=$policy
fi
trap '[ -z "$made" ] || rm -f "$made"' EXIT
# Of their services: a test may run some of these programs meanwhile, but not as their user.
services() { pgrep -u prometheus -f '^/usr/bin/prometheus' || true; }
before=$(id -u prometheus >/dev/null 2>&1 && services || true)
apt-get update -qq
apt-get install -y -qq --no-install-recommends prometheus prometheus-node-exporter
after=$(services)
if [ "$before" != "$after" ]; then
  echo "the packages have started a service: $after" >&2
  exit 1
fi

#!/bin/busybox sh
# The first process of check.py's guest: runs its steps, prints each one's beginning, end and exit code on the console, and
# turns the machine off.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/mqueue /run /tmp
mount -t tmpfs tmpfs /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t tmpfs tmpfs /tmp
chmod 1777 /dev/shm /tmp
ip link set lo up
export TMPDIR=/tmp IPCD_CONFIG=/dev/null IPCD_TEST_METHODS=vsock
# The programs and what to test.
. /check/wanted

# step NAME COMMAND...
step() {
  name=$1
  shift
  echo "@@ begin $name"
  "$@" 2>/tmp/said
  code=$?
  echo "@@ said $name"
  cat /tmp/said
  rm /tmp/said
  echo "@@ end $name $code"
}

load() {
  insmod "/check/modules/$1.ko"
}

echo "@@ up $(uname -r), $(nproc) CPUs"
step none "$CLIENT" methods --json
load vsock
step "no loopback" "$CLIENT" methods --json
load vmw_vsock_virtio_transport_common
load vsock_loopback
step methods "$CLIENT" methods --json
step bench "$CLIENT" bench --private -m vsock,tcp -n 500 --wait block,spin,adaptive --json
step "bench of 1 MiB" "$CLIENT" bench --private -m vsock -n 5 --size 1M --wait block,spin,adaptive --json
step tests "$TEST_PROGRAM" $TESTS
step "what is left" sh -c 'cd /tmp && find . /dev/shm /dev/mqueue -mindepth 1 ! -name said; pidof ipcd ipc-client'
echo "@@ over"
poweroff -f

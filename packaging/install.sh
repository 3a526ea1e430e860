#!/bin/sh
# Installs ipcd with its service, or removes it. As root, with systemd 247 or newer:
#
#     install.sh [--remove]
#
# from an unpacked tarball, or from a checkout after `cargo build --release && cargo run --example manual -- target/manual`.
set -eu
cd "$(dirname "$0")/.."

remove() {
    timers=$(find /etc/systemd/system -type l -path '*.wants/ipc-bench@*.timer' -exec basename {} ';' 2>/dev/null || :)
    # Unquoted: one word for each timer.
    systemctl disable --now $timers ipcd-metrics.socket ipcd.socket ipcd.service 2>/dev/null || :
    systemctl stop 'ipc-bench@*.service' 2>/dev/null || :
    rm -f /usr/bin/ipcd /usr/bin/ipc-client /usr/lib/sysusers.d/ipcd.conf
    rm -f /usr/lib/systemd/system/ipcd*.s* /usr/lib/systemd/system/ipc-bench@.*
    rm -f /usr/share/man/man?/ipcd*.? /usr/share/man/man?/ipc-client*.?
    rm -f /usr/share/bash-completion/completions/ipcd /usr/share/bash-completion/completions/ipc-client
    rm -f /usr/share/fish/vendor_completions.d/ipcd.fish /usr/share/fish/vendor_completions.d/ipc-client.fish
    rm -f /usr/share/zsh/site-functions/_ipcd /usr/share/zsh/site-functions/_ipc-client
    rm -rf /etc/ipcd /var/lib/ipcd /run/ipcd
    rm -f /var/lib/systemd/timers/stamp-ipc-bench@*
    systemctl daemon-reload
    for name in ipcd-bench ipcd; do
        if getent passwd "$name" >/dev/null; then userdel "$name"; fi
        if getent group "$name" >/dev/null; then groupdel "$name"; fi
    done
}

case "$*" in
"") ;;
--remove)
    remove
    exit
    ;;
*)
    echo "usage: install.sh [--remove]" >&2
    exit 2
    ;;
esac

# In a tarball they are in bin/ and share/.
bin=target/release share=target/manual
if [ -d bin ]; then bin=bin share=share; fi

install -D -t /usr/bin "$bin/ipcd" "$bin/ipc-client"
install -D -m 644 -t /usr/lib/systemd/system systemd/ipcd.service systemd/*.socket systemd/ipc-bench@.*
install -D -m 644 systemd/ipcd.sysusers /usr/lib/sysusers.d/ipcd.conf
if [ ! -e /etc/ipcd/ipcd.toml ]; then install -D -m 644 -t /etc/ipcd packaging/ipcd.toml; fi
mkdir -p /usr/share/man /usr/share/bash-completion /usr/share/fish
cp -r "$share/man" "$share/bash-completion" "$share/fish" /usr/share/
install -D -m 644 -t /usr/share/zsh/site-functions "$share"/zsh/vendor-completions/*
systemd-sysusers ipcd.conf
systemctl daemon-reload
systemctl enable --now ipcd.socket
echo "installed; members of the group ipcd may measure: usermod --append --groups ipcd USER"

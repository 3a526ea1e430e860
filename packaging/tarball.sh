#!/usr/bin/env bash
# Builds static programs (musl) and packs them with manual pages, completions, units and install.sh, one tarball for each
# architecture, with checksums, into target/tarball/:
#
#     packaging/tarball.sh [ARCH...]        x86_64 by default
#
# Needs cargo-zigbuild with zig (`pip install cargo-zigbuild`), and the standard library for musl
# (`rustup target add ARCH-unknown-linux-musl`). A toolchain that has only the library's source builds it.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
out=target/tarball
rm -rf "$out"
mkdir -p "$out"
cargo run --locked --example manual -- target/manual

for arch in ${*:-x86_64}; do
  target=$arch-unknown-linux-musl
  build=(cargo-zigbuild build --locked --release --bins --target "$target" --target-dir target/static)
  if [[ -e $(rustc --print target-libdir --target "$target")/self-contained ]]; then
    "${build[@]}"
  else
    # Otherwise rustc passes start files to the linker that such a toolchain lacks.
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="-C link-self-contained=no" "${build[@]}" -Z build-std=std,panic_unwind
  fi
  name=ipcd-$version-$arch-linux
  install -D -t "$out/$name/bin" "target/static/$target/release/ipcd" "target/static/$target/release/ipc-client"
  install -D -t "$out/$name/packaging" packaging/install.sh
  install -D -m 644 -t "$out/$name/packaging" packaging/ipcd.toml
  cp -r systemd docs ./*.md LICENSE "$out/$name/"
  cp -r target/manual "$out/$name/share"
  # The same bytes from the same sources: neither owners nor times of this build.
  tar -C "$out" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -czf "$out/$name.tar.gz" "$name"
  rm -r "${out:?}/$name"
done
(cd "$out" && sha256sum -- *.tar.gz >SHA256SUMS && cat SHA256SUMS)

#!/usr/bin/env bash
# Put an XLA CPU plugin (PJRT) where 'impulse' finds it by itself:
#
#   bash docs/install-xla-cpu.sh [DIR]          DIR defaults to ~/.local/lib/go-xla
#
# The plugin comes inside a Python package, so python3 with pip is needed once;
# nothing else of the package is kept. Linux, x86-64, glibc 2.27 or newer.
set -euo pipefail
dir=${1:-$HOME/.local/lib/go-xla}
plugin=$dir/pjrt_c_api_cpu_plugin.so
package=lammps-jax-pjrt-cpu==0.11.2

if [ -e "$plugin" ]; then
  echo "already there: $plugin"
  exit 0
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m pip download --quiet --no-deps --dest "$tmp" "$package"
python3 -m zipfile -e "$tmp"/*.whl "$tmp/wheel"
mkdir -p "$dir"
# Copied under another name first: a broken copy must never look like a plugin.
cp "$tmp"/wheel/lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so "$plugin.tmp"
mv "$plugin.tmp" "$plugin"
echo "installed: $plugin"

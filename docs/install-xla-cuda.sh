#!/usr/bin/env bash
# Link the XLA CUDA plugin (PJRT) of an installed JAX to where 'impulse' finds
# it by itself:
#
#   python3 -m pip install 'jax[cuda13]'        # or jax[cuda12], by your driver
#   eval "$(bash docs/install-xla-cuda.sh)"     # the line printed sets LD_LIBRARY_PATH
#
# An argument names another directory than ~/.local/lib/go-xla.
set -euo pipefail
dir=${1:-$HOME/.local/lib/go-xla}
mkdir -p "$dir"
python3 - "$dir" <<'PY'
import glob, importlib, os, sys

for name in ("xla_cuda13", "xla_cuda12"):
    try:
        package = importlib.import_module("jax_plugins." + name)
        break
    except ImportError:
        continue
else:
    sys.exit("no JAX CUDA plugin in this Python: python3 -m pip install 'jax[cuda13]' (or jax[cuda12])")
plugin = os.path.join(os.path.dirname(package.__file__), "xla_cuda_plugin.so")
link = os.path.join(sys.argv[1], "pjrt_c_api_cuda_plugin.so")
if os.path.lexists(link):
    os.remove(link)
os.symlink(plugin, link)
import nvidia

roots = [d for base in nvidia.__path__ for d in glob.glob(os.path.join(base, "*", "lib"))]
print("export LD_LIBRARY_PATH=" + ":".join(roots + [p for p in [os.environ.get("LD_LIBRARY_PATH")] if p]))
print("installed: " + link, file=sys.stderr)
PY

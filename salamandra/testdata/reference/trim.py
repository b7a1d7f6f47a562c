"""Make the copy of the reference kept here from a full one.

    python trim.py FULL_REFERENCE_DIR

The full directory is what make_reference.py writes. To stay small the copy
leaves out tokenizer.model and keeps of `logits` in step-*.safetensors and
merged-once-*.safetensors the first sequence alone. Tests take the number of
sequences from the file, so that they run on a full directory as well.
"""
import glob, os, shutil, sys
from safetensors.torch import load_file, save_file

full, here = sys.argv[1], os.path.dirname(os.path.abspath(__file__))
shutil.rmtree(os.path.join(here, "models"), ignore_errors=True)
shutil.copytree(os.path.join(full, "models"), os.path.join(here, "models"), ignore=shutil.ignore_patterns("tokenizer.model"), copy_function=shutil.copyfile)
for root, _, _ in os.walk(here):
    os.chmod(root, 0o755)
for pattern in ("step-*", "merged-once-*"):
    for path in glob.glob(os.path.join(here, "models", "*", "golden", pattern + ".safetensors")):
        tensors = load_file(path)
        tensors["logits"] = tensors["logits"][:1].contiguous()
        save_file(tensors, path)

#!/usr/bin/env python3
"""Compiles recorded programs for NVIDIA cards that are not there, and says what
XLA made of them: one JSON object a program and card.

usage: compile.py [--cards h100,a100,rtx3090,t4] [--whole] [--no-alias] [--keep DIR] [--label NAME] PROGRAM.mlir...

By default the compiler is ended once it has assigned buffers: memory is final
then, machine code is not made. --whole lets it finish and gives the time of it.
--no-alias gives every result memory of its own, as without package xlaplugin.
"""

import argparse
import collections
import glob
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

# Cards: compute capability, multiprocessors, shared memory of one and of a block,
# threads of one, clock in GHz, bytes of memory, bytes per second, L2 cache.
CARDS = {
    "h100": ("NVIDIA H100 80GB HBM3", 9, 0, 132, 233472, 232448, 2048, 128, 1.98, 84942979072, 3352320000000, 52428800),
    "a100": ("NVIDIA A100-SXM4-80GB", 8, 0, 108, 167936, 166912, 2048, 64, 1.41, 85100068864, 2039000000000, 41943040),
    "rtx3090": ("NVIDIA GeForce RTX 3090", 8, 6, 82, 102400, 101376, 1536, 128, 1.695, 25438126080, 936096000000, 6291456),
    "t4": ("Tesla T4", 7, 5, 40, 65536, 65536, 1024, 64, 1.59, 15828320256, 320064000000, 4194304),
}

WEIGHT = 1 << 20  # numbers: smaller parameters of 16 bits are norms and factors
LARGE = 64e6  # bytes of an array that is worth naming

BYTES = {"pred": 1, "s4": 1, "u4": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}


def target(card):
    """The configuration of a card as XLA's compiler reads it."""
    name, major, minor, cores, shared, optin, threads, fpus, clock, memory, bandwidth, cache = CARDS[card]
    feature = "ACCELERATED_FEATURES" if major >= 9 else "NONE"
    return f"""
gpu_device_info {{
  name: "{name}" device_vendor: "NVIDIA Corporation" platform_version: "Compute Capability {major}.{minor}"
  cuda_compute_capability {{ major: {major} minor: {minor} feature_extension: {feature} }}
  core_count: {cores} fpus_per_core: {fpus} clock_rate_ghz: {clock}
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: {threads}
  shared_memory_per_block: 49152 shared_memory_per_core: {shared} shared_memory_per_block_optin: {optin}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  device_memory_size: {memory} memory_bandwidth: {bandwidth} l2_cache_size: {cache}
  device_address_bits: 64 ecc_enabled: {"false" if card == "rtx3090" else "true"}
  driver_version: "13.0.0" runtime_version: "13.0.0" compile_time_toolkit_version: "13.0.0" dnn_version: "9.28.1"
}}
platform_name: "CUDA" device_description_str: "{name}"
dnn_version_info {{ major: 9 minor: 28 patch: 1 }}
runtime_version {{ major: 13 minor: 0 patch: 0 }}
"""


def partitions(program):
    """How many devices compute a program together."""
    m = re.search(r"stablehlo\.num_partitions = (\d+)", program)
    return int(m[1]) if m else 1


def compile_one(spec, program):
    """Runs in a process of its own: compiles and prints what the executable says."""
    import jax
    import numpy as np
    from jax._src.interpreters import mlir
    from jax._src.lib import xla_client
    from jax.experimental import topologies
    from jaxlib.mlir import ir

    with open(program) as f:
        text = f.read()
    n = partitions(text)
    with open(spec) as f:
        topology = topologies.get_topology_desc(platform="cuda", target_config=f.read(), topology=f"1x1x{n}")
    devices = tuple(topology.devices[:n])
    with mlir.make_ir_context():
        module = ir.Module.parse(text)
    options = xla_client.CompileOptions()  # as go-xla asks
    options.num_replicas, options.num_partitions, options.compile_portable_executable = 1, n, n == 1
    if n > 1:
        build = options.executable_build_options
        build.num_replicas, build.num_partitions = 1, n
        build.use_spmd_partitioning = build.use_shardy_partitioner = True
        options.device_assignment = xla_client.DeviceAssignment.create(np.arange(n).reshape(1, n))
    start = resource.getrusage(resource.RUSAGE_SELF)
    executable = devices[0].client.compile(module, xla_client.DeviceList(devices), options)
    end = resource.getrusage(resource.RUSAGE_SELF)
    m = executable.get_compiled_memory_stats()
    print(json.dumps({
        "cpu_s": round(end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime, 1), "code": m.generated_code_size_in_bytes,
    }))


def arrays(text):
    """(dtype, dimensions, bytes) of each array in a type."""
    out = []
    for dtype, dims in re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", text):
        if dtype in BYTES:
            shape = [int(x) for x in dims.split(",") if x]
            n = BYTES[dtype]
            for x in shape:
                n *= x
            out.append((dtype, shape, n))
    return out


def size(text):
    return sum(n for _, _, n in arrays(text))


def describe(text):
    """A type without layouts."""
    return " ".join(f"{dtype}{dims}".replace(" ", "") for dtype, dims, _ in arrays(text))


Instruction = collections.namedtuple("Instruction", "name type op args text")


def computations(hlo):
    """The computations of an HLO text by name, and the name of the entry."""
    found, entry, current = {}, None, None
    for line in hlo.splitlines():
        head = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$", line)
        if head:
            current = found.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and (m := re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)(?= [a-z])|\S+) ([\w\-]+)\((.*)", line)):
            args = re.findall(r"%([\w.\-]+)", re.split(r"\)(, |$)", m[4])[0])
            current.append(Instruction(m[1], m[2], m[3], args, line))
    return found, entry


# COLLECTIVES are how devices exchange what they computed; each begins with an
# instruction of its own where it runs beside others.
COLLECTIVES = re.compile(r"(all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(-start)?$")


def collectives(found):
    """How often devices exchange arrays, and the bytes of the results, by what they do."""
    sums = collections.Counter()
    for instruction in (i for body in found.values() for i in body):
        if m := COLLECTIVES.match(instruction.op):
            parts = [n for _, _, n in arrays(instruction.type)]
            if m[2] and m[1] in ("all-gather", "collective-permute"):
                parts = parts[len(parts) // 2 :]  # operands come first
            sums[m[1]] += 1
            sums[m[1] + " bytes"] += sum(parts)
    return dict(sums)


FREE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "after-all"}


def shares(body):
    """Of each value of a fusion the share that its result needs: slices need a part."""
    sizes = {i.name: size(i.type) for i in body}
    whole, parts = collections.defaultdict(float), collections.defaultdict(dict)
    share = {}
    for i in reversed(body):
        share[i.name] = f = 1 if "ROOT" in i.text else min(1, whole[i.name] + sum(parts[i.name].values()))
        for k, a in enumerate(i.args):
            if i.op in ("slice", "dynamic-slice", "gather") and k == 0:
                bounds = re.search(r"slice={[^}]*}", i.text)
                parts[a][bounds[0] if bounds else i.name] = f * sizes[i.name] / max(1, sizes.get(a, 1))
            else:
                whole[a] = max(whole[a], float(f > 0) if i.op in ("broadcast", "dot", "fusion", "scatter") else f)
    return share


def read(instruction, types, found):
    """The bytes that an instruction reads, each operand once."""
    called = re.search(r"calls=%?([\w.\-]+)", instruction.text)
    body = found[called[1]] if instruction.op == "fusion" and called else []
    share, total = shares(body), 0
    for k, a in enumerate(instruction.args):
        inside = next((i.name for i in body if i.op == "parameter" and f"parameter({k})" in i.text), None)
        total += size(types.get(a, "")) * share.get(inside, 1)
    return round(total)


def statistics(hlo):
    """What an optimised program consists of."""
    found, entry = computations(hlo)
    body = found[entry]
    types = {i.name: i.type for i in body}
    parameters = {i.name for i in body if i.op == "parameter"}
    weights = {tuple(s) for i in body if i.op == "parameter" for d, s, n in arrays(i.type) if d in ("bf16", "f16") and n >= 2 * WEIGHT}
    weights |= {tuple(reversed(w)) for w in weights}
    r = {"fmha": 0, "gemms": 0, "casts": 0, "joined": 0, "joined_bytes": 0, "random": 0, "moved": 0}
    large, by_kind = collections.Counter(), collections.Counter()
    for i in body:
        r["fmha"] += "fmha" in i.text and i.op == "custom-call"
        r["gemms"] += i.op == "custom-call" and "gemm" in i.text
        r["random"] += i.op == "rng-bit-generator"
        if i.op in FREE:
            continue
        for dtype, shape, n in arrays(i.type):
            if dtype == "f32" and tuple(shape) in weights:
                r["casts"] += 1
            if n >= LARGE:
                large[f"{dtype}{shape} {i.op}"] += 1
        if "concatenate" in i.name or "concatenate" in i.text.split(" = ")[0]:
            parts = [a for a in i.args if a in parameters and any(tuple(s) in weights for _, s, _ in arrays(types[a]))]
            if parts:
                r["joined"] += 1
                r["joined_bytes"] += size(i.type)
        moved = size(i.type) + read(i, types, found)
        r["moved"] += moved
        kind = re.search(r'custom_call_target="([^"]*)"|"kind":"(__\w+)"|kind=(k\w+)', i.text)
        kind = next(x for x in kind.groups() if x) if kind else i.op
        by_kind[f"{kind}: {describe(i.type)} of {', '.join(describe(types.get(a, '')) for a in i.args)}"] += moved
    r["traffic"] = {k: round(n / 1e9, 3) for k, n in by_kind.most_common(40)}
    r["random"] = sum(i.op == "rng-bit-generator" for c in found.values() for i in c)
    r["kernels"] = sum(i.op not in FREE for i in body)
    r["collectives"] = collectives(found)
    r["large"] = dict(large.most_common(12))
    return r


def without_aliases(text):
    """The program without tf.aliasing_output."""
    return re.sub(r" \{tf\.aliasing_output = \d+ : i32\}|, tf\.aliasing_output = \d+ : i32(?= \})", "", text)


def aliased(hlo, arguments):
    """The bytes of the arguments in which results lie."""
    sizes = [n for _, _, n in arrays(arguments)]
    pairs = re.search(r"input_output_alias=\{ (.*?-alias\)) \}", hlo.splitlines()[0])
    return sum(sizes[int(i)] for i in re.findall(r"\((\d+), \{", pairs[1])) if pairs else 0


def examine(program, card, whole, alias, keep):
    """Compiles a program in a process that is ended at the stage wanted."""
    work = tempfile.mkdtemp(prefix="compile")
    try:
        spec, text, dump = f"{work}/spec.txtpb", f"{work}/program.mlir", f"{work}/dump"
        os.mkdir(dump)
        with open(spec, "w") as f:
            f.write(target(card))
        with open(program) as f, open(text, "w") as g:
            g.write(f.read() if alias else without_aliases(f.read()))
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={dump} --xla_dump_hlo_as_text"
        env = dict(os.environ, XLA_FLAGS=flags.strip(), JAX_PLATFORMS="cpu", TF_CPP_MIN_LOG_LEVEL="2")
        start = time.time()
        log = open(f"{work}/log", "w+")
        p = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--one", spec, text], env=env, stdout=log, stderr=subprocess.STDOUT)
        while p.poll() is None:
            time.sleep(0.3)
            reports = glob.glob(f"{dump}/*memory-usage-report.txt")
            if not whole and reports and time.time() - os.path.getmtime(reports[0]) > 2 and glob.glob(f"{dump}/*gpu_after_optimizations.txt"):
                p.kill()
        log.seek(0)
        said = log.read()
        reports, hlos = glob.glob(f"{dump}/*memory-usage-report.txt"), glob.glob(f"{dump}/*gpu_after_optimizations.txt")
        if not reports or not hlos or whole and p.returncode != 0:
            sys.exit(f"{program} for {card} does not compile:\n{said[-3000:]}")
        with open(hlos[0]) as f:
            hlo = f.read()
        with open(reports[0]) as f:
            total = int(re.search(r"Total bytes: (\d+)", f.read())[1])
        layout = re.search(r"entry_computation_layout=\{\((.*?)\)->(.*?)\}(, |\n)", re.sub(r"\{[\d,:TSE()]*\}", "", hlo.splitlines()[0]) + "\n")
        r = {"program": os.path.basename(program), "card": card, "total": total, "arguments": size(layout[1]), "results": size(layout[2])}
        # The vector of an adapter, which all blocks share.
        r["adapter"] = max((n for d, s, n in arrays(layout[1]) if d == "f32" and len(s) == 1), default=0)
        r["aliased"] = aliased(hlo, layout[1])
        r["temporaries"] = max(0, total - r["arguments"] - r["results"] + r["aliased"])
        r.update(statistics(hlo))
        r["wall_s"] = round(time.time() - start, 1)
        if whole:
            r.update(json.loads(said.strip().splitlines()[-1]))
        if keep:
            os.makedirs(keep, exist_ok=True)
            name = f"{keep}/{os.path.basename(program)[:-5]}-{card}"
            shutil.copy(hlos[0], name + ".hlo")
            shutil.copy(reports[0], name + ".memory")
        return r
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main():
    if sys.argv[1:2] == ["--one"]:
        return compile_one(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", default="h100")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--no-alias", dest="alias", action="store_false")
    parser.add_argument("--keep", help="directory for the optimised programs")
    parser.add_argument("--label", default="", help="name of the run that the programs are of")
    parser.add_argument("programs", nargs="+")
    args = parser.parse_args()
    for program in args.programs:
        for card in args.cards.split(","):
            print(json.dumps({"run": args.label, **examine(program, card, args.whole, args.alias, args.keep)}), flush=True)


if __name__ == "__main__":
    main()

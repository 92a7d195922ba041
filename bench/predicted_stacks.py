"""What fused stacks of dense layers (kernels/dense_stack.cu) should take, for predicted_gpu.py: instructions of the machine
code by the source lines that they come from, times how often a tile of 64 rows runs them, and bytes.

Bounds, of which the largest is the prediction:
- issue: warp instructions over the share of the schedulers' slots in which a warp issues (gpu_model.toml). Loops over a
  product's depth are counted by their steps, epilogues by eights of columns, both with the branches that the widths
  take; all else once per layer and warp. The code is compiled with relu as the only activation, as lines do not tell
  their copies apart;
- shared: wavefronts of shared memory, 128 bytes of lanes each, one a cycle and multiprocessor; neither conflicts of
  banks nor broadcasts are looked at;
- math: products of the padded extents over tensor cores' rate with mma.sync (published microbenchmarks: some 62 % of
  the peak), or 128 f32 multiply-adds a cycle;
- L2: partial sums of parameters, read and written for every tile;
- HBM: inputs, outputs and their gradients;
- latency: what a tile waits for one after the other, with as many blocks at once as registers and shared memory admit.
"""

import collections
import re

PRECISIONS = ["f32", "tf32", "bf16"]
NARROW = [13, 100, 50, 20, 1]
DEFAULT = [64, 64, 32, 1]  # model mlp's
WIDE = [256, 256, 128, 64, 1]
TILE = 64
WARPS = 8
DOWN = 2

Instruction = collections.namedtuple("Instruction", "name rest chain")


def parse(text):
    """{(pass, precision): [Instruction, or (None, label)]} of the kernels with tiles of 64 rows, from nvdisasm -gi."""
    variant = re.compile(r"dense_stack_(forward|backward)_kernelILNS_16ProductPrecisionE(\d)ELi2E")
    kernels = {}
    current = None
    chain = []
    fresh = False
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith(".section"):
            found = variant.search(line) if ".text." in line else None
            current = (found[1], PRECISIONS[int(found[2])]) if found else None
        elif current is None:
            continue
        elif match := re.match(r'//## File "([^"]+)", line (\d+)', stripped):
            chain = [] if not fresh else chain
            fresh = True
            chain = chain + [(match[1].rsplit("/", 1)[-1], int(match[2]))]
        elif match := re.match(r"(\.L_\w+):", stripped):
            kernels.setdefault(current, []).append((None, match[1]))
        elif match := re.match(r"/\*[0-9a-f]+\*/\s+(?:@!?\w+\s+)?([A-Z][\w.]*)(.*)", stripped):
            fresh = False
            kernels.setdefault(current, []).append(Instruction(match[1], match[2], chain))
    return kernels


def function_lines(source):
    """{name: (first line, last line)} of the functions at the top level of a file formatted as ours are."""
    found = {}
    name = first = None
    for number, line in enumerate(source.splitlines(), 1):
        if name is None and (match := re.match(r"(?:__device__|    dense_stack_|__global__).*?(\w+)\(", line)):
            if match[1] != "__launch_bounds__":
                name, first = match[1], number
        elif name and line == "}":
            found[name] = (first, number)
            name = None
    return found


def loops_of(instructions):
    labels = {entry[1]: place for place, entry in enumerate(instructions) if entry[0] is None}
    for place, entry in enumerate(instructions):
        target = re.search(r"\.L_\w+", entry[1]) if entry[0] and entry[0].startswith("BRA") else None
        if target and labels.get(target[0], place) < place:
            yield labels[target[0]], place


def wavefronts(name):
    if name.startswith("LDSM"):
        return 4
    if re.match(r"(LDS|STS)\b", name):
        return 4 if ".128" in name else 2 if ".64" in name else 1
    return 0


class Cost:
    """Instructions and wavefronts of shared memory, and kinds of instructions."""

    def __init__(self):
        self.instructions = self.wavefronts = 0.0
        self.kinds = collections.Counter()

    def add(self, instructions, times):
        for entry in instructions:
            self.instructions += times
            self.wavefronts += times * wavefronts(entry.name)
            self.kinds[entry.name.split(".")[0]] += times


class Kernel:
    """A kernel's instructions by what runs them."""

    def __init__(self, instructions, functions):
        math = re.compile(r"HMMA|FFMA")
        loops = [(first, last) for first, last in loops_of(instructions)]
        inner = [(a, b) for a, b in loops if not any((a, b) != (c, d) and a <= c and d <= b for c, d in loops)]
        self.steps = {}
        self.rest = collections.defaultdict(list)
        in_step = {}
        for first, last in inner:
            body = [entry for entry in instructions[first:last + 1] if entry[0]]
            if sum(1 for entry in body if math.match(entry.name)) >= 8:
                place = {self.where(entry, functions)[0] for entry in body if math.match(entry.name)}
                for name in place & {"multiply_forward", "multiply_backward", "add_parameters"}:
                    self.steps[name] = body
                    in_step.update(dict.fromkeys(range(first, last + 1), True))
        for place, entry in enumerate(instructions):
            if entry[0] and place not in in_step:
                name, in_visit, nested = self.where(entry, functions)
                gradients = name == "kernel" and not nested and any(file == "activations.cuh" for file, _ in entry.chain)
                self.rest["outputs" if nested else "gradients" if gradients else name, in_visit].append(entry)

    @staticmethod
    def where(entry, functions):
        """The function it comes from, whether it visits sums, and whether it is what go_forward calls for outputs."""
        names = []
        for file, line in entry.chain:
            if file == "dense_stack.cu":
                for name, (first, last) in functions.items():
                    if first <= line <= last:
                        names.append(name)
        known = ["load_weights", "fill_shared", "multiply_forward", "multiply_backward", "add_parameters", "drop",
                 "load_inputs", "go_forward"]
        nested = "go_forward" in names and names[0].endswith("_kernel")
        in_visit = any(file in ("warp_product.cuh", "activations.cuh") for file, _ in entry.chain)
        for name in known:
            if name in names:
                return name, in_visit, nested
        return "kernel", in_visit, nested


def eights(count):
    return -(-count // 8)


def share(columns):
    """Eights of columns that each of the four warps across has."""
    each = -(-eights(columns) // 4)
    return [max(0, min(each, eights(columns) - each * warp)) for warp in range(4)]


def add_steps(cost, body, steps, groups, most):
    """`steps` turns of a loop that runs `groups` of its `most` groups of columns."""
    if groups <= 0:
        return
    places = [place for place, entry in enumerate(body) if re.match(r"HMMA|FFMA", entry.name)]
    each = (places[-1] - places[0] + 1) / most
    cost.add(body, steps * (1 - (most - groups) * each / len(body)))


def tile_cost(kernel, backward, widths, precision):
    cost = Cost()
    unit = 16 if precision == "bf16" else 8
    step = {"f32": 4, "tf32": 8, "bf16": 16}[precision]
    most = 4 if precision == "f32" else 2
    groups = (lambda wide: wide) if precision == "f32" else (lambda wide: -(-wide // 2))
    padded = lambda count: -(-count // unit) * unit
    layers = list(zip(widths, widths[1:]))

    def product(name, depth, columns):
        for wide in share(columns):
            add_steps(cost, kernel.steps[name], DOWN * padded(depth) / step, groups(wide), most)
        cost.add(kernel.rest[name, False] + kernel.rest[name, True], WARPS)

    for layer, (inputs, outputs) in enumerate(layers):
        product("multiply_forward", inputs, outputs)
        name = "outputs" if layer + 1 == len(layers) else "go_forward"
        cost.add(kernel.rest[name, True], DOWN * eights(outputs) / 4)
        cost.add(kernel.rest["go_forward", False], WARPS)
        if backward:
            high, wide = eights(outputs), eights(inputs + 1)
            for i in range(0, high, 4):
                for n in range(0, wide, 4):
                    own = min(4, wide - n)
                    add_steps(cost, kernel.steps["add_parameters"], TILE / step, groups(own), most)
                    fragments = -(-min(4, high - i) // 2) * own
                    rest = kernel.rest["add_parameters", False] + kernel.rest["add_parameters", True]
                    cost.add(rest, fragments / 8)
            product("multiply_backward", outputs, inputs)
            cost.add(kernel.rest["gradients" if layer > 0 else "kernel", True], DOWN * eights(inputs) / 4)
            cost.add(kernel.rest["kernel", False], WARPS)
    # A power of two of threads share a row, two columns each.
    lanes = 1
    while 2 * lanes < min(widths[0], 64):
        lanes *= 2
    turns = -(-TILE * lanes // (32 * WARPS)) * -(-widths[0] // (2 * lanes))
    cost.add(kernel.rest["load_inputs", False] + kernel.rest["load_inputs", True], WARPS * turns)
    return cost


def shared_words(widths, precision):
    two = precision == "bf16"
    unit = 16 if two else 8
    padded = lambda count: -(-count // unit) * unit
    ld = lambda count: padded(count) // (2 if two else 1) + 4
    words = TILE * ld(widths[-1])
    for inputs, outputs in zip(widths, widths[1:]):
        words += TILE * ld(inputs + 1) + 8 * eights(outputs) + padded(outputs) * ld(inputs)
    return words


def count(kernel, backward, widths, precision):
    """What the machine code of a tile is made of: {"instructions", "wavefronts", "kinds"}."""
    cost = tile_cost(kernel, backward, widths, precision)
    kinds = {kind: round(number) for kind, number in cost.kinds.most_common(16)}
    return {"instructions": round(cost.instructions), "wavefronts": round(cost.wavefronts), "kinds": kinds}


def predict(model, counted, backward, precision, widths, rows):
    """Bounds in seconds. counted: what count() tells, and "registers"."""
    tiles = rows / TILE
    layers = list(zip(widths, widths[1:]))
    unit = 16 if precision == "bf16" else 8
    padded = lambda count: -(-count // unit) * unit
    macs = sum(padded(inputs) * 8 * eights(outputs) for inputs, outputs in layers)
    if backward:
        macs += sum(padded(outputs) * 8 * eights(inputs) + 8 * eights(outputs) * 8 * eights(inputs + 1)
                    for inputs, outputs in layers)
    step = {"f32": 4, "tf32": 8, "bf16": 16}[precision]
    turn, epilogue, barrier = model.stack_step_latency, model.stack_epilogue_latency, model.barrier_latency
    cycles = model.stack_inputs_latency + barrier
    for inputs, outputs in layers:
        cycles += padded(inputs) / step * turn + epilogue + barrier
        if backward:
            units = -(-eights(outputs) // 4) * -(-eights(inputs + 1) // 4)
            cycles += -(-units // WARPS) * (TILE / step * turn + model.stack_partial_sums_latency) + barrier
            cycles += padded(outputs) / step * turn + epilogue + barrier
    shared = 4 * shared_words(widths, precision)
    per_block = -(-counted["registers"] * 32 // 256) * 256 * WARPS
    blocks = min(model.registers // per_block, model.shared_bytes // (shared + 1024), 2)
    partial = sum(-(-eights(outputs) // 2) * eights(inputs + 1) * 128 for inputs, outputs in layers)
    hbm = 4 * ((2 if backward else 1) * widths[0] + widths[-1])
    cores = model.multiprocessors * model.clock
    macs_a_cycle = {"f32": model.fma_macs_f32, "tf32": model.mma_sync_share * model.mma_macs_tf32,
                    "bf16": model.mma_sync_share * model.mma_macs_bf16}[precision]
    seconds = {
        "issue": tiles * counted["instructions"] / (cores * model.schedulers * model.issue_share),
        "shared": tiles * counted["wavefronts"] / cores,
        "math": rows * macs / (cores * macs_a_cycle),
        "L2": tiles * 8 * partial / model.l2_rate if backward else 0.0,
        "HBM": rows * hbm / model.hbm_rate,
        "latency": tiles * cycles / (cores * blocks),
    }
    return {"shared": shared, "blocks": blocks, "seconds": seconds, "largest": max(seconds.values())}


def layered_bytes(layers):
    """Of a row, where kernels/dense_products.cpp goes layer by layer."""
    # Forward: the product, then the activation in place. Backward: h, the gradient of the weights, that of the inputs.
    return sum(4 * (inputs + outputs) + 8 * outputs + 12 * outputs + 8 * (inputs + outputs)
               for inputs, outputs in layers)


def whole_bytes(layers):
    """Of a row, where kernels/wide_stack.cpp takes the stack as a whole, everything between the layers in bf16, without
    dropout."""
    total = 0
    hidden, (last, _) = layers[:-1], layers[-1]
    for l, (inputs, outputs) in enumerate(hidden):
        masks = 16 * -(-outputs // 128) if l + 1 < len(hidden) else 0  # of the relu, a bit an element
        total += 2 * (inputs + outputs) + masks  # outputs
        total += 2 * (inputs + outputs)  # gradient of the weights
        total += 2 * outputs + (4 if l == 0 else 2) * inputs  # gradient of the inputs,
        total += masks  # which needs the slopes of the layer before: counted with that one
    return total + (2 * last + 4) + (4 * last + 4)  # of the last layer, outputs and gradients


def wide_stacks(model, widths, rows):
    """By precision bytes a row, seconds by memory and by arithmetic, forward and backward, of a stack that goes by
    cuBLASLt."""
    layers = list(zip(widths, widths[1:]))
    flops = sum(6 * inputs * outputs for inputs, outputs in layers)
    rates = {"f32": model.product_flops_f32, "tf32": model.tensor_share * model.tensor_flops_tf32,
             "bf16": model.tensor_share * model.tensor_flops_bf16}
    found = {}
    for name, rate in rates.items():
        row = whole_bytes(layers) if name == "bf16" else layered_bytes(layers)
        found[name] = (row, rows * row / model.hbm_rate, rows * flops / rate)
    return found


def count_stacks(text, registers, source, stacks):
    """{widths: {precision: {pass: what count() tells, and registers}}} of stacks, a list of (widths, precisions). text:
    nvdisasm -gi of the kernels with relu alone; registers: {(pass, precision): n} of the real ones."""
    functions = function_lines(source)
    kernels = {key: Kernel(code, functions) for key, code in parse(text).items()}
    def counted(which, precision, widths):
        return {**count(kernels[which, precision], which == "backward", widths, precision),
                "registers": registers[which, precision]}

    return {name_of(widths): {precision: {which: counted(which, precision, widths) for which in ("forward", "backward")}
                              for precision in precisions} for widths, precisions in stacks}


def name_of(widths):
    return "-".join(map(str, widths))


def report(model, counted, rows):
    """The section on stacks. counted: what count_stacks() tells."""
    print(f"## Stacks of small dense layers\n\n{rows:,} rows of {name_of(NARROW)}, relu, with the gradient of the inputs, in "
          f"tiles of {TILE} rows; every time is *predicted*.\n")
    print("| products | pass | registers | shared bytes | blocks a multiprocessor | warp instructions a tile | a row "
          "| issue | shared | math | L2 | HBM | latency | **largest** |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    totals = {}
    for precision in PRECISIONS:
        for which in ("forward", "backward"):
            code = counted[name_of(NARROW)][precision][which]
            got = predict(model, code, which == "backward", precision, NARROW, rows)
            totals[precision] = totals.get(precision, 0.0) + got["largest"]
            times = " | ".join(f"{1e3 * seconds:.1f} ms" for seconds in got["seconds"].values())
            print(f"| {precision} | {which} | {code['registers']} | {got['shared']:,} | {got['blocks']} "
                  f"| {code['instructions']:,} | {code['instructions'] / TILE:.0f} | {times} "
                  f"| **{1e3 * got['largest']:.1f} ms** |")
    print("\nForward and backward: " + ", ".join(f"{precision} **{1e3 * seconds:.1f} ms**"
                                                  for precision, seconds in totals.items()) + ".")
    kinds = counted[name_of(NARROW)]["bf16"]["backward"]["kinds"]
    print("\nA tile's instructions, backward, bf16: " + ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
          + ".")
    print(f"\n{name_of(WIDE)} is wider than a block has room for and goes by cuBLASLt: in f32 and tf32 layer by "
          "layer (64-1 by the tiled kernels), in bf16 as a whole, with values between the layers in bf16:\n")
    print("| products | bytes a row | HBM | products alone | **largest** |\n|---|---|---|---|---|")
    for name, (row, memory, math) in wide_stacks(model, WIDE, rows).items():
        print(f"| {name} | {row:,} | {1e3 * memory:.0f} ms | {1e3 * math:.0f} ms | **{1e3 * max(memory, math):.0f} ms** |")
    print("\nInputs are not counted where they are gathered, which is the same in all three but for half of the bytes in "
          "bf16.")


def relu_alone(activations):
    """activations.cuh, whose choice of an activation knows no other one."""
    return re.sub(r"switch \(kind\) \{.*?\n  \}\n", "return use(KindConstant<ActivationKind::relu>());\n", activations,
                  count=1, flags=re.DOTALL)

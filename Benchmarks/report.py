"""Tables from the raw figures of run.py, and the document that holds them."""
import statistics

from rows import ROWS


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def number(value, digits=None):
    """About three significant digits; a dash for nothing."""
    if value is None:
        return "-"
    if digits is None:
        digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"


class Line:
    """What one row's runs come to."""

    def __init__(self, name, result):
        self.name, self.row, self.count = name, ROWS[name], result["count"]
        self.runs, self.peaks = result["runs"], result["peaks"]
        self.profiles = result.get("profiles", {})

    def figure(self, variant, key):
        return median([run.get(key) for run in self.runs.get(variant, [])])

    def step(self, variant):
        return self.figure(variant, "median_ms")

    def ratios(self, slower, faster, key="median_ms"):
        """slower / faster of each round."""
        pairs = zip(self.runs.get(slower, []), self.runs.get(faster, []))
        return [a[key] / b[key] for a, b in pairs if a.get(key) and b.get(key)]

    def ratio(self, slower, faster, key="median_ms"):
        return median(self.ratios(slower, faster, key))

    def ratio_text(self, slower, faster):
        """The median, and the least and greatest of the rounds when they differ."""
        found = self.ratios(slower, faster)
        if len(found) < 2:
            return number(median(found), 2)
        return f"{median(found):.2f} ({min(found):.2f}-{max(found):.2f})"

    def best(self, *variants):
        """The fastest of some variants."""
        measured = [variant for variant in variants if self.step(variant) is not None]
        return min(measured, key=self.step) if measured else variants[0]

    def gflops(self, variant):
        """Of the whole step: two operations for each multiply-accumulate of forward and backward."""
        step = self.step(variant)
        return 2e-6 * self.count["training_macs"] * self.row.batch / step if step else None

    def peak(self, precision):
        """The greatest of the row's rounds: whatever else the machine does can only lower it."""
        return max((peak.get(f"{precision}_gflops", 0) for peak in self.peaks), default=None)

    def share(self, variant):
        """Of the machine's matrix-product peak in the variant's precision."""
        gflops, peak = self.gflops(variant), self.peak(variant[-4:])
        return gflops / peak if gflops and peak else None

    def reaches(self, part):
        ratio = self.ratio("eager_fp32", "ours_fp32")
        return ratio is not None and ratio >= part * self.row.ratio

    def memory(self, variant):
        """Our peak resident memory as a part of eager PyTorch's in the same precision."""
        return self.ratio(f"ours_{variant}", f"eager_{variant}", "peak_rss_bytes")

    def planned(self, variant):
        """What was to be resident, known before the arena was mapped, as a part of the peak that was."""
        runs = [run for run in self.runs.get(variant, []) if run.get("planned_rss_bytes")]
        return median([run["planned_rss_bytes"] / run["peak_rss_bytes"] for run in runs])


def percent(value, digits=0):
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def mebibytes(value):
    return "-" if value is None else f"{value / 2**20:,.0f}"


def markdown(header, rows):
    """A table whose first column is text and whose others are numbers."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def steps_table(lines, precision):
    ours, eager, compiled = f"ours_{precision}", f"eager_{precision}", f"compile_{precision}"
    header = ["step, ms", "Vintner", "p90", "eager", "compiled", "eager / Vintner", "compiled / Vintner",
              "GFLOP/s", "of peak"]
    return markdown(header, [
        [line.row.title, number(line.step(ours)), number(line.figure(ours, "p90_ms")), number(line.step(eager)),
         number(line.step(compiled)), line.ratio_text(eager, ours), line.ratio_text(compiled, ours),
         number(line.gflops(ours), 0), percent(line.share(ours))]
        for line in lines])


def precisions_table(lines):
    header = ["ratio of steps", "ours: fp32 / bf16", "PyTorch's best / our bf16", "PyTorch's best is"]
    rows = []
    for line in lines:
        best = line.best("eager_fp32", "eager_bf16", "compile_fp32", "compile_bf16")
        rows.append([line.row.title, line.ratio_text("ours_fp32", "ours_bf16"), line.ratio_text(best, "ours_bf16"),
                     best.replace("_", " ").replace("compile", "compiled")])
    return markdown(header, rows)


def memory_table(lines):
    header = ["peak resident memory, MiB", "Vintner fp32", "eager fp32", "part", "Vintner bf16", "eager bf16",
              "part", "arena fp32", "planned / used, fp32", "bf16"]
    rows = []
    for line in lines:
        rows.append([
            line.row.title, mebibytes(line.figure("ours_fp32", "peak_rss_bytes")),
            mebibytes(line.figure("eager_fp32", "peak_rss_bytes")), percent(line.memory("fp32")),
            mebibytes(line.figure("ours_bf16", "peak_rss_bytes")),
            mebibytes(line.figure("eager_bf16", "peak_rss_bytes")), percent(line.memory("bf16")),
            mebibytes(line.figure("ours_fp32", "arena_bytes")), percent(line.planned("ours_fp32"), 1),
            percent(line.planned("ours_bf16"), 1)])
    return markdown(header, rows)


def start_table(lines):
    header = ["process start to first step, s", "Vintner", "eager", "compiled", "parameters",
              "MACs a sample, forward"]
    return markdown(header, [
        [line.row.title, number(line.figure("ours_fp32", "first_step_seconds"), 2),
         number(line.figure("eager_fp32", "first_step_seconds"), 1),
         number(line.figure("compile_fp32", "first_step_seconds"), 1),
         f"{line.count['parameters']:,}", f"{line.count['macs']:,}"]
        for line in lines])


def profile_table(lines, precision):
    """Our steps by what their layers do: those that multiply, and the rest, which memory or calls bind."""
    header = ["our step", "layers with products", "of peak", "the others", "of memory's rate", "updates"]
    rows = []
    for line in lines:
        profile = line.profiles.get(precision, {})
        layers = profile.get("layers")
        if not layers:
            continue
        update = sum(layer["update_ms"] for layer in layers)
        products = Part([layer for layer in layers if layer["macs"]], profile)
        others = Part([layer for layer in layers if not layer["macs"]], profile)
        whole = update + products.milliseconds + others.milliseconds
        rows.append([
            line.row.title, percent(products.milliseconds / whole), percent(products.share_of_peak),
            percent(others.milliseconds / whole), percent(others.share_of_bandwidth), percent(update / whole)])
    return markdown(header, rows)


class Part:
    """Some layers of a profile, together."""

    def __init__(self, layers, profile):
        self.milliseconds = sum(layer["forward_ms"] + layer["backward_ms"] for layer in layers)
        self.share_of_peak = self.rate(2 * sum(layer["macs"] for layer in layers), profile["peak_gflops"])
        self.share_of_bandwidth = self.rate(
            sum(layer["bytes"] for layer in layers), profile["memory_gigabytes_per_second"])

    def rate(self, amount, giga):
        return amount / (self.milliseconds * 1e6 * giga) if self.milliseconds else None


def goals(lines):
    """(what is asked, what was measured, whether that is enough), for every line and goal."""
    found = []

    def ask(line, what, measured, least, text):
        if measured is not None:
            found.append([line.row.title, what, text(measured), "yes" if measured >= least else "no"])

    def times(value):
        return f"{value:.2f}"

    for line in lines:
        row = line.row
        if row.share:
            ask(line, f"at least {row.share:.0%} of the float32 peak", line.share("ours_fp32"), row.share, percent)
            ask(line, "bf16 at least 2 times our float32", line.ratio("ours_fp32", "ours_bf16"), 2, times)
        else:
            ask(line, f"at least {row.ratio:g} times eager", line.ratio("eager_fp32", "ours_fp32"), row.ratio, times)
        if row.bf16_ratio:
            best = line.best("eager_fp32", "eager_bf16", "compile_fp32", "compile_bf16")
            ask(line, f"bf16 at least {row.bf16_ratio:g} times PyTorch's better precision",
                line.ratio(best, "ours_bf16"), row.bf16_ratio, times)
        planned = [part for part in (line.planned("ours_fp32"), line.planned("ours_bf16")) if part is not None]
        if planned:
            worst = max(planned, key=lambda part: abs(part - 1))
            found.append([row.title, "memory predicted within 5 %", percent(worst, 1),
                          "yes" if abs(worst - 1) <= 0.05 else "no"])
        parts = [part for part in (line.memory("fp32"), line.memory("bf16")) if part is not None]
        if parts:
            found.append([row.title, "at most a third of PyTorch's memory", percent(max(parts)),
                          "yes" if max(parts) <= 1 / 3 else "no"])
    named = {line.name: line for line in lines}
    if "separable" in named and "standard" in named:
        ours = named["standard"].step("ours_fp32"), named["separable"].step("ours_fp32")
        if all(ours):
            ask(named["separable"], "at least 3 times faster than its standard twin", ours[0] / ours[1], 3, times)
    return found


def tables(lines):
    parts = [["float32", ""], steps_table(lines, "fp32"), ["", "bfloat16", ""], steps_table(lines, "bf16"), [""],
             precisions_table(lines), [""], memory_table(lines), [""], start_table(lines)]
    return [line for part in parts for line in part]


def document(whole, lines, notes):
    versions = {run["torch"] for line in lines for run in line.runs["eager_fp32"] if "torch" in run}
    peaks = [[precision, number(max(line.peak(precision) for line in lines), 0)] for precision in ("fp32", "bf16")]
    machine = whole["machine"] + [["PyTorch", ", ".join(sorted(versions))], ["Date", whole["date"]]]
    machine += [[f"Measured matrix-product peak, {name}", f"{value} GFLOP/s"] for name, value in peaks]
    text = f"""# Performance

One training step (forward, loss, backward, update) of the same network, in Vintner and in PyTorch, on the same
{whole["threads"]} threads in the same minutes. `make bench` measured it and wrote this file; the prose is from
`Benchmarks/notes.md`.

- Every measurement is a process of its own. {whole["rounds"]} rounds, in which programs and precisions take turns;
  a figure is the median of the rounds' medians, a ratio the median of the rounds' ratios (least and greatest behind).
- PyTorch runs in the fastest of its settings for the row: memory format (contiguous, channels_last) and optimiser
  (loop, foreach, fused). "Compiled" is `torch.compile` with inductor, over forward and loss. bfloat16 is autocast
  there, and here: float32 parameters, statistics, losses and updates, bfloat16 activations and products.
- Batches of 64 (nanoGPT 12 windows of 64 tokens), SGD with momentum 0.9 unless the row says AdamW.
- GFLOP/s counts the multiply-accumulates of convolutions, products and attention, of causal attention only the half
  that is needed; backward twice the forward pass, less the gradient of the input. Winograd's algorithm needs fewer
  than are counted. The peak is that of a large matrix product on the same threads, the greatest of the row's rounds.

## The machine

"""
    out = text.splitlines() + ["| | |", "|---|---|"] + [f"| {name} | {value} |" for name, value in machine]
    out += ["", "## float32", ""] + steps_table(lines, "fp32")
    out += ["", "## bfloat16", ""] + steps_table(lines, "bf16") + [""] + precisions_table(lines)
    out += ["", "## Memory", ""] + memory_table(lines)
    out += ["", "Peak resident memory of the whole process: for PyTorch the interpreter and its libraries, about "
            "300 MiB, are part of it, as they are part of running it. Planned is what the process holds before "
            "the arena is mapped, and the arena, the batch, and the code that a first step brings in, whose sizes are "
            "known then.", ""]
    out += ["## Start and size", ""] + start_table(lines)
    out += ["", "## Where our time goes", "", "By `vintner profile`, which times every call where it stands in the "
            "step. More than the memory's rate is the caches'.", "", "float32", ""] + profile_table(lines, "fp32")
    out += ["", "bfloat16", ""] + profile_table(lines, "bf16")
    out += ["", "## What was asked for", "", "| row | asked | measured | reached |", "|---|---|---:|---|"]
    out += ["| " + " | ".join(goal) + " |" for goal in goals(lines)]
    return "\n".join(out) + "\n\n" + notes

"""The figures of tortures: added up over several, and as the table of a document."""

import os
import platform
import time

# What is added up; of the slowest only the slowest is kept.
TOTALS = ("submitted", "acknowledged", "compared", "resumed", "quarantined", "refused", "told")
SLOWEST = ("slowest_start", "slowest_end")
BAD = ("lost", "doubled", "broken", "damaged", "left_over")


def add(record, run):
    """Adds a run's figures to those of earlier ones."""
    for name, row in run["rows"].items():
        total = record.setdefault("rows", {}).setdefault(name, {})
        for key, value in row.items():
            total[key] = total.get(key, 0) + value
    for key in SLOWEST:
        record[key] = max(record.get(key, 0), run[key])
    for key in TOTALS:
        record[key] = record.get(key, 0) + run[key]
    return record


def processor():
    """What the processor calls itself."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def markdown(record):
    """The figures as a table."""
    lines = [f"{time.strftime('%Y-%m-%d')}, {processor()}, {os.cpu_count()} cores, Linux.", "",
             "| Ended | Times | 2xx noted | Lost | Doubled | Broken invariants | Bad files | Left over |",
             "|---|---|---|---|---|---|---|---|"]
    for name, row in record["rows"].items():
        lines.append(f"| {name} | {row['kills'] - row['missed']} | {row['acknowledged']:,} | {row['lost']} "
                     f"| {row['doubled']} | {row['broken']} | {row['damaged']} | {row['left_over']} |")
    lines += ["", f"{record['submitted']:,} jobs were acknowledged; {record['compared']:,} ended succeeded, "
              f"{record['resumed']:,} of them after they had been interrupted, each with the weights (or figures) of an "
              "undisturbed run, bit for bit; all others had been cancelled or deleted, or stood "
              f"behind one that was. {record['quarantined']:,} had been alone at two crashes and were tried again on request. "
              f"The slowest start took {record['slowest_start']:.2f} s. {record['told']:,} webhook messages came, every "
              "one signed, and at least one of each job that ended."]
    if terms := record["rows"].get("by SIGTERM", {}).get("kills"):
        lines += ["", f"SIGTERM came {terms} times while 200 long polls and half an upload were open: the server ended "
                  f"with 0 within {record['slowest_end']:.1f} s, every poll got a whole answer, nothing was left to tidy, "
                  f"and {record['refused']:,} requests that came meanwhile were refused with 503."]
    return "\n".join(lines)


def write_into(document, text, name="torture"):
    """Puts a table between the markers of its name."""
    with open(document, encoding="utf-8") as file:
        before, _, rest = file.read().partition(f"<!-- {name} -->")
    _, _, after = rest.partition(f"<!-- /{name} -->")
    with open(document, "w", encoding="utf-8") as file:
        file.write(f"{before}<!-- {name} -->\n{text}\n<!-- /{name} -->{after}")

#!/usr/bin/env python3
"""Runs the server under a steady mixed load for hours, and looks whether anything of it grows.

    Tests/torture/soak.py --binary .build/release/vintner --hours 24 [--document docs/reliability.md]

Each minute resident memory, open files, threads, the size of the database's log and connections are noted. Jobs are
kept to a number (`--keep-jobs`), so that the load of the last hour is that of the first. The first quarter warms up;
behind it the medians of the second and the last quarter may differ by no more than `GROWTH` says. Exit code 0 only if
nothing grew and every request was answered as it should be. Standard library only.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]

from load import Client, Failed, Witness, add_dataset, dismiss  # noqa: E402
from parcels import Parcels, Receiver  # noqa: E402
from service import Service  # noqa: E402
from table import write_into  # noqa: E402

MIB = 1 << 20
# By how much the last quarter may lie above the second, in units of each figure.
GROWTH = {"resident": 8 * MIB, "files": 8, "threads": 2, "log": 8 * MIB}
LOG_MAX = 64 * MIB
CLIENTS, PAUSE = 2, 0.2


class Steady(Client):
    """A client of the torture's that takes its time, and forgets jobs that the server has cleared away."""

    def act(self):
        super().act()
        self.stop.wait(self.draw.uniform(0, 2 * PAUSE))

    def take(self, condition):
        return super().take(lambda job: condition(job) and not job["over"])


def look(service):
    """The figures of the server now."""
    process = f"/proc/{service.process.pid}"
    log = os.path.join(service.data, "vintner.sqlite-wal")
    return {"at": time.time(), "resident": service.resident_bytes, "files": len(os.listdir(f"{process}/fd")),
            "threads": len(os.listdir(f"{process}/task")), "log": os.path.getsize(log) if os.path.exists(log) else 0}


def soak(binary, hours, kept, every=60, say=print):
    """Runs it; returns the looks and what the clients saw. Raises `Failed` where an answer was wrong."""
    os.makedirs(kept, exist_ok=True)
    witness, parcels, looks = Witness(os.path.join(kept, "soak.jsonl")), Parcels(Receiver()), []
    with tempfile.TemporaryDirectory() as home:
        data = os.path.join(home, "data")
        add_dataset(binary, data)
        service = Service(binary, "--writes-per-second", "0", "--webhook-host", parcels.receiver.host,
                          "--keep-jobs", "200", "--threads", "1", data=data)
        with service:
            clients = [Steady(service, witness, seed, parcels) for seed in range(CLIENTS)]
            for client in clients:
                client.start()
            end = time.monotonic() + hours * 3600
            while time.monotonic() < end:
                time.sleep(min(every, max(0.1, end - time.monotonic())))
                looks.append(look(service))
                say(json.dumps(looks[-1]), flush=True)
                for client in clients:
                    if client.fault or not client.is_alive():
                        raise client.fault or Failed("a client lost its server")
            dismiss(clients)
            if service.terminate() != 0:
                raise Failed(f"SIGTERM: {service.log.decode()}")
    parcels.receiver.close()
    return looks, witness


def compare(looks):
    """(figure, median of the second quarter, of the last, whether it grew) of each figure."""
    quarter = max(1, len(looks) // 4)
    for name, growth in GROWTH.items():
        before = statistics.median(one[name] for one in looks[quarter:2 * quarter])
        after = statistics.median(one[name] for one in looks[-quarter:])
        yield name, before, after, after - before > growth or name == "log" and max(one["log"] for one in looks) > LOG_MAX


def markdown(looks, witness, hours):
    """The figures as text."""
    def shown(name, number):
        return f"{number / MIB:.1f} MiB" if name in ("resident", "log") else f"{number:.0f}"
    lines = [f"{time.strftime('%Y-%m-%d')}: {60 * hours:.0f} minutes, {witness.submitted:,} jobs, "
             f"{witness.acknowledged:,} changes acknowledged.", "",
             "| | second quarter | last quarter |", "|---|---|---|"]
    names = {"resident": "resident memory", "files": "open files", "threads": "threads", "log": "the database's log"}
    lines += [f"| {names[name]} | {shown(name, before)} | {shown(name, after)} |"
              for name, before, after, _ in compare(looks)]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", default=".build/release/vintner")
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--every", type=float, default=60, help="seconds between two looks")
    parser.add_argument("--kept", default=".build/soak", help="where the clients' notes are kept")
    parser.add_argument("--document", help="where to write the figures")
    options = parser.parse_args()
    try:
        looks, witness = soak(os.path.abspath(options.binary), options.hours, options.kept, options.every)
    except Failed as fault:
        sys.exit(f"soak: BROKEN: {fault}")
    text = markdown(looks, witness, options.hours)
    print(text)
    if options.document:
        write_into(options.document, text, "soak")
    grown = [name for name, *_, has_grown in compare(looks) if has_grown]
    sys.exit(f"soak: these grew: {grown}" if grown else 0)


if __name__ == "__main__":
    main()

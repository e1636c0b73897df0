#!/usr/bin/env python3
"""Reproduces published results of compression by jobs of the service, and writes them down.

    Benchmarks/results.py --vintner .build/release/vintner [--data FOLDER] [--rows NAME...]
        [--keep .build/results.json] [--document docs/results.md] [--document-only]

A row is one or more jobs, sent to a server of its own over HTTP as a client would; jobs name earlier ones of their row
by `{"job": NAME}`. What they report is kept in a file, row by row, and the document is written from that file, so that rows
can be run one at a time. MNIST's four files are read from FOLDER/mnist (or VINTNER_TEST_DATA); Fashion-MNIST is Debian's.
"""
import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import machine
from result_rows import ROWS

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "Tests" / "e2e"))
from service import Service  # noqa: E402  (the end-to-end tests' client)


def named(value, made):
    """The body with the names of jobs replaced by their identifiers."""
    if isinstance(value, dict):
        if list(value) == ["job"]:
            return {"job": made[value["job"]]["id"]}
        return {key: named(part, made) for key, part in value.items()}
    return [named(part, made) for part in value] if isinstance(value, list) else value


def run(row, arguments):
    """The reports of a row's jobs by their names."""
    with tempfile.TemporaryDirectory() as home:
        data = os.path.join(home, "data")
        if row.needs_mnist:
            folder = os.path.join(arguments.data, "mnist")
            subprocess.run([arguments.vintner, "datasets", "add", "mnist", folder, "--data", data], check=True,
                           stdout=subprocess.DEVNULL)
        made = {}
        with Service(arguments.vintner, data=data) as service:
            for name, body in row.jobs.items():
                made[name] = service.submit(named(body, made))
            for name, job in made.items():
                done = service.wait(job["id"], seconds=24 * 3600)
                if done["state"] != "succeeded":
                    sys.exit(f"results: {row.name}, {name}: {done['state']} {done['error']}")
                report = done["result"]["report"]
                made[name] = {"id": job["id"], "report": report}
                print(f"{row.name}, {name}: {report.get('test_accuracy')} {report.get('runs', '')}"
                      f" {report.get('verdict', '')}", file=sys.stderr, flush=True)
    return {name: job["report"] for name, job in made.items()}


def shown(jobs):
    """(heading, body) of each kind of job: those that differ in their seed alone are one."""
    kinds = {}
    for name, body in jobs.items():
        stem, _, number = name.rpartition(" ")
        if stem and number.isdigit():
            text = json.dumps(body, indent=1).replace(f'"seed": {number}', '"seed": N').replace(f" {number}\"", ' N"')
            kinds.setdefault((f"{stem} N", text), []).append(int(number))
        else:
            kinds.setdefault((name, json.dumps(body, indent=1)), [])
    for (name, text), numbers in kinds.items():
        yield f"`{name}`" + (f", N from {min(numbers)} to {max(numbers)}" if numbers else ""), text


def document(kept):
    """The page, from what the rows that have been run said."""
    machines = {}
    lines = [
        "# Results", "",
        "Published results of compression and what the service makes of them. Every figure is from jobs sent by",
        "`Benchmarks/results.py` (`make results`), which wrote this file; the bodies are below the table of each. MNIST's",
        "and Fashion-MNIST's test sets have 10,000 images, so that 0.01 % is one error. Means over the seeds, with the",
        "standard deviation of the sample behind, and the range in brackets.", "",
    ]
    for row in ROWS:
        if row.name not in kept:
            continue
        lines += [f"## {row.title}", "", *row.text(kept[row.name]["reports"]), ""]
        lines += ["<details><summary>The jobs</summary>", ""]
        for heading, text in shown(row.jobs):
            lines += [f"{heading}:", "", "```json", *text.splitlines(), "```", ""]
        lines += ["</details>", ""]
        machines.setdefault(json.dumps(kept[row.name]["machine"]), []).append(row.title)
    for facts, titles in machines.items():
        of = "The machine" if len(machines) == 1 else "The machine of: " + "; ".join(titles)
        lines += [f"## {of}", "", "| | |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in json.loads(facts)] + [""]
    return "\n".join(lines[:-1]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vintner", default=".build/release/vintner")
    parser.add_argument("--data", default=os.environ.get("VINTNER_TEST_DATA", ""))
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS])
    parser.add_argument("--keep", type=pathlib.Path, default=pathlib.Path(".build/results.json"))
    parser.add_argument("--document", type=pathlib.Path)
    parser.add_argument("--document-only", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    kept = json.loads(arguments.keep.read_text()) if arguments.keep.exists() else {}
    for row in ROWS:
        if arguments.document_only or row.name not in (arguments.rows or [row.name]):
            continue
        if row.needs_mnist and not os.path.isdir(os.path.join(arguments.data, "mnist")):
            print(f"{row.name} is not run: no folder mnist in --data", file=sys.stderr)
            continue
        facts = machine.describe() + [("Date", datetime.date.today().isoformat())]
        kept[row.name] = {"reports": run(row, arguments), "machine": facts}
        arguments.keep.write_text(json.dumps(kept, indent=1))
    if arguments.document:
        arguments.document.write_text(document(kept))


if __name__ == "__main__":
    main()

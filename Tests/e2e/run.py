#!/usr/bin/env python3
"""Runs the end-to-end tests against a binary: `run.py BINARY [--lanes N] [NAME-PART ...]`.

Every function `test_*` of every module `test_*.py` beside this file is one test; it gets the path of the binary and
a folder for what it wants to keep. Tests run in lanes, each on a core of its own, so that none takes another's time,
those that mostly wait beside them; those that need the whole machine follow, one after the other (`alone` and `waits`
of lanes.py). Standard library only.
"""

import argparse
import importlib
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lanes import Lanes  # noqa: E402

# The longest come first, so that no lane is left with one at the end.
FIRST = ("torture.kills", "faults.a_checkpoint", "backup.a_backup", "prune.")


def find(parts):
    """Function by name of every test whose name contains one of `parts`; all of them when there are none."""
    tests = {}
    for file in sorted(os.listdir(HERE)):
        if file.startswith("test_") and file.endswith(".py"):
            module = importlib.import_module(file[:-3])
            for name, function in vars(module).items():
                full = f"{file[5:-3]}.{name[5:]}"
                if name.startswith("test_") and (not parts or any(part in full for part in parts)):
                    tests[full] = function
    return tests


def order(name):
    """Sorts the tests of `FIRST` to the front."""
    return next((place for place, start in enumerate(FIRST) if name.startswith(start)), len(FIRST))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("binary")
    parser.add_argument("--lanes", type=int, help="tests at once; as many as cores, up to 4")
    parser.add_argument("parts", nargs="*", metavar="NAME-PART")
    options = parser.parse_intermixed_args()
    if not os.access(options.binary, os.X_OK):
        sys.exit(f"run.py: {options.binary} is no program that can be run")
    kept = os.path.join(os.getcwd(), ".build", "e2e")
    os.makedirs(kept, exist_ok=True)
    began, passed, failed, skipped = time.monotonic(), 0, [], []
    tests = find(options.parts)
    tests = {name: tests[name] for name in sorted(tests, key=order)}
    lanes = Lanes(tests, (os.path.abspath(options.binary), kept), options.lanes)
    for name, is_passed, seconds, said in lanes.run():
        print(f"{'ok   ' if is_passed else 'FAIL '} {name} ({seconds:.1f} s)\n{said}", end="", flush=True)
        # What the machine lacks (strace, faketime, mounts, a debug build) is named, lest it be taken for shown.
        if "NOT RUN" in said:
            skipped.append(name)
        if is_passed:
            passed += 1
        else:
            failed.append(name)
    if skipped:
        print("end-to-end: NOT RUN, or not as a whole:", *skipped)
    missing = len(tests) - passed - len(failed)
    print(f"end-to-end: {passed} passed, {len(failed)} failed", *failed, f"in {time.monotonic() - began:.0f} s")
    sys.exit(1 if failed or missing or not passed else 0)


if __name__ == "__main__":
    main()

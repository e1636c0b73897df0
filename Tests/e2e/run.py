#!/usr/bin/env python3
"""Runs the end-to-end tests against a binary: `run.py BINARY [NAME-PART ...]`.

Every function `test_*` of every module `test_*.py` beside this file is one test; it gets the path of the binary and
a folder for what it wants to keep. Standard library only.
"""

import importlib
import os
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)


def find(parts):
    """(name, function) of every test whose name contains one of `parts`; all of them when there are none."""
    for file in sorted(os.listdir(HERE)):
        if file.startswith("test_") and file.endswith(".py"):
            module = importlib.import_module(file[:-3])
            for name, function in list(vars(module).items()):
                full = f"{file[5:-3]}.{name[5:]}"
                if name.startswith("test_") and (not parts or any(part in full for part in parts)):
                    yield full, function


def main():
    if len(sys.argv) < 2 or not os.access(sys.argv[1], os.X_OK):
        sys.exit("usage: run.py BINARY [NAME-PART ...]")
    binary = os.path.abspath(sys.argv[1])
    kept = os.path.join(os.getcwd(), ".build", "e2e")
    os.makedirs(kept, exist_ok=True)
    passed, failed = 0, []
    for name, function in find(sys.argv[2:]):
        begin = time.monotonic()
        try:
            function(binary, kept)
            passed += 1
            print(f"ok    {name} ({time.monotonic() - begin:.1f} s)", flush=True)
        except Exception:  # One test's failure must not hide the others.
            failed.append(name)
            print(f"FAIL  {name} ({time.monotonic() - begin:.1f} s)", flush=True)
            traceback.print_exc()
    print(f"end-to-end: {passed} passed, {len(failed)} failed", *failed)
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()

"""Tests side by side: as many lanes as cores, each a process that is pinned to one of them, and one for waiting."""

import concurrent.futures
import contextlib
import io
import multiprocessing
import os
import time
import traceback


# More would share memory and disk rather than help.
LANES_MAX = 4


def alone(test):
    """Marks a test that measures times or memory, or needs more than one core: nothing else runs meanwhile."""
    test.needs_whole_machine = True
    return test


def waits(test):
    """Marks a test that takes time and hardly any of a core: it runs beside the lanes."""
    test.mostly_waits = True
    return test


class Lanes:
    """Runs tests by name. What a lane's process has computed once, its later tests find again."""

    def __init__(self, tests, arguments, count=None):
        self.tests, self.arguments = tests, arguments
        self.cores = sorted(os.sched_getaffinity(0))
        self.count = count or min(len(self.cores), LANES_MAX)

    def marked(self, name, mark):
        """Whether a test is marked by `alone` or `waits`."""
        return getattr(self.tests[name], mark, False)

    def run(self):
        """Yields (name, whether it passed, seconds, what it said) of each test as it ends."""
        alone_at_last = [name for name in self.tests if self.count == 1 or self.marked(name, "needs_whole_machine")]
        beside = [name for name in self.tests if name not in alone_at_last]
        context = multiprocessing.get_context("fork")
        free = context.SimpleQueue()
        for lane in range(self.count):
            free.put(self.cores[lane % len(self.cores)])
        pool = concurrent.futures.ProcessPoolExecutor
        with pool(self.count, context, pin, (free,)) as lanes, pool(1, context) as waiting:
            running = [(waiting if self.marked(name, "mostly_waits") else lanes).submit(self.run_one, name)
                       for name in beside]
            for done in concurrent.futures.as_completed(running):
                yield done.result()
        for name in alone_at_last:
            yield self.run_one(name)

    def run_one(self, name):
        """Runs a test; its failure must not hide the others'."""
        began, said = time.monotonic(), io.StringIO()
        with contextlib.redirect_stdout(said):
            try:
                self.tests[name](*self.arguments)
                is_passed = True
            except Exception:
                is_passed = False
                traceback.print_exc(file=said)
        return name, is_passed, time.monotonic() - began, said.getvalue()


def pin(free):
    """Keeps this process, and the servers that it starts, on a core of its own."""
    os.sched_setaffinity(0, {free.get()})

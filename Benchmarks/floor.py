#!/usr/bin/env python3
"""What SQLite alone takes to store a submission, whatever a service around it does.

    Benchmarks/floor.py [--vintner .build/release/vintner]

Copies the rows of one queued job, with its transition and its event, sixteen jobs to a transaction that is synced as the
service syncs. Needs a C compiler and libsqlite3-dev. Prints a JSON object.
"""

import argparse
import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "Tests" / "e2e"))
from load import SHORT  # noqa: E402
from service import Service  # noqa: E402

COUNT = 4000
PROGRAM = r"""
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
static double at(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}
static void check(sqlite3 *database, int status, int wanted) {
    if (status == wanted) return;
    fprintf(stderr, "%s\n", sqlite3_errmsg(database));
    exit(1);
}
static void run(sqlite3 *database, const char *sql) { check(database, sqlite3_exec(database, sql, 0, 0, 0), SQLITE_OK); }
int main(int count, char **words) {
    sqlite3 *database;
    sqlite3_stmt *insert[3];
    check(database, sqlite3_open(words[1], &database), SQLITE_OK);
    run(database, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF");
    for (int k = 0; k < 3; k++) check(database, sqlite3_prepare_v2(database, words[4 + k], -1, &insert[k], 0), SQLITE_OK);
    int jobs = atoi(words[3]);
    double busy = at(CLOCK_PROCESS_CPUTIME_ID), start = at(CLOCK_MONOTONIC);
    for (int i = 0; i < jobs; i++) {
        if (i % 16 == 0) run(database, "BEGIN IMMEDIATE");
        char id[64];
        snprintf(id, sizeof id, "%.24s%06d", words[2], i);
        for (int k = 0; k < 3; k++) {
            sqlite3_bind_text(insert[k], 1, id, -1, SQLITE_TRANSIENT);
            sqlite3_bind_text(insert[k], 2, words[2], -1, SQLITE_STATIC);
            check(database, sqlite3_step(insert[k]), SQLITE_DONE);
            sqlite3_reset(insert[k]);
        }
        if (i % 16 == 15) run(database, "COMMIT");
    }
    busy = at(CLOCK_PROCESS_CPUTIME_ID) - busy;
    printf("{\"microseconds\": %.1f, \"per_second\": %.0f}\n", 1e6 * busy / jobs, jobs / (at(CLOCK_MONOTONIC) - start));
}
"""


def copies(link):
    """The statements that copy a job's rows, ?2's to ?1."""
    for table, key in (("job", "id"), ("job_transition", "job_id"), ("event", "job_id")):
        columns = [name for _, name, *_, hidden in link.execute(f"PRAGMA table_xinfo({table})")
                   if hidden == 0 and name != key]
        names = ", ".join(columns)
        yield f"INSERT INTO {table}({key}, {names}) SELECT ?1, {names} FROM {table} WHERE {key} = ?2"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vintner", default=".build/release/vintner")
    options = parser.parse_args()
    with Service(options.vintner) as service, tempfile.TemporaryDirectory() as folder:
        job = service.wait(service.submit(SHORT)["id"])["id"]
        service.terminate()
        database = os.path.join(service.data, "vintner.sqlite")
        with sqlite3.connect(database) as link:
            # As it was when it had been submitted.
            link.execute("UPDATE job SET state = 'queued', finished_at = NULL, report = NULL, model_id = NULL")
            link.execute("DELETE FROM job_transition WHERE position > 0")
            link.execute("DELETE FROM event WHERE id <> (SELECT min(id) FROM event)")
            statements = list(copies(link))
        source = pathlib.Path(folder, "floor.c")
        source.write_text(PROGRAM)
        subprocess.run(["cc", "-O2", str(source), "-lsqlite3", "-o", f"{folder}/floor"], check=True)
        found = subprocess.run([f"{folder}/floor", database, job, str(COUNT), *statements],
                               capture_output=True, text=True, check=True).stdout
    print(json.dumps(json.loads(found), indent=1))


if __name__ == "__main__":
    main()

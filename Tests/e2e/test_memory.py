"""Jobs stay within the memory that they are said to need, and the service within what a control group gives it."""

import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "torture"))

from lanes import alone  # noqa: E402
from memory import is_within, measure_all  # noqa: E402
from service import Service, lenet  # noqa: E402

MIB = 1 << 20
LIMIT = 200 * MIB
GROUPS = "/sys/fs/cgroup/memory"


@alone
def test_estimates_are_near_what_jobs_take(binary, kept):
    """Four of the twenty configurations of `make torture`."""
    found = measure_all(binary, ["lenet5_caffe, 512", "resnet20, 128", "vit_tiny, AdamW, bf16, 16", "gpt, AdamW, 12"],
                        say=lambda *_, **__: None)
    for name, (estimate, grown) in found.items():
        assert is_within(estimate, grown), f"{name}: {estimate / MIB:.1f} MiB said, {grown / MIB:.1f} taken"


def make_group():
    """A control group of our own with a limit; None, and a loud word, where none can be made."""
    if not os.path.exists(os.path.join(GROUPS, "memory.limit_in_bytes")):
        print("      NOT RUN: control groups of version 1 are not here, and one of version 2 needs them delegated")
        return None
    try:
        group = tempfile.mkdtemp(prefix="vintner-", dir=GROUPS)
        with open(os.path.join(group, "memory.limit_in_bytes"), "w", encoding="ascii") as file:
            file.write(str(LIMIT))
        return group
    except OSError as error:
        print(f"      NOT RUN: no control group may be made here: {error}")
        return None


def value(group, name):
    """The first number in a file of a control group."""
    with open(os.path.join(group, name), encoding="ascii") as file:
        return int(file.read().split()[0])


def oom_kills(group):
    """How many processes the kernel has killed for want of memory."""
    with open(os.path.join(group, "memory.oom_control"), encoding="ascii") as file:
        return int(dict(line.split() for line in file)["oom_kill"])


def test_a_control_groups_limit_is_kept(binary, kept):
    """More jobs than fit at once: all run, one that can never fit is refused, and the kernel kills nobody."""
    group = make_group()
    if not group:
        return
    service = Service(binary, "--workers", "4")
    service.wrapper = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$0" "$@"']
    try:
        with service:
            system = service.get("/v1/system").json
            assert system["memory"]["usable_bytes"] == LIMIT, system["memory"]
            assert system["budget"]["memory_bytes"] < LIMIT, system["budget"]
            large = lenet(model={"preset": "resnet18"})
            refused = service.post("/v1/jobs", large)
            assert refused.status == 422, refused
            [error] = refused.json["errors"]
            assert error["code"] == "insufficient_memory" and str(system["budget"]["memory_bytes"]) in error["detail"]
            body = lenet(threads=1, train={"steps": 60, "batch_size": 256})
            jobs = [service.submit({**body, "name": f"{number}"})["id"] for number in range(6)]
            for job in jobs:
                assert service.wait(job, seconds=300)["state"] == "succeeded"
            highest = value(group, "memory.max_usage_in_bytes")
            print(f"      {highest / MIB:.0f} of {LIMIT / MIB:.0f} MiB at the most, files' pages included")
            assert highest <= LIMIT and oom_kills(group) == 0
            assert service.terminate() == 0
    finally:
        os.rmdir(group)

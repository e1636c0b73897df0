"""What the idle server takes: time to be ready, memory, and threads."""

import collections
import statistics
import time

from lanes import alone
from service import Service


@alone
def test_ready_within_200_milliseconds(binary, kept):
    seconds = []
    with Service(binary) as service:
        for _ in range(7):
            assert service.terminate() == 0
            service.start()
            seconds.append(service.ready_seconds)
    assert statistics.median(seconds) <= 0.2, [f"{one * 1000:.0f} ms" for one in seconds]
    print(f"      ready after {statistics.median(seconds) * 1000:.0f} ms")


@alone
def test_idle_server_stays_below_32_megabytes(binary, kept):
    with Service(binary) as service:
        for path in ("/healthz", "/v1/jobs", "/v1/system", "/", "/vendor/dygraph.min.js"):
            assert service.get(path).status == 200, path
        assert service.resident_bytes <= 32_000_000, f"{service.resident_bytes / 1e6:.1f} MB"
        print(f"      {service.resident_bytes / 1e6:.1f} MB resident")


@alone
def test_the_threads_of_a_job_end_with_it(binary, kept):
    """Idle threads of one worker would keep those of the other from spinning at barriers."""
    def team(service):
        names = collections.Counter(service.thread_names)
        return max(count for name, count in names.items() if name.startswith("worker"))

    body = {"type": "train", "dataset": "fashion-mnist", "model": {"preset": "mlp"}, "threads": 2,
            "train": {"steps": 2000}}
    with Service(binary) as service:
        assert team(service) == 1
        for _ in range(3):
            job = service.submit(body)["id"]
            service.wait(job, lambda one: (one["progress"]["fraction"] or 0) > 0.2)
            assert team(service) > 1, service.thread_names
            assert service.wait(job)["state"] == "succeeded"
            deadline = time.monotonic() + 5
            while team(service) > 1 and time.monotonic() < deadline:
                time.sleep(0.02)
            assert team(service) == 1, service.thread_names


def test_one_server_per_data_folder(binary, kept):
    with Service(binary) as service:
        second = Service(binary, data=service.data)
        try:
            second.start(seconds=10)
        except Exception as error:
            assert "ended with" in str(error), error
        else:
            second.kill()
            raise AssertionError("a second server started on the same folder")
        assert service.get("/healthz").status == 200

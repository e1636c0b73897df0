"""Networks learn what they should: accuracies on real data, by job, beside what PyTorch reaches."""

import os
import subprocess
import tempfile

from service import Service, lenet


def trained(service, **changes):
    """The report of a finished job."""
    done = service.wait(service.submit(lenet(**{"epochs": 5, "seed": 0, **changes}))["id"], seconds=600)
    assert done["state"] == "succeeded", done["error"]
    report = done["result"]["report"]
    print(f"      {done['name']}: {100 * report['test_accuracy']:.2f} %, {report['seconds']:.0f} s,"
          f" {report['cpu_seconds']:.0f} CPU s, {report['joules']:.0f} J")
    return report


def test_lenet_and_mlp_on_fashion_mnist(binary, kept):
    with Service(binary) as service:
        # PyTorch with this recipe: 0.913.
        assert trained(service, name="fashion-lenet")["test_accuracy"] >= 0.905
        hidden = {"preset": "mlp", "hidden": [500]}
        assert trained(service, name="fashion-mlp", model=hidden)["test_accuracy"] >= 0.88


def test_lenet_on_mnist(binary, kept):
    folder = os.path.join(os.environ.get("VINTNER_TEST_DATA", ""), "mnist")
    if not os.path.isdir(folder):
        print("      not run: VINTNER_TEST_DATA names no folder with mnist/ in it")
        return
    with tempfile.TemporaryDirectory() as home:
        data = os.path.join(home, "data")
        added = subprocess.run([binary, "datasets", "add", "mnist", folder, "--data", data],
                               capture_output=True, text=True, check=False)
        assert added.returncode == 0 and "60000 + 10000" in added.stdout, added
        with Service(binary, data=data) as service:
            # PyTorch with this recipe: an error of 0.66 %.
            assert trained(service, name="mnist-lenet", dataset="mnist")["test_accuracy"] >= 0.991

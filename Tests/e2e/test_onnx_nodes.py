"""The onnx package's own node test cases, loaded from the installed package and run by the binary."""

import json
import os
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
# Cases of the package's version in onnx-python: fewer would mean that something we had is gone.
CASES_MIN = 200
# Sums of float32 products in another order: relative to the largest output.
TOLERANCE = 1e-5
# The package has this case's output to four digits.
COARSE = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-4}


def test_onnx_node_cases(binary, kept):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([f"{HERE}/onnx-python", f"{HERE}/onnx_nodes.py", folder], check=True, timeout=600)
        with open(f"{folder}/cases.json", encoding="utf-8") as file:
            cases = json.load(file)
        with open(os.path.join(kept, "onnx-cases.json"), "w", encoding="utf-8") as file:
            json.dump(cases, file, indent=1)  # with the reason for each case that is not run
        wrong = {}
        for name in cases["written"]:
            done = subprocess.run([binary, "run-model", f"{folder}/{name}.json", f"{folder}/{name}.safetensors"],
                                  capture_output=True, text=True, timeout=60, check=False)
            if done.returncode != 0:
                wrong[name] = done.stderr.strip()[-300:]
                continue
            found = json.loads(done.stdout)
            difference, scale = found["max_abs_difference"], found["max_abs_expected"]
            if difference is None or scale is None or difference > COARSE.get(name, TOLERANCE) * max(1.0, scale):
                wrong[name] = f"differs by {difference} of {scale}"
    assert not wrong, f"{len(wrong)} of {len(cases['written'])}: {json.dumps(wrong, indent=1)}"
    assert len(cases["written"]) >= CASES_MIN, len(cases["written"])

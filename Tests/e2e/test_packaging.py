"""What is packaged for systemd is understood by it, and leaves little open."""

import os
import shutil
import subprocess
import tempfile

UNITS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "packaging", "systemd")
# Tenths of systemd's own measure, which goes to 10; what is left open is in docs/security.md.
EXPOSURE_MAX = 11


def analyze(*words):
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)


def test_systemd_units_hold_and_leave_little_open(binary, kept):
    if not shutil.which("systemd-analyze"):
        print("      NOT RUN: there is no systemd-analyze here (scripts/deps.sh test)")
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in os.listdir(UNITS):
            with open(os.path.join(UNITS, name), encoding="utf-8") as file:
                text = file.read()
            # Where it will be installed it is not yet.
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text.replace("/usr/local/bin/vintner", binary))
        for name in os.listdir(folder):
            done = analyze("verify", os.path.join(folder, name))
            assert done.returncode == 0 and not done.stderr, (name, done.stderr)
        done = analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX}",
                       os.path.join(folder, "vintner.service"))
        assert done.returncode == 0, done.stdout[-400:]

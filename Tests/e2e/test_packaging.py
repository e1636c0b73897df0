"""What is packaged for systemd is understood by it, and leaves little open."""

import os
import shutil
import subprocess
import tempfile

from service import Service

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
            # Without a certificate to read again the signal would end the service.
            assert ("\nExecReload=" in text) == ("--tls-cert" in text.split("ExecStart=")[-1].split("\n")[0]), name
            # Where it will be installed it is not yet.
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text.replace("/usr/local/bin/vintner", binary))
        for name in os.listdir(folder):
            done = analyze("verify", os.path.join(folder, name))
            assert done.returncode == 0 and not done.stderr, (name, done.stderr)
        done = analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX}",
                       os.path.join(folder, "vintner.service"))
        assert done.returncode == 0, done.stdout[-400:]


def test_the_data_folder_may_be_a_link_as_systemd_makes_it(binary, kept):
    with tempfile.TemporaryDirectory() as home:
        os.mkdir(os.path.join(home, "private"))
        link = os.path.join(home, "vintner")
        os.symlink("private", link)
        with Service(binary, data=link) as service:
            assert service.get("/v1/jobs").status == 200
            service.kill()
            service.start()
            assert service.terminate() == 0
        for words in (["doctor", "--data", link], ["backup", os.path.join(home, "copy"), "--data", link]):
            done = subprocess.run([binary, *words], capture_output=True, text=True, check=False)
            assert done.returncode == 0, (words, done.stdout + done.stderr)
        # Within it nothing is: what clients name stays there.
        os.rename(os.path.join(link, "models"), os.path.join(home, "elsewhere"))
        os.symlink(os.path.join(home, "elsewhere"), os.path.join(link, "models"))
        done = subprocess.run([binary, "serve", "--data", link, "--port", "0"], capture_output=True, text=True, check=False,
                              timeout=20)
        assert done.returncode == 1 and "models: File exists" in done.stderr, done.stderr

"""What is packaged for systemd is understood by it, and leaves little open."""

import os
import shutil
import socket
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


def test_systemd_is_told_how_the_process_does(binary, kept):
    with tempfile.TemporaryDirectory() as folder:
        for name in (os.path.join(folder, "notify"), f"@vintner-test-{os.getpid()}"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.bind(name.replace("@", "\0", 1) if name[0] == "@" else name)
                manager.settimeout(10)
                service = Service(binary)
                service.environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "600000"}
                with service:
                    assert [manager.recv(100) for _ in range(4)] == [b"READY=1"] + 3 * [b"WATCHDOG=1"]
                    with open(f"/proc/{service.process.pid}/limits", encoding="utf-8") as file:
                        assert [line.split()[4] for line in file if line.startswith("Max core")] == ["0"]
                    service.process.send_signal(19)
                    manager.settimeout(1)
                    try:
                        while manager.recv(100):
                            pass
                    except TimeoutError:
                        pass
                    service.process.send_signal(18)
                    manager.settimeout(10)
                    assert manager.recv(100) == b"WATCHDOG=1"
                    assert service.terminate() == 0
                    told = []
                    while not told or told[-1] != b"STOPPING=1":
                        told.append(manager.recv(100))
    # A unit of another time must not make it wait for anybody.
    service = Service(binary)
    service.environment = {"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "much"}
    with service:
        assert service.get("/healthz").status == 200 and service.terminate() == 0


def test_what_root_adds_belongs_to_the_services_user(binary, kept):
    if os.geteuid() != 0:
        print("      NOT RUN: only root can do it")
        return
    with tempfile.TemporaryDirectory() as home:
        os.chmod(home, 0o755)
        data, tool = os.path.join(home, "data"), os.path.join(home, "vintner")
        shutil.copy(binary, tool)
        os.mkdir(data, 0o700)
        os.chown(data, 12345, 12345)
        service = Service(tool, data=data)
        service.wrapper = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
        with service:
            done = subprocess.run([binary, "token", "add", "eye", "--data", data], capture_output=True, text=True, check=True)
            eye = {"Authorization": f"Bearer {done.stdout.strip()}"}
            assert service.call("GET", "/v1/jobs", token=False, headers=eye).status == 200, service.log
            text = os.path.join(home, "a.txt")
            with open(text, "w", encoding="utf-8") as file:
                file.write("What root adds can be read by whoever serves it. " * 99)
            done = subprocess.run([binary, "datasets", "add", "words", text, "--tokens", "char", "--data", data],
                                  capture_output=True, text=True, check=False)
            assert done.returncode == 0, done
            assert "words" in [one["name"] for one in service.get("/v1/datasets").json["data"]], service.log
            assert service.terminate() == 0
        done = subprocess.run([binary, "doctor", "--repair", "--data", data], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        owners = {os.stat(os.path.join(folder, name)).st_uid: name
                  for folder, folders, files in os.walk(data) for name in folders + files}
        assert set(owners) == {12345}, owners


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

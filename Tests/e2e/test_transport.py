"""How one gets to the server: TLS, UNIX sockets, sockets handed over; the commands and curl speak all of them."""

import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

from service import Service, ServiceError


EXPIRY = "vintner_tls_certificate_expiry_timestamp_seconds"


class Place:
    """A folder for sockets and certificates, with a certificate authority of its own."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="vintner-tls-")
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)

    def __truediv__(self, name):
        return os.path.join(self.path, name)

    def make_pair(self, name, *before):
        """A key, and a certificate for this host that signs itself."""
        subprocess.run(
            [*before, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-keyout", self / f"{name}.key", "-out", self / f"{name}.pem", "-subj", f"/CN={name}",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
        return self / f"{name}.pem", self / f"{name}.key"


class Server:
    """`vintner serve` with whatever arguments, wherever it listens."""

    def __init__(self, binary, place, *arguments, **options):
        self.data = place / "data"
        self.process = subprocess.Popen(
            [binary, "serve", "--data", self.data, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, **options)
        self.lines, self.binary = [], binary
        for _ in range(sum(word in ("--port", "--unix-socket") for word in arguments) or 1):
            line = self.process.stdout.readline()
            if not line:
                raise ServiceError(self.process.communicate()[1])
            self.lines.append(line.strip().removeprefix("vintner: listening on "))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate(timeout=20)

    @property
    def token(self):
        with open(os.path.join(self.data, "token"), encoding="utf-8") as file:
            return file.read().strip()

    def command(self, *words, **environment):
        """A command of ours as a client; its exit code and what it said."""
        done = subprocess.run(
            [self.binary, *words, "--data", self.data], capture_output=True, text=True, timeout=30,
            env={**os.environ, **environment})
        return done.returncode, done.stdout + done.stderr


def trusts(ask, certificate):
    """Whether the server shows a certificate."""
    try:
        return ask(certificate).status == 200
    except ssl.SSLError:
        return False


def refused(binary, place, *arguments):
    """What `vintner serve` says when it does not start."""
    done = subprocess.run(
        [binary, "serve", "--data", place / "other", *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode != 0, arguments
    return done.stderr


def test_tls_is_spoken_and_its_certificate_renewed(binary, kept):
    with Place() as place:
        certificate, key = place.make_pair("first")
        with Server(binary, place, "--port", "0", "--tls-cert", certificate, "--tls-key", key) as server:
            address = server.lines[0]
            port = int(re.fullmatch(r"https://127\.0\.0\.1:(\d+)", address)[1])

            def ask(trusted, method="GET", path="/v1/jobs", headers=()):
                trust = ssl.create_default_context(cafile=trusted)
                connection = http.client.HTTPSConnection("localhost", port, context=trust, timeout=20)
                connection.request(
                    method, path, headers={"Authorization": f"Bearer {server.token}", **dict(headers)})
                reply = connection.getresponse()
                reply.text = reply.read().decode()
                return reply

            reply = ask(certificate)
            assert reply.status == 200 and reply.getheader("Strict-Transport-Security") == "max-age=31536000"
            cookie = ask(certificate, "POST", "/v1/session").getheader("Set-Cookie")
            assert cookie.endswith("; Secure") and "HttpOnly" in cookie, cookie
            own, plain = {"Origin": f"https://localhost:{port}"}, {"Origin": f"http://localhost:{port}"}
            assert ask(certificate, "POST", "/v1/session", own.items()).status == 201
            assert ask(certificate, "POST", "/v1/session", plain.items()).status == 403

            # Nothing older than 1.2 is spoken.
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
            old.set_ciphers("ALL:@SECLEVEL=0")
            try:
                old.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10))
                raise AssertionError("TLS 1.1 was spoken")
            except (ssl.SSLError, ConnectionError):
                pass

            # Our own commands, with trust and without.
            assert server.command("jobs", "--url", address, "--ca", certificate)[0] == 0
            assert server.command("jobs", VINTNER_URL=f"https://localhost:{port}", VINTNER_CA=certificate)[0] == 0
            code, said = server.command("jobs", "--url", address)
            assert code == 5 and "NOT trusted" in said, said
            other, _ = place.make_pair("other")
            assert server.command("jobs", "--url", address, "--ca", other)[0] == 5

            # A renewed certificate is shown after SIGHUP; one that cannot be used is not.
            renewed, new_key = place.make_pair("renewed")
            kept_open = http.client.HTTPSConnection(
                "localhost", port, context=ssl.create_default_context(cafile=certificate), timeout=20)
            kept_open.request("GET", "/healthz")
            kept_open.getresponse().read()
            shutil.copy(renewed, certificate + ".new")
            os.replace(certificate + ".new", certificate)
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            assert server.process.poll() is None
            shutil.copy(new_key, key)
            server.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 10
            while True:
                try:
                    assert ask(renewed).status == 200
                    break
                except ssl.SSLError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            kept_open.request("GET", "/healthz")
            assert kept_open.getresponse().read() == b'{"status":"ok"}', "old connections go on"
            assert re.search(rf"^{EXPIRY} [0-9.e+]+$", ask(renewed, path="/metrics").text, re.M)

            # Nor is one that has ended, while the one before has not.
            if not shutil.which("faketime"):
                print("      NOT RUN: certificates that have ended: faketime is not installed (scripts/deps.sh test)")
                return
            ended, ended_key = place.make_pair("ended", "faketime", "-f", "-10d")
            last, last_key = place.make_pair("last")
            for chain, secret in ((ended, ended_key), (last, last_key)):
                shutil.copy(chain, certificate)
                shutil.copy(secret, key)
                server.process.send_signal(signal.SIGHUP)
                for _ in range(10):
                    assert any(trusts(ask, one) for one in (renewed, last)), "the one that has ended is shown"
                    time.sleep(0.1)
            assert trusts(ask, last) and not trusts(ask, renewed)


def test_unusable_settings_are_refused_with_the_reason(binary, kept):
    with Place() as place:
        certificate, key = place.make_pair("first")
        _, other = place.make_pair("other")
        assert "do not match" in refused(binary, place, "--tls-cert", certificate, "--tls-key", other)
        assert "go together" in refused(binary, place, "--tls-cert", certificate)
        assert "No such file" in refused(binary, place, "--tls-cert", place / "none", "--tls-key", key)
        os.chmod(key, 0o644)
        assert "chmod 600" in refused(binary, place, "--tls-cert", certificate, "--tls-key", key)
        assert "in the clear" in refused(binary, place, "--host", "0.0.0.0")
        assert "loopback addresses only" in refused(binary, place, "--host", "0.0.0.0", "--no-auth", "--insecure-http")
        assert "nothing to listen on" in refused(binary, place, "--no-tcp")
        with open(place / "file", "w", encoding="utf-8") as file:
            file.write("precious")
        said = refused(binary, place, "--no-tcp", "--unix-socket", place / "file")
        assert "no socket" in said and os.path.getsize(place / "file") == 8


def test_a_unix_socket_is_for_its_owner(binary, kept):
    with Place() as place:
        path = place / "s"
        with Server(binary, place, "--no-tcp", "--unix-socket", path) as server:
            assert server.lines == [f"unix:{path}"]
            assert os.stat(path).st_mode & 0o777 == 0o600
            base = ["curl", "--silent", "--unix-socket", path, "-H", f"Authorization: Bearer {server.token}"]
            done = subprocess.run([*base, "http://localhost/v1/system"], capture_output=True, text=True, check=True)
            assert '"limits"' in done.stdout
            status = ["--output", "/dev/null", "--write-out", "%{http_code}"]
            done = subprocess.run([*base, *status, "http://evil.example/v1/jobs"], capture_output=True, text=True)
            assert done.stdout == "421", done
            for words, environment in ((("--unix-socket", path), {}), ((), {"VINTNER_SOCKET": path})):
                assert server.command("jobs", *words, **environment)[0] == 0
                assert server.command("health", *words, **environment)[0] == 0
            assert "listens there already" in refused(binary, place, "--no-tcp", "--unix-socket", path)
            server.process.kill()
            server.process.wait()
            assert os.path.exists(path)
        with Server(binary, place, "--port", "0", "--unix-socket", path) as server:
            assert len(server.lines) == 2 and server.lines[0].startswith("http://127.0.0.1:")
            assert server.command("health", "--unix-socket", path)[0] == 0
            assert server.command("health", "--url", server.lines[0])[0] == 0
        assert not os.path.exists(path)


def test_a_socket_may_be_handed_over(binary, kept):
    """As systemd does: descriptors from 3 on, LISTEN_FDS says how many, LISTEN_PID for whom."""
    with Place() as place, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        script = f'exec 3<&{listener.fileno()}; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'
        process = subprocess.Popen(
            ["bash", "-c", script, "bash", binary, "serve", "--data", place / "data"], stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, pass_fds=[listener.fileno()])
        try:
            assert process.stdout.readline().strip() == f"vintner: listening on http://127.0.0.1:{port}"
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
        finally:
            process.terminate()
            process.communicate(timeout=20)


def test_changes_are_limited_by_caller(binary, kept):
    with Service(binary, "--writes-per-second", "1") as service:
        limits = service.get("/v1/system").json["limits"]
        assert limits["writes_per_second"] == 1 and limits["write_burst"] == 4, limits
        assert limits["connections_per_address"] is None and limits["queued_jobs"] == 10_000
        statuses = [service.post("/v1/jobs?dry_run=true", {"type": "none"}).status for _ in range(8)]
        assert statuses[:4] == [422] * 4 and 429 in statuses[4:], statuses
        limited = service.post("/v1/jobs", {"type": "none"})
        while limited.status != 429:
            limited = service.post("/v1/jobs", {"type": "none"})
        assert limited.headers["retry-after"] == "1" and limited.json["code"] == "too_many_writes"
        assert service.get("/v1/jobs").status == 200

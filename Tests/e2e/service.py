"""The real binary, started on a free port with a folder of its own, and a client that hides nothing."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

READY = re.compile(rb"vintner: listening on http://127\.0\.0\.1:(\d+)")


class ServiceError(Exception):
    """The server did not start, did not stop, or a job did not get where it should."""


class Reply:
    """A whole answer: status, headers by lower-case name, body."""

    def __init__(self, status, headers, body):
        self.status, self.body = status, body
        self.headers = {name.lower(): value for name, value in headers}

    @property
    def json(self):
        """The body as JSON; says what came instead when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise ServiceError(f"not JSON ({self.status}): {self.body[:300]!r}") from None

    def __repr__(self):
        return f"{self.status} {self.body[:400]!r}"


class Service:
    """One server over one data folder; a context manager that stops it and removes what it wrote."""

    def __init__(self, binary, *arguments, data=None):
        self.binary, self.arguments = os.path.abspath(binary), arguments
        # Further variables of the environment, and the words of a command that runs the server, `strace` say.
        self.environment, self.wrapper = {}, []
        self._home = None if data else tempfile.mkdtemp(prefix="vintner-e2e-")
        self.data = data or os.path.join(self._home, "data")
        self.process = None
        self.port = None
        self.ready_seconds = None
        self.log = b""

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, error, *_):
        ended = self.process.poll() if self.process else None
        if error:
            state = "still running" if ended is None else f"ended with {ended}"
            print(f"      the server is {state}; its log:\n{self.log.decode(errors='replace')[-4000:]}")
        if self.process and ended is None:
            self.process.kill()
            self.process.wait()
        if self._home:
            shutil.rmtree(self._home, ignore_errors=True)

    def start(self, seconds=30):
        """Starts the server and returns when it says that it listens."""
        begin = time.monotonic()
        self.process = subprocess.Popen(
            [*self.wrapper, self.binary, "serve", "--data", self.data, "--port", "0", *self.arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, **self.environment})
        output = b""
        os.set_blocking(self.process.stdout.fileno(), False)
        while not (found := READY.search(output)):
            if self.process.poll() is not None:
                output += self.process.stdout.read() or b""
                raise ServiceError(f"the server ended with {self.process.returncode}: {output.decode()}")
            if time.monotonic() > begin + seconds:
                raise ServiceError(f"not ready after {seconds} s: {output.decode()}")
            output += self.process.stdout.read() or b""
            time.sleep(0.001)
        self.ready_seconds = time.monotonic() - begin
        self.port = int(found[1])
        os.set_blocking(self.process.stdout.fileno(), True)
        self.log = output
        # Somebody must read on, or a talkative server would block on a full pipe.
        threading.Thread(target=self._keep_log, args=(self.process.stdout,), daemon=True).start()

    def _keep_log(self, stream):
        for line in stream:
            self.log = (self.log + line)[-65536:]

    def kill(self):
        """Ends the process as a power cut would."""
        self.process.kill()
        self.process.wait()

    def terminate(self, seconds=30):
        """Asks the process to end; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise ServiceError(f"still there {seconds} s after SIGTERM: {self.log.decode()}") from None

    @property
    def token(self):
        """The token of the data folder."""
        with open(os.path.join(self.data, "token"), encoding="utf-8") as file:
            return file.read().strip()

    @property
    def sign_in_address(self):
        """The dashboard's address that signs a browser in, once."""
        deadline = time.monotonic() + 5
        while not (found := re.search(rb"dashboard: (\S+)", self.log)):
            if time.monotonic() > deadline:
                raise ServiceError(f"no sign-in address was printed: {self.log.decode()}")
            time.sleep(0.01)
        return found[1].decode()

    @property
    def address(self):
        """Where the server listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def resident_bytes(self):
        """What the process holds in memory now."""
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
            return 1024 * int(re.search(r"VmRSS:\s+(\d+) kB", file.read())[1])

    @property
    def peak_bytes(self):
        """The most that the process held in memory since `forget_peak`."""
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
            return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1])

    def forget_peak(self):
        """Counts the peak anew."""
        with open(f"/proc/{self.process.pid}/clear_refs", "w", encoding="utf-8") as file:
            file.write("5")

    @property
    def thread_names(self):
        """The names of the process's threads; those of a job are named as the worker that runs it."""
        names = []
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            try:
                with open(f"/proc/{self.process.pid}/task/{task}/comm", encoding="utf-8") as file:
                    names.append(file.read().strip())
            except (FileNotFoundError, ProcessLookupError):
                pass  # It ended meanwhile.
        return names

    def call(self, method, path, body=None, headers=None, token=True, seconds=60):
        """One request on one connection; `body` is sent as JSON unless it is bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        sent = {"Authorization": f"Bearer {self.token}"} if token else {}
        if body is not None:
            sent["Content-Type"] = "application/json"
            if not isinstance(body, bytes):
                body = json.dumps(body).encode()
        sent.update(headers or {})
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Reply(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def get(self, path, **options):
        """`call` with GET."""
        return self.call("GET", path, **options)

    def post(self, path, body=None, **options):
        """`call` with POST."""
        return self.call("POST", path, {} if body is None else body, **options)

    def raw(self, data, seconds=10):
        """Sends bytes as they are; returns whatever comes back until the server closes or falls silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(data)
            answer = b""
            try:
                while chunk := connection.recv(65536):
                    answer += chunk
            except (TimeoutError, ConnectionError):
                pass
            return answer

    def submit(self, spec, **options):
        """Posts a job that must be accepted; returns it."""
        reply = self.post("/v1/jobs", spec, **options)
        if reply.status != 201:
            raise ServiceError(f"the job was not accepted: {reply}")
        return reply.json

    def job(self, identifier):
        """The job as it is now."""
        return self.get(f"/v1/jobs/{identifier}").json

    def wait(self, identifier, until=lambda job: job["is_terminal"], seconds=180):
        """Follows a job by long polls until it is where it should be; returns it."""
        deadline = time.monotonic() + seconds
        job = self.job(identifier)
        while not until(job):
            if job["is_terminal"] or time.monotonic() > deadline:
                raise ServiceError(f"{identifier} is {job['state']}: {job['error']} {job['progress']}")
            # Progress alone need not change the version: a wait of a second sees both.
            job = self.get(f"/v1/jobs/{identifier}?wait=1&since={job['version']}").json
        return job

    def weights(self, job):
        """The weights of a finished job, as the bytes of its safetensors file."""
        model = job["result"]["model_id"]
        reply = self.get(f"/v1/models/{model}/download?format=safetensors")
        if reply.status != 200:
            raise ServiceError(f"no weights of {model}: {reply}")
        return reply.body


def lenet(**changes):
    """The body of a LeNet-5 job on Fashion-MNIST; `epochs` and `name` by keyword, others replace whole fields."""
    train = {
        "epochs": changes.pop("epochs", 1), "batch_size": 64,
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0005},
        "lr_schedule": {"name": "cosine"},
    }
    return {"type": "train", "name": changes.pop("name", "lenet"), "dataset": "fashion-mnist", "seed": 7,
            "model": {"preset": "lenet5_caffe"}, "train": train, **changes}


def mlp(**changes):
    """The body of a small, fast job: an MLP 784-64-10."""
    return lenet(**{"name": "mlp", "model": {"preset": "mlp", "hidden": [64]}, **changes})

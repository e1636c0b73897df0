"""Clients that mean harm, against the real binary; good requests are answered meanwhile."""

import http.client
import json
import os
import random
import re
import resource
import socket
import threading
import time
import urllib.parse

from lanes import alone, waits
from service import Service


def spread(values, share):
    """The value below which a share of all lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def good_requests(service, seconds, pause=0.01):
    """The times of good requests on connections of their own, one after another."""
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.monotonic()
        assert service.get("/v1/jobs", seconds=20).status == 200
        times.append(time.monotonic() - begin)
        time.sleep(pause)
    return times


def allow_files(count):
    """Room for so many sockets on our side."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count), hard))


@waits
def test_slow_clients_keep_nobody_waiting(binary, kept):
    """Slowloris: 500 connections that send one byte of a header or of a body each two seconds, and never end."""
    allow_files(2000)
    with Service(binary) as service:
        stop, cut = threading.Event(), []
        head = (f"GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nX-Slow: "
                + "a" * 100).encode()
        body = (f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nContent-Type: application/json\r\n"
                f"Authorization: Bearer {service.token}\r\nContent-Length: 10000\r\n\r\n" + "{" * 100).encode()

        def dribble():
            clients = []
            for index in range(500):
                client = socket.create_connection(("127.0.0.1", service.port), timeout=10)
                client.setblocking(False)
                bytes_to_send = head if index % 2 else body
                start = 20 if index % 2 else bytes_to_send.index(b"\r\n\r\n") + 5
                client.send(bytes_to_send[:start])
                clients.append((client, bytes_to_send, [start]))
            while not stop.wait(2):
                for client, text, place in clients:
                    try:
                        client.send(text[place[0]:place[0] + 1])
                        place[0] += 1
                    except OSError:
                        cut.append(client)
                clients = [one for one in clients if one[0] not in cut]
            for client, _, _ in clients:
                client.close()

        attacker = threading.Thread(target=dribble)
        attacker.start()
        times = good_requests(service, 17)
        stop.set()
        attacker.join()
        slowest = spread(times, 0.99)
        print(f"      {len(times)} good requests beside 500 slow ones: p99 {1000 * slowest:.1f} ms, {len(cut)} cut")
        assert slowest < 0.2, f"p99 {slowest:.3f} s"
        assert len(cut) >= 250, f"only {len(cut)} slow headers were cut in 17 s"


@alone
def test_idle_connections_keep_nobody_waiting(binary, kept):
    allow_files(3000)
    with Service(binary) as service:
        idle = [socket.create_connection(("127.0.0.1", service.port), timeout=10) for _ in range(1000)]
        times = good_requests(service, 3)
        print(f"      {len(times)} good requests beside 1000 idle connections: slowest {1000 * max(times):.1f} ms")
        assert max(times) < 1, f"{max(times):.3f} s"
        for client in idle:
            client.close()


# What a client may write where a name is expected.
DOTS = [b"..", b"%2e%2e", b"%2E.", b".%2e", b"%252e%252e", b"%c0%ae%c0%ae", b"%e0%80%ae%e0%80%ae", b"..%00", b"..;",
        b"%uff0e%uff0e", b"\xef\xbc\x8e\xef\xbc\x8e", b"%ef%bc%8e%ef%bc%8e", b"....", b".%20.", b"..%20", b"%2e%2e%00"]
BREAKS = [b"/", b"%2f", b"%2F", b"%5c", b"\\", b"%252f", b"%c0%af", b"/./", b"//", b"%2f%2f", b"%ef%bc%8f", b"/%2e/"]
TARGETS = [b"token", b"vintner.sqlite", b"etc/passwd", b"tokens.json%00.json", b"token?", b"token%23", b"token;x=1"]
ALONE = [b"/etc/passwd", b"C:%5cwindows", b"%00", b"%0d%0aSet-Cookie:%20a=b", b"a" * 4000, b"%ff", b"%", b"%zz",
         b"file:%2f%2f%2fetc%2fpasswd", b"http:%2f%2f127.0.0.1", b"#", b"?", b"'%20OR%201=1--", b"$(id)", b"%7bid%7d",
         b"-", b"~", b"job_", b"job_0000000000000000000000000%30", b"..%2f..%2f..%2fproc%2fself%2fenviron"]


def payloads():
    """Five hundred of them, the same ones in every run."""
    made = list(ALONE)
    for depth in (1, 2, 4):
        for dots in DOTS:
            for slash in BREAKS:
                for target in TARGETS:
                    made.append((dots + slash) * depth + target)
    random.Random(20261121).shuffle(made)
    return list(ALONE) + made[:500 - len(ALONE)]


class Line:
    """One connection, opened anew whenever the server closes it."""

    def __init__(self, service):
        self.service, self.socket, self.rest = service, None, b""

    def ask(self, method, target):
        """(status, whole answer)"""
        for _ in range(2):
            if self.socket is None:
                self.socket, self.rest = socket.create_connection(("127.0.0.1", self.service.port), timeout=10), b""
            request = (method.encode() + b" " + target + b" HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s"
                       b"\r\n\r\n" % (self.service.port, self.service.token.encode()))
            try:
                self.socket.sendall(request)
                return self.answer()
            except (ConnectionError, EOFError):
                self.close()
        raise ConnectionError(f"no answer to {method} {target!r}")

    def answer(self):
        data = self.rest
        while b"\r\n\r\n" not in data:
            data += self.more()
        head, _, rest = data.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        wanted = int(length[1]) if length and status != 204 else 0
        while len(rest) < wanted:
            rest += self.more()
        self.rest = rest[wanted:]
        if b"connection: close" in head.lower():
            self.close()
        return status, head + rest[:wanted]

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        return data

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket, self.rest = None, b""


def test_no_path_leads_out_of_its_place(binary, kept):
    """500 payloads in the place of every parameter of every path, with every method that is known there."""
    with Service(binary, "--writes-per-second", "0") as service:
        document = service.get("/openapi.json").json
        secrets = [service.token.encode(), b"root:x:0", b"SQLite format", b"VINTNER_"]
        line, asked, found = Line(service), 0, {}
        for path, item in document["paths"].items():
            if "{" not in path:
                continue
            for method in (word for word in ("get", "post", "patch", "delete", "put") if word in item):
                for payload in payloads():
                    target = re.sub(r"\{\w+\}", lambda _: "\0", path).encode().replace(b"\0", payload)
                    status, answer = line.ask(method.upper(), target)
                    asked += 1
                    found[status] = found.get(status, 0) + 1
                    # A payload with a query or a fragment in it may name something that there is.
                    assert status < 500, (method, target, answer[:300])
                    assert not any(secret in answer for secret in secrets), (method, target)
                    assert status >= 400 or payload in (b"?", b"-", b"~"), (method, target, answer[:300])
        print(f"      {asked} requests: {dict(sorted(found.items()))}")
        assert service.get("/healthz").status == 200


def test_garbage_leaks_nothing(binary, kept):
    """10,000 requests of changed bytes: no failure of the server, no file left open, no memory kept."""
    chance = random.Random(7)
    pieces = [b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b"\t", b"/", b"%", b"%00", b"..", b"?", b"&", b"=", b"HTTP/1.1",
              b"Host: x\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"\xff", b"\r\n\r\n"]

    def changed(request):
        data = bytearray(request)
        for _ in range(1 + chance.randrange(4)):
            place = chance.randrange(len(data) + 1)
            kind = chance.randrange(4)
            if kind == 0:
                data[place:place] = chance.choice(pieces)
            elif kind == 1:
                data[place:place] = bytes([chance.randrange(256)])
            elif kind == 2:
                data[place:place + 1] = bytes([chance.randrange(256)])
            else:
                del data[place:place + 1 + chance.randrange(9)]
        return bytes(data)

    with Service(binary, "--writes-per-second", "0", "--workers", "1") as service:
        common = f"Host: 127.0.0.1:{service.port}\r\nAuthorization: Bearer {service.token}\r\n".encode()
        typed = common + b"Content-Type: application/json\r\n"
        seeds = [b"GET /v1/jobs?limit=1 HTTP/1.1\r\n" + common + b"\r\n",
                 b"POST /v1/jobs HTTP/1.1\r\n" + typed + b"Content-Length: 15\r\n\r\n{\"type\":\"none\"}",
                 b"POST /v1/jobs HTTP/1.1\r\n" + typed + b"Transfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\n"]
        statuses = {}

        def send(count):
            for index in range(count):
                with socket.create_connection(("127.0.0.1", service.port), timeout=5) as client:
                    answer = b""
                    try:
                        client.sendall(changed(seeds[index % len(seeds)]))
                        client.shutdown(socket.SHUT_WR)
                        while part := client.recv(65536):
                            answer += part
                    except OSError:
                        pass
                    for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer) or [b"closed"]:
                        statuses[status.decode()] = statuses.get(status.decode(), 0) + 1

        def files():
            return len(os.listdir(f"/proc/{service.process.pid}/fd"))

        send(2000)
        time.sleep(0.5)
        before, open_before = service.resident_bytes, files()
        send(8000)
        time.sleep(0.5)
        grown, opened = service.resident_bytes - before, files() - open_before
        print(f"      {dict(sorted(statuses.items()))}, {grown / 2**20:.1f} MiB more, {opened} files more")
        # 505 is the answer to a version that there is none of.
        assert not [status for status in statuses if status.startswith("5") and status != "505"], statuses
        assert grown < 5 << 20 and opened <= 2
        assert service.get("/healthz").status == 200


def test_a_name_that_was_led_here_is_not_ours(binary, kept):
    """DNS rebinding: evil.example resolves to 127.0.0.1, and its page asks as if it were at home."""
    with Service(binary, "--writes-per-second", "0") as service:
        document = service.get("/openapi.json").json
        for path, item in document["paths"].items():
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"):
                connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
                connection.putrequest(method, urllib.parse.quote(path), skip_host=True)
                connection.putheader("Host", f"evil.example:{service.port}")
                connection.putheader("Authorization", f"Bearer {service.token}")
                connection.endheaders()
                reply = connection.getresponse()
                body = reply.read()
                connection.close()
                assert reply.status == 421, (method, path, reply.status)
                assert method == "HEAD" or json.loads(body)["code"] == "unknown_host"


def test_refusals_reach_clients_that_send_before_they_read(binary, kept):
    with Service(binary) as service:
        sent = [("POST", "/v1/jobs", (1 << 20) + 1, True, 413), ("POST", "/v1/jobs", 5 << 20, True, 413),
                ("POST", "/v1/jobs", 900_000, False, 401), ("POST", "/v1/nothing", 900_000, True, 404),
                ("PUT", "/v1/datasets/none/files/a", 3 << 20, True, 415)]
        for method, path, count, token, status in sent * 6:
            # http.client sends the whole body, and fails where the connection is reset meanwhile.
            reply = service.call(method, path, b"x" * count, token=token)
            assert reply.status == status, (method, path, count, reply)
        assert service.get("/healthz").status == 200

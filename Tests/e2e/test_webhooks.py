"""Webhooks: signed, tried again, kept over a crash, sent nowhere but where the operator allowed."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import ssl
import subprocess
import tempfile
import threading
import time

from lanes import waits
from service import Service, mlp

SHORT = {**mlp(), "train": {"steps": 3}}


class Receiver:
    """An HTTP server that keeps what it was sent; `answers` are statuses, the last one for ever."""

    def __init__(self, *answers, location=None, certificate=None):
        self.answers, self.location, self.requests = list(answers), location, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((self.path, dict(self.headers.items()), body))
                status = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                if status is None:  # Never answers.
                    time.sleep(30)
                    return
                self.send_response(status)
                if outer.location:
                    self.send_header("Location", outer.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def wait(self, count, seconds=60):
        deadline = time.monotonic() + seconds
        while len(self.requests) < count:
            assert time.monotonic() < deadline, f"{len(self.requests)} of {count} came"
            time.sleep(0.02)
        return self.requests


def checked(secret, headers, body):
    """The message, if its signature is right; the code that docs/webhooks.md shows."""
    headers = {name.lower(): value for name, value in headers.items()}
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = [part.removeprefix("v1,") for part in headers["webhook-signature"].split()]
    assert any(hmac.compare_digest(expected, one) for one in given), "the signature is wrong"
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 300, "the message is too old"
    message = json.loads(body)
    assert message["id"] == headers["webhook-id"]
    return message


def make(service, url, **more):
    reply = service.post("/v1/webhooks", {"url": url, **more})
    assert reply.status == 201, reply
    return reply.json


@waits
def test_messages_are_signed_retried_and_survive_a_crash(binary, kept):
    with Receiver(500, 500, 200) as receiver:
        host = f"localhost:{receiver.port}"
        with Service(binary, "--webhook-host", host) as service:
            hook = make(service, f"http://{host}/hook?x=1", events=["job.succeeded"])
            assert "secret" not in service.get(f"/v1/webhooks/{hook['id']}").json
            job = service.wait(service.submit(SHORT)["id"])
            receiver.wait(1)
            service.kill()
            service.start()
            receiver.wait(3)
            for path, headers, body in receiver.requests:
                assert path == "/hook?x=1", path
                message = checked(hook["secret"], headers, body)
                assert message["type"] == "job.succeeded" and message["data"]["id"] == job["id"], message
                assert message["data"]["state"] == "succeeded" and message["data"]["result"], message
            assert len({body for _, _, body in receiver.requests}) == 1
            deadline = time.monotonic() + 10
            while True:
                deliveries = service.get(f"/v1/webhooks/{hook['id']}/deliveries").json["data"]
                if deliveries[0]["state"] == "delivered" or time.monotonic() > deadline:
                    break
                time.sleep(0.05)
            assert [d["state"] for d in deliveries] == ["delivered"] and deliveries[0]["attempts"] >= 2, deliveries
            assert deliveries[0]["response_status"] == 200, deliveries

            tested = service.post(f"/v1/webhooks/{hook['id']}/test")
            assert tested.status == 200 and tested.json["state"] == "delivered", tested
            message = checked(hook["secret"], *receiver.wait(4)[3][1:])
            assert message["type"] == "webhook.test" and message["id"] == tested.json["id"], message
            metrics = service.get("/metrics").body.decode()
            assert 'vintner_webhook_attempts_total{outcome="delivered"}' in metrics, metrics
            assert service.call("DELETE", f"/v1/webhooks/{hook['id']}").status == 204


def test_redirections_are_not_followed_and_other_hosts_refused(binary, kept):
    with Receiver(200) as secret_place:
        target = f"http://127.0.0.1:{secret_place.port}/stolen"
        with Receiver(302, location=target) as receiver:
            host = f"127.0.0.1:{receiver.port}"
            with Service(binary, "--webhook-host", host) as service:
                hook = make(service, f"http://{host}/")
                tested = service.post(f"/v1/webhooks/{hook['id']}/test").json
                assert tested["state"] == "failed" and tested["response_status"] == 302, tested
                assert "not followed" in tested["error"] and not secret_place.requests, tested
                for url in (target, f"http://localhost:{receiver.port}/", "http://169.254.169.254/",
                            "file:///etc/passwd", f"http://user@{host}/", f"http://{host}@evil.example/"):
                    reply = service.post("/v1/webhooks", {"url": url})
                    assert reply.status == 422, (url, reply)
                    assert reply.json["errors"][0]["pointer"] == "/url", reply
            with Service(binary) as service:
                reply = service.post("/v1/webhooks", {"url": f"http://{host}/"})
                assert reply.status == 403 and reply.json["code"] == "webhooks_disabled", reply
                assert service.get("/v1/webhooks").json["data"] == []


def test_a_name_for_a_private_address_is_not_called(binary, kept):
    name = os.uname().nodename
    try:
        private = http.server.socket.gethostbyname(name)
    except OSError:
        private = ""
    if not private.startswith(("127.", "10.", "172.", "192.168.")):
        return  # This machine's name leads nowhere, or out.
    with Receiver(200) as receiver, Service(binary, "--webhook-host", f"{name}:{receiver.port}") as service:
        hook = make(service, f"http://{name}:{receiver.port}/")
        tested = service.post(f"/v1/webhooks/{hook['id']}/test").json
        assert tested["state"] == "failed" and "private" in tested["error"], tested
        assert not receiver.requests


def test_certificates_are_checked(binary, kept):
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = f"{folder}/key.pem", f"{folder}/cert.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-keyout", key, "-out", certificate, "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
        with Receiver(204, certificate=(certificate, key)) as receiver:
            host = f"localhost:{receiver.port}"
            for more, state in (((), "failed"), (("--webhook-ca", certificate), "delivered")):
                with Service(binary, "--webhook-host", host, *more) as service:
                    hook = make(service, f"https://{host}/")
                    tested = service.post(f"/v1/webhooks/{hook['id']}/test").json
                    assert tested["state"] == state, (more, tested)
            assert len(receiver.requests) == 1


@waits
def test_a_silent_host_holds_up_nobody_else(binary, kept):
    with Receiver(None) as silent, Receiver(200) as quick:
        hosts = [f"localhost:{receiver.port}" for receiver in (silent, quick)]
        with Service(binary, "--webhook-host", hosts[0], "--webhook-host", hosts[1]) as service:
            for host in hosts:
                make(service, f"http://{host}/", events=["job.queued"])
            begin = time.monotonic()
            for _ in range(3):
                service.submit(SHORT)
            quick.wait(3, seconds=8)
            assert time.monotonic() - begin < 8
            assert len(silent.requests) <= 1, "one at a time to each"


def test_a_webhook_is_changed_and_a_message_sent_again(binary, kept):
    with Receiver(200) as first, Receiver(200) as second:
        hosts = [f"localhost:{receiver.port}" for receiver in (first, second)]
        with Service(binary, "--webhook-host", hosts[0], "--webhook-host", hosts[1]) as service:
            hook = make(service, f"http://{hosts[0]}/", events=["job.queued"])
            path = f"/v1/webhooks/{hook['id']}"
            service.submit(SHORT)
            before = first.wait(1)[0]
            deadline = time.monotonic() + 10
            while (delivery := service.get(f"{path}/deliveries").json["data"][0])["state"] != "delivered":
                assert time.monotonic() < deadline, delivery
                time.sleep(0.02)
            shown = service.get(f"{path}/deliveries/{delivery['id']}").json
            assert shown["message"] == json.loads(before[2]) and shown["can_redeliver"], shown

            secret = "whsec_" + base64.b64encode(b"s" * 32).decode()
            changed = service.call("PATCH", path, {"url": f"http://{hosts[1]}/new", "secret": secret})
            assert changed.status == 200 and "secret" not in changed.json, changed
            assert changed.json["events"] == ["job.queued"], changed
            again = service.post(f"{path}/deliveries/{delivery['id']}/redeliver")
            assert again.status == 200 and again.json["state"] == "delivered" and again.json["attempts"] == 2, again
            target, headers, body = second.wait(1)[0]
            assert target == "/new" and body == before[2] and len(first.requests) == 1
            for known in (secret, hook["secret"]):  # The old one signs beside it for a day.
                assert checked(known, headers, body)["id"] == delivery["id"]

            wrong = service.call("PATCH", path, {"url": "http://169.254.169.254/"})
            assert wrong.status == 422 and wrong.json["errors"][0]["code"] == "host_not_allowed", wrong
            off = service.call("PATCH", path, {"is_enabled": False}).json
            assert not off["is_enabled"] and off["disabled_reason"], off
            service.submit(SHORT)
            refused = service.post(f"{path}/deliveries/{delivery['id']}/redeliver")
            assert refused.status == 409 and refused.json["code"] == "webhook_disabled", refused
            assert service.post(f"{path}/test").json["state"] == "delivered"
            assert not service.get(path).json["is_enabled"], "a test does not enable what somebody disabled"
            assert service.call("PATCH", path, {"is_enabled": True}).json["is_enabled"]
            service.submit(SHORT)
            types = [json.loads(body)["type"] for _, _, body in second.wait(3)]
            assert types == ["job.queued", "webhook.test", "job.queued"], types

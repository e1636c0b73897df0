"""Clients that hold connections open while a server is told to end: long polls, and an upload that is half way."""

import re
import socket

# Bytes of the file that never comes whole.
FILE_BYTES = 1 << 20


class Crowd:
    """`count` long polls of one job that does not change, and half a file of an upload."""

    def __init__(self, service, job, count):
        version = service.job(job)["version"]
        self.polls = [self.send(service, f"GET /v1/jobs/{job}?wait=25&since={version}") for _ in range(count)]
        self.dataset = service.post("/v1/datasets", {"name": "half", "format": "npz"}).json.get("id", "half")
        self.upload = self.send(service, f"PUT /v1/datasets/{self.dataset}/files/half.npz",
                                f"Content-Length: {FILE_BYTES}\r\n", bytes(FILE_BYTES // 2))

    @staticmethod
    def send(service, request, fields="", body=b""):
        connection = socket.create_connection(("127.0.0.1", service.port), timeout=30)
        connection.sendall(f"{request} HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n"
                           f"Authorization: Bearer {service.token}\r\n{fields}\r\n".encode() + body)
        return connection

    def cut_off(self):
        """How many polls got no whole answer of 200; closes everything."""
        short = 0
        for poll in self.polls:
            answer = read_all(poll)
            head, _, body = answer.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            short += not (head.startswith(b"HTTP/1.1 200 ") and length and int(length[1]) == len(body))
        read_all(self.upload)
        return short

    def is_half_seen(self, service):
        """Whether anything of the upload shows up after a start; deletes it."""
        reply = service.get(f"/v1/datasets/{self.dataset}")
        files = reply.json["files"] if reply.status == 200 else []
        service.call("DELETE", f"/v1/datasets/{self.dataset}")
        return bool(files)


def read_all(connection):
    """Everything until the other side closes."""
    answer = b""
    with connection:
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except OSError:
            pass
    return answer

"""Bodies that are wrong in every way we could think of: each is refused with its place, and the server lives."""

import os
import random

from service import Service, lenet, mlp


def layers(*items):
    return mlp(model={"input": [1, 28, 28], "layers": list(items)})


def changed(path, value):
    """The body of a good job with one field replaced; `path` is a JSON pointer."""
    body = mlp()
    place, *rest = path.strip("/").split("/")
    target = body
    for name in rest:
        target = target.setdefault(place, {})
        place = name
    target[place] = value
    return body


CLASSIFIER = ({"type": "flatten"}, {"type": "linear", "out_features": 10})

# (what is wrong, body, the pointers that must be named, words that the details must hold)
INVALID = [
    ("an unknown field", changed("/train/epocs", 5), ["/train/epocs"], ["epochs"]),
    ("an unknown field at the top", changed("/nmae", "x"), ["/nmae"], ["name"]),
    ("a string for an integer", changed("/train/batch_size", "big"), ["/train/batch_size"], ["big"]),
    ("a fraction for an integer", changed("/train/epochs", 1.5), ["/train/epochs"], []),
    ("a boolean for a number", changed("/train/optimizer/lr", True), ["/train/optimizer/lr"], []),
    ("null for a required field", changed("/model", None), ["/model"], []),
    ("a negative rate", changed("/train/optimizer/lr", -1), ["/train/optimizer/lr"], []),
    ("no epochs", changed("/train/epochs", 0), ["/train/epochs"], []),
    ("too many epochs", changed("/train/epochs", 2**62), ["/train/epochs"], []),
    ("an unknown optimiser", changed("/train/optimizer/name", "sdg"), ["/train/optimizer/name"], ["sgd"]),
    ("an unknown schedule", changed("/train/lr_schedule/name", "cosinus"), ["/train/lr_schedule/name"], ["cosine"]),
    ("an unknown dataset", changed("/dataset", "imagenet"), ["/dataset"], []),
    ("an unknown type", changed("/type", "tarin"), ["/type"], ["train"]),
    ("an unknown preset", changed("/model/preset", "lenet6"), ["/model/preset"], []),
    ("an unknown layer", layers({"type": "conv3d"}, *CLASSIFIER), ["/model/layers/0/type"], []),
    ("a kernel larger than its input",
     layers({"type": "conv2d", "out_channels": 4, "kernel_size": 29}, *CLASSIFIER),
     ["/model/layers/0/kernel_size"], ["28"]),
    ("a kernel that no longer fits further down",
     layers({"type": "max_pool2d", "kernel_size": 4}, {"type": "conv2d", "out_channels": 4, "kernel_size": 9},
            *CLASSIFIER),
     ["/model/layers/1/kernel_size"], ["7"]),
    ("groups that do not divide the channels",
     layers({"type": "conv2d", "out_channels": 4, "kernel_size": 3, "groups": 3}, *CLASSIFIER),
     ["/model/layers/0/groups"], []),
    ("a huge layer", layers({"type": "flatten"}, {"type": "linear", "out_features": 2**40}), None, []),
    ("a layer beyond 64 bits", layers({"type": "flatten"}, {"type": "linear", "out_features": 2**80}), None, []),
    ("a huge input", mlp(model={"input": [2**31, 2**31, 2**31], "layers": list(CLASSIFIER)}), None, []),
    ("wide layers that no memory holds", mlp(model={"preset": "mlp", "hidden": [1048576] * 3}), None, []),
    ("a hidden layer of no units", mlp(model={"preset": "mlp", "hidden": [0]}), ["/model/hidden/0"], []),
    ("three faults at once",
     {**changed("/train/epochs", 0), "nmae": "x", "threads": -1}, ["/train/epochs", "/nmae", "/threads"], []),
    ("the wrong number of classes", layers({"type": "flatten"}, {"type": "linear", "out_features": 7}), None, ["10"]),
    ("a body that is a list", [], [""], []),
    ("a body that is a number", 7, [""], []),
]

# (what is wrong, bytes, statuses that are right)
MALFORMED = [
    ("an open brace", b'{"type": "train"', (400,)),
    ("a trailing comma", b'{"type": "train",}', (400,)),
    ("nothing", b"", (400, 411, 422)),
    ("a field twice", b'{"type": "train", "type": "train"}', (400, 422)),
    ("not a number", b'{"seed": NaN}', (400,)),
    ("a number beyond doubles", b'{"seed": 1e999}', (400, 422)),
    ("bytes that are not UTF-8", b'{"name": "\xff\xfe"}', (400,)),
    ("a lone surrogate", b'{"name": "\\ud800"}', (400, 422)),
    ("a hundred thousand brackets", b"[" * 100_000, (400,)),
    ("a hundred thousand objects", b'{"a":' * 100_000, (400,)),
    ("one mebibyte of garbage", random.Random(1).randbytes(1 << 20), (400, 413)),
    ("one mebibyte of digits", b"1" * ((1 << 20) - 1), (400, 422)),
    ("one mebibyte in one string", b'"' + b"a" * ((1 << 20) - 2) + b'"', (400, 422)),
    ("three mebibytes", b'{"name": "' + b"a" * (3 << 20) + b'"}', (413,)),
]


def test_every_violation_is_named(binary, kept):
    with Service(binary, "--workers", "1") as service:
        wrong = []
        for what, body, pointers, words in INVALID:
            reply = service.post("/v1/jobs", body)
            found = [one["pointer"] for one in reply.json.get("errors", [])]
            details = " ".join(one["detail"] for one in reply.json.get("errors", []))
            is_right = reply.status == 422 and found and all(one["code"] for one in reply.json["errors"])
            if not is_right or not set(pointers or []) <= set(found) or not all(word in details for word in words):
                wrong.append(f"{what}: {reply}")
        assert service.get("/v1/jobs").json["data"] == [], "something of this was stored"
        assert not wrong, "\n".join(wrong)


def test_malformed_bodies_are_refused(binary, kept):
    with Service(binary, "--workers", "1") as service:
        wrong = []
        for what, body, statuses in MALFORMED:
            try:
                status = service.post("/v1/jobs", body).status
            except (BrokenPipeError, ConnectionError):
                status = 413  # Refused by its length, and closed while we were still sending.
            if status not in statuses:
                wrong.append(f"{what}: {status}")
            if service.get("/healthz").status != 200:
                wrong.append(f"{what}: the server no longer answers")
        for kind in ("text/plain", "multipart/form-data", "application/x-www-form-urlencoded"):
            status = service.post("/v1/jobs", lenet(), headers={"Content-Type": kind}).status
            if status != 415:
                wrong.append(f"{kind}: {status}")
        assert not wrong, "\n".join(wrong)


def test_mutated_requests_do_not_end_the_server(binary, kept):
    chance = random.Random(20261121)
    with Service(binary, "--workers", "1") as service:
        good = (f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n"
                f"Authorization: Bearer {service.token}\r\n"
                "Content-Type: application/json\r\nContent-Length: 20\r\nConnection: close\r\n\r\n"
                '{"type": "train"   }').encode()
        for _ in range(300):
            request = bytearray(good)
            for _ in range(chance.randint(1, 8)):
                request[chance.randrange(len(request))] = chance.randrange(256)
            service.raw(bytes(request) + b"\r\n\r\n", seconds=0.2)
        before = service.resident_bytes
        assert service.get("/healthz").status == 200
        assert before < 80 << 20, f"{before / 2**20:.0f} MiB after hostile requests"


def test_paths_lead_nowhere(binary, kept):
    with Service(binary) as service:
        for path in ("/../token", "/%2e%2e/token", "/..%2ftoken", "/js/..%2f..%2ftoken", "/%00",
                     "/js/%2e%2e/%2e%2e/token", "//etc/passwd", "/etc/passwd", "/v1/models/..%2f..%2ftoken/download",
                     "/token"):
            reply = service.get(path)
            assert 400 <= reply.status < 500, (path, reply)
            assert service.token.encode() not in reply.body, path
        mode = os.stat(os.path.join(service.data, "token")).st_mode & 0o777
        assert mode == 0o600, oct(mode)

"""Uploads: by curl, by Python and by the command; whole, cut, wrong, killed, refused."""

import base64
import gzip
import hashlib
import http.client
import io
import json
import os
import random
import socket
import struct
import subprocess
import tarfile
import tempfile
import time
import zipfile
import zlib

from service import Service, mlp

FASHION = "/usr/share/datasets/fashion-mnist"


def open_upload(service, name, form, **more):
    reply = service.post("/v1/datasets", {"name": name, "format": form, **more})
    assert reply.status == 201, reply
    assert reply.headers["location"] == f"/v1/datasets/{reply.json['id']}"
    return reply.json["id"]


def put(service, dataset, name, data, **headers):
    fields = {"Content-Type": "application/octet-stream", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return service.call("PUT", f"/v1/datasets/{dataset}/files/{name}", data, headers=fields)


def commit(service, dataset):
    return service.post(f"/v1/datasets/{dataset}/commit", seconds=300)


def digest(data):
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def npy(shape, data, descr="|u1"):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {tuple(shape)!r}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


def arrays(train=400, test=100, seed=0):
    """Small images of two classes that a model can tell apart."""
    draw = random.Random(seed)
    named = {}
    for split, count in (("train", train), ("test", test)):
        labels = bytes(draw.randrange(2) for _ in range(count))
        images = b"".join(bytes((draw.randrange(100) + 100 * label) for _ in range(64)) for label in labels)
        named[f"x_{split}"] = npy((count, 8, 8), images)
        named[f"y_{split}"] = npy((count,), labels)
    return named


def npz(named, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in named.items():
            # As NumPy opens its entries: sizes of 64 bits in the local header.
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                entry.write(data)
    return out.getvalue()


def png(width, height, rows, color=2):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    raw = b"".join(b"\x00" + row for row in rows)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


def tar(images):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in images.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def stored(service):
    """Files below the folder of uploads, hidden ones too."""
    return [os.path.join(at, name) for at, _, names in os.walk(os.path.join(service.data, "uploads")) for name in names]


def settled(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not settle"
        time.sleep(0.02)


def learn(service, dataset, steps=60):
    body = {**mlp(dataset=dataset), "train": {"steps": steps, "batch_size": 32}}
    job = service.wait(service.submit(body)["id"])
    assert job["state"] == "succeeded", job
    return job


def test_fashion_mnist_by_curl_is_trained_on(binary, kept):
    names = sorted(name for name in os.listdir(FASHION) if name.endswith("-ubyte.gz"))
    assert len(names) == 4, names
    with Service(binary) as service:
        dataset = open_upload(service, "fashion", "idx")
        for name in names:
            done = subprocess.run(
                ["curl", "--silent", "--show-error", "--fail-with-body", "--upload-file", os.path.join(FASHION, name),
                 "--header", f"Authorization: Bearer {service.token}",
                 f"{service.address}/v1/datasets/{dataset}/files/{name}"], capture_output=True, timeout=120)
            assert done.returncode == 0, done
            with open(os.path.join(FASHION, name), "rb") as file:
                assert json.loads(done.stdout)["sha256"] == hashlib.sha256(file.read()).hexdigest()
        assert not any(one["name"] == "fashion" and one["is_ready"] for one in service.get("/v1/datasets").json["data"])
        assert service.post("/v1/jobs", mlp(dataset="fashion")).status == 422
        reply = commit(service, dataset)
        assert reply.status == 200 and reply.json["state"] == "ready", reply
        assert (reply.json["train_count"], reply.json["test_count"]) == (60000, 10000)
        # The very dataset that the package brings.
        assert reply.json["sha256"] == service.get("/v1/datasets/fashion-mnist").json["sha256"]
        assert not stored(service)
        learn(service, "fashion")


def test_archives_of_numpy_and_of_images_are_trained_on(binary, kept):
    with Service(binary) as service:
        named = arrays()
        sums = set()
        for name, data in (("packed", npz(named)), ("plain", npz(named, zipfile.ZIP_STORED))):
            dataset = open_upload(service, name, "npz", class_names=["dark", "light"])
            assert put(service, dataset, "data.npz", data, Content_Digest=digest(data)).status == 201
            reply = commit(service, dataset)
            assert reply.status == 200 and reply.json["shape"] == [1, 8, 8], reply
            assert reply.json["class_names"] == ["dark", "light"] and reply.json["format"] == "npz"
            sums.add(reply.json["sha256"])
        dataset = open_upload(service, "loose", "npy")
        for name, data in named.items():
            assert put(service, dataset, f"{name}.npy", data).status == 201
        sums.add(commit(service, dataset).json["sha256"])
        assert len(sums) == 1, sums
        assert learn(service, "packed")["result"]["model_id"]

        draw = random.Random(1)
        images = {}
        for split, count in (("train", 200), ("test", 40)):
            for index in range(count):
                kind = draw.choice(["red", "blue"])
                pixel = [bytes((220, 10, draw.randrange(99))), bytes((10, 30, 150 + draw.randrange(99)))][kind == "blue"]
                images[f"{split}/{kind}/{index}.png"] = png(6, 5, [pixel * 6] * 5)
        dataset = open_upload(service, "colours", "images")
        assert put(service, dataset, "colours.tar.gz", gzip.compress(tar(images))).status == 201
        reply = commit(service, dataset)
        assert reply.status == 200 and reply.json["shape"] == [3, 5, 6], reply
        assert reply.json["class_names"] == ["blue", "red"] and reply.json["test_count"] == 40
        learn(service, "colours")


def test_what_numpy_itself_writes_is_read(binary, kept):
    program = ("import numpy, sys; draw = numpy.random.default_rng(0); "
               "y = draw.integers(0, 3, 90); x = draw.integers(0, 255, (90, 7, 5, 3)); "
               "save = numpy.savez_compressed if sys.argv[2] == 'packed' else numpy.savez; "
               "save(sys.argv[1], x_train=(x / 255).astype('float32') if sys.argv[2] == 'packed' else x, "
               "y_train=y.reshape(-1, 1), x_test=x[:9].astype('>u2'), y_test=y[:9].astype('u1'))")
    try:
        subprocess.run(["python3", "-c", "import numpy"], check=True, capture_output=True)
    except subprocess.CalledProcessError:
        return  # There is no NumPy here; the other tests write its format themselves.
    with Service(binary) as service, tempfile.TemporaryDirectory() as folder:
        sums = []
        for kind in ("packed", "plain"):
            path = os.path.join(folder, f"{kind}.npz")
            subprocess.run(["python3", "-c", program, path, kind], check=True)
            dataset = open_upload(service, kind, "npz")
            with open(path, "rb") as file:
                assert put(service, dataset, "x.npz", file.read()).status == 201
            reply = commit(service, dataset)
            assert reply.status == 200 and reply.json["shape"] == [3, 7, 5], reply
            sums.append(reply.json["sha256"])
        # 64-bit integers, and floats between 0 and 1, are the same bytes.
        assert sums[0] == sums[1]


def test_what_is_wrong_is_said_and_can_be_mended(binary, kept):
    with Service(binary) as service:
        named = arrays(40, 10)
        dataset = open_upload(service, "mended", "npy")
        reply = commit(service, dataset)
        assert reply.status == 422 and len(reply.json["errors"]) == 4, reply
        good = named["x_train"]
        wrong = put(service, dataset, "x_train.npy", good[:-1], Content_Digest=digest(good))
        assert wrong.status == 422 and wrong.json["code"] == "digest_mismatch", wrong
        assert not stored(service) and service.get(f"/v1/datasets/{dataset}").json["files"] == []
        for name, data in named.items():
            assert put(service, dataset, f"{name}.npy", data[:-1] if name == "y_test" else data).status == 201
        reply = commit(service, dataset)
        assert reply.status == 422 and reply.json["errors"][0]["pointer"] == "/files/y_test.npy", reply
        shown = service.get(f"/v1/datasets/{dataset}").json
        assert shown["state"] == "open" and len(shown["files"]) == 4 and service.data not in json.dumps(shown)
        assert put(service, dataset, "y_test.npy", named["y_test"]).status == 200
        assert put(service, dataset, "y_test.npy", named["y_test"], Content_Digest=digest(named["y_test"])).status == 200
        assert commit(service, dataset).status == 200 and commit(service, dataset).status == 200
        late = put(service, dataset, "y_test.npy", b"x")
        assert late.status == 409 and late.json["code"] == "dataset_ready"
        assert service.call("DELETE", f"/v1/datasets/{dataset}").status == 204
        assert service.get(f"/v1/datasets/{dataset}").status == 404
        assert os.listdir(os.path.join(service.data, "uploads")) == []
        assert not [name for name in os.listdir(os.path.join(service.data, "datasets")) if dataset in name]
        assert open_upload(service, "mended", "npy")
        assert service.call("DELETE", "/v1/datasets/mended").status == 204
        assert service.call("DELETE", "/v1/datasets/fashion-mnist").status == 409


def test_half_a_file_is_never_seen(binary, kept):
    draw = random.Random(5)
    data = draw.randbytes(3 << 20)
    with Service(binary) as service:
        dataset = open_upload(service, "cut", "npz")
        head = (f"PUT /v1/datasets/{dataset}/files/x.npz HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n"
                f"Authorization: Bearer {service.token}\r\nContent-Length: {len(data)}\r\n\r\n").encode()
        for _ in range(50):
            cut = draw.randrange(len(data))
            # Sixteen files may be on their way at once; what was cut is noticed in its own time.
            settled(lambda: len(stored(service)) < 8)
            with socket.create_connection(("127.0.0.1", service.port)) as connection:
                connection.sendall(head + data[:cut])
        settled(lambda: not stored(service))
        assert service.get(f"/v1/datasets/{dataset}").json["files"] == []
        # Nothing of them is counted any more: as many as may be on their way fit again.
        assert put(service, dataset, "x.npz", data, Content_Digest=digest(data)).status == 201
        kept_files = stored(service)
        assert len(kept_files) == 1
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(head + data[:2 << 20])
            settled(lambda: len(stored(service)) == 2)
            service.kill()
        assert len(stored(service)) == 2
        service.start()
        assert stored(service) == kept_files
        shown = service.get(f"/v1/datasets/{dataset}").json
        assert [one["sha256"] for one in shown["files"]] == [hashlib.sha256(data).hexdigest()]
        assert commit(service, dataset).status == 422  # It is no archive, and stays open.
        head = head.replace(head.split(b"Host: ")[1].split(b"\r\n")[0], f"127.0.0.1:{service.port}".encode())
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(head + data[:2 << 20])
            settled(lambda: len(stored(service)) == 2)
            assert service.terminate() == 0
        assert stored(service) == kept_files


def test_files_are_refused_before_they_are_sent(binary, kept):
    with Service(binary, "--max-upload", "1M", "--max-datasets-bytes", "3M") as service:
        dataset = open_upload(service, "limits", "npz")

        def asked(name, length, *fields, of=dataset):
            lines = [f"PUT /v1/datasets/{of}/files/{name} HTTP/1.1", f"Host: 127.0.0.1:{service.port}",
                     f"Authorization: Bearer {service.token}", f"Content-Length: {length}", "Expect: 100-continue", *fields]
            with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
                connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
                answer = b""
                while b"\r\n\r\n" not in answer and (chunk := connection.recv(65536)):
                    answer += chunk
                return int(answer.split()[1])

        assert asked("a", 1 << 20) == 100
        assert asked("a", (1 << 20) + 1) == 413 and asked("a", 1 << 62) == 413
        assert asked("a", 10, of="none") == 404
        assert asked("a", 10, "Content-Encoding: gzip") == 415
        assert asked("a", 10, "Content-Type: text/plain") == 415
        for index in range(2):
            assert put(service, dataset, f"f{index}", bytes(1 << 20)).status == 201
        assert asked("more", 1 << 20) == 507
        # Without its bytes: the server closes before it has taken them all.
        assert asked("f0", 1 << 20) == 507
        for name in ("%2e%2e", "..%2fx", "%2e%2e%2fx", "a%00b", "..%5cx"):
            assert asked(name, 10) in (400, 404), name


def test_hostile_archives_are_refused_in_little_memory(binary, kept):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x_train.npy", "w") as entry:
            for _ in range(400):
                entry.write(bytes(1 << 20))
    overlapping = bytearray(npz(arrays(20, 10)))
    second = [i for i in range(len(overlapping)) if overlapping[i:i + 4] == b"PK\x01\x02"][1]
    overlapping[second + 42:second + 46] = bytes(4)
    slip = io.BytesIO()
    with zipfile.ZipFile(slip, "w") as archive:
        archive.writestr("../../x_train.npy", b"x")
    link = io.BytesIO()
    with tarfile.open(fileobj=link, mode="w") as archive:
        entry = tarfile.TarInfo("train/cat/a.png")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    huge = png(1, 1, [b"\x00"], color=0)
    huge = huge[:16] + struct.pack(">II", 1 << 31, 1 << 31) + huge[24:]
    cases = [
        ("npz", "a.npz", bomb.getvalue()), ("npz", "a.npz", bytes(overlapping)), ("npz", "a.npz", slip.getvalue()),
        ("npz", "a.npz", npz({"x_train": npy((65536, 65536), b""), "y_train": b"", "x_test": b"", "y_test": b""})),
        ("npy", "x_train.npy", npy((4194305, 4194305, 211106198978564), b"1234")),
        ("images", "a.tar", link.getvalue()), ("images", "a.tar", tar({"train/cat/a.png": huge})),
        ("images", "a.tar.gz", gzip.compress(bytes(400 << 20))), ("text", "a.txt", b"\xff\xfe"),
        ("csv", "a.csv", b"a,b\n\"1"), ("idx", "train-images-idx3-ubyte", b"\x00\x00\x08\x03" + b"\xff" * 12),
    ]
    with Service(binary) as service:
        commit(service, open_upload(service, "warm", "npz"))
        before = service.resident_bytes
        for index, (form, name, data) in enumerate(cases):
            dataset = open_upload(service, f"hostile-{index}", form)
            assert put(service, dataset, name, data).status == 201
            begin = time.monotonic()
            reply = commit(service, dataset)
            assert reply.status == 422 and reply.json["errors"], (index, reply)
            assert time.monotonic() - begin < 10, index
            assert service.data not in reply.body.decode(), (index, reply)
        assert service.resident_bytes - before < 64 << 20, (before, service.resident_bytes)


def test_what_files_become_is_held_against_the_quota(binary, kept):
    """What a commit writes counts before it is written, and images of one colour cannot explode."""
    count = 2000
    # Rows that repeat: a thirtieth packed, some 8 MB unpacked.
    draw = random.Random(7)
    images = b"".join(draw.randbytes(96) * 42 + bytes(64) for _ in range(count))
    named = {"x_train": npy((count, 64, 64), images), "y_train": npy((count,), bytes(count // 2) + b"\1" * (count // 2)),
             "x_test": npy((2, 64, 64), images[:8192]), "y_test": npy((2,), b"\0\1")}
    packed = npz(named)
    assert len(packed) < 2 << 20, len(packed)
    black = png(2048, 2048, [bytes(2048)] * 2048, color=0)
    dark = tar({f"{split}/cat/{index}.png": black for split in ("train", "test") for index in range(8)})
    pale = png(512, 512, [draw.randbytes(16) * 32 for _ in range(512)], color=0)
    grey = tar({f"{split}/cat/{index}.png": pale for split in ("train", "test") for index in range(12)})
    with Service(binary, "--max-datasets-bytes", "5M") as service, tempfile.TemporaryDirectory() as folder:
        def taken():
            return sum(os.path.getsize(os.path.join(place, name)) for part in ("datasets", "uploads")
                       for place, _, names in os.walk(os.path.join(service.data, part)) for name in names)
        cases = [("npz", "a.npz", packed, 507), ("images", "a.tar", dark, 422), ("images", "a.tar", grey, 507)]
        for index, (form, name, data, status) in enumerate(cases):
            dataset = open_upload(service, f"grown-{index}", form)
            assert put(service, dataset, name, data).status == 201
            before = taken()
            reply = commit(service, dataset)
            assert reply.status == status, (index, reply)
            if status == 507:
                assert reply.json["code"] == "insufficient_storage" and "5242880" in reply.json["detail"], reply
            else:
                assert "100 times" in reply.json["errors"][0]["detail"], reply
                assert reply.json["errors"][0]["pointer"] == "/files/a.tar", reply
            assert taken() == before <= 5 << 20
            assert service.call("DELETE", f"/v1/datasets/{dataset}").status == 204
        path = os.path.join(folder, "a.npz")
        with open(path, "wb") as file:
            file.write(packed)
        words = [binary, "datasets", "add", "--data", service.data, "added", path, "--max-datasets-bytes"]
        done = subprocess.run([*words, "5M"], capture_output=True, text=True)
        assert done.returncode != 0 and "Datasets may take 5242880 bytes" in done.stderr, done
        assert taken() < 1 << 16  # What is remembered of a dataset of the system.
        assert subprocess.run([*words, "20M"], capture_output=True, text=True).returncode == 0
        assert 8_000_000 < taken() < 20 << 20


def test_texts_take_the_memory_that_is_counted_for_them(binary, kept):
    """Peak and rest of a commit, for the files that take most: four times a text's size, eight times a CSV's."""
    size = 4 << 20
    draw = random.Random(3)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
    words = (f"{letters[i % 63]}{letters[i // 63 % 63]}{letters[i // 3969 % 63]}{letters[i // 250047 % 63]}"
             for i in draw.sample(range(63 ** 4), size // 5))
    distinct = list(words)
    cases = [
        ("rows", "csv", {"tokens": "word"}, "text,label\n" + "a,0\nb,1\n" * (size // 8)),
        ("chars", "csv", {"tokens": "char"}, "text,label\n" + "a,0\nb,1\n" * (size // 8)),
        ("marks", "csv", {"tokens": "word"}, "text,label\n" + ("!" * 1000 + ",0\n" + "?" * 1000 + ",1\n") * (size // 2006)),
        ("distinct", "csv", {"tokens": "word"}, "text,label\n" + "".join(
            " ".join(distinct[i:i + 200]) + f",{i // 200 % 2}\n" for i in range(0, len(distinct), 200))),
        ("short", "csv", {"tokens": "word"}, "text,label\n" + "".join(
            f"{word},{i % 2}\n" for i, word in enumerate(distinct[:size // 7]))),
        ("sentences", "csv", {}, "token,label\n" + "a,0\n\nb,1\n\n" * (size // 10)),
        ("quotes", "csv", {"tokens": "byte"}, "text,label\n" + ('"' + '""' * 500 + '",0\n' + '"x",1\n') * (size // 1011)),
        ("text", "text", {"tokens": "char"}, "To be, or not to be. " * (size // 21)),
        ("bytes", "text", {"tokens": "byte"}, "To be, or not to be. " * (size // 21)),
    ]
    with Service(binary) as service:
        warm = open_upload(service, "warm", "csv")
        assert put(service, warm, "a.csv", b"text,label\na b,0\nc d,1\n").status == 201
        assert commit(service, warm).status == 200
        for name, form, more, text in cases:
            data = text.encode()
            dataset = open_upload(service, name, form, **more)
            assert put(service, dataset, f"a.{'csv' if form == 'csv' else 'txt'}", data).status == 201
            before = service.resident_bytes
            service.forget_peak()
            begin = time.monotonic()
            reply = commit(service, dataset)
            assert reply.status == 200, (name, reply)
            seconds = time.monotonic() - begin
            peak, rest = service.peak_bytes - before, service.resident_bytes - before
            limit = (8 if form == "csv" else 4) * len(data) + (8 << 20)
            print(f"      {name}: {peak / len(data):.1f} times its {len(data) >> 20} MiB, "
                  f"{rest >> 20} MiB of it kept, {seconds:.1f} s")
            assert peak <= limit, (name, peak, len(data))
            assert rest < 12 << 20, (name, rest)


def test_a_large_file_takes_little_memory(binary, kept):
    with Service(binary) as service, tempfile.NamedTemporaryFile() as file:
        file.truncate(600 << 20)
        dataset = open_upload(service, "large", "npz")
        before = service.resident_bytes
        begin = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=300)
        connection.request("PUT", f"/v1/datasets/{dataset}/files/x.npz", file,
                           {"Authorization": f"Bearer {service.token}", "Content-Length": str(600 << 20)})
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
        rate = 600 / (time.monotonic() - begin)
        grown = service.resident_bytes - before
        assert grown < 64 << 20, grown
        print(f"      600 MiB at {rate:.0f} MiB/s, {grown / 1048576:.0f} MiB more resident")


def test_the_command_uploads_and_adds(binary, kept):
    with Service(binary) as service, tempfile.TemporaryDirectory() as folder:
        def command(*words, status=0):
            done = subprocess.run([binary, "datasets", *words, "--data", service.data], capture_output=True, text=True,
                                  env={**os.environ, "VINTNER_URL": service.address})
            assert done.returncode == status, (words, done)
            return done.stdout + done.stderr
        named = arrays(60, 20)
        path = os.path.join(folder, "small.npz")
        with open(path, "wb") as file:
            file.write(npz(named))
        for name, data in named.items():
            with open(os.path.join(folder, f"{name}.npy"), "wb") as file:
                file.write(data)
        text = os.path.join(folder, "play.txt")
        with open(text, "w", encoding="utf-8") as file:
            file.write("To be, or not to be.\n" * 50)
        assert "60 + 20 samples" in command("upload", "sent", path)
        assert "samples" in command("upload", "text", text, "--tokens", "byte")
        loose = [os.path.join(folder, f"{name}.npy") for name in named]
        command("upload", "loose", *loose)
        assert "60 + 20 samples" in command("add", "added", path)
        sums = {service.get(f"/v1/datasets/{name}").json["sha256"] for name in ("sent", "loose", "added")}
        assert len(sums) == 1
        assert "taken" in command("upload", "sent", path, status=5)
        assert "x_test" in command("upload", "half", *loose[:2], status=5)
        assert service.get("/v1/datasets/half").status == 404
        command("upload", "none", os.path.join(folder, "missing.npz"), status=5)
        assert service.get("/v1/datasets/none").status == 404

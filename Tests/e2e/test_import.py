"""Models from elsewhere: taken whole or not at all, and then they compute what they did before."""

import base64
import hashlib
import json
import math
import os
import socket
import struct
import subprocess
import tempfile

from service import Service, mlp

FIXTURE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "Fixtures", "models.safetensors")
BYTES = {"Content-Type": "application/octet-stream"}


def read(data):
    """The metadata of a safetensors file, and each tensor's type, shape and bytes."""
    count = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + count])
    metadata = header.pop("__metadata__", {})
    body = data[8 + count:]
    return metadata, {name: (one["dtype"], one["shape"], body[slice(*one["data_offsets"])])
                      for name, one in header.items()}


def written(metadata, tensors):
    """What the safetensors package's `save` would write."""
    header, body = {"__metadata__": metadata}, b""
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def send(service, data, query="", **options):
    return service.call("POST", f"/v1/models{query}", data, headers={**BYTES, **options.pop("headers", {})}, **options)


def folders(service):
    return sorted(os.listdir(os.path.join(service.data, "models")))


def nested(values, shape):
    """Flat numbers as PyTorch's nested lists."""
    if len(shape) == 1:
        return values
    step = len(values) // shape[0]
    return [nested(values[i * step:(i + 1) * step], shape[1:]) for i in range(shape[0])]


def floats(tensor):
    return list(struct.unpack(f"<{len(tensor[2]) // 4}f", tensor[2]))


def softmax(row):
    most = max(row)
    powers = [math.exp(one - most) for one in row]
    return [one / sum(powers) for one in powers]


def test_what_was_downloaded_is_taken_again_and_predicts_the_same(binary, kept):
    samples = {"inputs": [[(7 * i + j) % 256 for j in range(784)] for i in range(3)], "raw": True}
    with Service(binary) as service:
        job = service.wait(service.submit({**mlp(), "train": {"steps": 20}})["id"])
        first = job["result"]["model_id"]
        pruned = service.wait(service.submit(
            {"type": "prune", "dataset": "fashion-mnist", "model": {"id": first},
             "prune": {"target_sparsity": 0.9, "finetune": {"epochs": 1}},
             "train": {"optimizer": {"lr": 0.05, "momentum": 0.9}}})["id"])["result"]["model_id"]
        small = service.wait(service.submit(
            {"type": "quantize", "dataset": "fashion-mnist", "model": {"id": first}})["id"])["result"]["model_id"]
        imported = []
        for model in (first, pruned, small):
            before = service.get(f"/v1/models/{model}").json
            expected = service.post(f"/v1/models/{model}/predict", samples).json["predictions"]
            data = service.get(f"/v1/models/{model}/download?format=sparse").body
            digest = "sha-256=:" + base64.b64encode(hashlib.sha256(data).digest()).decode() + ":"
            reply = send(service, data, "?name=once%20more", headers={"Content-Digest": digest})
            assert reply.status == 201, reply
            made = reply.json
            assert reply.headers["location"] == f"/v1/models/{made['id']}" and made["name"] == "once more", reply
            assert made["lineage"]["imported"] is True and made["job_id"] is None, made
            for key in ("architecture", "parameters", "macs", "bytes", "sha256"):
                assert made[key] == before[key], (key, made[key], before[key])
            assert service.get(reply.headers["location"]).json["id"] == made["id"]
            assert service.get(f"/v1/models/{made['id']}/download?format=sparse").body == data
            found = service.post(f"/v1/models/{made['id']}/predict", samples).json["predictions"]
            assert found == expected, model
            whole = service.get(f"/v1/models/{model}/download").body
            imported.append(made)
            again = send(service, whole)
            assert again.status == 201, (model, again)
            found = service.post(f"/v1/models/{again.json['id']}/predict", samples).json["predictions"]
            assert found == expected, model
        # A quantized model cannot be trained, wherever it comes from; what was pruned stays so.
        assert imported[2]["lineage"]["quantization"]["layers"] and imported[1]["lineage"]["masked"], imported
        train = {**mlp(), "train": {"steps": 2}}
        assert service.post("/v1/jobs", {**train, "model": {"id": imported[2]["id"]}}).status == 422
        onward = service.wait(service.submit({**train, "model": {"id": imported[1]["id"]}})["id"])
        assert onward["state"] == "succeeded" and onward["result"]["report"]["sparse"], onward
        made = service.get(f"/v1/models/{onward['result']['model_id']}").json
        assert made["lineage"]["parent"] == imported[1]["id"] and made["lineage"]["masked"], made


def test_models_of_pytorch_compute_what_they_did_there(binary, kept):
    with open(FIXTURE, "rb") as file:
        metadata, tensors = read(file.read())
    compared = 0
    with Service(binary, "--writes-per-second", "0") as service:
        for name, case in json.loads(metadata["cases"]).items():
            inputs, outputs = tensors[f"{name}/input"], tensors[f"{name}/output"]
            if inputs[0] != "F32" or len(outputs[1]) != 2:
                continue
            state = {key.split("/", 2)[2]: tensor for key, tensor in tensors.items()
                     if key.startswith((f"{name}/parameter/", f"{name}/statistic/"))}
            for key in [key for key in state if key.endswith(".running_mean")]:
                counter = key.replace("running_mean", "num_batches_tracked")
                state[counter] = ("I64", [], struct.pack("<q", 3))
            reply = send(service, written({"format": "pt", "vintner.model": json.dumps(case["model"])}, state),
                         f"?name={name}")
            assert reply.status == 201, (name, reply)
            # Outputs were noted in training, where a normalisation goes by its batch.
            if "norm.running_mean" in state or "batch_norm" in json.dumps(case["model"]):
                continue
            body = {"inputs": nested(floats(inputs), inputs[1])}
            found = service.post(f"/v1/models/{reply.json['id']}/predict", body)
            assert found.status == 200, (name, found)
            for row, prediction in zip(nested(floats(outputs), outputs[1]), found.json["predictions"], strict=True):
                for expected, share in zip(softmax(row), prediction["probabilities"], strict=True):
                    assert abs(expected - share) < 1e-5, (name, expected, share)
            compared += 1
    assert compared > 30, compared


def test_a_half_precision_model_is_taken_as_it_is(binary, kept):
    model = {"input": [2], "layers": [{"type": "linear", "name": "fc", "out_features": 2}]}
    weight = struct.pack("<4e", 1, 2, -1, 0.5)
    bias = struct.pack("<2H", 0x3F80, 0xBF80)  # 1 and -1 in bfloat16.
    with Service(binary) as service:
        data = written({"vintner.model": json.dumps(model), "vintner.classes": '["no", "yes"]'},
                       {"fc.weight": ("F16", [2, 2], weight), "fc.bias": ("BF16", [2], bias)})
        made = send(service, data).json
        assert made["name"] == made["id"] and made["sha256"] == hashlib.sha256(data).hexdigest(), made
        [found] = service.post(f"/v1/models/{made['id']}/predict", {"inputs": [[3, 4]]}).json["predictions"]
        expected = softmax([3 + 2 * 4 + 1, -3 + 0.5 * 4 - 1])
        assert found["label"] == "no", found
        assert all(abs(a - b) < 1e-6 for a, b in zip(found["probabilities"], expected)), (found, expected)


def without_zeros(name, kind, shape, values):
    """The tensors that stand for a sparse one, and the bytes of the whole."""
    pack = {"F32": lambda one: struct.pack("<f", one), "F16": lambda one: struct.pack("<e", one),
            "BF16": lambda one: struct.pack("<f", one)[2:], "I8": lambda one: struct.pack("<b", int(one))}[kind]
    row_bytes = (shape[1] + 7) // 8
    bits = bytearray(shape[0] * row_bytes)
    for place, value in enumerate(values):
        if value:
            bits[place // shape[1] * row_bytes + place % shape[1] // 8] |= 1 << place % shape[1] % 8
    kept = [pack(value) for value in values if value]
    return {f"{name}.shape": ("I64", [2], struct.pack("<2q", *shape)),
            f"{name}.compressed": (kind, [len(kept)], b"".join(kept)),
            f"{name}.bitmask": ("U8", [shape[0], row_bytes], bytes(bits))}, b"".join(map(pack, values))


NET = {"input": [1, 28, 28], "layers": [{"type": "flatten"}, {"type": "linear", "name": "fc1", "out_features": 12},
                                        {"type": "relu"}, {"type": "linear", "name": "fc2", "out_features": 10}]}


def sparse_net(kind, dataset):
    """A file whose first layer is stored in this type without its zeros, and that layer's bytes with them."""
    parts, whole = without_zeros("fc1.weight", kind, [12, 784],
                                 [(place % 13 - 6) / (1 if kind == "I8" else 64) if place % 3 == 0 else 0
                                  for place in range(12 * 784)])
    metadata = {"vintner.model": json.dumps(NET), "vintner.classes": json.dumps(dataset["class_names"]),
                "vintner.mean": json.dumps(dataset["mean"]), "vintner.std": json.dumps(dataset["standard_deviation"])}
    tensors = {**parts, "fc1.bias": ("F32", [12], bytes(48)), "fc2.bias": ("F32", [10], bytes(40)),
               "fc2.weight": ("F32", [10, 12], struct.pack("<120f", *[(i * i % 17 - 8) / 16 for i in range(120)]))}
    if kind == "I8":
        metadata["vintner.quantization"] = json.dumps(
            {"scheme": "int8", "code_max": 255, "layers": [{"name": "fc1", "folds_norm": False}]})
        tensors |= {"fc1.weight_scale": ("F32", [12], struct.pack("<12f", *[0.015625] * 12)),
                    "fc1.input_scale": ("F32", [1], struct.pack("<f", 0.02)),
                    "fc1.input_zero_point": ("U8", [1], b"\x30")}
    else:
        metadata["vintner.masks"] = '["fc1.weight"]'
    return written(metadata, tensors), whole


def test_sparse_models_of_every_type_are_downloaded_and_used(binary, kept):
    samples = {"inputs": [[(7 * i + j) % 256 for j in range(784)] for i in range(3)], "raw": True}
    with Service(binary) as service:
        made = {}
        dataset = service.get("/v1/datasets/fashion-mnist").json
        for kind in ("F32", "F16", "BF16", "I8"):
            data, dense = sparse_net(kind, dataset)
            reply = send(service, data)
            assert reply.status == 201, (kind, reply)
            made[kind] = reply.json["id"]
            place = f"/v1/models/{made[kind]}"
            assert service.get(place).json["sha256"] == hashlib.sha256(data).hexdigest(), kind
            whole = service.get(f"{place}/download")
            metadata, tensors = read(whole.body)
            expected = {name: one for name, one in read(data)[1].items() if not name.startswith("fc1.weight.")}
            assert metadata == read(data)[0], (kind, metadata)
            assert tensors == {**expected, "fc1.weight": (kind, [12, 784], dense)}, kind
            head = service.call("HEAD", f"{place}/download")
            assert head.headers["content-length"] == str(len(whole.body)) and head.status == 200, (kind, head)
            assert head.headers["etag"] == whole.headers["etag"] == f'"{hashlib.sha256(data).hexdigest()}"', head
            for begin, last in ((0, 0), (9, 4099), (len(whole.body) - 3001, len(whole.body) - 1)):
                part = service.get(f"{place}/download", headers={"Range": f"bytes={begin}-{last}"})
                assert part.status == 206 and part.body == whole.body[begin:last + 1], (kind, begin, part.status)
            # Taken again with all its zeros, it computes the same.
            again = send(service, whole.body)
            assert again.status == 201, (kind, again)
            first, second = (service.post(f"/v1/models/{one}/predict", samples)
                             for one in (made[kind], again.json["id"]))
            assert first.status == 200, (kind, first)
            assert first.json["predictions"] == second.json["predictions"], kind
        shared = {"dataset": "fashion-mnist"}
        train = {"train": {"steps": 3, "optimizer": {"lr": 0.01}}}
        jobs = [{"type": "evaluate", **shared, "model": {"id": made[kind]}} for kind in made]
        for kind in ("F16", "BF16"):
            model = {"model": {"id": made[kind]}}
            jobs += [{"type": "train", **shared, **model, **train},
                     {"type": "prune", **shared, **model, **train,
                      "prune": {"target_sparsity": 0.8, "finetune": {"epochs": 1}}},
                     {"type": "quantize", **shared, **model},
                     {"type": "distill", **shared, **train, "model": {"preset": "mlp", "hidden": [8]},
                      "distill": {"teacher": {"id": made[kind]}}}]
        for body in jobs:
            reply = service.post("/v1/jobs", body)
            assert reply.status == 201, (body, reply)
            job = service.wait(reply.json["id"])
            assert job["state"] == "succeeded", (body, job["error"])
            if body["type"] != "evaluate":
                found = service.get(f"/v1/models/{job['result']['model_id']}/download")
                assert found.status == 200 and "fc1.weight" in read(found.body)[1], (body, found.status)


def test_downloads_of_pruned_models_take_neither_memory_nor_disk(binary, kept):
    net = {"input": [4096], "layers": [{"type": "linear", "name": "fc", "out_features": 4096}]}
    parts, _ = without_zeros("fc.weight", "F32", [4096, 4096], [])
    data = written({"vintner.model": json.dumps(net)}, {**parts, "fc.bias": ("F32", [4096], bytes(16384))})
    with Service(binary) as service:
        model = send(service, data).json["id"]
        path = f"/v1/models/{model}/download"
        head = service.call("HEAD", path)
        assert int(head.headers["content-length"]) > 4 * 4096 * 4096, head
        service.get(path, headers={"Range": "bytes=0-0"})
        before = service.resident_bytes
        request = (f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nAuthorization: Bearer {service.token}\r\n"
                   "Range: bytes=0-9999999\r\n\r\n").encode()
        # Clients that ask, and then read nothing but the status.
        clients = [socket.create_connection(("127.0.0.1", service.port), timeout=30) for _ in range(20)]
        for client in clients:
            client.sendall(request)
        for client in clients:
            assert client.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 206"
        growth = service.resident_bytes - before
        files = f"/proc/{service.process.pid}/fd"
        gone = [one for one in os.listdir(files) if "(deleted)" in os.readlink(f"{files}/{one}")]
        print(f"      20 clients: {growth / 1e6:.1f} MB")
        assert growth < 8_000_000 and not gone, (growth, gone)
        assert os.listdir(os.path.join(service.data, "models", model)) == ["model.safetensors"]
        for client in clients:
            client.close()
        end = service.get(path, headers={"Range": "bytes=-16384"})
        assert end.status == 206 and end.body == bytes(16384), end.status


def test_what_is_wrong_is_named_and_leaves_nothing(binary, kept):
    model = {"input": [2], "layers": [{"type": "linear", "name": "fc", "out_features": 2},
                                      {"type": "linear", "name": "last", "out_features": 3}]}
    good = {"fc.weight": ("F32", [2, 2], b"\0" * 16), "fc.bias": ("F32", [2], b"\0" * 8),
            "last.weight": ("F32", [3, 2], b"\0" * 24), "last.bias": ("F32", [3], b"\0" * 12)}
    text = {"vintner.model": json.dumps(model)}

    def violations(reply):
        assert reply.status == 422, reply
        return {(one["pointer"], one["code"]) for one in reply.json["errors"]}

    with Service(binary, "--max-upload", "1M") as service:
        assert send(service, written(text, good)).status == 201
        before = folders(service)
        wrong = {"fc.weight": ("F32", [4], b"\0" * 16), "fc.bias": ("F64", [2], b"\0" * 16),
                 "last.weight": ("F32", [3, 2], struct.pack("<6f", 0, 1, float("nan"), 0, 0, 0)),
                 "other/one": ("I64", [], b"\0" * 8)}
        assert violations(send(service, written(text, wrong))) == {
            ("/fc.weight", "wrong_shape"), ("/fc.bias", "wrong_type"), ("/last.weight", "not_finite"),
            ("/last.bias", "missing_tensor"), ("/other~1one", "unexpected_tensor")}
        assert violations(send(service, written({}, good))) == {("/__metadata__/vintner.model", "missing_field")}
        assert violations(send(service, written({"vintner.model": "{"}, good))) == {
            ("/__metadata__/vintner.model", "malformed_json")}
        broken = json.dumps({"input": [2], "layers": [{"type": "linear", "out_featurs": 2}]})
        assert ("/__metadata__/vintner.model/layers/0/out_featurs", "unknown_field") in violations(
            send(service, written({"vintner.model": broken}, good)))
        assert violations(send(service, written(
            {**text, "vintner.classes": '["a"]', "vintner.mean": "[0.5]", "vintner.std": "[0]",
             "vintner.masks": '["nothing"]', "vintner.vocabulary": "{}"}, good))) == {
            (f"/__metadata__/vintner.{key}", "invalid_value") for key in ("classes", "std", "masks", "vocabulary")}
        huge = {"input": [2], "layers": 50 * [{"type": "linear", "out_features": 65536}]}
        assert ("/__metadata__/vintner.model", "too_large") in violations(
            send(service, written({"vintner.model": json.dumps(huge)}, {})))
        for data in (b"", b"\0" * 7, b"\xff" * 64, written(text, good)[:-1], written(text, good) + b"\0"):
            assert violations(send(service, data)) == {("", "malformed_file")}, data[:20]
        bad = send(service, written(text, good), headers={"Content-Digest": f"sha-256=:{'A' * 43}=:"})
        assert bad.status == 422 and bad.json["code"] == "digest_mismatch", bad
        assert send(service, written(text, good), "?nam=x").status == 422
        assert send(service, written(text, good), token=False).status == 401
        # Refused by the header: the bytes are not asked for.
        head = (f"POST /v1/models HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nAuthorization: Bearer {service.token}\r\n"
                "Content-Type: application/octet-stream\r\nContent-Length: 1048577\r\nExpect: 100-continue\r\n\r\n")
        assert b" 413 " in service.raw(head.encode(), seconds=2).split(b"\r\n")[0]
        assert folders(service) == before, "something was left"
    with Service(binary, "--max-models-bytes", "100") as service:
        reply = send(service, written(text, good))
        assert reply.status == 507 and "100" in reply.json["detail"], reply


def test_a_crash_leaves_nothing_of_half_a_model(binary, kept):
    model = {"input": [2], "layers": [{"type": "linear", "name": "fc", "out_features": 2}]}
    data = written({"vintner.model": json.dumps(model)},
                   {"fc.weight": ("F32", [2, 2], b"\0" * 16), "fc.bias": ("F32", [2], b"\0" * 8)})
    with Service(binary) as service:
        kept_model = send(service, data).json["id"]
        head = (f"POST /v1/models HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nAuthorization: Bearer {service.token}\r\n"
                f"Content-Type: application/octet-stream\r\nContent-Length: {len(data)}\r\n\r\n")
        service.raw(head.encode() + data[:-10], seconds=1)
        assert [one["id"] for one in service.get("/v1/models").json["data"]] == [kept_model]
        # Between the file and its row.
        os.makedirs(os.path.join(service.data, "models", "mdl_00000000000000000000000000"))
        with open(os.path.join(service.data, "models", "mdl_00000000000000000000000000", "model.safetensors"), "wb") as file:
            file.write(data)
        service.kill()
        service.start()
        assert folders(service) == [kept_model]
        assert service.get(f"/v1/models/{kept_model}/download").body == data
        with tempfile.TemporaryDirectory() as home:
            copy = os.path.join(home, "copy")
            for words in (["backup", copy, "--data", service.data], ["doctor", "--data", copy]):
                done = subprocess.run([binary, *words], capture_output=True, text=True, check=False)
                assert done.returncode == 0, (words, done.stdout + done.stderr)
            with open(os.path.join(copy, "models", kept_model, "model.safetensors"), "rb") as file:
                assert file.read() == data
        service.terminate()
        done = subprocess.run([binary, "doctor", "--data", service.data], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_sends_models(binary, kept):
    model = {"input": [2], "layers": [{"type": "linear", "name": "fc", "out_features": 2}]}
    data = written({"vintner.model": json.dumps(model)},
                   {"fc.weight": ("F32", [2, 2], b"\0" * 16), "fc.bias": ("F32", [2], b"\0" * 8)})
    with Service(binary) as service, tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.safetensors")
        with open(path, "wb") as file:
            file.write(data)

        def run(*words):
            return subprocess.run(
                [binary, "models", *words, "--url", service.address, "--data", service.data], capture_output=True,
                text=True, timeout=60, check=False)

        done = run("import", path, "--name", "from elsewhere & more")
        assert done.returncode == 0, done.stderr
        [made] = service.get("/v1/models").json["data"]
        assert made["name"] == "from elsewhere & more" and made["id"] in done.stdout, (made, done.stdout)
        assert made["id"] in run("list").stdout
        with open(path, "wb") as file:
            file.write(data[:-1])
        done = run("import", path)
        assert done.returncode == 5 and "not a valid" not in done.stderr and "bytes of data" in done.stderr, done.stderr

"""The command line: what it prints, and the exit codes that scripts rely on."""

import hashlib
import json
import os
import re
import signal
import struct
import subprocess
import tempfile

from service import Service, lenet, mlp

OK, FAILED, GATE_FAILED, CANCELLED, TIMEOUT, USAGE = range(6)


def vintner(binary, *arguments, body=None, data=None, address=None, seconds=300):
    """Runs a command; returns (exit code, standard output, standard error)."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VINTNER_")}
    if address:
        environment["VINTNER_URL"] = address
    words = [binary, *arguments] + (["--data", data] if data else [])
    done = subprocess.run(words, env=environment, input=json.dumps(body) if body is not None else "",
                          capture_output=True, text=True, timeout=seconds, check=False)
    return done.returncode, done.stdout, done.stderr


def test_wrong_usage_is_told_from_failure(binary, kept):
    assert vintner(binary, "--help")[0] == OK
    code, out, _ = vintner(binary, "--version")
    assert code == OK and re.fullmatch(r"\d+\.\d+\.\d+\n", out), out
    for words in (["no-such-command"], ["submit"], ["serve", "--port", "many"], ["serve", "--port", "70000"],
                  ["serve", "--host", "0.0.0.0"], ["serve", "--host", "0.0.0.0", "--no-auth"],
                  ["serve", "--memory", "5"], ["run", "--memory", "8", "job.json"]):
        code, _, error = vintner(binary, *words)
        assert code == USAGE and error, (words, code, error)


def test_a_dataset_added_beside_the_server_is_there_at_once(binary, kept):
    with Service(binary) as service, tempfile.TemporaryDirectory() as folder:
        for split, count in (("train", 8), ("t10k", 4)):
            with open(f"{folder}/{split}-images-idx3-ubyte", "wb") as file:
                file.write(struct.pack(">IIII", 0x803, count, 2, 2) + bytes(range(4)) * count)
            with open(f"{folder}/{split}-labels-idx1-ubyte", "wb") as file:
                file.write(struct.pack(">II", 0x801, count) + bytes([0, 1]) * (count // 2))
        assert service.get("/v1/datasets/tiny").status == 404
        code, out, error = vintner(binary, "datasets", "add", "tiny", folder, data=service.data)
        assert code == OK, (out, error)
        tiny = service.get("/v1/datasets/tiny").json
        # What a look at one shows of its images, a list does not.
        assert len(tiny.pop("preview")) == 4, tiny
        assert tiny["name"] == "tiny" and tiny in service.get("/v1/datasets").json["data"], tiny


def test_text_and_tables_become_datasets_that_last(binary, kept):
    with Service(binary) as service, tempfile.TemporaryDirectory() as folder:
        files = {"play.txt": "To be, or not to be: that is the question.\n" * 20,
                 "mail.csv": "text,label\n" + "cheap pills now,spam\nsee you at noon,ham\n" * 10,
                 "names.csv": "token,label\n" + "Ada,PER\nsleeps,O\n\n" * 10,
                 "open.csv": "text,label\na,b\n\"never closed,c\n"}
        for name, text in files.items():
            with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
                file.write(text)
        for name, words, kind in (("play", ["play.txt", "--tokens", "char"], "text"),
                                  ("mail", ["mail.csv", "--validation-fraction", "0.2"], "text_classification"),
                                  ("names", ["names.csv", "--format", "csv"], "token_classification")):
            code, out, error = vintner(
                binary, "datasets", "add", name, f"{folder}/{words[0]}", *words[1:], data=service.data)
            assert code == OK, (out, error)
            assert service.get(f"/v1/datasets/{name}").json["kind"] == kind
        code, _, error = vintner(binary, "datasets", "add", "open", f"{folder}/open.csv", data=service.data)
        assert code == FAILED and "line 3: expected a quote that ends the field" in error, (code, error)
        play, mail = (service.get(f"/v1/datasets/{name}").json for name in ("play", "mail"))
        assert play["tokens"]["vocabulary_size"] == 18 and play["train_count"] == 774, play
        assert play["preview"][0]["text"].startswith("To be, or not"), play
        assert mail["class_names"] == ["ham", "spam"] and mail["validation_count"] == 4, mail
        service.terminate()
        service.start()
        assert service.get("/v1/datasets/play").json == play
        code, out, _ = vintner(binary, "datasets", "list", data=service.data)
        assert code == OK and "play  774 + 86 tokens, 18 different" in out, out


def test_a_blank_token_stops_the_start(binary, kept):
    for content in ("", "\n", " secret\n"):
        with tempfile.TemporaryDirectory() as data:
            with open(f"{data}/token", "w", encoding="utf-8") as file:
                file.write(content)
            code, out, error = vintner(binary, "serve", "--port", "0", data=data, seconds=30)
            assert code == FAILED and "listening" not in out, (content, code, out)
            assert f"{data}/token" in error and "delete it" in error, (content, error)


def test_nobody_answers(binary, kept):
    code, _, error = vintner(binary, "jobs", address="http://127.0.0.1:1")
    assert code == USAGE and "127.0.0.1" in error, (code, error)


def test_submit_waits_and_exits_by_the_verdict(binary, kept):
    with Service(binary) as service:
        place = {"data": service.data, "address": service.address}
        code, out, error = vintner(binary, "submit", "-", "--wait", body=mlp(), **place)
        assert code == OK and re.search(r"^job_\w+$", out, re.M) and "test accuracy" in out, (code, out, error)
        gated = mlp(gate=[{"metric": "val_accuracy", "min": 0.999}])
        code, _, error = vintner(binary, "submit", "-", "--wait", body=gated, **place)
        assert code == GATE_FAILED and "val_accuracy" in error, (code, error)
        code, out, _ = vintner(binary, "submit", "-", "--wait", "--timeout", "1", body=lenet(epochs=500), **place)
        assert code == TIMEOUT, (code, out)
        job = re.search(r"^job_\w+$", out, re.M)[0]
        code, out, _ = vintner(binary, "cancel", job, **place)
        assert code == OK and job in out, (code, out)
        assert service.wait(job)["state"] == "cancelled"
        assert vintner(binary, "watch", job, **place)[0] == CANCELLED
        code, out, _ = vintner(binary, "jobs", **place)
        assert code == OK and len(out.splitlines()) == 3, out
        code, _, error = vintner(binary, "submit", "-", body={**mlp(), "epocs": 1}, **place)
        assert code == USAGE and "/epocs" in error, (code, error)
        assert vintner(binary, "health", **place)[0] == OK
        code, _, error = vintner(binary, "jobs", data=tempfile.gettempdir(), address=service.address)
        assert code == USAGE and "token" in error.lower(), (code, error)


def test_run_needs_no_server(binary, kept):
    with tempfile.TemporaryDirectory() as folder:
        weights = []
        for name in ("one", "two"):
            path = os.path.join(folder, name)
            code, out, error = vintner(binary, "run", "-", "--output", path, body=mlp())
            assert code == OK and "test accuracy" in out, (code, out, error)
            with open(path, "rb") as file:
                content = file.read()
            header_count = int.from_bytes(content[:8], "little")
            weights.append(hashlib.sha256(content[8 + header_count:]).hexdigest())
        assert weights[0] == weights[1], "two runs of one job differ"
        code, _, error = vintner(binary, "run", "-", body=mlp(model={"preset": "nothing"}))
        assert code == USAGE and "/model/preset" in error, (code, error)


def test_run_can_be_interrupted(binary, kept):
    process = subprocess.Popen([binary, "run", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    try:
        process.stdin.write(json.dumps(lenet(epochs=500)))
        process.stdin.close()
        for line in process.stdout:
            if "step" in line:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == CANCELLED, process.returncode
    finally:
        process.kill()
        process.wait()
        process.stdout.close()

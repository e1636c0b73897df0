"""Asking stored models, by HTTP and by command."""

import glob
import json
import subprocess
import tempfile

from service import Service
from test_language import add, small, spec


def train(service, binary, folder):
    """A tiny language model of a rhyme, and its id."""
    path = f"{folder}/rhyme.txt"
    with open(path, "w", encoding="utf-8") as file:
        file.write("one, two, buckle my shoe; three, four, knock at the door;\n" * 30)
    add(binary, service, "rhyme", path)
    job = service.wait(service.submit(spec("rhyme", small("gpt"), steps=200))["id"])
    assert job["state"] == "succeeded", job
    return job["result"]["model_id"]


def errors(reply):
    """The pointers and codes of a refusal."""
    assert reply.status == 422, reply
    return [(error["pointer"], error["code"]) for error in reply.json["errors"]]


def test_a_language_model_writes(binary, kept):
    with Service(binary) as service, tempfile.TemporaryDirectory() as folder:
        model = train(service, binary, folder)
        path = f"/v1/models/{model}/predict"
        body = {"prompt": "one, two, ", "max_tokens": 70, "temperature": 1.5, "seed": 7}
        first = service.post(path, body)
        assert first.status == 200 and first.json["object"] == "prediction", first
        assert first.json["tokens"] == len(first.json["text"]) == 70 and first.json["tokens_per_second"] > 0, first
        assert service.post(path, body).json["text"] == first.json["text"]
        assert service.post(path, {**body, "seed": 8}).json["text"] != first.json["text"]
        greedy = service.post(path, {"prompt": "one, two, buck", "max_tokens": 10, "temperature": 0})
        assert greedy.json["text"] == "le my shoe", greedy
        unknown = service.post(path, {"prompt": "one, 2"})
        assert errors(unknown) == [("/prompt", "unknown_character")], unknown
        assert "\\\"2\\\" (U+0032) at place 5" in unknown.body.decode(), unknown
        wrong = {"prompt": "one", "max_tokens": 0, "temperature": 11, "top_k": 1000, "seed": -1, "n": 1}
        assert sorted(errors(service.post(path, wrong))) == [
            ("/max_tokens", "out_of_range"), ("/n", "unknown_field"), ("/seed", "out_of_range"),
            ("/temperature", "out_of_range"), ("/top_k", "out_of_range")]
        missing = service.post("/v1/models/mdl_01m7y4vfdk4k2s07p05haxftrz/predict", body)
        assert missing.status == 404 and missing.json["code"] == "model_not_found", missing

        words = [binary, "predict", model, "--data", service.data, "--prompt", body["prompt"], "--tokens", "70",
                 "--temperature", "1.5", "--seed", "7", "--json"]
        told = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        assert json.loads(told.stdout)["text"] == first.json["text"], told
        refused = subprocess.run([binary, "predict", model, "--data", service.data, "--prompt", "2"],
                                 capture_output=True, text=True, timeout=60, check=False)
        assert refused.returncode == 5 and "U+0032" in refused.stderr, refused

        weights, = glob.glob(f"{service.data}/models/{model}/*.safetensors")
        service.terminate()
        service.arguments = ("--memory", "100K")
        service.start()
        large = service.post(path, body)
        assert large.status == 507 and large.json["code"] == "insufficient_memory", large
        service.terminate()
        with open(weights, "r+b") as file:
            file.seek(-1, 2)
            last = file.read(1)
            file.seek(-1, 2)
            file.write(bytes([last[0] ^ 1]))
        alone = subprocess.run([binary, "predict", model, "--data", service.data, "--prompt", "one"],
                               capture_output=True, text=True, timeout=60, check=False)
        assert alone.returncode == 1 and "SHA-256" in alone.stderr and not alone.stdout, alone
        service.arguments = ()
        service.start()
        damaged = service.post(path, body)
        assert damaged.status == 409 and damaged.json["code"] == "model_unusable", damaged


def test_texts_are_classified(binary, kept):
    with Service(binary) as service, tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/mail.csv", "w", encoding="utf-8") as file:
            file.write("text,label\n" + "buy cheap pills,spam\nsee you at noon,ham\n" * 40)
        add(binary, service, "mail", f"{folder}/mail.csv")
        job = service.wait(service.submit(spec("mail", small("bert")))["id"])
        path = f"/v1/models/{job['result']['model_id']}/predict"
        answer = service.post(path, {"texts": ["see you", "cheap pills", "at noon"]})
        assert answer.status == 200, answer
        assert [found["label"] for found in answer.json["predictions"]] == ["ham", "spam", "ham"], answer
        for found in answer.json["predictions"]:
            assert abs(sum(found["probabilities"]) - 1) < 1e-9, found
            assert found["probability"] == found["probabilities"][found["class"]] > 0.5, found
        assert errors(service.post(path, {"texts": ["see", 3]})) == [("/texts/1", "wrong_type")]
        assert errors(service.post(path, {"texts": []})) == [("/texts", "out_of_range")]
        assert ("/prompt", "unknown_field") in errors(service.post(path, {"prompt": "see"}))

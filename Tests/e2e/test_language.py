"""Training on text, from the file to the model: language modelling, classification and tagging."""

import json
import math
import struct
import subprocess
import tempfile

from service import Service


def add(binary, service, name, path, *words):
    """Registers a file as a dataset beside the running server."""
    done = subprocess.run([binary, "datasets", "add", name, path, "--data", service.data, *words],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def spec(dataset, model, steps=120):
    """A short run with Adam."""
    return {"type": "train", "dataset": dataset, "model": model, "seed": 1,
            "train": {"steps": steps, "batch_size": 8, "optimizer": {"name": "adam", "lr": 0.01}}}


def small(preset, **changes):
    """A transformer that trains in a second."""
    return {"preset": preset, "layers": 1, "heads": 2, "width": 16, "context": 12, **changes}


def header(weights):
    """The metadata of a safetensors file."""
    count = struct.unpack("<Q", weights[:8])[0]
    return json.loads(weights[8:8 + count])["__metadata__"]


def test_a_language_model_learns_a_text(binary, kept):
    with Service(binary) as service, tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/rhyme.txt"
        with open(path, "w", encoding="utf-8") as file:
            file.write("one, two, buckle my shoe; three, four, knock at the door;\n" * 30)
        add(binary, service, "rhyme", path, "--tokens", "char")
        dataset = service.get("/v1/datasets/rhyme").json
        job = service.wait(service.submit(spec("rhyme", small("gpt"), steps=300))["id"])
        assert job["state"] == "succeeded", job
        report = job["result"]["report"]
        size = dataset["tokens"]["vocabulary_size"]
        # Guessing costs log(size); the text repeats, so that a few characters tell the next one.
        assert report["test_loss"] < 0.5 * math.log(size), report
        assert report["test_samples"] == dataset["test_count"] - 1, report
        vocabulary = json.loads(header(service.weights(job))["vintner.vocabulary"])
        assert vocabulary["tokens"] == "char" and len(vocabulary["entries"]) == size, vocabulary
        too_long = service.post("/v1/jobs", spec("rhyme", small("gpt", context=5000)))
        assert too_long.status == 422 and "too_short" in str(too_long.json), too_long


def test_texts_and_tokens_are_told_apart(binary, kept):
    with Service(binary) as service, tempfile.TemporaryDirectory() as folder:
        tables = {"mail": "text,label\n" + "buy cheap pills,spam\nsee you at noon,ham\n" * 40,
                  "names": "token,label\n" + "Ada,PER\nsleeps,O\n\nit,O\nrains,O\nhere,O\n\n" * 40}
        for name, text in tables.items():
            with open(f"{folder}/{name}.csv", "w", encoding="utf-8") as file:
                file.write(text)
            add(binary, service, name, f"{folder}/{name}.csv")
            job = service.wait(service.submit(spec(name, small("bert")))["id"])
            assert job["state"] == "succeeded", job
            assert job["result"]["report"]["test_accuracy"] == 1, job["result"]
            metadata = header(service.weights(job))
            assert json.loads(metadata["vintner.vocabulary"])["tokens"] == "word", metadata
            assert len(json.loads(metadata["vintner.classes"])) == 2, metadata

"""Adapters beside a stored model: training, planning, and what is left of them."""

import json
import struct
import tempfile

from service import Service
from test_cli import OK, USAGE, vintner
from test_language import add, small, spec


def entries(weights):
    """The tensors of a safetensors file, by name."""
    count = struct.unpack("<Q", weights[:8])[0]
    return {name: entry for name, entry in json.loads(weights[8:8 + count]).items() if name != "__metadata__"}


def test_adapters_are_planned_trained_and_had_alone(binary, kept):
    with Service(binary) as service, tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/rhyme.txt", "w", encoding="utf-8") as file:
            file.write("one, two, buckle my shoe; three, four, knock at the door;\n" * 30)
        add(binary, service, "rhyme", f"{folder}/rhyme.txt")
        base = service.wait(service.submit(spec("rhyme", small("gpt")))["id"])["result"]["model_id"]
        job = spec("rhyme", {"id": base}, steps=20)
        job["train"]["lora"] = {"rank": 2, "targets": ["*.in_proj", "*.fc1"]}

        code, out, error = vintner(binary, "plan", "-", "--data", service.data, "--json", body=job)
        assert code == OK and "lora_A" in out, (out, error)
        code, out, error = vintner(binary, "profile", "-", "--data", service.data, "--steps", "3", body=job)
        assert code == OK and "lora_B" in out, (out, error)
        missing = {**job, "model": {"id": "mdl_01m7y4vfdk4k2s07p05haxftrz"}}
        code, _, error = vintner(binary, "plan", "-", "--data", service.data, body=missing)
        assert code == USAGE and "/model/id" in error, (code, error)

        model = service.wait(service.submit(job)["id"])["result"]["model_id"]
        reply = service.get(f"/v1/models/{model}/adapters")
        assert reply.status == 200, reply
        found = entries(reply.body)
        assert len(found) == 4 and all(name.startswith("base_model.model.") for name in found), found
        ranks = {name: entry["shape"]["lora_A" not in name] for name, entry in found.items()}
        assert set(ranks.values()) == {2}, found
        config = service.get(f"/v1/models/{model}/adapters?format=config").json
        assert config["r"] == 2 and config["peft_type"] == "LORA", config
        assert {f"base_model.model.{layer}.lora_A.weight" for layer in config["target_modules"]} <= set(found)
        assert config["base_model_name_or_path"] == base, config
        none = service.get(f"/v1/models/{base}/adapters")
        assert none.status == 404 and none.json["code"] == "no_adapters", none

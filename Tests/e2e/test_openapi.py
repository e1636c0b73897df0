"""What the server says of itself, held against what it does."""

import re

from service import Service, mlp

TYPES = {"null": type(None), "boolean": bool, "string": str, "array": list, "object": dict}


def resolve(document, value):
    """The value, or what its reference names."""
    while "$ref" in value:
        if value["$ref"].startswith("urn:"):
            value = named(document, value["$ref"])
            continue
        place = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            place = place[part]
        value = place
    return value


def named(document, identifier):
    """The schema with an identifier."""
    if isinstance(document, dict) and document.get("$id") == identifier:
        return document
    members = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    return next((found for member in members if (found := named(member, identifier))), None)


def is_of(name, value):
    if name in ("integer", "number"):
        kinds = (int,) if name == "integer" else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


def fits(document, schema, value, place=""):
    """Fails where a value is not as its schema says; knows what the descriptions of answers use."""
    schema = resolve(document, schema)
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    assert not names or any(is_of(name, value) for name in names), (place, names, value)
    assert "const" not in schema or value == schema["const"], (place, value)
    assert "enum" not in schema or value in schema["enum"], (place, value)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            count = sum(is_fitting(document, one, value, place) for one in schema[word])
            # Bounds of numbers and texts are not looked at, so that scalars may fit several.
            assert count == 1 or count > 1 and (word == "anyOf" or not isinstance(value, dict)), (place, count, value)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        assert not set(schema.get("required", [])) - set(value), (place, schema["required"], list(value))
        rest = schema.get("additionalProperties", not properties)
        for key, member in value.items():
            assert key in properties or rest is not False, (place, key)
            one = properties.get(key, rest)
            if isinstance(one, dict):
                fits(document, one, member, f"{place}/{key}")
    if isinstance(value, list):
        for index, element in enumerate(value):
            fits(document, schema.get("items", {}), element, f"{place}/{index}")


def is_fitting(document, schema, value, place):
    try:
        fits(document, schema, value, place)
        return True
    except AssertionError:
        return False


def check(document, operation, reply, path):
    """The status is one of those declared, and the body is as described."""
    assert str(reply.status) in operation["responses"], (path, reply)
    content = resolve(document, operation["responses"][str(reply.status)]).get("content")
    if not content:
        assert not reply.body, (path, reply)
        return
    kind = reply.headers["content-type"].split(";")[0]
    assert kind in content, (path, kind, list(content))
    if kind.endswith("json"):
        fits(document, content[kind].get("schema", {}), reply.json, path)


def references(value):
    """Every reference in a document."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for member in value.values():
            yield from references(member)
    elif isinstance(value, list):
        for element in value:
            yield from references(element)


def test_the_description_holds_for_every_read(binary, kept):
    with Service(binary, "--webhook-host", "localhost:9") as service:
        assert service.get("/openapi.json", token=False).status == 401
        reply = service.get("/openapi.json")
        document = reply.json
        fresh = service.get("/openapi.json", headers={"If-None-Match": reply.headers["etag"]})
        assert fresh.status == 304 and not fresh.body, fresh
        for reference in set(references(document)):
            assert resolve(document, {"$ref": reference}), reference
        job = service.wait(service.submit(mlp(name="described"))["id"])
        hook = service.post("/v1/webhooks", {"url": "http://localhost:9/"}).json["id"]
        delivery = service.post(f"/v1/webhooks/{hook}/test").json["id"]
        values = {"job": job["id"], "mdl": job["result"]["model_id"], "whk": hook}
        for path, item in document["paths"].items():
            if "get" not in item:
                continue
            operation = item["get"]
            parameters = operation.get("parameters", [])
            if any(one.get("required") and one["in"] == "query" for one in parameters):
                continue
            kind = {"/v1/jobs/": "job", "/v1/models/": "mdl", "/v1/webhooks/": "whk"}.get("/".join(path.split("/")[:3]) + "/")
            pattern = path.replace("{name}", "model.safetensors").replace("{delivery}", delivery)
            target = pattern.replace("{id}", values.get(kind, "fashion-mnist")).replace("{type}", "train")
            reply = service.get(target)
            check(document, operation, reply, target)
            assert reply.status < 400 or path.endswith("/adapters"), (target, reply)
            for missing in {pattern.replace("{id}", "none"), pattern.replace("{type}", "none")} - {pattern}:
                reply = service.get(missing)
                assert reply.status == 404, (missing, reply)
                check(document, operation, reply, missing)
        body = {"inputs": [[0] * 784], "raw": True}
        fits(document, document["components"]["schemas"]["PredictionRequest"], body)
        reply = service.post(f"/v1/models/{values['mdl']}/predict", body)
        assert reply.status == 200, reply
        check(document, document["paths"]["/v1/models/{id}/predict"]["post"], reply, "predict")


def test_the_description_holds_for_jobs(binary, kept):
    with Service(binary) as service:
        document = service.get("/openapi.json").json
        schemas = document["components"]["schemas"]
        assert set(schemas["JobRequest"]["discriminator"]["mapping"]) == {
            "train", "prune", "distill", "evaluate", "quantize"}
        body = mlp(name="described")
        fits(document, schemas["JobRequest"], body)
        for wrong in ({**body, "type": "prune"}, {**body, "epochs": 1}, {**body, "labels": {"a": 1}}):
            assert not is_fitting(document, schemas["TrainJobRequest"], wrong, ""), wrong
        submit = document["paths"]["/v1/jobs"]["post"]
        for path, sent, status in (
                ("/v1/jobs?dry_run=true", body, 200), ("/v1/jobs", body, 201), ("/v1/jobs?dry=1", body, 422),
                ("/v1/jobs", {**body, "seed": -1}, 422), ("/v1/jobs", b"{", 400)):
            reply = service.post(path, sent)
            assert reply.status == status, (path, reply)
            check(document, submit, reply, path)
        for path, item in document["paths"].items():
            for method in ("get", "post", "patch", "delete", "put"):
                if method not in item:
                    target = re.sub(r"\{\w+\}", "none", path)
                    reply = service.call(method.upper(), target)
                    assert reply.status == 405, (method, target, reply)


def test_the_examples_work(binary, kept):
    with Service(binary, "--webhook-host", "hooks.example.com") as service:
        document = service.get("/openapi.json").json

        def examples(path, method="post", kind="application/json"):
            content = document["paths"][path][method]["requestBody"]["content"][kind]
            return [one["value"] for one in content["examples"].values()]

        for body in examples("/v1/jobs"):
            fits(document, document["components"]["schemas"]["JobRequest"], body)
            reply = service.post("/v1/jobs?dry_run=true", body)
            assert reply.status == 200, (body, reply)
        for body in examples("/v1/webhooks"):
            reply = service.post("/v1/webhooks", body)
            assert reply.status == 201, (body, reply)
        [opening] = examples("/v1/datasets")
        [table] = examples("/v1/datasets/{id}/files/{name}", "put", "application/octet-stream")
        dataset = service.post("/v1/datasets", opening).json["id"]
        reply = service.call("PUT", f"/v1/datasets/{dataset}/files/train.csv", table.encode(),
                             headers={"Content-Type": "application/octet-stream"})
        assert reply.status == 201, reply
        reply = service.post(f"/v1/datasets/{dataset}/commit")
        assert reply.status == 200 and reply.json["train_count"] > 0, reply


def test_what_was_understood_fits_the_schema_of_its_type(binary, kept):
    layers = [{"type": "conv2d", "out_channels": 4, "kernel_size": 3}, {"type": "batch_norm"}, {"type": "relu"},
              {"type": "max_pool2d", "kernel_size": 2},
              {"type": "residual", "layers": [{"type": "conv2d", "out_channels": 4, "kernel_size": 3, "padding": 1}]},
              {"type": "flatten"}, {"type": "dropout"}, {"type": "linear", "out_features": 10}]
    with Service(binary) as service:
        model = service.wait(service.submit(mlp(train={"steps": 2, "batch_size": 64, "optimizer": {"lr": 0.01}}))["id"])
        stored = {"id": model["result"]["model_id"]}
        short = {"steps": 2, "batch_size": 64, "optimizer": {"lr": 0.01}}
        bodies = [
            mlp(), mlp(model={"input": [1, 28, 28], "layers": layers}, train=short), mlp(model=stored, train=short),
            {"type": "distill", "dataset": "fashion-mnist", "model": {"input": [1, 28, 28], "layers": layers},
             "distill": {"teacher": stored}, "train": short},
            {"type": "prune", "dataset": "fashion-mnist", "model": stored, "prune": {}, "train": short},
            {"type": "evaluate", "dataset": "fashion-mnist", "model": stored},
            {"type": "quantize", "dataset": "fashion-mnist", "model": stored}]
        for body in bodies:
            schema = service.get(f"/v1/schemas/{body['type']}").json
            fits(schema, schema, body)
            reply = service.post("/v1/jobs?dry_run=true", body)
            assert reply.status == 200, (body, reply)
            fits(schema, schema, reply.json["spec"])
        wrong = mlp(model={"input": [1, 28, 28], "layers": [{"type": "relu", "out_channels": 3, "kernel_size": 3}]})
        schema = service.get("/v1/schemas/train").json
        assert not is_fitting(schema, schema, wrong, "")

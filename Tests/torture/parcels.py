"""Datasets and models that clients of a torture send, and webhooks that they make; and what must be there of them."""

import functools
import hashlib
import http.server
import json
import random
import struct
import threading

from test_import import written
from test_uploads import arrays
from test_webhooks import checked

# What may be kept at once; beyond it clients delete.
DATASETS_MAX, MODELS_MAX, WEBHOOKS_MAX = 6, 6, 6
# What the names of datasets and models begin with.
UPLOADED, IMPORTED = "up-", "in-"
BINARY = {"Content-Type": "application/octet-stream"}


class Receiver:
    """Takes every message while servers come and go, and keeps which job it told of, by webhook."""

    def __init__(self):
        self.lock, self.told, self.secrets, self.count = threading.Lock(), {}, {}, 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                outer.take(self.path[1:], dict(self.headers.items()),
                           self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, name, headers, body):
        message = json.loads(body)
        with self.lock:
            self.count += 1
            if name in self.secrets:
                message = checked(self.secrets[name], headers, body)
            self.told.setdefault(name, set()).add((message["data"]["id"], message["type"]))

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@functools.cache
def weights(seed):
    """One of four models' files, of 17 KB to 1 MB."""
    width, draw = 64 << seed, random.Random(seed)
    model = {"input": [width], "layers": [{"type": "linear", "name": "fc", "out_features": width}]}
    numbers = [struct.pack(f"<{count}f", *(draw.gauss(0, 1) for _ in range(count))) for count in (width * width, width)]
    return written({"vintner.model": json.dumps(model)},
                   {"fc.weight": ("F32", [width, width], numbers[0]), "fc.bias": ("F32", [width], numbers[1])})


class Parcels:
    """What the clients know of their uploads, imports and webhooks, by name."""

    def __init__(self, receiver):
        self.lock, self.receiver = threading.Lock(), receiver
        self.datasets, self.models, self.webhooks, self.contents = {}, {}, {}, {}

    def take(self, known, condition):
        """One that nobody else handles meanwhile."""
        with self.lock:
            fitting = [one for one in known.values() if not one["busy"] and condition(one)]
            if not fitting:
                return None
            fitting[0]["busy"] = True
            return fitting[0]

    # What clients do

    def upload(self, client):
        """Uploads a dataset, commits it most of the time, deletes one where there are many."""
        if sum(not one["gone"] for one in self.datasets.values()) >= DATASETS_MAX:
            return self.delete(client, self.datasets, "/v1/datasets")
        seed = client.draw.randrange(4)
        name = f"{UPLOADED}{seed}-{client.draw.getrandbits(64):016x}"
        known = {"name": name, "seed": seed, "id": None, "files": {}, "sha256": None, "gone": False, "busy": True}
        with self.lock:
            self.datasets[name] = known
        reply = client.ask("POST", "/v1/datasets", {"name": name, "format": "npy"}, (201,))
        if not reply:
            known.update(gone=True)
            return None
        known["id"] = reply.json["id"]
        client.witness.acknowledge(dataset=known["id"], state="open")
        for file, data in arrays(40, 20, seed).items():
            path = f"/v1/datasets/{known['id']}/files/{file}.npy"
            if not client.ask("PUT", path, data, (201,), BINARY):
                break
            known["files"][f"{file}.npy"] = hashlib.sha256(data).hexdigest()
            client.witness.acknowledge(dataset=known["id"], file=file)
        if len(known["files"]) == 4 and client.draw.random() < 0.8:
            reply = client.ask("POST", f"/v1/datasets/{known['id']}/commit", {}, (200,))
            if reply:
                known["sha256"] = reply.json["sha256"]
                client.witness.acknowledge(dataset=known["id"], state="ready")
        known["busy"] = False
        return None

    def import_model(self, client):
        """Sends a model, or deletes one where there are many."""
        if sum(not one["gone"] for one in self.models.values()) >= MODELS_MAX:
            return self.delete(client, self.models, "/v1/models")
        data = weights(client.draw.randrange(4))
        name = f"{IMPORTED}{client.draw.getrandbits(64):016x}"
        known = {"name": name, "id": None, "sha256": hashlib.sha256(data).hexdigest(), "gone": False, "busy": True}
        with self.lock:
            self.models[name] = known
        client.witness.note(imports=name)
        reply = client.ask("POST", f"/v1/models?name={name}", data, (201,), BINARY)
        if reply:
            known["id"] = reply.json["id"]
            client.witness.acknowledge(model=known["id"], name=name)
        known.update(gone=not reply, busy=False)
        return None

    def hook(self, client):
        """Makes a webhook, or deletes one where there are many."""
        if sum(not one["gone"] for one in self.webhooks.values()) >= WEBHOOKS_MAX:
            return self.delete(client, self.webhooks, "/v1/webhooks")
        name = f"{client.draw.getrandbits(64):016x}"
        known = {"name": name, "id": None, "gone": False, "busy": True}
        with self.lock:
            self.webhooks[name] = known
        reply = client.ask("POST", "/v1/webhooks", {"url": f"http://{self.receiver.host}/{name}"}, (201,))
        if reply:
            self.receiver.secrets[name] = reply.json["secret"]
            known["id"] = reply.json["id"]
            client.witness.acknowledge(webhook=known["id"])
        known.update(gone=not reply, busy=False)
        return None

    def delete(self, client, known, path):
        one = self.take(known, lambda one: one["id"] and not one["gone"] and not one.get("reserved"))
        if one:
            client.witness.note(asks="delete", parcel=one["id"])
            # Whether it happened is not known until the answer comes.
            one["gone"] = "asked"
            if client.ask("DELETE", f"{path}/{one['id']}", None, (204,)):
                client.witness.acknowledge(action="delete", parcel=one["id"])
                one["gone"] = True
            else:
                one["gone"] = False
            one["busy"] = False

    # What must be there

    def compare(self, service):
        """What was acknowledged and is lost, as sentences; takes over what came of unanswered requests."""
        return self.compare_datasets(service) + self.compare_models(service) + self.compare_webhooks(service)

    def compare_datasets(self, service):
        wrong = []
        found = {one["name"]: one for one in every(service, "/v1/datasets") if one["name"].startswith(UPLOADED)}
        for name, known in self.datasets.items():
            one = found.pop(name, None)
            known["busy"] = False
            if one is None:
                if known["id"] and not known["gone"]:
                    wrong.append(f"the dataset {known} is lost")
                known["gone"] = True
                continue
            if known["gone"] is True and known["id"]:
                wrong.append(f"the dataset {known} was deleted and is back")
            known.update(gone=False, id=one["id"])
            if one["state"] == "open":
                files = {file["name"]: file["sha256"] for file in service.get(f"/v1/datasets/{one['id']}").json["files"]}
                missing = [file for file, sha256 in known["files"].items() if files.get(file) != sha256]
                if missing or known["sha256"]:
                    wrong.append(f"of {known} are left {one} with {files}")
            elif one["state"] == "ready":
                expected = self.contents.setdefault(known["seed"], known["sha256"] or one["sha256"])
                if one["sha256"] != expected:
                    wrong.append(f"{known} is now {one}")
        return wrong + [f"nobody uploaded {one}" for one in found.values()]

    def compare_models(self, service):
        found = {one["name"]: one for one in every(service, "/v1/models") if one["name"].startswith(IMPORTED)}
        wrong = []
        for name, one in found.items():
            body = service.get(f"/v1/models/{one['id']}/download?format=sparse").body
            sums = {one["sha256"], hashlib.sha256(body).hexdigest()}
            if name in self.models and sums != {self.models[name]["sha256"]}:
                wrong.append(f"the model {self.models[name]} is now {one}")
        return wrong + self.match("model", self.models, found)

    def compare_webhooks(self, service):
        found = {one["url"].rsplit("/", 1)[1]: one for one in service.get("/v1/webhooks").json["data"]}
        return self.match("webhook", self.webhooks, found)

    @staticmethod
    def match(kind, known, found):
        """What is lost, back or nobody's of what is there whole or not at all."""
        wrong = []
        for name, one in known.items():
            there = found.pop(name, None)
            one["busy"] = False
            if there is None and one["id"] and not one["gone"]:
                wrong.append(f"the {kind} {one} is lost")
            if there and one["gone"] is True and one["id"]:
                wrong.append(f"the {kind} {one} was deleted and is back")
            one.update(gone=not there, id=there["id"] if there else one["id"])
        return wrong + [f"nobody made the {kind} {one}" for one in found.values()]

    def untold(self, name, jobs):
        """Jobs whose end a webhook was never told of, though it was there before them."""
        with self.receiver.lock:
            told = self.receiver.told.get(name, set())
            return [job["id"] for job in jobs if (job["id"], f"job.{job['state']}") not in told]


def every(service, path):
    """All of a list."""
    found, after = [], ""
    while True:
        page = service.get(f"{path}?limit=100{after}").json
        found += page["data"]
        if not page.get("has_more"):
            return found
        after = f"&after={page['next_cursor']}"

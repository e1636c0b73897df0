"""What the clients of a torture do: a mixed load of requests, each written down before and after."""

import http.client
import json
import os
import random
import struct
import subprocess
import tempfile
import threading
import time
import uuid

CLASSES, SIDE, TRAIN_COUNT, TEST_COUNT = 4, 12, 512, 128
# What may be open at once; more would only wait.
OPEN_MAX = 14


def write_dataset(folder, seed=5):
    """Images of bars at one of four places, with noise: an IDX dataset that a small net learns in part."""
    draw = random.Random(seed)
    for split, count in (("train", TRAIN_COUNT), ("t10k", TEST_COUNT)):
        images, labels = bytearray(), bytearray()
        for _ in range(count):
            label = draw.randrange(CLASSES)
            labels.append(label)
            for row in range(SIDE):
                for column in range(SIDE):
                    bar = row // 3 == label if (column + row) % 2 else column // 3 == label
                    images.append(min(255, draw.randrange(150) + (60 if bar else 0)))
        with open(f"{folder}/{split}-images-idx3-ubyte", "wb") as file:
            file.write(struct.pack(">IIII", 0x803, count, SIDE, SIDE) + images)
        with open(f"{folder}/{split}-labels-idx1-ubyte", "wb") as file:
            file.write(struct.pack(">II", 0x801, count) + labels)


def net(width):
    """A small convolutional net with everything that has a state: batch normalisation, dropout."""
    return {"input": [1, SIDE, SIDE], "layers": [
        {"type": "conv2d", "out_channels": width, "kernel_size": 3, "padding": 1}, {"type": "batch_norm"},
        {"type": "relu"}, {"type": "max_pool2d", "kernel_size": 2}, {"type": "flatten"},
        {"type": "dropout", "p": 0.2}, {"type": "linear", "out_features": CLASSES}]}


def train(seed, width, epochs, optimizer):
    """A training that stores a best checkpoint now and then, and a last one each second."""
    return {"type": "train", "dataset": "bars", "seed": seed, "threads": 1, "model": net(width), "train": {
        "epochs": epochs, "batch_size": 32, "optimizer": optimizer, "checkpoint_every_seconds": 1}}


# By name: what to submit, and by which name the job is that it needs.
TEMPLATES = {
    "sgd": (train(1, 8, 150, {"name": "sgd", "lr": 0.02, "momentum": 0.9}), None),
    "adam": (train(2, 16, 150, {"name": "adamw", "lr": 0.002}), None),
    "short": (train(3, 4, 3, {"name": "sgd", "lr": 0.05}), None),
    "pruned": ({"type": "prune", "dataset": "bars", "seed": 4, "threads": 1,
                "prune": {"target_sparsity": 0.5, "finetune": {"epochs": 60}},
                "train": {"batch_size": 32, "optimizer": {"name": "sgd", "lr": 0.02},
                          "checkpoint_every_seconds": 1}}, "sgd"),
    "taught": ({**train(6, 4, 25, {"name": "sgd", "lr": 0.05}), "type": "distill", "distill": {"seeds": 2}}, "sgd"),
    "measured": ({"type": "evaluate", "dataset": "bars", "threads": 1}, "pruned"),
    "later": (train(5, 4, 5, {"name": "sgd", "lr": 0.05}), "adam"),
}


class Failed(Exception):
    """The service did what it must not; ends the torture."""


class Draining(Exception):
    """The server shuts down and took nothing."""


class Witness:
    """Remembers what was acknowledged, and in a file that is only ever appended to."""

    def __init__(self, path):
        self.lock, self.jobs, self.pending = threading.Lock(), {}, []
        self.acknowledged = self.submitted = self.compared = self.resumed = self.quarantined = self.refused = 0
        self.file = open(path, "a", encoding="utf-8")  # pylint: disable=consider-using-with

    def note(self, **entry):
        """Appends a line before anything else is done."""
        self.file.write(json.dumps({"at": time.time(), **entry}) + "\n")
        self.file.flush()

    def acknowledge(self, **entry):
        """Notes an answer of 2xx."""
        with self.lock:
            self.acknowledged += 1
            self.note(acknowledged=True, **entry)

    def open_count(self):
        """How many jobs have not ended, as far as was seen."""
        with self.lock:
            return sum(not job["over"] and not job["deleted"] for job in self.jobs.values())


class Client(threading.Thread):
    """One client: does one random thing after the other until told to stop or nobody answers."""

    def __init__(self, service, witness, seed, parcels=None):
        super().__init__(daemon=True)
        self.service, self.witness, self.draw, self.parcels = service, witness, random.Random(seed), parcels
        self.stop = threading.Event()
        self.fault = None

    def run(self):
        try:
            while not self.stop.is_set():
                self.act()
        except (OSError, http.client.HTTPException):
            pass  # The server is gone.
        except Draining:
            pass
        except Failed as fault:
            self.fault = fault

    def act(self):
        """One thing; what has been sent and not answered stays in the witness's mind."""
        action = self.draw.choices(
            [self.submit, self.submit_chain, self.cancel, self.retry, self.pause, self.resume, self.delete, self.look,
             self.update, self.handle_parcels], [60, 30, 6, 8, 10, 40, 6, 30, 10, 12])[0]
        action()
        # A client thinks, too.
        self.stop.wait(self.draw.uniform(0, 0.02))

    def ask(self, method, path, body, expected, headers=None):
        """An answer of one of the statuses expected; `None` where there was no room or it was too late."""
        reply = self.service.call(method, path, body, headers=headers)
        refuse_if_draining(self.witness, reply)
        if reply.status in (404, 409, 503):
            return None
        if reply.status not in expected:
            raise Failed(f"{method} {path}: {reply}")
        return reply

    def handle_parcels(self):
        if self.parcels:
            self.draw.choice([self.parcels.upload, self.parcels.import_model, self.parcels.hook])(self)

    # Submitting

    def submit(self, name=None, needs=None):
        if self.witness.open_count() >= OPEN_MAX and not name:
            return self.look()
        name = name or self.draw.choice(["sgd", "adam", "short", "short"])
        return send_submission(self.service, self.witness, {
            "key": str(uuid.UUID(int=self.draw.getrandbits(128))), "template": name, "needs": needs})

    def submit_chain(self):
        if self.witness.open_count() >= OPEN_MAX:
            return self.look()
        names = self.draw.choice([("adam", "later"), ("sgd", "pruned", "measured"), ("sgd", "taught")])
        last = None
        for name in names:
            last = self.submit(name, [last] if last else None)
            if not last:
                return None
        return last

    # Steering

    def take(self, condition):
        """A job that nobody else steers meanwhile."""
        with self.witness.lock:
            fitting = [job for job in self.witness.jobs.values()
                       if not job["busy"] and not job["reserved"] and condition(job)]
            if not fitting:
                return None
            job = self.draw.choice(fitting)
            job["busy"] = True
            return job

    def steer(self, action, condition, expected):
        job = self.take(condition)
        if not job:
            return
        self.witness.note(asks=action, job=job["id"])
        job["asked"].add(action)
        if action == "resume":
            job["paused"] = False
        if action == "retry":
            # What it comes to is yet to be seen.
            job["cancelled"] = job["seen"] = False
        # An answer that never comes leaves the job busy until the server is back and says how it is.
        if action == "delete":
            reply = self.service.call("DELETE", f"/v1/jobs/{job['id']}")
        else:
            reply = self.service.post(f"/v1/jobs/{job['id']}/{action}")
        refuse_if_draining(self.witness, reply)
        if reply.status not in (*expected, 409):
            raise Failed(f"{action} of {job['id']}: {reply}")
        if reply.status in expected:
            self.witness.acknowledge(action=action, job=job["id"])
            job["paused"] = action == "pause"
            job["cancelled"] = job["cancelled"] or action == "cancel"
            job["deleted"] = action == "delete"
            if action == "resume":
                job["asked"] -= {"pause", "resume"}
            if action == "retry":
                job["over"] = False
        job["busy"] = False

    def cancel(self):
        self.steer("cancel", lambda job: not job["over"] and not job["deleted"], (200, 202))

    def retry(self):
        """Lets a cancelled job go on, unless what it needs is gone or just going."""
        def can_go_on(job):
            needs = [self.witness.jobs[one] for one in job["needs"]]
            return job["cancelled"] and not job["deleted"] and not any(
                one["busy"] or "delete" in one["asked"] for one in needs)

        if self.witness.open_count() < OPEN_MAX:
            self.steer("retry", can_go_on, (200,))

    def pause(self):
        self.steer("pause", lambda job: not job["over"] and not job["deleted"], (200, 202))

    def resume(self):
        self.steer("resume", lambda job: "pause" in job["asked"] and not job["deleted"], (200, 202))

    def delete(self):
        """Deletes a job that is over, unless another that needs it may go on yet."""
        def can_go(job):
            return job["over"] and job["seen"] and not job["deleted"] and not any(
                job["id"] in other["needs"] and not other["deleted"] and (other["cancelled"] or other["busy"])
                for other in self.witness.jobs.values())

        self.steer("delete", can_go, (204,))

    def update(self):
        job = self.take(lambda job: not job["deleted"])
        if job:
            reply = self.service.call("PATCH", f"/v1/jobs/{job['id']}", {"priority": self.draw.randrange(-5, 6)})
            refuse_if_draining(self.witness, reply)
            if reply.status != 200:
                raise Failed(f"PATCH of {job['id']}: {reply}")
            self.witness.acknowledge(action="update", job=job["id"])
            job["busy"] = False

    # Looking

    def look(self):
        job = self.take(lambda job: not job["deleted"])
        if not job:
            return
        reply = self.service.get(f"/v1/jobs/{job['id']}")
        if reply.status != 200:
            raise Failed(f"GET of the acknowledged {job['id']}: {reply}")
        job["over"] = reply.json["is_terminal"]
        job["busy"] = False


def refuse_if_draining(witness, reply):
    """Counts a request that came after SIGTERM; nobody asks on then."""
    if reply.status == 503 and reply.json["code"] == "draining":
        with witness.lock:
            witness.refused += 1
        raise Draining


def send_submission(service, witness, order):
    """Posts a job under its key; returns the job's identifier, None where what it needs is there no more.

    The order stays open until it is answered.
    """
    body, needs = TEMPLATES[order["template"]][0], order["needs"]
    body = {**body, "name": order["key"], "labels": {"template": order["template"]}}
    if needs and body["type"] in ("prune", "evaluate"):
        body["model"] = {"job": needs[0]}
    elif needs and body["type"] == "distill":
        body["distill"] = {**body["distill"], "teacher": {"job": needs[0]}}
    elif needs:
        body["depends_on"] = needs
    with witness.lock:
        witness.note(submits=order)
        if order not in witness.pending:
            witness.pending.append(order)
    reply = service.post("/v1/jobs", body, headers={"Idempotency-Key": order["key"]})
    refuse_if_draining(witness, reply)
    if reply.status in (409, 422) and needs:
        # What it needs was cancelled or deleted meanwhile.
        with witness.lock:
            witness.pending.remove(order)
        return None
    if reply.status not in (200, 201):
        raise Failed(f"submission {order}: {reply}")
    job = reply.json["id"]
    witness.acknowledge(job=job, **order)
    with witness.lock:
        witness.pending.remove(order)
        witness.submitted += 1
        witness.jobs[job] = {
            "id": job, "key": order["key"], "template": order["template"], "needs": needs or [],
            # What was asked of it, answered or not; what was acknowledged; what was seen of it.
            "asked": set(), "paused": False, "cancelled": False, "deleted": False, "over": False, "seen": False,
            # In somebody's hands; for as long as the server runs, or for good.
            "busy": False, "reserved": False}
    return job


def add_dataset(binary, data):
    """Adds the dataset to a data folder."""
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(folder)
        subprocess.run([os.path.abspath(binary), "datasets", "add", "bars", folder, "--data", data],
                       check=True, capture_output=True)


def upload(service, name, form, files):
    """Uploads a dataset; its id."""
    id = service.post("/v1/datasets", {"name": name, "format": form}).json["id"]
    for file, data in files.items():
        reply = service.call("PUT", f"/v1/datasets/{id}/files/{file}", data,
                             headers={"Content-Type": "application/octet-stream"})
        if reply.status != 201:
            raise Failed(f"{file}: {reply}")
    reply = service.post(f"/v1/datasets/{id}/commit")
    if reply.status != 200:
        raise Failed(f"the commit of {name}: {reply}")
    return id


def dismiss(clients):
    """Ends clients, and raises what one of them found wrong."""
    for client in clients:
        client.stop.set()
    for client in clients:
        client.join()
        if client.fault:
            raise client.fault

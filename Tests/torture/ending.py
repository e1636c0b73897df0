"""The end of a torture: every job driven to its end, every webhook told, a healthy folder."""

import shutil
import subprocess
import time

from load import Failed
from parcels import every


def finish(torture):
    """Drives every job to its end, compares all, stops in peace; the folder must be healthy then."""
    row = {"lost": 0, "doubled": 0, "left_over": 0}
    service = torture.server(torture.release)
    service.start()
    torture.check_start(service, row)
    deadline = time.monotonic() + 200
    while True:
        found = {job["id"]: job for job in every(service, "/v1/jobs")}
        waiting = [job for job in found.values() if not settle(torture, service, job, found)]
        if not waiting:
            break
        if time.monotonic() > deadline:
            raise Failed(f"these do not end: {[(job['id'], job['state'], job['reason']) for job in waiting]}")
        time.sleep(0.2)
    # A model outlives the job that made it, without its name.
    models = [model["job_id"] for model in every(service, "/v1/models") if model["job_id"]]
    if len(models) != len(set(models)):
        raise Failed("a job has published two models")
    ended = list(found.values())
    while untold := torture.parcels.untold("all", ended):
        if time.monotonic() > deadline:
            raise Failed(f"the webhook was never told of {untold}")
        time.sleep(0.1)
    if service.terminate() != 0:
        raise Failed(f"SIGTERM: {service.log.decode()}")
    done = subprocess.run([torture.release, "doctor", "--json", "--data", torture.data], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        raise Failed(f"the folder is not healthy in the end: {done.stdout}")
    if any(row.values()):
        raise Failed(f"in the end: {row}")
    torture.parcels.receiver.close()
    shutil.rmtree(torture.home)


def settle(torture, service, job, found):
    """Whether a job is where it should end; moves it on where it is not."""
    known = torture.witness.jobs[job["id"]]
    if job["state"] == "succeeded":
        if not known["seen"]:
            torture.judge(service, known, job)
        return True
    if job["state"] == "paused":
        service.post(f"/v1/jobs/{job['id']}/resume")
    elif job["state"] == "failed":
        if job["error"]["code"] != "worker_crash":
            raise Failed(f"{job['id']} ({known['template']}) failed: {job['error']}")
        torture.witness.quarantined += 1
        service.post(f"/v1/jobs/{job['id']}/retry")
    elif job["state"] == "cancelled":
        if (job["reason"] or {}).get("code") != "dependency_failed":
            if "cancel" not in known["asked"]:
                raise Failed(f"nobody cancelled {job}")
            return True
        needed = [found.get(one) for one in known["needs"]]
        if any(one is None or one["state"] == "cancelled" for one in needed):
            return True
        if all(one["state"] not in ("failed",) for one in needed):
            service.post(f"/v1/jobs/{job['id']}/retry")
    return False

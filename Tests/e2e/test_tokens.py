"""Named tokens: given out, limited to their scopes, taken back, while the server runs."""

import json
import subprocess

from service import Service, mlp


def command(binary, service, *words, status=0):
    done = subprocess.run([binary, "token", *words, "--data", service.data], capture_output=True, text=True)
    assert done.returncode == status, (words, done)
    return done.stdout.strip() if status == 0 else done.stderr


def test_tokens_are_limited_and_taken_back(binary, kept):
    with Service(binary) as service:
        def ask(token, method="GET", path="/v1/jobs", body=None):
            return service.call(method, path, body, token=False, headers={"Authorization": f"Bearer {token}"}).status

        eye = command(binary, service, "add", "eye")
        ci = command(binary, service, "add", "ci", "--scope", "read", "--scope", "submit", "--expires-days", "30")
        body = {**mlp(), "train": {"steps": 1}}
        assert ask(eye) == ask(ci) == 200
        assert ask(eye, "POST", body=body) == 403 and ask(ci, "POST", body=body) == 201
        job = service.get("/v1/jobs").json["data"][0]["id"]
        service.wait(job)
        assert ask(ci, "DELETE", f"/v1/jobs/{job}") == 403

        listed = command(binary, service, "list").splitlines()
        assert [line.split() for line in listed[1:]] == [
            ["eye", "read", "for", "ever"], ["ci", "read,submit", "30", "days", "left"]], listed
        assert eye not in "".join(listed) and ci not in "".join(listed)
        assert "already" in command(binary, service, "add", "ci", status=1)
        assert "owner" in command(binary, service, "add", "owner", status=1)
        command(binary, service, "add", "x", "--scope", "everything", status=5)
        command(binary, service, "add", "x", "--expires-days", "0", status=5)

        session = service.call("POST", "/v1/session", {}, token=False, headers={"Authorization": f"Bearer {eye}"})
        assert session.status == 201, session
        cookie = {"Cookie": session.headers["set-cookie"].split(";")[0], "Sec-Fetch-Site": "same-origin"}
        assert service.call("GET", "/v1/jobs", token=False, headers=cookie).status == 200
        command(binary, service, "revoke", "eye")
        assert ask(eye) == 401 and ask(ci) == 200
        assert service.call("GET", "/v1/jobs", token=False, headers=cookie).status == 401
        assert "no token" in command(binary, service, "revoke", "eye", status=1)

        # Each change that was tried is in the log, with who tried it and what came of it.
        lines = [json.loads(line) for line in service.log.decode().splitlines() if line.startswith("{")]
        tried = [(one["method"], one["path"], one["principal"], one["status"])
                 for one in lines if one["message"] == "request"]
        assert ("POST", "/v1/jobs", "ci", "201") in tried and ("POST", "/v1/jobs", "eye", "403") in tried, tried
        assert ("DELETE", f"/v1/jobs/{job}", "ci", "403") in tried, tried
        assert all(one["request_id"].startswith("req_") and one["peer"] for one in lines if one["message"] == "request")
        assert eye not in service.log.decode() and ci not in service.log.decode()

        # So is who may: also where nothing else is written.
        assert service.call("PUT", "/v1/system/log-level", {"level": "error"}).status == 200
        spy = command(binary, service, "add", "spy", "--scope", "admin")
        assert ask(spy, "PUT", "/v1/system/log-level", {"level": "loud"}) == 422
        command(binary, service, "revoke", "spy")
        assert ask(spy) == 401
        lines = [json.loads(line) for line in service.log.decode().splitlines() if line.startswith("{")]
        said = [one["message"] for one in lines]
        for words in ("token eye is valid, for: read", "token eye is gone", "token spy is valid, for: admin",
                      "token spy is gone"):
            assert words in said, (words, said)
        puts = [(one["principal"], one["status"]) for one in lines if one.get("method") == "PUT"]
        assert puts == [("owner", "200"), ("spy", "422")], puts
        assert spy not in service.log.decode()

        service.kill()
        service.start()
        assert ask(ci) == 200 and ask(eye) == 401

import HTTP
import JSON
import Jobs
import Testing

@Suite("The job routes") struct JobRoutesTests {
    @Test("store a job and show every field the contract names")
    func submits() throws {
        let stage = try Backstage()
        let answer = try stage.answer(
            .post, "/v1/jobs",
            body: ["type": "train", "name": "lenet", "labels": ["commit": "abc"], "seed": 7])
        #expect(answer.status == 201)
        let id = try #require(answer.json["id"]?.stringValue)
        #expect(answer["Location"] == "/v1/jobs/\(id)")
        let fields = [
            "id", "object", "type", "name", "labels", "priority", "state", "is_terminal", "reason",
            "waiting_for",
            "queue_position", "created_at", "started_at", "finished_at", "attempt", "max_attempts",
            "progress",
            "summary", "resources", "spec", "result", "error", "transitions", "version",
        ]
        let keys = Set(answer.json.objectValue?.keys ?? [])
        #expect(keys.isSuperset(of: fields))
        #expect(answer.json["state"] == "queued" && answer.json["is_terminal"] == false)
        #expect(answer.json["labels"] == ["commit": "abc"] && answer.json["spec"]?["seed"] == 7)
        #expect(answer.json["queue_position"] == 0 && answer.json["object"] == "job")
        #expect(answer.json["progress"]?["fraction"]?.doubleValue == 0)
        #expect(answer.json["transitions"]?[0]?["state"] == "queued")
        #expect(try stage.answer(.get, "/v1/jobs/\(id)").json == answer.json)
    }

    @Test("report every violation of a body with its pointer")
    func reportsViolations() throws {
        let answer = try Backstage().answer(
            .post, "/v1/jobs", body: ["type": 3, "sede": 1, "seed": "big", "labels": ["a": 1]])
        #expect(answer.status == 422 && answer.code == "invalid_request")
        let pointers = answer.json["errors"]?.arrayValue?.compactMap { $0["pointer"]?.stringValue } ?? []
        #expect(Set(pointers) == ["/type", "/sede", "/seed", "/labels/a"])
        let unknown = answer.json["errors"]?.arrayValue?.first { $0["pointer"] == "/sede" }
        #expect(unknown?["detail"] == "unknown field \"sede\"; did you mean \"seed\"?")
    }

    @Test("refuse what is no JSON, more threads than there are, and unknown parameters")
    func refusesBodies() throws {
        let stage = try Backstage()
        let broken = try stage.answer(.post, "/v1/jobs", bytes: Array("{\"type\": }".utf8))
        #expect(broken.status == 400 && broken.code == "malformed_json")
        #expect(broken.json["detail"]?.stringValue?.contains("line 1, column 10") == true)
        let garbage = [UInt8](repeating: 0x5B, count: 1 << 20)
        #expect(try stage.answer(.post, "/v1/jobs", bytes: garbage).status == 400)
        let greedy = try stage.answer(.post, "/v1/jobs", body: ["type": "train", "threads": 64])
        #expect(greedy.status == 422 && greedy.json["errors"]?[0]?["pointer"] == "/threads")
        let misspelt = try stage.answer(.post, "/v1/jobs?dryrun=true", body: ["type": "train"])
        #expect(misspelt.status == 422 && misspelt.json["errors"]?[0]?["pointer"] == "?dryrun")
        #expect(
            misspelt.json["detail"] == "unknown query parameter \"dryrun\"; did you mean \"dry_run\"?")
        #expect(try stage.answer(.get, "/v1/jobs").json["data"] == [])
    }

    @Test("answer a dry run with the resolved spec and store nothing")
    func dryRuns() throws {
        let stage = try Backstage()
        let answer = try stage.answer(.post, "/v1/jobs?dry_run=true", body: ["type": "train"])
        #expect(answer.status == 200 && answer.json["estimate"] == ["parameters": 10])
        #expect(answer.json["spec"]?["seed"] == 0)
        #expect(try stage.answer(.get, "/v1/jobs").json["data"] == [])
    }

    @Test("make one job of one idempotency key")
    func repeats() throws {
        let stage = try Backstage()
        let body: JSONValue = ["type": "train", "seed": 1]
        let headers: Headers = ["Idempotency-Key": "k1"]
        let first = try stage.answer(.post, "/v1/jobs", headers: headers, body: body)
        let again = try stage.answer(.post, "/v1/jobs", headers: headers, body: body)
        #expect(first.status == 201 && first["Idempotency-Replayed"] == nil)
        #expect(again.status == 200 && again["Idempotency-Replayed"] == "true")
        #expect(again.json["id"] == first.json["id"])
        let other = try stage.answer(.post, "/v1/jobs", headers: headers, body: ["type": "train", "seed": 2])
        #expect(other.status == 409 && other.code == "idempotency_conflict")
        // The key outlives the job: a request that is repeated makes no second one.
        let id = try #require(first.json["id"]?.stringValue)
        _ = try stage.answer(.post, "/v1/jobs/\(id)/cancel")
        #expect(try stage.answer(.delete, "/v1/jobs/\(id)").status == 204)
        let late = try stage.answer(.post, "/v1/jobs", headers: headers, body: body)
        #expect(late.status == 409 && late.code == "job_deleted")
        #expect(late.json["detail"]?.stringValue?.contains(id) == true)
        #expect(try stage.answer(.get, "/v1/jobs").json["data"] == [])
    }

    @Test("list pages that neither skip nor repeat while jobs are added")
    func lists() throws {
        let stage = try Backstage()
        let ids = try (0..<5).map {
            try stage.submit(["type": "train", "name": "job \($0)", "labels": ["n": "\($0 % 2)"]])
        }
        let first = try stage.answer(.get, "/v1/jobs?limit=2")
        #expect(first.json["object"] == "list" && first.json["has_more"] == true)
        _ = try stage.submit()
        let cursor = try #require(first.json["next_cursor"]?.stringValue)
        let second = try stage.answer(.get, "/v1/jobs?limit=10&after=\(cursor)")
        let seen = [first, second].flatMap { $0.json["data"]?.arrayValue ?? [] }.compactMap {
            $0["id"]?.stringValue
        }
        #expect(seen == ids.reversed())
        #expect(second.json["has_more"] == false && second.json["next_cursor"] == .null)
        let odd = try stage.answer(.get, "/v1/jobs?label.n=1&state=queued,running&type=train&sort=created_at")
        #expect(odd.json["data"]?.arrayValue?.map { $0["name"] } == ["job 1", "job 3"])
        #expect(try stage.answer(.get, "/v1/jobs?name=job 2").json["data"]?.arrayValue?.count == 1)
    }

    @Test(
        "refuse list parameters that are wrong",
        arguments: [
            ("state=done", "?state", "invalid_value"), ("type=train,trian", "?type", "invalid_value"),
            ("limit=0", "?limit", "out_of_range"),
            ("limit=x", "?limit", "wrong_type"), ("after=zzz", "?after", "invalid_cursor"),
            ("sort=size", "?sort", "invalid_value"), ("stat=queued", "?stat", "unknown_parameter"),
            ("created_after=soon", "?created_after", "invalid_value"),
            ("limit=1&limit=2", "?limit", "invalid_value"),
            ("label.a=b&label.a=c", "?label.a", "invalid_value"),
        ])
    func refusesParameters(query: String, pointer: String, code: String) throws {
        let answer = try Backstage().answer(.get, "/v1/jobs?\(query)")
        #expect(answer.status == 422)
        #expect(answer.json["errors"]?[0]?["pointer"]?.stringValue == pointer)
        #expect(answer.json["errors"]?[0]?["code"]?.stringValue == code)
    }

    @Test("steer a job, and say which state forbids it")
    func steers() throws {
        let stage = try Backstage()
        let id = try stage.submit()
        let paused = try stage.answer(.post, "/v1/jobs/\(id)/pause")
        #expect(paused.status == 200 && paused.json["state"] == "paused")
        let resumed = try stage.answer(.post, "/v1/jobs/\(id)/resume", body: [:])
        #expect(resumed.status == 200 && resumed.json["state"] == "queued")
        let changed = try stage.answer(
            .patch, "/v1/jobs/\(id)", body: ["priority": 5, "name": "new", "labels": ["a": "b"]])
        #expect(changed.json["priority"] == 5 && changed.json["name"] == "new")
        let cleared = try stage.answer(.patch, "/v1/jobs/\(id)", body: ["priority": .null, "name": .null])
        #expect(cleared.json["priority"] == 0 && cleared.json["name"] == "")
        #expect(cleared.json["labels"] == ["a": "b"])
        let cancelled = try stage.answer(.post, "/v1/jobs/\(id)/cancel")
        #expect(cancelled.status == 200 && cancelled.json["state"] == "cancelled")
        #expect(cancelled.json["reason"]?["code"] == "cancelled_by_client")
        let refused = try stage.answer(.post, "/v1/jobs/\(id)/pause")
        #expect(
            refused.status == 409 && refused.code == "job_state_conflict"
                && refused.json["state"] == "cancelled")
        let retried = try stage.answer(.post, "/v1/jobs/\(id)/retry", body: ["from": "scratch"])
        #expect(retried.status == 200 && retried.json["state"] == "queued")
        #expect(try stage.answer(.post, "/v1/jobs/\(id)/cancel", body: ["now": true]).status == 422)
        #expect(try stage.answer(.delete, "/v1/jobs/\(id)").status == 409)
        _ = try stage.answer(.post, "/v1/jobs/\(id)/cancel")
        #expect(try stage.answer(.delete, "/v1/jobs/\(id)").status == 204)
        #expect(try stage.answer(.get, "/v1/jobs/\(id)").code == "job_not_found")
    }

    @Test("refuse control characters in names and labels, when a job is submitted and when it is changed")
    func refusesControlCharacters() throws {
        let stage = try Backstage()
        let id = try stage.submit()
        let bodies: [(JSONObject, String)] = [
            (["name": "a\0b"], "/name"), (["labels": ["k": "\u{1B}[2J"]], "/labels/k"),
            (["labels": ["k\n": "v"]], "/labels"),
        ]
        for (changes, pointer) in bodies {
            var body = changes
            body["type"] = "train"
            for answer in [
                try stage.answer(.post, "/v1/jobs", body: .object(body)),
                try stage.answer(.patch, "/v1/jobs/\(id)", body: .object(changes)),
            ] {
                #expect(answer.status == 422 && answer.json["errors"]?.arrayValue?.count == 1)
                #expect(answer.json["errors"]?[0]?["pointer"]?.stringValue == pointer)
                #expect(answer.json["errors"]?[0]?["code"] == "invalid_value")
            }
        }
        #expect(try stage.answer(.get, "/v1/jobs").json["data"]?.arrayValue?.count == 1)
    }

    @Test("tell a pipeline to ask again for a verdict, if it wants no other answer")
    func tellsToRetry() throws {
        let stage = try Backstage()
        let path = "/v1/jobs/\(try stage.submit())/verdict"
        #expect(try stage.answer(.get, path).status == 202)
        for query in ["?pending=retry", "?pending=retry&wait=0.05&format=junit"] {
            let answer = try stage.answer(.get, path + query)
            #expect(answer.status == 429 && answer.code == "job_pending" && answer["Retry-After"] == "2")
        }
    }

    @Test("answer 202 while a running job stops", .timeLimit(.minutes(15)))
    func cancelsRunning() throws {
        let stage = try Backstage()
        let mayEnd = Gate()
        stage.executor.set { _, control, _ in
            while control.signal == .none { mayEnd.pause() }
            mayEnd.waitUntilOpen()
            return .cancelled
        }
        stage.pool.start()
        let id = try stage.submit()
        try stage.wait(id) { $0["state"] == "running" }
        let answer = try stage.answer(.post, "/v1/jobs/\(id)/cancel")
        #expect(answer.status == 202 && answer.json["state"] == "cancelling")
        mayEnd.open()
        let end = try stage.wait(id) { $0["is_terminal"] == true }
        #expect(end["state"] == "cancelled" && end["finished_at"]?.doubleValue != nil)
    }

    @Test("know a job by its version")
    func validates() throws {
        let stage = try Backstage()
        let id = try stage.submit()
        let answer = try stage.answer(.get, "/v1/jobs/\(id)")
        let etag = try #require(answer["ETag"])
        #expect(etag == "\"\(answer.json["version"]?.intValue ?? -1)\"")
        let unchanged = try stage.answer(.get, "/v1/jobs/\(id)", headers: ["If-None-Match": etag])
        #expect(unchanged.status == 304 && unchanged.text.isEmpty)
        _ = try stage.answer(.post, "/v1/jobs/\(id)/pause")
        #expect(try stage.answer(.get, "/v1/jobs/\(id)", headers: ["If-None-Match": etag]).status == 200)
    }

    @Test(
        "find no job under a name that is none", arguments: ["x", "job_1", "mdl_01jd8q0v6h3m6f2k9x4r7t5w1z"])
    func knowsNoSuchJob(id: String) throws {
        let answer = try Backstage().answer(.get, "/v1/jobs/\(id)")
        #expect(answer.status == 404 && answer.code == "job_not_found")
        #expect(answer.json["detail"]?.stringValue == "There is no job \"\(id)\".")
    }

    @Test("wait only when there is something to wait for")
    func waits() throws {
        let stage = try Backstage()
        let id = try stage.submit()
        guard case .later(let wait) = stage.ask(.get, "/v1/jobs/\(id)?wait=30") else {
            Issue.record("a queued job should be waited for")
            return
        }
        #expect(wait.seconds == 30)
        #expect(try wait.answer(false).map { _ in true } == nil)
        let woken = Gate()
        let cancel = wait.subscribe { woken.open() }
        _ = try stage.answer(.post, "/v1/jobs/\(id)/pause")
        woken.waitUntilOpen()
        cancel()
        #expect(try wait.answer(false).map { Answer(response: $0).json["state"] } == "paused")
        guard case .now = stage.ask(.get, "/v1/jobs/\(id)?wait=30&since=0") else {
            Issue.record("a version after 0 is there at once")
            return
        }
        _ = try stage.answer(.post, "/v1/jobs/\(id)/cancel")
        guard case .now = stage.ask(.get, "/v1/jobs/\(id)?wait=30") else {
            Issue.record("a terminal job does not change any more")
            return
        }
    }
}

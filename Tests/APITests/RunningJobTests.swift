import HTTP
import JSON
import Jobs
import Testing

@Suite("A job that ran") struct RunningJobTests {
    /// A job with two curves, resources, a model and the given gates, run to its end.
    static func run(_ stage: Backstage, gate: JSONValue = [], fails: Bool = false, name: String = "one")
        throws -> String
    {
        stage.executor.set { job, _, sink in
            let at = { (step: Int) in Timestamp(milliseconds: 1_700_000_000_000 + Int64(step)) }
            sink.metrics(
                (0..<1000).map {
                    MetricPoint(series: "train_loss", step: $0, value: $0 == 500 ? 99 : 1, at: at($0))
                })
            sink.metrics([MetricPoint(series: "val_accuracy", step: 999, value: 0.9, at: at(999))])
            var point = ResourcePoint(at: at(5), step: 5)
            point.cpuPercent = 150
            sink.resources(point)
            sink.progress(JobProgress(fraction: 1, epoch: 1, epochs: 1, step: 1000, steps: 1000))
            sink.totals(JobResources(cpuSeconds: 2.5, wallSeconds: 1.5, peakMemoryBytes: 1 << 20, joules: 40))
            sink.event(.info, "epoch", "epoch 1 <b>done</b>", ["epoch": 1])
            if fails { return .failed(JobFailure(code: "nan_loss", message: "the loss is NaN", step: 7)) }
            return .succeeded(JobResult(models: [], report: ["test_accuracy": 0.88]))
        }
        stage.pool.start()
        let id = try stage.submit(["type": "train", "name": .string(name), "gate": gate])
        try stage.wait(id) { $0["is_terminal"] == true }
        return id
    }

    @Test("shows its curves, thinned to what a client can draw")
    func showsCurves() throws {
        let stage = try Backstage()
        let id = try Self.run(stage)
        let whole = try stage.answer(.get, "/v1/jobs/\(id)/metrics?max_points=10000").json["series"]
        #expect(whole?["train_loss"]?["steps"]?.arrayValue?.count == 1000)
        #expect(whole?["val_accuracy"] == ["steps": [999], "values": [0.9], "times": [1_700_000_000.999]])
        let thin = try stage.answer(.get, "/v1/jobs/\(id)/metrics?series=train_loss&max_points=20").json[
            "series"]
        let steps = thin?["train_loss"]?["steps"]?.arrayValue?.compactMap(\.intValue) ?? []
        #expect(steps.count <= 20 && steps.first == 0 && steps.last == 999 && steps.contains(500))
        #expect(thin?["val_accuracy"] == nil)
        let late = try stage.answer(.get, "/v1/jobs/\(id)/metrics?since_step=997").json["series"]
        #expect(late?["train_loss"]?["steps"] == [998, 999])
        let csv = try stage.answer(.get, "/v1/jobs/\(id)/metrics?series=val_accuracy&format=csv")
        #expect(csv.text == "series,step,value,at\nval_accuracy,999,0.9,1700000000.999\n")
        #expect(csv["Content-Type"] == "text/csv; charset=utf-8")
        #expect(try stage.answer(.get, "/v1/jobs/\(id)/metrics?format=xml").status == 422)
    }

    @Test("shows what it used, its summary and its progress")
    func showsResources() throws {
        let stage = try Backstage()
        let id = try Self.run(stage)
        let series = try stage.answer(.get, "/v1/jobs/\(id)/resources").json["series"]
        #expect(series?["cpu_percent"]?["values"] == [150.0])
        let job = try stage.answer(.get, "/v1/jobs/\(id)").json
        #expect(job["resources"]?["cpu_seconds"] == 2.5 && job["resources"]?["energy_method"] == "model")
        #expect(
            job["summary"]?["train_loss"]?["max"] == 99.0 && job["summary"]?["val_accuracy"]?["last"] == 0.9)
        #expect(
            job["progress"]?["fraction"]?.doubleValue == 1
                && job["result"]?["report"]?["test_accuracy"] == 0.88)
        #expect(job["transitions"]?.arrayValue?.map { $0["state"] } == ["queued", "running", "succeeded"])
    }

    @Test("tells where its time goes once that is measured, and as the newest attempt found it")
    func tellsProfile() throws {
        let stage = try Backstage()
        let missing = try stage.answer(.get, "/v1/jobs/job_00000000000000000000000000/profile")
        #expect(missing.status == 404 && missing.code == "job_not_found")
        let id = try stage.submit()
        let early = try stage.answer(.get, "/v1/jobs/\(id)/profile")
        #expect(early.status == 404 && early.code == "profile_not_ready")
        let document: JSONValue = ["steps": 10, "layers": [["name": "conv1", "forward_ms": 0.5]]]
        stage.executor.set { _, _, sink in
            sink.profile(["steps": 1])
            sink.profile(document)
            return .succeeded(JobResult(models: [], report: [:]))
        }
        stage.pool.start()
        try stage.wait(id) { $0["is_terminal"] == true }
        let answer = try stage.answer(.get, "/v1/jobs/\(id)/profile")
        #expect(answer.status == 200 && answer.json == document)
        #expect(try stage.answer(.get, "/v1/jobs/\(id)/profile?x=1").status == 422)
        _ = try stage.answer(.delete, "/v1/jobs/\(id)")
        #expect(try stage.answer(.get, "/v1/jobs/\(id)/profile").code == "job_not_found")
    }

    @Test("tells its events in pages")
    func tellsEvents() throws {
        let stage = try Backstage()
        let id = try Self.run(stage)
        var seen: [JSONValue] = []
        var after = ""
        repeat {
            let page = try stage.answer(.get, "/v1/jobs/\(id)/events?limit=1\(after)").json
            seen += page["data"]?.arrayValue ?? []
            after = page["next_cursor"]?.stringValue.map { "&after=\($0)" } ?? ""
        } while !after.isEmpty
        let whole = try stage.answer(.get, "/v1/jobs/\(id)/events").json["data"]?.arrayValue
        #expect(seen == whole && seen.count >= 4)
        let epoch = seen.first { $0["type"] == "epoch" }
        #expect(
            epoch?["message"] == "epoch 1 <b>done</b>" && epoch?["data"] == ["epoch": 1]
                && epoch?["level"] == "info")
        #expect(try stage.answer(.get, "/v1/jobs/\(id)/events?after=nonsense").status == 422)
    }

    @Test("tells in its largest page of events that there are more")
    func tellsManyEvents() throws {
        let stage = try Backstage()
        stage.executor.set { _, _, sink in
            for index in 0..<1500 { sink.event(.info, "note", "\(index)", .null) }
            return .succeeded(JobResult(models: [], report: [:]))
        }
        stage.pool.start()
        let id = try stage.submit()
        try stage.wait(id) { $0["is_terminal"] == true }
        let first = try stage.answer(.get, "/v1/jobs/\(id)/events?limit=1000").json
        let cursor = try #require(first["next_cursor"]?.stringValue)
        let second = try stage.answer(.get, "/v1/jobs/\(id)/events?limit=1000&after=\(cursor)").json
        let seen = [first, second].flatMap { $0["data"]?.arrayValue ?? [] }
        #expect(first["data"]?.arrayValue?.count == 1000 && first["has_more"] == true)
        #expect(seen.count == 1503 && second["has_more"] == false && second["next_cursor"] == .null)
        let notes = seen.filter { $0["type"] == "note" }.compactMap { $0["message"]?.stringValue }
        #expect(notes == (0..<1500).map { "\($0)" })
    }

    @Test("passes when every gate holds")
    func passes() throws {
        let stage = try Backstage()
        let id = try Self.run(
            stage, gate: [["metric": "val_accuracy", "min": 0.9], ["metric": "test_accuracy", "max": 1.0]])
        let verdict = try stage.answer(.get, "/v1/jobs/\(id)/verdict?wait=600")
        #expect(verdict.status == 200 && verdict.json["passed"] == true)
        #expect(
            verdict.json["gates"]?[1] == [
                "metric": "test_accuracy", "min": nil, "max": 1.0, "value": 0.88, "passed": true,
            ])
    }

    @Test("fails the pipeline when a gate does not hold, in every format")
    func missesGate() throws {
        let stage = try Backstage()
        let gate: JSONValue = [
            ["metric": "val_accuracy", "min": 0.95], ["metric": "never_measured", "min": 0],
        ]
        let id = try Self.run(stage, gate: gate, name: "<x>|\"y\"")
        let verdict = try stage.answer(.get, "/v1/jobs/\(id)/verdict")
        #expect(verdict.status == 409 && verdict.code == "gate_failed" && verdict.json["passed"] == false)
        #expect(verdict["Content-Type"] == "application/problem+json")
        #expect(
            verdict.json["detail"]?.stringValue
                == "\(id) missed a gate: val_accuracy >= 0.95, reached 0.9; "
                + "never_measured >= 0.0, reached nothing."
        )
        let junit = try stage.answer(.get, "/v1/jobs/\(id)/verdict?format=junit")
        #expect(junit.status == 409 && junit.text.contains("tests=\"3\" failures=\"2\""))
        #expect(junit.text.contains("name=\"&lt;x&gt;|&quot;y&quot;\""))
        let markdown = try stage.answer(.get, "/v1/jobs/\(id)/verdict?format=markdown")
        #expect(
            markdown.text.contains("### \\<x\\>\\|\"y\": gate failed")
                && markdown.text.contains("| 0.9 | missed |"))
        let badge = try stage.answer(.get, "/v1/jobs/\(id)/verdict?format=badge")
        #expect(badge["Content-Type"] == "image/svg+xml; charset=utf-8" && badge.text.contains("gate failed"))
    }

    @Test(
        "counts a limit on the drop as a gate, in every format",
        arguments: [("fail", false), ("fail", true), ("keep_dense", false)])
    func judgesDrops(onFail: String, holds: Bool) throws {
        let stage = try Backstage()
        let kept = holds ? "pruned" : onFail == "fail" ? "none" : "dense"
        let drop = holds ? 0.01 : 0.25
        let report: JSONValue = [
            "gate": [
                "max_drop": 0.01, "drop": .number(drop), "passed": .bool(holds), "kept": .string(kept),
            ]
        ]
        stage.executor.set { _, _, _ in
            guard kept != "none" else {
                return .failed(JobFailure(code: "gate_failed", message: "The accuracy fell.", report: report))
            }
            return .succeeded(JobResult(models: [], report: report))
        }
        stage.pool.start()
        let gate: JSONValue = ["max_drop": 0.01, "on_fail": .string(onFail)]
        let id = try stage.submit(["type": "train", "name": "one", "gate": gate])
        try stage.wait(id) { $0["is_terminal"] == true }
        let verdict = try stage.answer(.get, "/v1/jobs/\(id)/verdict")
        #expect(verdict.status == (kept == "none" ? 409 : 200))
        #expect(
            verdict.json["gates"] == [
                [
                    "metric": "drop", "min": nil, "max": 0.01, "value": .number(drop), "passed": .bool(holds),
                    "kept": .string(kept),
                ]
            ])
        let junit = try stage.answer(.get, "/v1/jobs/\(id)/verdict?format=junit").text
        #expect(junit.contains("tests=\"2\" failures=\"\(kept == "none" ? 2 : 0)\""))
        #expect(junit.contains("<skipped") == (kept == "dense"))
        let markdown = try stage.answer(.get, "/v1/jobs/\(id)/verdict?format=markdown").text
        #expect(markdown.contains(holds ? "| holds |" : "| missed"))
    }

    @Test("says why it failed")
    func saysWhyItFailed() throws {
        let stage = try Backstage()
        let id = try Self.run(stage, fails: true)
        let verdict = try stage.answer(.get, "/v1/jobs/\(id)/verdict")
        #expect(verdict.status == 409 && verdict.code == "job_failed")
        let job = try stage.answer(.get, "/v1/jobs/\(id)").json
        #expect(
            job["error"] == ["code": "nan_loss", "message": "the loss is NaN", "pointer": nil, "step": 7])
    }

    @Test("has no verdict while it waits")
    func hasNoVerdictYet() throws {
        let stage = try Backstage()
        let id = try stage.submit()
        let verdict = try stage.answer(.get, "/v1/jobs/\(id)/verdict?wait=5")
        #expect(verdict.status == 202 && verdict.json["passed"] == .null && verdict.json["code"] == "pending")
        _ = try stage.answer(.post, "/v1/jobs/\(id)/cancel")
        #expect(try stage.answer(.get, "/v1/jobs/\(id)/verdict").code == "job_cancelled")
    }
}

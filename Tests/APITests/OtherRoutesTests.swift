import Assets
import Foundation
import HTTP
import JSON
import Jobs
import Store
import Synchronization
import Testing

@Suite("Models, datasets and the rest") struct OtherRoutesTests {
    static func addModel(
        _ stage: Backstage, path: String = "weights", bytes: String = "weights!", lineage: JSONValue = .null
    ) throws -> ModelID {
        try Data(bytes.utf8).write(to: stage.folder.appending(path: "weights"))
        let model = ModelRecord(
            id: stage.database.identifiers.next(at: Timestamp(milliseconds: 5000)), name: "my/../net",
            jobID: nil,
            createdAt: Timestamp(milliseconds: 5000), architecture: ["preset": "linear"], parameters: 10,
            macs: 20,
            path: path, byteCount: 8, sha256: String(repeating: "a", count: 64),
            metrics: ["test_accuracy": 0.9, "report": ["sparsity": 0.5]], lineage: lineage)
        try stage.service.repositories.models.add(model)
        return model.id
    }

    @Test("a model is described without telling where it lies")
    func describesModel() throws {
        let stage = try Backstage()
        let id = try Self.addModel(stage)
        let answer = try stage.answer(.get, "/v1/models/\(id)")
        #expect(answer.status == 200 && answer.json["parameters"] == 10 && answer.json["macs"] == 20)
        #expect(answer.json["bytes"] == 8 && answer.json["created_at"] == 5.0)
        #expect(!answer.text.contains("weights"))
        #expect(
            answer.json["report"] == ["sparsity": 0.5] && answer.json["metrics"] == ["test_accuracy": 0.9])
        // The list is without the reports.
        var short = try #require(answer.json.objectValue)
        short["report"] = nil
        #expect(try stage.answer(.get, "/v1/models").json["data"]?[0] == .object(short))
        #expect(try stage.answer(.get, "/v1/models/mdl_0").code == "model_not_found")
    }

    @Test("a model's weights are sent as a download")
    func downloads() throws {
        let stage = try Backstage()
        let id = try Self.addModel(stage)
        let answer = try stage.answer(.get, "/v1/models/\(id)/download?format=safetensors")
        guard case .file(let file) = answer.response.body else {
            Issue.record("a file was expected")
            return
        }
        #expect(answer.status == 200 && file.byteCount == 8)
        #expect(answer["Content-Disposition"] == "attachment; filename=\"my..net.safetensors\"")
        let etag = try #require(answer["ETag"])
        #expect(
            try stage.answer(.get, "/v1/models/\(id)/download", headers: ["If-None-Match": etag]).status
                == 304)
        let other = try stage.answer(.get, "/v1/models/\(id)/download?format=onnx")
        #expect(other.status == 422)
        #expect(other.json["detail"] == "expected one of \"safetensors\", \"sparse\", found \"onnx\"")
        #expect(try stage.answer(.delete, "/v1/models/\(id)").status == 204)
        #expect(!FileManager.default.fileExists(atPath: stage.folder.appending(path: "weights").path))
    }

    @Test("a job without its model is another version of it, and its model without the job too")
    func changesVersions() throws {
        let stage = try Backstage()
        let identifiers = stage.database.identifiers
        stage.executor.set { claim, _, _ in
            let model = ModelRecord(
                id: identifiers.next(at: Timestamp(milliseconds: 5000)), name: "net", jobID: claim.job.id,
                createdAt: Timestamp(milliseconds: 5000), architecture: [:], parameters: 1, macs: 1,
                path: "\(claim.job.id)", byteCount: 8, sha256: String(repeating: "a", count: 64))
            return .succeeded(JobResult(models: [model], report: [:]))
        }
        stage.pool.start()
        let ids = try (0..<2).map { _ in
            let id = try stage.submit()
            try stage.wait(id) { $0["is_terminal"] == true }
            return id
        }
        let before = try stage.answer(.get, "/v1/jobs/\(ids[0])")
        let model = try #require(before.json["result"]?["model_id"]?.stringValue)
        let woken = Gate()
        let job = try #require(JobID(ids[0]))
        stage.hub.subscribe(to: .job(job)) { woken.open() }
        #expect(try stage.answer(.delete, "/v1/models/\(model)").status == 204)
        woken.waitUntilOpen()
        let headers: Headers = ["If-None-Match": before["ETag"] ?? ""]
        let after = try stage.answer(.get, "/v1/jobs/\(ids[0])", headers: headers)
        #expect(after.status == 200 && after.json["result"]?["model_id"] == .null)
        #expect(after["ETag"] != before["ETag"] && before["ETag"] != nil)

        let made = try #require(
            try stage.answer(.get, "/v1/jobs/\(ids[1])").json["result"]?["model_id"]?.stringValue)
        let owned = try stage.answer(.get, "/v1/models/\(made)")
        #expect(owned.json["job_id"]?.stringValue == ids[1])
        #expect(try stage.answer(.delete, "/v1/jobs/\(ids[1])").status == 204)
        let orphan = try stage.answer(
            .get, "/v1/models/\(made)", headers: ["If-None-Match": owned["ETag"] ?? ""])
        #expect(orphan.status == 200 && orphan.json["job_id"] == .null)
    }

    @Test("a part of a model's weights is sent alone")
    func downloadsParts() throws {
        let stage = try Backstage()
        let path = "/v1/models/\(try Self.addModel(stage))/download?format=sparse"
        let part = try stage.answer(.get, path, headers: ["Range": "bytes=2-5"])
        #expect(part.status == 206 && part["Content-Range"] == "bytes 2-5/8")
        guard case .file(let file) = part.response.body else {
            Issue.record("a file was expected")
            return
        }
        #expect(file.offset == 2 && file.byteCount == 4)
        let beyond = try stage.answer(.get, path, headers: ["Range": "bytes=8-"])
        #expect(beyond.status == 416 && beyond["Content-Range"] == "bytes */8")
        #expect(beyond.code == "range_not_satisfiable")
        let whole = try stage.answer(.get, path, headers: ["Range": "bytes=2-5", "If-Range": "\"other\""])
        #expect(whole.status == 200 && whole["Accept-Ranges"] == "bytes")
    }

    @Test("adapters are sent alone, with what PEFT has to know; a model without says so")
    func adapters() throws {
        let stage = try Backstage()
        let plain = try Self.addModel(stage)
        let path = "/v1/models/\(plain)/adapters"
        #expect(try stage.answer(.get, path).code == "no_adapters")
        let hash = String(repeating: "b", count: 64)
        let id = try Self.addModel(
            stage, path: "adapted", lineage: ["adapters": ["sha256": .string(hash), "peft": ["r": 4]]])
        try Data("adapter".utf8).write(to: stage.folder.appending(path: "adapted.adapters"))
        let answer = try stage.answer(.get, "/v1/models/\(id)/adapters")
        guard case .file(let file) = answer.response.body else {
            Issue.record("a file was expected")
            return
        }
        #expect(answer.status == 200 && file.byteCount == 7 && answer["ETag"] == "\"\(hash)\"")
        #expect(answer["Content-Disposition"] == "attachment; filename=\"my..net.adapters.safetensors\"")
        #expect(try stage.answer(.get, "/v1/models/\(id)/adapters?format=config").json == ["r": 4])
        #expect(try stage.answer(.get, "/v1/models/\(id)/adapters?format=onnx").status == 422)
    }

    @Test("a file that is missing or a link is not sent", arguments: ["gone", "link"])
    func refusesLinks(path: String) throws {
        let stage = try Backstage()
        try FileManager.default.createSymbolicLink(
            at: stage.folder.appending(path: "link"), withDestinationURL: URL(filePath: "/etc/passwd"))
        let id = try Self.addModel(stage, path: path)
        let answer = try stage.answer(.get, "/v1/models/\(id)/download")
        #expect(answer.status == 404 && answer.code == "model_file_missing")
        #expect(!answer.text.contains(stage.folder.path))
    }

    @Test("a dataset is found by id and by name")
    func findsDataset() throws {
        let stage = try Backstage()
        let id: DatasetID = stage.database.identifiers.next(at: Timestamp(milliseconds: 1))
        try stage.service.repositories.datasets.add(
            DatasetRecord(
                id: id, name: "fashion-mnist", format: "idx", isReady: true, path: "/secret/place",
                sha256: "ab",
                createdAt: Timestamp(milliseconds: 1000), details: ["classes": 10, "name": "no"]))
        let answer = try stage.answer(.get, "/v1/datasets/fashion-mnist")
        #expect(answer.json["classes"] == 10 && answer.json["name"] == "fashion-mnist")
        #expect(!answer.text.contains("secret"))
        #expect(try stage.answer(.get, "/v1/datasets/\(id)").json == answer.json)
        #expect(try stage.answer(.get, "/v1/datasets").json["data"]?[0] == answer.json)
        #expect(try stage.answer(.get, "/v1/datasets/none").code == "dataset_not_found")
    }

    @Test("a dataset that came meanwhile is found, by a list and by name", arguments: ["", "/late"])
    func findsLateDataset(path: String) throws {
        let stage = try Backstage()
        #expect(try stage.answer(.get, "/v1/datasets").json["data"] == [])
        let datasets = stage.service.repositories.datasets
        let record = DatasetRecord(
            id: stage.database.identifiers.next(at: Timestamp(milliseconds: 1)), name: "late", format: "idx",
            isReady: true, path: "x", sha256: "ab", createdAt: Timestamp(milliseconds: 1), details: [:])
        stage.refresh.set { try? datasets.add(record) }
        let answer = try stage.answer(.get, "/v1/datasets\(path)")
        #expect(answer.status == 200 && answer.text.contains("\"late\""))
    }

    @Test("the system tells its version and its queue")
    func tellsSystem() throws {
        let stage = try Backstage()
        _ = try stage.submit()
        let system = try stage.answer(.get, "/v1/system").json
        #expect(
            system["version"] == "1.2.3" && system["queue"]?["queued"] == 1 && system["queue"]?["failed"] == 0
        )
        #expect(try stage.answer(.get, "/metrics").text.contains("vintner_jobs{state=\"queued\"} 1\n"))
        #expect(try stage.answer(.get, "/v1/schemas/train").json["properties"]?["seed"]?["maximum"] == 1000)
        #expect(try stage.answer(.get, "/v1/schemas/dance").code == "unknown_type")
    }

    @Test("readiness says what is missing")
    func saysUnready() throws {
        let stage = try Backstage()
        #expect(try stage.answer(.get, "/readyz").status == 200)
        stage.readiness.reason.withLock { $0 = "The migration runs." }
        let answer = try stage.answer(.get, "/readyz")
        #expect(
            answer.status == 503 && answer.code == "not_ready"
                && answer.json["detail"] == "The migration runs.")
        #expect(try stage.answer(.get, "/healthz").json == ["status": "ok"])
    }

    @Test("every file of the dashboard is served with its type and validator")
    func servesDashboard() throws {
        let stage = try Backstage()
        let page = try stage.answer(.get, "/")
        #expect(page.status == 200 && page["Content-Type"] == "text/html; charset=utf-8")
        #expect(page["Cache-Control"] == "no-cache")
        for asset in Assets.all where asset.name.hasPrefix("public/") {
            let path = "/" + asset.name.dropFirst("public/".count)
            let answer = try stage.answer(.get, path)
            #expect(answer.response.bytes == asset.bytes && answer["ETag"] == asset.etag)
            #expect(try stage.answer(.get, path, headers: ["If-None-Match": asset.etag]).status == 304)
        }
        #expect(try stage.answer(.get, "/migrations/0001_initial.sql").status == 404)
    }

    @Test("only files, sign-in and health are open")
    func closesEverythingElse() throws {
        let open = try Backstage().router.routes.filter { $0.access == .open }.map {
            "\($0.method.rawValue) \($0.pattern)"
        }
        let files = Assets.all.map { "GET /" + $0.name.dropFirst("public/".count) }
        #expect(Set(open).subtracting(files) == ["GET /healthz", "POST /v1/session", "GET /"])
    }
}

import HTTP
import JSON
import Jobs
import Store
import Testing

@Suite("Uploading a dataset") struct UploadRoutesTests {
    private func open(_ stage: Backstage, _ name: String = "new") throws -> String {
        let answer = try stage.answer(.post, "/v1/datasets", body: ["name": .string(name)])
        #expect(answer.status == 201)
        let id = try #require(answer.json["id"]?.stringValue)
        #expect(answer["Location"] == "/v1/datasets/\(id)")
        return id
    }

    @Test("is opened, shown with its files, and ready once it is committed")
    func goesItsWay() throws {
        let stage = try Backstage()
        let id = try open(stage)
        let first = try stage.answer(.put, "/v1/datasets/\(id)/files/a%20b", bytes: [1, 2, 3])
        #expect(first.status == 201 && first.json["bytes"] == 3)
        #expect(try stage.answer(.put, "/v1/datasets/new/files/b", bytes: []).status == 201)
        #expect(try stage.answer(.put, "/v1/datasets/\(id)/files/b", bytes: [1]).status == 200)
        let shown = try stage.answer(.get, "/v1/datasets/\(id)").json
        #expect(shown["state"] == "open" && shown["is_ready"] == false && shown["sha256"] == .null)
        #expect(
            shown["bytes"] == 4 && shown["expires_at"]?.doubleValue == 69
                && shown["options"]?["name"] == "new")
        #expect(shown["files"]?.arrayValue?.map { $0["name"] } == ["a%20b", "b"])
        #expect(try stage.answer(.get, "/v1/datasets").json["data"]?[0] == shown)
        stage.intake.set { record throws(JobError) in
            var ready = record
            (ready.isReady, ready.sha256) = (true, String(repeating: "a", count: 64))
            ready.details = ["kind": "images"]
            return ready
        }
        let committed = try stage.answer(.post, "/v1/datasets/new/commit")
        #expect(committed.status == 200 && committed.json["state"] == "ready")
        #expect(try stage.answer(.get, "/v1/datasets/new").json == committed.json)
        #expect(committed.json["files"] == nil)
        let late = try stage.answer(.put, "/v1/datasets/\(id)/files/c", bytes: [1])
        #expect(late.status == 409 && late.code == "dataset_ready")
        #expect(try SQLiteDatasetRepository(stage.database).files(of: #require(DatasetID(id))).isEmpty)
    }

    @Test("is refused by stable codes")
    func isRefused() throws {
        let stage = try Backstage()
        let id = try open(stage)
        #expect(try stage.answer(.post, "/v1/datasets", body: ["name": 1]).status == 422)
        #expect(try stage.answer(.post, "/v1/datasets", bytes: [1]).code == "malformed_json")
        #expect(try stage.answer(.post, "/v1/datasets", body: ["name": "new"]).code == "name_taken")
        _ = try open(stage, "needed")
        #expect(try stage.answer(.post, "/v1/datasets", body: ["name": "x"]).code == "too_many_uploads")
        let path = "/v1/datasets/\(id)/files"
        #expect(try stage.answer(.put, "\(path)/vast", bytes: [1]).code == "insufficient_storage")
        #expect(try stage.answer(.put, "/v1/datasets/none/files/a", bytes: [1]).code == "dataset_not_found")
        let digest = "sha-256=:\(String(repeating: "A", count: 43))=:"
        let other = try stage.answer(
            .put, "\(path)/a", headers: ["Content-Digest": digest], bytes: [1])
        #expect(other.status == 422 && other.code == "digest_mismatch")
        #expect(try stage.answer(.get, "/v1/datasets/\(id)").json["files"] == [])
        for name in ["a", "b"] { _ = try stage.answer(.put, "\(path)/\(name)", bytes: [1]) }
        #expect(try stage.answer(.put, "\(path)/c", bytes: [1]).status == 422)
        stage.intake.set { _ throws(JobError) in
            throw .invalid([Violation(pointer: "/files/a", code: "malformed_file", detail: "no")])
        }
        let bad = try stage.answer(.post, "/v1/datasets/\(id)/commit")
        #expect(bad.status == 422 && bad.json["errors"]?[0]?["pointer"] == "/files/a")
        #expect(try stage.answer(.post, "/v1/datasets/\(id)/commit", body: ["a": 1]).status == 422)
        #expect(try stage.answer(.delete, "/v1/datasets/needed").code == "in_use")
        #expect(try stage.answer(.delete, "/v1/datasets/\(id)").status == 204)
        #expect(try stage.answer(.delete, "/v1/datasets/\(id)").status == 404)
    }

    @Test("that is still being checked is told to ask again")
    func takesTime() throws {
        let stage = try Backstage()
        let id = try open(stage)
        let answer = try stage.answer(.post, "/v1/datasets/\(id)/commit")
        #expect(answer.status == 503 && answer.code == "dataset_busy" && answer["Retry-After"] == "10")
    }

    @Test("that is ready is deleted by an admin alone")
    func needsScope() throws {
        let stage = try Backstage()
        let id = try open(stage)
        stage.intake.set { record throws(JobError) in
            var ready = record
            ready.isReady = true
            return ready
        }
        _ = try stage.answer(.post, "/v1/datasets/\(id)/commit")
        let request = Request(
            .delete, path: ["v1", "datasets", id], principal: Principal(name: "ci", scopes: [.submit]))
        guard case .now(let refused) = stage.router.handle(request) else { return }
        #expect(refused.status.code == 403)
        #expect(try stage.answer(.delete, "/v1/datasets/\(id)").status == 204)
    }
}

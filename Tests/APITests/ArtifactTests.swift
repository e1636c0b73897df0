import Foundation
import HTTP
import JSON
import Jobs
import Store
import Testing

@Suite("The files that a job left") struct ArtifactTests {
    /// A job that made a model with adapters, and left two checkpoints.
    private static func run(_ stage: Backstage) throws -> String {
        let sums = ["a", "b", "c", "d"].map { String(repeating: $0, count: 64) }
        for (name, text) in [
            ("weights", "weights!"), ("weights.adapters", "adapter"), ("last", "last state"),
            ("best", "best"),
        ] {
            try Data(text.utf8).write(to: stage.folder.appending(path: name))
        }
        let model: ModelID = stage.database.identifiers.next(at: Timestamp(milliseconds: 5000))
        stage.executor.set { job, _, sink in
            for (step, kind, name, sum, count) in [
                (4, CheckpointRecord.Kind.best, "best", sums[2], 4), (9, .last, "last", sums[3], 10),
            ] {
                _ = try? sink.checkpoint(
                    CheckpointRecord(
                        step: step, kind: kind, path: name, sha256: sum, byteCount: Int64(count),
                        at: Timestamp(milliseconds: Int64(step) * 1000)))
            }
            let record = ModelRecord(
                id: model, name: "net", jobID: job.job.id, createdAt: Timestamp(milliseconds: 5000),
                architecture: ["preset": "linear"], parameters: 1, macs: 1, path: "weights", byteCount: 8,
                sha256: sums[0], metrics: [:], lineage: ["adapters": ["sha256": .string(sums[1])]])
            return .succeeded(JobResult(models: [record], report: [:]))
        }
        stage.pool.start()
        let id = try stage.submit()
        try stage.wait(id) { $0["is_terminal"] == true }
        return id
    }

    @Test("are listed with sizes and sums, and sent as they are stored, also in parts")
    func lists() throws {
        let stage = try Backstage()
        let id = try Self.run(stage)
        let list = try stage.answer(.get, "/v1/jobs/\(id)/artifacts").json
        let names = list["data"]?.arrayValue?.compactMap { $0["name"]?.stringValue }
        #expect(
            names == [
                "model.safetensors", "adapters.safetensors", "checkpoint-9-last.safetensors",
                "checkpoint-4-best.safetensors",
            ])
        #expect(list["has_more"] == false)
        let sizes: [Int] = [8, 7, 10, 4]
        for (item, size) in zip(list["data"]?.arrayValue ?? [], sizes) {
            #expect(item["bytes"]?.intValue == size)
            let place = try #require(item["href"]?.stringValue)
            let answer = try stage.answer(.get, place, headers: ["Range": "bytes=1-2"])
            guard case .file(let file) = answer.response.body else {
                Issue.record("a file was expected")
                continue
            }
            #expect(answer.status == 206 && file.offset == 1 && file.byteCount == 2)
            let sum = try #require(item["sha256"]?.stringValue)
            #expect(answer["ETag"] == "\"\(sum)\"")
            #expect(try stage.answer(.get, place, headers: ["If-None-Match": "\"\(sum)\""]).status == 304)
            for (wanted, status) in [
                ("\"\(sum)\"", 200), ("\"a\", \"\(sum)\"", 200), ("*", 200), ("\"a\"", 412),
                ("W/\"\(sum)\"", 412),
            ] {
                let answer = try stage.answer(.get, place, headers: ["If-Match": wanted])
                #expect(answer.status == status, "\(wanted)")
            }
        }
    }

    @Test("are none before there are any; other names are not found, and name no path")
    func missing() throws {
        let stage = try Backstage()
        let id = try stage.submit()
        #expect(try stage.answer(.get, "/v1/jobs/\(id)/artifacts").json["data"] == [])
        for name in ["model.safetensors", "weights", "vintner.db"] {
            let answer = try stage.answer(.get, "/v1/jobs/\(id)/artifacts/\(name)")
            #expect(answer.status == 404 && answer.code == "artifact_not_found")
        }
        let none = try stage.answer(.get, "/v1/jobs/job_01arz3ndektsv4rrffq69g5fav/artifacts")
        #expect(none.code == "job_not_found")
        let run = try Self.run(stage)
        try FileManager.default.removeItem(at: stage.folder.appending(path: "last"))
        let gone = try stage.answer(.get, "/v1/jobs/\(run)/artifacts/checkpoint-9-last.safetensors")
        #expect(gone.status == 404 && !gone.text.contains(stage.folder.path))
    }
}

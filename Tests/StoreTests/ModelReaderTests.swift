import Foundation
import JSON
import Jobs
import Store
import Testing

@Suite("Models are looked up beside a server") struct ModelReaderTests {
    private static func record(_ text: String) throws -> ModelRecord {
        let id = try #require(ModelID(text))
        return ModelRecord(
            id: id, name: "one", jobID: nil, createdAt: TemporaryStore.start, architecture: ["layers": []],
            parameters: 3, macs: 4, path: "models/\(text)/model.safetensors", byteCount: 5,
            sha256: String(repeating: "0a", count: 32), metrics: [:], lineage: [:])
    }

    @Test("while the database is open, and after it was closed")
    func openAndClosed() throws {
        let store = try TemporaryStore()
        let model = try Self.record("mdl_01arz3ndektsv4rrffq69g5fav")
        try store.models.add(model)
        let reader = SQLiteModelReader(path: store.path)
        #expect(try reader.model(model.id) == model)
        let other = try Self.record("mdl_01arz3ndektsv4rrffq69g5faw")
        #expect(throws: JobError.modelNotFound(other.id)) { try reader.model(other.id) }
        try store.models.add(other)
        #expect(try reader.model(other.id) == other, "a later one too")
        try store.database.close()
        #expect(try reader.model(other.id) == other)
        try store.reopen()
        #expect(try store.models.model(model.id) == model, "and nothing has changed")
    }

    @Test("without a database there are none, and none is made; a damaged one is an error")
    func missing() throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "none-\(UUID().uuidString).db").path
        let id = try #require(ModelID("mdl_01arz3ndektsv4rrffq69g5fav"))
        let reader = SQLiteModelReader(path: path)
        #expect(throws: JobError.modelNotFound(id)) { try reader.model(id) }
        #expect(!FileManager.default.fileExists(atPath: path))
        try Data("no database at all".utf8).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        let error = #expect(throws: JobError.self) { try reader.model(id) }
        #expect(error?.code == "store_unavailable" && error?.cause != nil)
    }
}

import Files
import Formats
import Foundation
import JSON
import Jobs
import Store
import Synchronization
import Testing

@testable import vintner

/// A data folder with an importer over it, gone when the test is over.
private final class Quay {
    let folder = DataFolder(path: "\(NSTemporaryDirectory())vintner-imports-\(UUID().uuidString)")
    let database: SQLiteDatabase
    let models: SQLiteModelRepository

    init() throws {
        try folder.make()
        database = try SQLiteDatabase(path: folder.database, migrations: DataFolder.migrations)
        models = SQLiteModelRepository(database)
    }

    deinit {
        try? database.close()
        try? Folder.removeTree(folder.path)
    }

    func importer(_ edit: (inout UploadLimits) -> Void = { _ in }) -> ModelImporter {
        var limits = UploadLimits()
        edit(&limits)
        return ModelImporter(
            folder: folder, limits: limits, models: models, identifiers: database.identifiers,
            time: SystemTime(), report: { message, cause in Issue.record("\(message): \(cause)") })
    }

    var left: [String] { get throws { try Folder.names(in: folder.models) } }

    /// The bytes of a file with these tensors of zeros.
    func file(
        _ metadata: [String: String], _ tensors: [(name: String, element: StoredElement, shape: [Int])]
    ) -> [UInt8] {
        var header: JSONObject = ["__metadata__": .object(JSONObject(metadata.map { ($0, .string($1)) }))]
        var end = 0
        for tensor in tensors {
            let start = end
            end += tensor.shape.reduce(tensor.element.byteCount, *)
            header[tensor.name] = [
                "dtype": .string(tensor.element.rawValue),
                "shape": .array(tensor.shape.map { JSONValue($0) }),
                "data_offsets": [JSONValue(start), JSONValue(end)],
            ]
        }
        let text = JSONValue.object(header).encodedBytes()
        let length = (0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) }
        return length + text + [UInt8](repeating: 0, count: end)
    }
}

@Suite("Importing models") struct ModelImporterTests {
    private static let model =
        #"{"input": [2], "layers": [{"type": "linear", "name": "fc", "out_features": 3}]}"#
    private static let tensors: [(name: String, element: StoredElement, shape: [Int])] = [
        ("fc.weight", .float32, [3, 2]), ("fc.bias", .float32, [3]),
    ]

    private func take(
        _ bytes: [UInt8], _ importer: ModelImporter, sha256: [UInt8]? = nil, name: String = ""
    ) throws -> ModelRecord {
        let file = try importer.receive(byteCount: bytes.count)
        defer { file.abandon() }
        for start in stride(from: 0, to: bytes.count, by: 100) {
            try file.take(Array(bytes[start..<min(start + 100, bytes.count)]))
        }
        return try file.finish(expecting: sha256, name: name, by: "ada")
    }

    private func codes(_ error: (any Error)?) -> [String: String] {
        guard case .invalid(let violations)? = error as? JobError else { return [:] }
        return Dictionary(violations.map { ($0.pointer, $0.code) }) { first, _ in first }
    }

    @Test("a file becomes a model as it is, with what its header says")
    func takes() throws {
        let quay = try Quay()
        let bytes = quay.file(
            ["vintner.model": Self.model, "vintner.classes": #"["a", "b", "c"]"#, "format": "pt"],
            Self.tensors)
        let record = try take(bytes, quay.importer(), name: "three")
        #expect(try quay.models.model(record.id) == record && record.name == "three")
        #expect(record.jobID == nil && record.parameters == 9 && record.macs == 6)
        #expect(record.lineage == ["imported": true, "imported_by": "ada"])
        #expect(record.sha256 == SHA256.digest(of: bytes).hex && record.byteCount == Int64(bytes.count))
        #expect(try readFile(quay.folder.absolute(record.path), limit: 1 << 20) == bytes)
        #expect(try quay.left == [record.id.rawValue])
    }

    @Test("what does not go together is refused with its place, and leaves nothing")
    func refuses() throws {
        let quay = try Quay()
        let importer = quay.importer { $0.memoryByteCount = 100 }
        func refusal(
            _ metadata: [String: String],
            _ tensors: [(name: String, element: StoredElement, shape: [Int])] = Self.tensors
        ) throws -> [String: String] {
            let bytes = quay.file(metadata, tensors)
            return codes(#expect(throws: JobError.self) { try take(bytes, importer) })
        }
        let model = ["vintner.model": Self.model]
        #expect(try refusal([:]) == ["/__metadata__/vintner.model": "missing_field"])
        #expect(
            try refusal(model, [("fc.weight", .float32, [2, 3]), ("fc.extra", .int8, [1])]) == [
                "/fc.weight": "wrong_shape", "/fc.bias": "missing_tensor", "/fc.extra": "unexpected_tensor",
            ])
        #expect(
            try refusal(model, [("fc.weight", .int64, [3, 2]), ("fc.bias", .float64, [3])]) == [
                "/fc.weight": "wrong_type", "/fc.bias": "wrong_type",
            ])
        for (key, text, code) in [
            ("mean", "[1]", "invalid_value"), ("classes", "[1]", "wrong_type"),
            ("masks", #"["x"]"#, "invalid_value"), ("std", "[", "malformed_json"),
            ("vocabulary", "[]", "invalid_value"),
        ] {
            let found = try refusal(model.merging(["vintner.\(key)": text]) { $1 })
            #expect(found.values.contains(code), "\(key)")
        }
        let bytes = #"{"scheme": "int8", "code_max": 127, "layers": [{"name": "fc", "folds_norm": false}]}"#
        let quantized = try refusal(model.merging(["vintner.quantization": bytes]) { $1 })
        #expect(quantized == ["/fc.weight": "wrong_tensor"])
        let odd = try refusal(model.merging(["vintner.quantization": "{}"]) { $1 })
        #expect(odd == ["/__metadata__": "invalid_model"])
        let large = #"{"input": [2], "layers": [{"type": "linear", "out_features": 65536}]}"#
        #expect(try refusal(["vintner.model": large]) == ["/__metadata__/vintner.model": "too_large"])
        let tokens = #"""
            {"input": [4], "layers": [{"type": "embedding", "vocabulary": 5, "width": 2},
             {"type": "global_avg_pool"}, {"type": "linear", "out_features": 2}]}
            """#
        #expect(try refusal(["vintner.model": tokens]) == ["/__metadata__": "invalid_model"])
        #expect(try quay.left.isEmpty)
    }

    @Test("what stops half way, or hashes to something else, leaves nothing")
    func abandons() throws {
        let quay = try Quay()
        let importer = quay.importer()
        let bytes = quay.file(["vintner.model": Self.model], Self.tensors)
        let file = try importer.receive(byteCount: nil)
        try file.take(Array(bytes.prefix(20)))
        #expect(try quay.left.count == 1)
        file.abandon()
        #expect(try quay.left.isEmpty)
        let error = #expect(throws: JobError.self) {
            try take(bytes, importer, sha256: [UInt8](repeating: 0, count: 32))
        }
        #expect(error?.code == "digest_mismatch")
        #expect(try quay.left.isEmpty && quay.models.models(PageRequest()).items.isEmpty)
    }

    @Test("too many, too large and what there is no room for is refused before it comes")
    func limits() throws {
        let quay = try Quay()
        let importer = quay.importer { limits in
            (limits.importsMax, limits.fileByteCountMax, limits.modelsByteCountMax) = (1, 1000, 5000)
        }
        #expect(throws: JobError.fileTooLarge(limit: 1000)) { try importer.receive(byteCount: 1001) }
        let first = try importer.receive(byteCount: 1000)
        #expect(throws: JobError.uploadsBusy(limit: 1)) { try importer.receive(byteCount: 10) }
        #expect(throws: JobError.fileTooLarge(limit: 1000)) {
            try first.take([UInt8](repeating: 0, count: 1001))
        }
        first.abandon()
        let place = "\(quay.folder.models)/mdl_x"
        try Folder.make(place)
        _ = try AtomicFile.write([UInt8](repeating: 0, count: 4500), to: "\(place)/model.safetensors")
        let error = #expect(throws: JobError.self) { try importer.receive(byteCount: 501) }
        #expect(error?.code == "insufficient_storage" && error?.description.contains("4500") == true)
        importer.stop()
        #expect(throws: JobError.draining) { try importer.receive(byteCount: 1) }
    }
}

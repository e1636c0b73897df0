import Data
import Files
import Foundation
import Graph
import JSON
import Jobs
import Testing
import Training

@testable import vintner

@Suite("A job on text") final class TextRequestTests {
    private let folder = NSTemporaryDirectory() + "vintner-requests-" + UUID().uuidString
    private let catalogue: DatasetCatalogue

    init() throws {
        try Folder.make(folder)
        catalogue = DatasetCatalogue(folder: folder + "/datasets", systemFolder: folder)
        let play = String(repeating: "To be, or not to be. ", count: 10)
        let table = "text,label\n" + String(repeating: "buy now,spam\nhello you,ham\n", count: 10)
        try AtomicFile.write(play, to: folder + "/play.txt")
        try AtomicFile.write(table, to: folder + "/mail.csv")
        _ = try catalogue.add("play", from: folder + "/play.txt", as: .text(.init()), id: "dst_1", now: 0)
        _ = try catalogue.add(
            "mail", from: folder + "/mail.csv", as: .csv(.init(unit: .word)), id: "dst_2", now: 0)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    private func resolve(
        _ dataset: String, _ model: JSONValue, memory: Int = 1 << 30
    ) throws -> ResolvedJob {
        let resolver = SpecResolver(
            catalogue: catalogue, budget: Budget(threads: 1, memoryBytes: memory),
            limits: MachineLimits())
        return try resolver.resolve(["type": "train", "dataset": .string(dataset), "model": model])
    }

    private func complaint(_ dataset: String, _ model: JSONValue) throws -> Violation? {
        try #require(throws: InvalidInput.self) { try resolve(dataset, model) }.violations.first
    }

    private static let small: JSONObject = ["layers": 1, "heads": 2, "width": 16, "context": 8]

    private func preset(_ name: String, _ changes: JSONObject = [:]) -> JSONValue {
        var model = Self.small
        model["preset"] = .string(name)
        for (key, value) in changes.members { model[key] = value }
        return .object(model)
    }

    @Test("takes its vocabulary and classes from the dataset")
    func vocabulary() throws {
        let job = try resolve("play", preset("gpt"))
        let layers = try #require(job.spec["model"]?["layers"]?.arrayValue)
        // The letters of "To be, or not to be." and its marks.
        #expect(layers.first?["vocabulary"]?.intValue == 10)
        #expect(job.memoryBytes > 0)
    }

    @Test("classifies texts into the dataset's classes")
    func classes() throws {
        let job = try resolve("mail", preset("bert"))
        let layers = try #require(job.spec["model"]?["layers"]?.arrayValue)
        // Four words, padding and the unknown one.
        #expect(layers.first?["vocabulary"]?.intValue == 6)
        #expect(layers.last?["out_features"]?.intValue == 2)
    }

    @Test("counts what decoding a large table takes, and is refused where that is too much")
    func decoding() throws {
        let rows = 50_000
        let table = "text,label\n" + String(repeating: "a,x\nb,y\n", count: rows / 2)
        try AtomicFile.write(table, to: folder + "/large.csv")
        _ = try catalogue.add(
            "large", from: folder + "/large.csv", as: .csv(.init(unit: .word)), id: "dst_3", now: 0)
        let job = try resolve("large", preset("bert"))
        // Of each row: its four bytes, its text's place and label, its number, its word and its token.
        #expect(job.memoryBytes > rows * (4 + 10 + 4 + 12 + 2))
        let bound = try catalogue.decodingByteCount("large")
        #expect(job.memoryBytes >= bound + (try catalogue.info("large").byteCount))
        let refusal = try #require(throws: InvalidInput.self) {
            try resolve("large", preset("bert"), memory: bound)
        }
        let found = refusal.violations.first
        #expect(found?.code == "insufficient_memory" && found?.pointer == "/dataset")
    }

    @Test("is refused where the text is shorter than the context")
    func tooShort() throws {
        let found = try complaint("play", preset("gpt", ["context": 189]))
        #expect(found?.pointer == "/dataset" && found?.code == "too_short")
        #expect(found?.detail == "The training text has 189 tokens, and the model's context needs 190.")
        #expect(throws: Never.self) { try resolve("play", preset("gpt", ["context": 188])) }
    }

    @Test("is refused where the model is of images")
    func imageModel() throws {
        let found = try complaint("play", ["preset": "mlp", "input": [8], "classes": 9])
        #expect(found?.pointer.hasPrefix("/model") == true)
    }
}

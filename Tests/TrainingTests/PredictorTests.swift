import Data
import Files
import Formats
import Foundation
import Graph
import JSON
import Tensor
import Testing
import Training

@Suite("Stored models are asked") struct PredictorTests {
    private static func stored(_ trainer: Trainer, in folder: String) throws -> StoredModel {
        let path = "\(folder)/asked.safetensors"
        let receipt = try trainer.saveModel(to: path, description: trainer.task.dataset.modelDescription)
        return try StoredModel(path, sha256: receipt.sha256.hex)
    }

    private static func trained(_ toy: TextToy) throws -> StoredModel {
        let trainer = try toy.languageModel()
        #expect(try trainer.run(Follower(in: toy.path)) == nil)
        return try stored(trainer, in: toy.path)
    }

    private static func ask(_ predictor: Predictor, _ body: JSONValue) throws -> PredictionResult? {
        try predictor.answer(PredictionRequest.read(body, for: predictor.stored))
    }

    private static func complaint(_ body: JSONValue, _ stored: StoredModel) throws -> Violation {
        let error = try #require(throws: InvalidInput.self) {
            try PredictionRequest.read(body, for: stored)
        }
        #expect(error.violations.count == 1)
        return error.violations[0]
    }

    @Test("a language model goes on from prompts shorter and longer than its input")
    func goesOn() throws {
        let toy = try TextToy.periodic()
        let predictor = try Predictor(Self.trained(toy))
        // The input has 6 places. One letter is enough to know the next one; the last prompt loses its start.
        for (prompt, expected) in [
            ("c", "defgabcdef"), ("bcdef", "gabcdefgab"), ("efgabcdefga", "bcdefgabcd"),
        ] {
            let body: JSONValue = ["prompt": .string(prompt), "max_tokens": 10, "temperature": 0]
            #expect(try Self.ask(predictor, body) == .text(expected, tokens: 10), "\(prompt)")
        }
    }

    @Test("the same seed gives the same text, another one and a higher temperature others")
    func seeds() throws {
        let toy = try TextToy.periodic()
        let predictor = try Predictor(Self.trained(toy))
        func text(_ seed: JSONValue, _ temperature: JSONValue) throws -> PredictionResult? {
            try Self.ask(
                predictor,
                ["prompt": "ab", "max_tokens": 40, "seed": seed, "temperature": temperature])
        }
        #expect(try text(1, 3) == text(1, 3))
        #expect(try text(1, 3) != text(2, 3))
        #expect(try text(1, 10) != text(1, 0))
        #expect(
            try Predictor(predictor.stored).answer(
                PredictionRequest.read(["prompt": "ab", "seed": 4], for: predictor.stored))
                == Self.ask(predictor, ["prompt": "ab", "seed": 4]))
    }

    @Test("an empty prompt is a line's start, or the first token where there are no lines")
    func emptyPrompt() throws {
        for (text, start) in [("abcdefg", Int32(0)), ("b\na", 0), ("b\t\na", 1)] {
            let toy = try TextToy(String(repeating: text, count: 60), .text(.init()))
            let stored = try Self.stored(toy.languageModel(), in: toy.path)
            guard case .continuation(let request) = try PredictionRequest.read(["prompt": ""], for: stored)
            else {
                Issue.record("another kind of request")
                return
            }
            #expect(request.prompt == [start] && request.tokenCount == 200 && request.temperature == 1)
        }
    }

    @Test("what is wrong with a prompt is told where it is")
    func badPrompts() throws {
        let toy = try TextToy.periodic()
        let stored = try Self.stored(toy.languageModel(), in: toy.path)
        let unknown = try Self.complaint(["prompt": "abxé"], stored)
        #expect(unknown.pointer == "/prompt" && unknown.code == "unknown_character")
        #expect(unknown.detail == "the model does not know the character \"x\" (U+0078) at place 2")
        #expect(try Self.complaint([:], stored).pointer == "/prompt")
        #expect(try Self.complaint(["prompt": 3], stored).code == "wrong_type")
        #expect(
            try Self.complaint(["prompt": .string(String(repeating: "a", count: 65_537))], stored).code
                == "out_of_range")
        let limits: [(String, JSONValue)] = [
            ("max_tokens", 0), ("max_tokens", 4097), ("temperature", -0.1), ("temperature", 10.5),
            ("top_k", 0), ("top_k", 8), ("seed", -1),
        ]
        for (name, value) in limits {
            var body: JSONObject = ["prompt": "a"]
            body[name] = value
            let found = try Self.complaint(.object(body), stored)
            #expect(found.pointer == "/\(name)" && found.code == "out_of_range", "\(name)")
        }
        #expect(try Self.complaint(["prompt": "a", "inputs": [[1]]], stored).pointer == "/inputs")
    }

    @Test("images are classified as the evaluation does, raw or normalised, flat or nested")
    func images() throws {
        let toy = try Toy(train: 40, test: 37)
        let trainer = try toy.trainer()
        #expect(try trainer.run(Follower(toy)) == nil)
        let accuracy = try #require(try trainer.evaluate(.test)).accuracy
        let predictor = try Predictor(Self.stored(trainer, in: toy.path))
        let split = try #require(toy.dataset.test.images)
        let info = try #require(toy.dataset.info.images)
        func sample(_ index: Int, _ change: (Double) -> Double) -> [JSONValue] {
            split.images[index * 30..<(index + 1) * 30].map { .number(change(Double($0))) }
        }
        // 37 samples are two batches of 16 and five single ones.
        let raw = (0..<37).map { JSONValue.array(sample($0) { $0 }) }
        let result = try Self.ask(predictor, ["inputs": .array(raw), "raw": true])
        guard case .classes(let shares, let names) = result else {
            Issue.record("\(String(describing: result))")
            return
        }
        #expect(names == ["0", "1", "2"])
        let correct = shares.enumerated().filter { index, shares in
            shares.firstIndex(of: shares.max() ?? 0) == Int(split.labels[index])
        }
        #expect(Double(correct.count) / 37 == accuracy)
        for shares in shares { #expect(abs(shares.reduce(0, +) - 1) < 1e-12) }
        // The same numbers by hand, in rows: equal but for the rounding of the normalisation.
        let normalised = sample(1) { ($0 / 255 - info.mean[0]) / info.standardDeviation[0] }
        let rows = (0..<6).map { JSONValue.array(Array(normalised[$0 * 5..<($0 + 1) * 5])) }
        let one = try Self.ask(predictor, ["inputs": [[.array(rows)]]])
        guard case .classes(let again, names: _) = one else { return }
        for (left, right) in zip(again[0], shares[1]) { #expect(abs(left - right) < 1e-4) }
    }

    @Test("channels come first in a request and last in memory, each with its normalisation")
    func channels() throws {
        let toy = try Toy()
        let path = toy.file("channels.safetensors")
        var conv = LayerKind.Conv2d(outChannels: 2, kernelSize: Pair(1, 1))
        conv.bias = false
        let model = try ModelSpec(
            input: Shape([2, 1, 3]),
            layers: [LayerSpec(.conv2d(conv), name: "c"), LayerSpec(.globalAvgPool, name: "p")])
        let writer = try SafetensorsWriter(
            path, tensors: [(name: "c.weight", element: .float32, shape: [2, 2, 1, 1])],
            metadata: [
                "vintner.model": model.json.encoded(), "vintner.mean": "[0.5,0]", "vintner.std": "[0.5,2]",
            ])
        let identity: [Float] = [1, 0, 0, 1]
        try writer.append(identity.span)
        _ = try writer.commit()
        let stored = try StoredModel(path)
        let plain: JSONValue = [[[1, 2, 3]], [[4, 5, 6]]]
        #expect(
            try PredictionRequest.read(["inputs": [plain]], for: stored) == .values([[1, 4, 2, 5, 3, 6]]))
        let raw = try PredictionRequest.read(
            ["inputs": [[0, 255, 127.5, 0, 255, 51]], "raw": true], for: stored)
        #expect(raw == .values([[-1, 0, 1, 0.5, 0, 0.1]]))
        let wrong: [(JSONValue, String, String)] = [
            ([[[1, 2, 3]]], "/inputs/0", "wrong_shape"), ([1, 2, 3], "/inputs/0", "wrong_shape"),
            ([[[1, 2]], [[4, 5]]], "/inputs/0/0/0", "wrong_shape"),
            ([[[1, 2, "x"]], [[4, 5, 6]]], "/inputs/0/0/0/2", "wrong_type"),
            ([[1, 2, 3], [[4, 5, 6]]], "/inputs/0/0", "wrong_shape"),
            ([[1], [[4, 5, 6]]], "/inputs/0/0/0", "wrong_type"),
            ([1, 2, 3, 4, 5, 1e39], "/inputs/0/5", "out_of_range"), ("x", "/inputs/0", "wrong_type"),
        ]
        for (sample, pointer, code) in wrong {
            let found = try Self.complaint(["inputs": [sample]], stored)
            #expect(found.pointer == pointer && found.code == code, "\(found)")
        }
        let dark = try Self.complaint(["inputs": [[0, 0, 0, 0, 0, 256]], "raw": true], stored)
        #expect(dark.pointer == "/inputs/0/5" && dark.code == "out_of_range")
        let many = JSONValue.array([JSONValue](repeating: plain, count: 257))
        #expect(try Self.complaint(["inputs": many], stored).pointer == "/inputs")
        // Means over the three places of [1, 2, 3] and [4, 5, 6]: 2 and 5.
        guard case .classes(let shares, names: _) = try Self.ask(Predictor(stored), ["inputs": [plain]])
        else { return }
        #expect(abs(shares[0][1] - 1 / (1 + exp(-3.0))) < 1e-6)
    }

    @Test("texts are classified and tokens are tagged", arguments: [false, true])
    func texts(isTagging: Bool) throws {
        let rows = String(
            repeating: isTagging ? "Ada,PER\nsees,O\n\n" : "good day,yes\nbad day,no\n", count: 40)
        let toy = try TextToy((isTagging ? "token,label\n" : "text,label\n") + rows, .csv(.init(unit: .word)))
        let trainer = try toy.trainer(
            TextToy.options,
            preset: ["preset": "bert", "layers": 1, "heads": 2, "width": 16, "context": 5],
            DataShape(
                isTokens: true, vocabulary: toy.dataset.info.vocabularySize, padding: Int(Vocabulary.padding),
                target: isTagging ? .perToken(classes: 2) : .classes(2)))
        #expect(try trainer.run(Follower(in: toy.path)) == nil)
        let predictor = try Predictor(Self.stored(trainer, in: toy.path))
        let body: JSONValue = ["texts": isTagging ? ["Ada sees", "sees"] : ["good day", "bad day"]]
        let answer = try #require(try Self.ask(predictor, body)).json(seconds: 1)
        let labels = answer["predictions"]?.arrayValue?.map { sample in
            (sample["tokens"]?.arrayValue ?? [sample]).map { $0["label"]?.stringValue ?? "" }
        }
        #expect(labels == (isTagging ? [["PER", "O"], ["O"]] : [["yes"], ["no"]]))
        let empty = try Self.complaint(["texts": ["day", ""]], predictor.stored)
        #expect(empty.pointer == "/texts/1" && empty.code == "invalid_value")
    }

    @Test("a stopped answer is none, and a model beyond the limit is refused with both numbers")
    func limits() throws {
        let toy = try TextToy.periodic()
        let stored = try Self.stored(toy.languageModel(), in: toy.path)
        let predictor = try Predictor(stored)
        var polls = 0
        let request = try PredictionRequest.read(["prompt": "a"], for: stored)
        let stopped = try predictor.answer(request) {
            polls += 1
            return polls == 3
        }
        #expect(stopped == nil && polls == 3)
        for limit in [1000, predictor.byteCount - 1] {
            let error = try #require(throws: TrainingError.self) {
                try Predictor(stored, byteCountMax: limit)
            }
            #expect(error.description.contains("predictions may take \(limit)"), "\(error)")
        }
    }

    @Test("a damaged file and one that describes no model are refused")
    func damaged() throws {
        let toy = try TextToy.periodic()
        let trainer = try toy.languageModel()
        let path = "\(toy.path)/m.safetensors"
        _ = try trainer.saveModel(to: path, description: [:])
        #expect(throws: TrainingError.self) {
            try StoredModel(path, sha256: String(repeating: "0", count: 64))
        }
        let nameless = try #require(throws: TrainingError.self) { try StoredModel(path) }
        #expect(nameless.description.contains("does not say what its tokens mean"))
        let writer = try SafetensorsWriter(path, tensors: [], metadata: [:])
        _ = try writer.commit()
        let mute = try #require(throws: TrainingError.self) { try StoredModel(path) }
        #expect(mute.description.contains("does not say what its tensors compute"))
    }
}

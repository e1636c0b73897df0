import Data
import Files
import Formats
import Graph
import JSON
import Kernels
import Plan
import Tensor
import Testing
import Training

@Suite("Layers of a stored model run without their zeros where that is faster") struct SparseLayersTests {
    /// A stored perceptron of which one weight in twenty is not zero; its masks hold the others.
    private static func pruned(_ toy: Toy, keepsAll: Bool = false) throws -> StoredModel {
        let model = try ModelSpec(
            input: Shape([1, 6, 5]),
            layers: [
                LayerSpec(.flatten, name: "flat"), LayerSpec(.linear(.init(outFeatures: 400)), name: "fc1"),
                LayerSpec(.relu, name: "relu"), LayerSpec(.linear(.init(outFeatures: 300)), name: "fc2"),
                LayerSpec(.linear(.init(outFeatures: 3)), name: "fc3"),
            ])
        let first = try toy.trainer(model: model)
        let plain = toy.file("plain.safetensors")
        let sha256 = try first.saveModel(to: plain, description: first.task.modelDescription).sha256.hex
        if keepsAll { return try StoredModel(plain) }
        let start = StoredWeights(path: plain, sha256: sha256, isMasked: true)
        let trainer = try toy.trainer(model: model, start: start)
        let graph = trainer.program.graph
        for id in graph.parameterIDs where ["fc1.weight", "fc2.weight"].contains(graph[id].name) {
            let mask = (0..<graph[id].shape.elementCount).map { UInt8($0 % 20 == 3 ? 1 : 0) }
            try trainer.program.setMask(mask, of: id)
        }
        let path = toy.file("pruned.safetensors")
        _ = try trainer.saveModel(to: path, description: trainer.task.modelDescription)
        return try StoredModel(path)
    }

    private static func layers(_ text: String) throws -> SparseLayers {
        SparseLayers(try JSONValue(parsing: text))
    }

    @Test("the file's metadata reads as it was written, and what is unknown runs dense")
    func metadata() throws {
        let text = #"{"fc1":{"1":"csr","64":"block"},"fc2":{"64":"csr"}}"#
        let layers = try Self.layers(text)
        #expect(layers["fc1", 1] == .csr && layers["fc1", 64] == .block && layers["fc2", 1] == nil)
        #expect(layers.json.encoded() == text)
        for odd in [#"{"a": {"1": "coo"}}"#, #"{"a": {"-1": "csr"}}"#, #"{"a": "csr"}"#, "[]", "3"] {
            #expect(try Self.layers(odd).isEmpty, "\(odd)")
        }
    }

    @Test("its file says which, and whoever loads it runs the same kernels, with the same numbers")
    func stored() throws {
        let toy = try Toy(train: 60, test: 40)
        let dense = try Self.pruned(toy)
        #expect(dense.sparse.isEmpty && dense.isMasked)
        let before = try SafetensorsReader(dense.path)
        let layers = try Self.layers(#"{"fc1": {"1": "csr", "64": "csr"}, "fc2": {"64": "csr"}}"#)
        let receipt = try dense.store(layers)
        let model = try StoredModel(dense.path, sha256: receipt.sha256.hex)
        #expect(model.sparse == layers && model.isMasked && model.classNames == dense.classNames)
        let after = try SafetensorsReader(model.path)
        for entry in before.entries {
            #expect(try before.bytes(entry.name) == after.bytes(entry.name), "\(entry.name)")
        }
        let sparse = try InferenceModel(model, batches: [1, 64])
        func kernels(_ batch: Int) -> [String: String] {
            sparse.layerCalls(batch: batch).mapValues(\.kernel).filter { $0.value.hasPrefix("ck_sparse") }
        }
        #expect(kernels(1) == ["fc1": "ck_sparse_csr"])
        #expect(kernels(64) == ["fc1": "ck_sparse_csr", "fc2": "ck_sparse_csr"])
        // Sums of at most 400 products in another order, through three layers.
        let whole = try InferenceModel(model, batches: [1, 64], sparse: SparseLayers())
        for batch in [1, 64] {
            let outputs = try [sparse, whole].map { one in
                one.placeRandom(batch: batch, seed: 4)
                return try one.repeatRun(batch: batch).output()
            }
            let scale = max(outputs[1].map(abs).max() ?? 0, 1)
            #expect(zip(outputs[0], outputs[1]).allSatisfy { abs($0 - $1) <= 1e-5 * scale })
        }
        let tally = try #require(try Evaluator(model, on: toy.dataset, split: .test).run())
        #expect(tally.count == 40)
        let rows = JSONValue.array(
            (0..<2).map { row in .array((0..<30).map { JSONValue.number(Double($0 * row % 7)) }) })
        let answers = try [model, try StoredModel(Self.pruned(toy).path)].map { one in
            let request = try PredictionRequest.read(["inputs": rows], for: one)
            return try #require(try Predictor(one).answer(request)).json(seconds: 0)
        }
        #expect(answers[0]["predictions"]?.arrayValue?.count == answers[1]["predictions"]?.arrayValue?.count)
    }

    @Test("only layers that masks thin out are tried, and only faster ones are chosen")
    func trial() throws {
        let toy = try Toy(train: 60, test: 40)
        var clock: UInt64 = 0
        func now() -> UInt64 {
            clock += 1000
            return clock
        }
        #expect(try SparseTrial.run(Self.pruned(toy, keepsAll: true), batches: [1], now: now) == [])
        let model = try Self.pruned(toy)
        #expect(try SparseTrial.run(model, batches: [1], now: now) { true } == nil)
        let findings = try #require(try SparseTrial.run(model, batches: [1, 64], now: now))
        #expect(Set(findings.map(\.layer)) == ["fc1", "fc2"] && Set(findings.map(\.batch)) == [1, 64])
        // By a clock that ticks as often in every layer, nothing is faster.
        #expect(findings.allSatisfy { $0.dense == $0.sparse && !$0.isFaster })
        #expect(SparseTrial.choose(from: findings).isEmpty)
    }
}

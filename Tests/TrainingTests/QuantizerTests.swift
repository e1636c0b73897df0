import Compression
import Data
import Files
import Formats
import Graph
import JSON
import Plan
import Tensor
import Testing
import Training

@Suite("Trained models become bytes") struct QuantizerTests {
    /// A trained toy model: convolution, normalisation, pooling, two products.
    private struct Trained {
        let toy: Toy
        let stored: StoredModel

        init(train: Int = 200) throws {
            toy = try Toy(train: train, test: 90)
            let trainer = try Trainer(
                TrainingTask(model: toy.model(), options: Toy.options, dataset: toy.dataset, seed: 3))
            #expect(try trainer.run(Follower(in: toy.path)) == nil)
            let path = toy.file("float.safetensors")
            _ = try trainer.saveModel(to: path, description: trainer.task.modelDescription)
            stored = try StoredModel(path)
        }

        func quantizer(_ options: QuantizeOptions = QuantizeOptions(), seed: UInt64 = 1) throws -> Quantizer {
            let graph = stored.model.graph
            let layers = try options.layers(
                of: graph, among: Quantizer.candidates(of: graph), at: "/quantize")
            return try Quantizer(stored, layers: layers, on: toy.dataset, options, seed: seed)
        }

        /// Quantises, stores and loads again.
        func quantized(
            _ options: QuantizeOptions = QuantizeOptions(), seed: UInt64 = 1, as name: String = "bytes"
        ) throws -> (model: StoredModel, receipt: AtomicFile.Receipt) {
            let weights = try #require(try quantizer(options, seed: seed).run())
            let receipt = try weights.save(to: toy.file("\(name).safetensors"))
            return (try StoredModel(toy.file("\(name).safetensors"), sha256: receipt.sha256.hex), receipt)
        }

        /// Outputs for the same random inputs.
        func outputs(_ model: StoredModel) throws -> [Float] {
            let inference = try InferenceModel(model, batches: [64])
            inference.placeRandom(batch: 64, seed: 5)
            return try inference.repeatRun(batch: 64).output()
        }
    }

    static let rules: [RangeRule] = [
        .minmax, .movingAverage(constant: 0.5), .percentile(99.99), .divergence,
    ]

    /// Each of three layers rounds its input to 1/510 of its range and weights to 1/254 of a row's largest,
    /// together sqrt(6) / 254 or 1 % of the outputs' size, of which ten times is allowed.
    ///
    /// Where ranges are cut, or have half as many codes, it is twice as much.
    @Test("outputs stay what they were, but for rounding", arguments: rules, [false, true])
    func outputs(rule: RangeRule, isSymmetric: Bool) throws {
        let trained = try Trained()
        var options = QuantizeOptions()
        (options.rule, options.isSymmetric) = (rule, isSymmetric)
        let found = try trained.outputs(trained.quantized(options).model)
        let expected = try trained.outputs(trained.stored)
        let size = expected.map(abs).max() ?? 0
        let error = zip(found, expected).map { abs($0 - $1) }.max() ?? .infinity
        let isPlain = rule == .minmax && !isSymmetric
        #expect(error <= (isPlain ? 0.1 : 0.2) * size && error > 0, "\(error) of \(size)")
    }

    @Test("weights are stored as bytes, a quarter of their size, and load as they were")
    func file() throws {
        let trained = try Trained()
        let (model, receipt) = try trained.quantized()
        #expect(model.isQuantized && !trained.stored.isQuantized)
        let file = try SafetensorsReader(model.path)
        let entry = try file.entry("layer0.weight")
        #expect(entry.element == .int8 && entry.shape == [4, 1, 3, 3])
        #expect(try file.floats("layer0.weight_scale").count == 4)
        #expect(try file.floats("layer0.bias").count == 4)
        #expect(try file.floats("layer0.input_scale").count == 1)
        // The normalisation is part of the convolution.
        #expect(!file.entries.contains { $0.name.hasPrefix("layer1.") })
        let whole = try readFile(trained.stored.path, limit: 1 << 20).count
        #expect(receipt.byteCount < whole, "\(receipt.byteCount) of \(whole)")
        // What is known of classes and pixels is kept.
        #expect(model.classNames == trained.stored.classNames)
        #expect(model.normalization == trained.stored.normalization)

        let evaluator = try Evaluator(model, on: trained.toy.dataset, split: .test)
        let tally = try #require(try evaluator.run())
        let before = try Evaluator(trained.stored, on: trained.toy.dataset, split: .test)
        let float = try #require(try before.run())
        #expect(tally.count == 90 && abs(tally.accuracy - float.accuracy) <= 0.05)
        let answered = try Predictor(model)
        #expect(answered.byteCount > 0)
    }

    @Test("the same samples give the same file, others another, and a stop none")
    func determinism() throws {
        let trained = try Trained()
        var options = QuantizeOptions()
        options.calibrationSamples = 40
        let first = try trained.quantized(options, as: "first").receipt
        #expect(try trained.quantized(options, as: "second").receipt.sha256 == first.sha256)
        #expect(try trained.quantized(options, seed: 2, as: "third").receipt.sha256 != first.sha256)
        #expect(try trained.quantizer(options).run { _ in true } == nil)
        options.rule = .divergence
        #expect(try trained.quantizer(options).run { $0 > 0.5 } == nil)
    }

    @Test("zeros stay zeros, and a channel of zeros gives its bias")
    func zeros() throws {
        let trained = try Trained()
        let graph = trained.stored.model.graph
        let float = try SafetensorsReader(trained.stored.path)
        // Every other weight of a layer, and all of one of its rows.
        let path = trained.toy.file("masked.safetensors")
        let writer = try SafetensorsWriter(
            path,
            tensors: graph.parameters.map { ($0.name, .float32, $0.shape.dimensions) },
            metadata: float.metadata)
        for entry in writer.entries {
            var values = try float.floats(entry.name)
            if entry.name == "layer6.weight" {
                for index in values.indices where index % 2 == 0 || index < 24 { values[index] = 0 }
            }
            try writer.append(values.span)
        }
        _ = try writer.commit()
        let layers = Quantizer.candidates(of: graph)
        let quantizer = try Quantizer(
            StoredModel(path), layers: layers, on: trained.toy.dataset, QuantizeOptions(), seed: 1)
        let weights = try #require(try quantizer.run())
        _ = try weights.save(to: trained.toy.file("bytes.safetensors"))
        let file = try SafetensorsReader(trained.toy.file("bytes.safetensors"))
        let codes = try file.codes("layer6.weight", shape: [7, 24])
        #expect(codes.indices.allSatisfy { $0 % 2 == 1 && $0 >= 24 || codes[$0] == 0 })
        #expect(codes.count { $0 != 0 } > 60)
        // Sums of nothing: the scale is that of the bias alone, which comes out to 2^-22 of its size.
        let (scale, bias) = (
            try file.floats("layer6.weight_scale")[0], try file.floats("layer6.bias")[0]
        )
        let step = try scale * file.floats("layer6.input_scale")[0]
        #expect(abs((bias / step).rounded() * step - bias) <= abs(bias) * 0x1p-22)
    }

    @Test("excluded layers and separate normalisations stay in float32")
    func exclusions() throws {
        let trained = try Trained()
        var options = QuantizeOptions()
        (options.exclude, options.foldsNorms, options.granularity) = (["output"], false, .perTensor)
        let (model, _) = try trained.quantized(options)
        let file = try SafetensorsReader(model.path)
        #expect(try file.entry("layer9.weight").element == .float32)
        #expect(try file.entry("layer6.weight").element == .int8)
        #expect(try file.entry("layer1.running_mean").element == .float32)
        #expect(try Set(file.floats("layer0.weight_scale")).count == 1)
        let (found, expected) = (try trained.outputs(model), try trained.outputs(trained.stored))
        let error = zip(found, expected).map { abs($0 - $1) }.max() ?? .infinity
        #expect(error <= 0.2 * (expected.map(abs).max() ?? 0))
    }

    @Test("7 bits are used where they are asked for")
    func reducedRange() throws {
        let trained = try Trained()
        var options = QuantizeOptions()
        options.reducesRange = true
        #expect(try trained.quantizer(options).codeMax == 127)
        let (found, expected) = (
            try trained.outputs(trained.quantized(options).model), try trained.outputs(trained.stored)
        )
        let error = zip(found, expected).map { abs($0 - $1) }.max() ?? .infinity
        #expect(error <= 0.2 * (expected.map(abs).max() ?? 0))
        options.reducesRange = false
        #expect(try trained.quantizer(options).codeMax == 255)
    }

    @Test("names that no layer has are refused, as is leaving everything out")
    func names() throws {
        let toy = try Toy()
        let graph = try toy.model().graph
        func complaint(_ exclude: [String]) -> String? {
            var options = QuantizeOptions()
            options.exclude = exclude
            do {
                _ = try options.layers(of: graph, among: Quantizer.candidates(of: graph), at: "/quantize")
                return nil
            } catch { return error.description }
        }
        #expect(complaint(["layer6", "output"]) == nil)
        #expect(complaint(["layer7"])?.contains("/quantize/exclude/0") == true)
        #expect(complaint(["layer*"])?.contains("every layer is excluded") == true)
    }

    @Test("a file whose codes mean nothing is refused, and one in bytes is not quantized again")
    func refusals() throws {
        let trained = try Trained()
        let (model, _) = try trained.quantized()
        #expect(throws: TrainingError.self) {
            _ = try Quantizer(
                model, layers: Quantizer.candidates(of: model.model.graph), on: trained.toy.dataset,
                QuantizeOptions(), seed: 1)
        }
        let bytes = try readFile(model.path, limit: 1 << 20)
        func complaint(replacing text: String, by other: String) throws -> String? {
            let (old, new) = (Array(text.utf8), Array(other.utf8))
            #expect(old.count == new.count)
            let start = try #require(bytes.indices.first { bytes[$0...].starts(with: old) })
            var changed = bytes
            changed.replaceSubrange(start..<start + old.count, with: new)
            try AtomicFile.write(changed, to: trained.toy.file("changed.safetensors"))
            do throws(TrainingError) {
                _ = try InferenceModel(StoredModel(trained.toy.file("changed.safetensors")), batches: [1])
                return nil
            } catch { return error.description }
        }
        #expect(try complaint(replacing: "int8", by: "int4")?.contains("how its layers") == true)
        // The layer of that name is no product; the folded normalisation is not there.
        #expect(try complaint(replacing: #"name\":\"layer0"#, by: #"name\":\"layer2"#) != nil)
        #expect(try complaint(replacing: #"folds_norm\":true"#, by: #"folds_norm\": 123"#) != nil)
    }
}

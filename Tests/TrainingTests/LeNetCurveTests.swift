import Data
import Foundation
import Graph
import JSON
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("LeNet-5-Caffe's first 200 steps on Fashion-MNIST") struct LeNetCurveTests {
    static let system = "/usr/share/datasets"

    /// Element `index` of tensor `tensor` in [-1, 1), as `make_lenet_curve.py` says.
    private static func uniform(_ index: Int, _ tensor: Int) -> Float {
        let start = UInt32(truncatingIfNeeded: (tensor + 8) * 0x85EB_CA6B + 1)
        var x = UInt32(truncatingIfNeeded: index) &* 0x9E37_79B9 &+ start
        x = (x ^ x >> 16) &* 0x7FEB_352D
        x = (x ^ x >> 15) &* 0x846C_A68B
        x ^= x >> 16
        return Float(x >> 8) * 0x1p-23 - 1
    }

    private static func makeProgram(_ fixture: Fixture) throws -> Program {
        let log = ViolationLog()
        let model = try #require(
            ModelSpec.read(
                ["preset": "lenet5_caffe"], at: "", datasetInput: Shape([1, 28, 28]), classes: 10, log: log))
        let program = try Program(
            model.graph,
            .init(
                loss: .crossEntropy(labelSmoothing: 0),
                optimizer: .sgd(momentum: 0.9, weightDecay: 5e-4, decaysBiasAndNorm: true),
                trainingBatches: [64], evaluationBatches: []), on: DNNEngine())
        try program.allocate()
        let first = try fixture.floats("first_weights")
        for (tensor, id) in program.graph.parameterIDs.enumerated() {
            let parameter = program.graph[id]
            let bound = Float(1 / Double(parameter.fanIn).squareRoot())
            let values = (0..<parameter.shape.elementCount).map { uniform($0, tensor) * bound }
            #expect(Array(values[..<8]) == Array(first[(tensor * 8)..<(tensor * 8 + 8)]))
            try program.write(values, to: id)
        }
        return program
    }

    /// At 0.05 the curve becomes a property of rounding after a while; the fixture ends before that.
    @Test(
        "equal PyTorch's losses to 1e-4",
        .enabled(if: FileManager.default.fileExists(atPath: "/usr/share/datasets/fashion-mnist")),
        arguments: [(rate: Float(0.0005), "losses"), (0.05, "recipe_losses")])
    func agrees(rate: Float, tensor: String) throws {
        let memory = NSTemporaryDirectory() + "vintner-curve-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: memory) }
        let dataset = try DatasetCatalogue(folder: memory, systemFolder: Self.system).load("fashion-mnist")
        let fixture = try Fixture("lenet_curve")
        let (mean, deviation) = (try fixture.doubles("mean")[0], try fixture.doubles("std")[0])
        let images = try #require(dataset.info.images)
        #expect(abs(images.mean[0] - mean) < 1e-9)
        #expect(abs(images.standardDeviation[0] - deviation) < 1e-9)
        ThreadTeam.use(2)
        let program = try Self.makeProgram(fixture)
        let plan = try #require(program.trainingPlan(batch: 64))
        let batches = try Prefetcher(
            Batcher(sampleCount: 12_800, batchSize: 64, order: .stored),
            filler: ImageFiller(#require(dataset.train.images), of: images), epochs: 1)
        for (step, expected) in try fixture.doubles(tensor).enumerated() {
            guard let batch = batches.next() else {
                Issue.record("no batch for step \(step)")
                return
            }
            try plan.bindBatch(input: batch.inputSlot, target: batch.targetSlot, in: batch.arena)
            let state = StepState(seed: 0, step: UInt64(step), learningRate: rate, inverseCount: 1 / 64)
            let loss = try plan.run(state).lossSum / 64
            #expect(abs(loss / expected - 1) < 1e-4, "step \(step): \(loss) for \(expected)")
        }
    }
}

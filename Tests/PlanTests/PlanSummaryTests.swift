import Graph
import JSON
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("A plan as values adds up") struct PlanSummaryTests {
    private static func program(
        _ optimizer: OptimizerOptions, fuses: Bool = true
    ) throws -> Program {
        var conv = LayerKind.Conv2d(outChannels: 5, kernelSize: Pair(3, 3))
        conv.padding = Pair(1, 1)
        let kinds: [LayerKind] = [
            .conv2d(conv), .batchNorm(.init()), .relu, .flatten, .linear(.init(outFeatures: 3)),
        ]
        let layers = kinds.enumerated().map { LayerSpec($1, name: "layer\($0)") }
        var options = Program.Options(
            loss: .crossEntropy(labelSmoothing: 0), optimizer: optimizer, trainingBatches: [6],
            evaluationBatches: [])
        options.lowering.fuses = fuses
        return try Program(
            ModelSpec(input: Shape([1, 6, 5]), layers: layers).graph, options, on: DNNEngine())
    }

    @Test("the code that its first run brings in is counted where it runs anything")
    func code() throws {
        let program = try Self.program(OptimizerOptions(.sgd(momentum: 0, nesterov: false)))
        let names = program.stepPlans([6]).flatMap { $0.overview.steps.map(\.kernel) }
        #expect(program.codeByteCount == EngineCode.byteCount(of: names) && program.codeByteCount > 0)
        #expect(EngineCode.byteCount(of: [String]()) == 0)
        #expect(EngineCode.byteCount(of: ["ck_add", "x64:gemm:jit"]) > EngineCode.byteCount(of: ["ck_add"]))
    }

    @Test("its sums are the plan's, and its memory ends where the plan does", arguments: [nil, 1.0])
    func sums(clip: Double?) throws {
        let optimizer = OptimizerOptions(.sgd(momentum: 0.9, nesterov: false), clipNorm: clip)
        let program = try Self.program(optimizer)
        let plan = try #require(program.stepPlans([6]).first)
        let overview = plan.overview
        #expect(overview.macs == plan.macs && overview.macs > 0)
        #expect(overview.steps.map { "\($0.label): \($0.kernel)" } == plan.summary)
        #expect(overview.byteCount == plan.end && overview.batch == 6)
        let regions = overview.regions
        #expect(regions.parameters + regions.optimizerState + regions.gradients == program.store.byteCount)
        // 5 * 9 + 5, 5 + 5, 3 * 150 + 3 numbers are learned; momentum and kept gradients are as many.
        #expect(regions.optimizerState >= 4 * 513)
        #expect((regions.gradients >= 4 * 513) == (clip != nil))
        let ends = overview.buffers.compactMap { buffer in buffer.offset.map { $0 + buffer.byteCount } }
        #expect(ends.max() == plan.end)
        #expect(overview.peak.total <= plan.end && overview.peak.total > program.store.byteCount)
    }

    @Test("the memory at a step is that of the buffers alive then")
    func memory() {
        typealias Buffer = PlanSummary.Buffer
        let step = PlanSummary.Step(
            label: "a", layer: "a", pass: .forward, kernel: "k", macs: 1, bytesRead: 2, bytesWritten: 3)
        let overview = PlanSummary(
            batch: 1, byteCount: 1000,
            regions: .init(parameters: 100, optimizerState: 50, gradients: 25),
            steps: [step, step, step],
            buffers: [
                Buffer(label: "p", byteCount: 64, lifetime: 0...2, kind: .parameter, offset: 0),
                Buffer(label: "g", byteCount: 25, lifetime: 1...1, kind: .scratch, offset: 150),
                Buffer(label: "x", byteCount: 10, lifetime: 0...1, kind: .activation, offset: 175),
                Buffer(label: "y", byteCount: 20, lifetime: 1...2, kind: .gradient, offset: 185),
                Buffer(label: "z", byteCount: 40, lifetime: 2...2, kind: .scratch, offset: 205),
                Buffer(label: "i", byteCount: 80, lifetime: 0...2, kind: .batch, offset: nil),
            ])
        #expect(overview.memory.map(\.total) == [185, 205, 235])
        #expect(overview.memory.map(\.activations) == [10, 10, 0])
        #expect(overview.memory.map(\.gradients) == [25, 45, 45])
        #expect(overview.peak.scratch == 40 && overview.peak.parameters == 100)
        #expect(overview.macs == 3 && overview.bytesMoved == 15)
    }

    @Test("a call takes as long as its slower half, from the cache that holds it")
    func roofline() {
        let roof = Roofline(
            flopsPerSecond: 100,
            bandwidths: [
                .init(byteCount: 10, bytesPerSecond: 40), .init(byteCount: 1000, bytesPerSecond: 20),
            ], secondsPerCall: 0.5)
        func seconds(_ macs: Int, _ bytes: Int) -> Double {
            roof.seconds(
                .init(
                    label: "", layer: "", pass: .forward, kernel: "", macs: macs, bytesRead: bytes / 2,
                    bytesWritten: bytes - bytes / 2))
        }
        #expect(seconds(0, 10) == 0.5 + 0.25)
        #expect(seconds(0, 20) == 0.5 + 1)
        #expect(seconds(0, 2000) == 0.5 + 100)
        #expect(seconds(100, 20) == 0.5 + 2)
    }

    @Test("every call belongs to a layer and a pass, and layers add up to the step")
    func layers() throws {
        let program = try Self.program(.sgd(momentum: 0.9))
        let overview = try #require(program.stepPlans([6]).first).overview
        let timed = TimedPlan(overview, seconds: overview.steps.map { _ in 1 }, runs: 1)
        let layers = [timed].layers
        // The ReLU runs inside the normalisation, and flattening is free.
        #expect(layers.map(\.name) == ["layer0", "layer1", "layer4", "loss"])
        #expect(layers.reduce(0) { $0 + $1.macs } == overview.macs)
        #expect(layers.reduce(0) { $0 + $1.byteCount } == overview.bytesMoved)
        #expect(layers.reduce(0) { $0 + $1.seconds } == Double(overview.steps.count))
        for layer in layers where layer.name != "loss" {
            #expect(layer.forward > 0 && layer.backward > 0, "\(layer.name)")
            // A linear layer's update may run inside the call that computes its gradients.
            let calls = overview.steps.filter { $0.layer == layer.name }
            #expect(layer.update > 0 || calls.contains { $0.label.hasSuffix("+ update") }, "\(layer.name)")
        }
    }

    @Test("a step in parts runs a part's plan for each and the update once")
    func parts() throws {
        var optimizer = OptimizerOptions(.sgd(momentum: 0, nesterov: false))
        optimizer.accumulates = true
        let program = try Self.program(optimizer)
        let plans = program.stepPlans([6, 6])
        #expect(plans.map(\.batch) == [6, 6, 0])
        let layers = plans.map {
            TimedPlan(
                $0.overview,
                under: .init(
                    flopsPerSecond: 1, bandwidths: [], secondsPerCall: 1))
        }.layers
        #expect(layers.last?.name == "optimizer" && layers.last?.forward == 0)
        #expect(layers.reduce(0) { $0 + $1.macs } == plans[0].macs * 2)
    }

    @Test("timing a run changes nothing and times every call")
    func timed() throws {
        let (plain, timed) = (try Self.program(.sgd(momentum: 0.9)), try Self.program(.sgd(momentum: 0.9)))
        let batch = try Arena(byteCount: 6 * 30 * 4 + 64)
        batch.write(randomFloats(180, seed: 5), to: Slot(offset: 0, byteCount: 720))
        batch.write((0..<6).map { Int32($0 % 3) }, to: Slot(offset: 720, byteCount: 24))
        var sums: [UInt64] = []
        var clock: UInt64 = 0
        for program in [plain, timed] {
            try program.allocate()
            for (index, id) in program.graph.parameterIDs.enumerated() {
                let count = program.graph[id].shape.elementCount
                try program.write(randomFloats(count, seed: UInt64(index), low: 0.1, high: 0.3), to: id)
            }
            let plan = try #require(program.trainingPlan(batch: 6))
            try plan.bindBatch(
                input: Slot(offset: 0, byteCount: 720), target: Slot(offset: 720, byteCount: 24), in: batch)
            sums = [UInt64](repeating: 0, count: plan.summary.count)
            for step in 0..<3 {
                let state = StepState(
                    seed: 0, step: UInt64(step), learningRate: 0.1, inverseCount: 1.0 / 6)
                if program === plain {
                    _ = try plan.run(state)
                } else {
                    _ = try plan.run(state, adding: &sums) {
                        clock += 7
                        return clock
                    }
                }
            }
        }
        #expect(sums.allSatisfy { $0 == 21 } && !sums.isEmpty)
        for id in plain.graph.parameterIDs { #expect(try plain.read(id) == timed.read(id)) }
    }
}

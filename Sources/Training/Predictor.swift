internal import Data
internal import Formats
internal import Glibc
internal import Graph
internal import Kernels
internal import Plan
internal import Tensor

/// A stored model, loaded and ready to be asked.
///
/// Belongs to the thread that makes it, whose `ThreadTeam` it computes on; the same request gives the same
/// answer with the same number of threads.
public final class Predictor {
    /// What was loaded.
    public let stored: StoredModel
    private let program: Program
    /// A batch, and labels that no loss counts.
    private let memory: Arena
    private let batches: [Int]

    /// Samples that are classified at once.
    private static let batchMax = 16

    /// Compiles the model for one sample, for classes also for several, and loads its weights.
    ///
    /// - Throws: `TrainingError.modelTooLarge` before anything is allocated; what the file's reader throws.
    public init(_ stored: StoredModel, byteCountMax: Int = .max) throws(TrainingError) {
        self.stored = stored
        let graph = stored.model.graph
        let weights = CostModel(of: graph).parameterBytes
        // Weights beyond the limit need no plan to be refused, and a plan of them would take long.
        guard weights <= byteCountMax else { throw .modelTooLarge(byteCount: weights, limit: byteCountMax) }
        if case .language = stored.use { batches = [1] } else { batches = [1, Self.batchMax] }
        let quantized = try stored.quantizedModel()
        var options = Program.Options(
            loss: .crossEntropy(labelSmoothing: 0), optimizer: OptimizerOptions(), trainingBatches: [],
            evaluationBatches: batches)
        options.lowering.quantized = quantized
        if quantized == nil { options.lowering.sparse = try stored.sparseWeights() }
        program = try planning { () throws(PlanError) in
            let engine: DNNEngine
            do throws(KernelError) { engine = try DNNEngine() } catch { throw .kernel(error) }
            return try Program(graph, options, on: engine)
        }
        let largest = batches.last ?? 1
        let labels = graph[graph.output].positions
        // Both fit into memory, as the plan's activations do, which hold them.
        let inputBytes = Self.aligned(4 * largest * graph.inputShape.elementCount)
        let byteCount = inputBytes + 4 * largest * labels
        let (needed, overflow) = program.byteCount.addingReportingOverflow(
            byteCount + program.conversionByteCount + program.constantByteCount)
        guard !overflow, needed <= byteCountMax else {
            throw .modelTooLarge(byteCount: overflow ? .max : needed, limit: byteCountMax)
        }
        do { memory = try Arena(byteCount: byteCount) } catch {
            throw .plan(.noMemory(byteCount: byteCount))
        }
        memory.write(
            [Int32](repeating: BatchLayout.ignoredLabel, count: largest * labels),
            to: Slot(offset: inputBytes, byteCount: 4 * largest * labels))
        try planning { () throws(PlanError) in try program.allocate() }
        try program.load(stored.path, quantized)
    }

    /// Bytes that stay in use.
    public var byteCount: Int { program.byteCount + program.constantByteCount + memory.byteCount }

    private static func aligned(_ byteCount: Int) -> Int {
        (byteCount + Arena.alignment - 1) / Arena.alignment * Arena.alignment
    }

    /// Answers a request.
    ///
    /// - Parameters:
    ///   - request: Read for this very model.
    ///   - isStopped: Asked between tokens and batches; the answer is nil once it says so.
    /// - Returns: What was predicted.
    /// - Throws: `TrainingError.badModel` where the model's outputs are no numbers.
    public func answer(
        _ request: PredictionRequest, isStopped: () -> Bool = { false }
    ) throws(TrainingError) -> PredictionResult? {
        switch (request, stored.use) {
        case (.continuation(let continuation), .language(let vocabulary)):
            guard let tokens = try generate(continuation, isStopped) else { return nil }
            return .text(vocabulary.decode(tokens), tokens: tokens.count)
        case (.texts(let texts), .texts(_, perToken: let isPerToken)):
            return try classify(texts, rowsOf: { isPerToken ? $0.count : nil }, isStopped)
        case (.values(let samples), .values):
            return try classify(samples, rowsOf: { _ in nil }, isStopped)
        default: preconditionFailure("a request for another kind of model than \(stored.path)")
        }
    }

    /// Draws one token after the other; a text longer than the model's input loses its beginning.
    private func generate(
        _ continuation: PredictionRequest.Continuation, _ isStopped: () -> Bool
    ) throws(TrainingError) -> [Int32]? {
        let context = program.graph.inputShape.elementCount
        let width = program.graph.outputShape.elementCount / context
        var sampler = Sampler(
            temperature: continuation.temperature, topK: continuation.topK, seed: continuation.seed)
        var tokens = continuation.prompt
        for _ in 0..<continuation.tokenCount {
            if isStopped() { return nil }
            let window = tokens.suffix(context)
            // What stands behind the last token is not read: models of text look back only.
            let plan = try run([Array(window)])
            let start = (window.count - 1) * width
            guard let token = sampler.next(logits(plan, start..<start + width)) else { throw notNumbers }
            tokens.append(Int32(token))
        }
        return Array(tokens.dropFirst(continuation.prompt.count))
    }

    /// The classes of samples, or of the first rows of each.
    private func classify<Element: BitwiseCopyable & ExpressibleByIntegerLiteral>(
        _ samples: [[Element]], rowsOf: ([Element]) -> Int?, _ isStopped: () -> Bool
    ) throws(TrainingError) -> PredictionResult? {
        let width = program.graph[program.graph.output].channels
        let sampleCount = program.graph.outputShape.elementCount
        let softmax = Sampler()
        var results: [[[Double]]] = []
        var rest = samples[...]
        var isTagging = false
        while !rest.isEmpty {
            if isStopped() { return nil }
            let batch = batches.last { $0 <= rest.count } ?? 1
            let part = Array(rest.prefix(batch))
            rest = rest.dropFirst(batch)
            let plan = try run(part)
            for (place, sample) in part.enumerated() {
                let rows = rowsOf(sample)
                isTagging = isTagging || rows != nil
                var found: [[Double]] = []
                for row in 0..<(rows ?? 1) {
                    let start = place * sampleCount + row * width
                    guard let shares = softmax.probabilities(logits(plan, start..<start + width)) else {
                        throw notNumbers
                    }
                    found.append(shares)
                }
                results.append(found)
            }
        }
        return isTagging
            ? .tags(results, names: stored.classNames)
            : .classes(results.compactMap(\.first), names: stored.classNames)
    }

    /// Runs the model on as many samples as one of its plans takes; short ones are filled with zeros.
    private func run<Element: BitwiseCopyable & ExpressibleByIntegerLiteral>(
        _ samples: [[Element]]
    ) throws(TrainingError) -> ExecutionPlan {
        guard let plan = program.evaluationPlan(batch: samples.count) else {
            preconditionFailure("no plan evaluates \(samples.count) samples")
        }
        let count = program.graph.inputShape.elementCount
        let input = Slot(offset: 0, byteCount: 4 * samples.count * count)
        let largest = batches.last ?? 1
        let target = Slot(
            offset: Self.aligned(4 * largest * count),
            byteCount: 4 * samples.count * program.graph[program.graph.output].positions)
        var values: [Element] = []
        values.reserveCapacity(samples.count * count)
        for sample in samples {
            values += sample
            values += [Element](repeating: 0, count: count - sample.count)
        }
        memory.write(values, to: input)
        try planning { () throws(PlanError) in
            try plan.bindBatch(input: input, target: target, in: memory)
            _ = try plan.run(StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1))
        }
        return plan
    }

    /// Outputs whose softmax is asked for; of a model that ends in one, the logarithms.
    private func logits(_ plan: ExecutionPlan, _ range: Range<Int>) -> [Float] {
        let output = plan.output(range)
        guard let last = program.graph.producer(of: program.graph.output), case .softmax = last.operation
        else { return output }
        return output.map { logf($0) }
    }

    private var notNumbers: TrainingError {
        .badModel(path: stored.path, reason: "its outputs are not all numbers")
    }
}

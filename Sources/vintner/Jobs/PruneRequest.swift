import Compression
import Data
import Graph
import JSON
import Jobs
import Training

/// The `prune` object of a job, and the accuracy that it may cost.
struct PruneRequest {
    /// How much worse the pruned or quantized model may be.
    struct DropGate {
        /// What becomes of a model that is worse.
        enum Failure: String, CaseIterable, Sendable {
            /// The model as it was before is the job's.
            case keepDense = "keep_dense"
            /// The job fails.
            case fail
        }

        let maxDrop: Double
        let onFail: Failure
    }

    static let object = Field.object(
        "prune", PruneFields.schema, "What is pruned, how it is chosen, and when.")

    /// What the drop is of.
    enum Metric: String, CaseIterable, Sendable { case accuracy }

    static let metric = Field.choice(
        "metric", of: Metric.self, default: .accuracy, "What must not fall: the accuracy on the test split.")
    static let maxDrop = Field.number(
        "max_drop", default: 0.01, in: 0...1, "By how much it may be below that of the model before.")
    static let onFail = Field.choice(
        "on_fail", of: DropGate.Failure.self, default: .keepDense,
        "Whether the job then keeps the model as it was before, or fails.")
    static let gateSchema = ObjectSchema(
        "gate", "What the change may cost.", fields: [metric, maxDrop, onFail])
    static let gate = Field.raw(
        "gate",
        schema: [
            "oneOf": [
                gateSchema.jsonSchema(), ["type": "null"],
                ["type": "array", "maxItems": 32, "items": JobFields.gateSchema.jsonSchema()],
            ]
        ], "What the change may cost, or conditions that the verdict checks.")

    let options: PruneOptions
    let gate: DropGate?
    /// Whether the model has been trained before.
    let isStored: Bool

    /// Reads the members of a job; nil after a violation, or where there is none.
    ///
    /// A stored model is not trained before it is pruned, unless that is asked for or the schedule needs it.
    static func read(
        _ reader: inout ObjectReader, _ settings: inout JobSettings, isStored: Bool, _ log: ViolationLog
    ) -> PruneRequest? {
        guard reader.contains("prune") else {
            log.add("/prune", "missing_field", "\"prune\" is required")
            return nil
        }
        let gate = readGate(&reader)
        let options = reader.readObject(object) { PruneOptions.read(&$0) }
        guard let options else { return nil }
        let train = reader.raw("train")
        let isLengthGiven = ["epochs", "steps"].contains { train?[$0]?.isNull == false }
        let prunesAtOnce = options.curve == .oneshot || options.curve == .iterative
        if isStored, prunesAtOnce, !isLengthGiven {
            settings.options.epochs = 0
            var resolved = reader.resolved["train"]?.objectValue ?? [:]
            resolved["epochs"] = nil
            reader.resolve("train", as: .object(resolved))
        }
        return PruneRequest(options: options, gate: gate, isStored: isStored)
    }

    /// Reads what the accuracy may fall by; nil where the gate is another, or after a violation.
    static func readGate(_ reader: inout ObjectReader) -> DropGate? {
        guard let value = reader.raw("gate"), value.objectValue != nil else { return nil }
        var nested = ObjectReader(value, as: gateSchema, at: "/gate", log: reader.log)
        _ = nested.read(metric)
        let gate = DropGate(maxDrop: nested.read(maxDrop), onFail: nested.read(onFail))
        nested.finish()
        reader.resolve("gate", as: .object(nested.resolved))
        return gate
    }

    /// What happens when.
    func timeline(_ training: TrainOptions, stepsPerEpoch: Int) -> PruneTimeline {
        options.timeline(training, stepsPerEpoch: stepsPerEpoch, isStored: isStored)
    }

    /// Logs what cannot be done with a model in so many steps.
    func check(
        _ model: ModelSpec, _ training: TrainOptions, stepsPerEpoch: Int?, seed: UInt64, _ log: ViolationLog
    ) {
        if training.adapters != nil {
            log.add("/train/lora", "invalid_value", "adapters cannot be pruned; train them before or after")
        }
        if training.earlyStopping != nil {
            log.add(
                "/train/early_stopping", "invalid_value",
                "a run that stops early may not reach its sparsity; keep \"best\" instead")
        }
        adopting(log) { () throws(InvalidInput) in
            guard options.structure == .channel else {
                _ = try options.targets(in: model.graph, at: "/prune")
                return
            }
            let selection = try ChannelSelection(options, graph: model.graph, at: "/prune", seed: seed)
            try checkConstraints(selection, of: model)
        }
        guard let stepsPerEpoch else { return }
        let timeline = timeline(training, stepsPerEpoch: stepsPerEpoch)
        timeline.check(at: "/prune", log)
        if gate != nil, !isStored, timeline.beginStep == 0 {
            log.add(
                "/gate", "invalid_value",
                "the model is pruned before it is trained, so that there is no accuracy to compare with")
        }
    }

    /// Whether the least that the layers allow meets the constraints; what is least does not depend on the
    /// weights.
    private func checkConstraints(_ selection: ChannelSelection, of model: ModelSpec) throws(InvalidInput) {
        var options = options
        options.criterion = .random
        options.constraints = options.constraints.filter { $0.metric != .latencyMilliseconds }
        guard !options.constraints.isEmpty else { return }
        let random = try ChannelSelection(options, graph: model.graph, at: "/prune", seed: selection.seed)
        do throws(CompressionError) {
            _ = try ConstraintSearch(random, of: model, numbers: [:]).run { _ in 0 }
        } catch {
            var pointer = "/prune/constraint"
            if case .constraintOutOfReach(let metric, _, _) = error { pointer += "/\(metric.rawValue)" }
            throw InvalidInput(
                pointer: pointer, code: "constraint_unsatisfiable", detail: error.description)
        }
    }

    private func adopting(_ log: ViolationLog, _ body: () throws(InvalidInput) -> Void) {
        do throws(InvalidInput) { try body() } catch {
            for violation in error.violations {
                log.add(violation.pointer, violation.code, violation.detail)
            }
        }
    }
}

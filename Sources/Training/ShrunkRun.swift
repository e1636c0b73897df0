internal import Compression
internal import Data
internal import Files
internal import Formats
internal import Graph
internal import JSON
internal import Plan
internal import Tensor

/// What is left of a model without the channels that went.
struct ShrunkModel: Sendable {
    let original: ModelSpec
    /// Units of the original's channels.
    let removed: [Int]
    let shrinking: Shrinking

    init(_ original: ModelSpec, removed: [Int]) throws(TrainingError) {
        (self.original, self.removed) = (original, removed)
        shrinking = try compressing { () throws(CompressionError) in
            let groups = ChannelGroups(original.graph)
            return try Shrinking(ChannelChoice(groups: groups, removed: Set(removed)), of: original)
        }
    }

    var model: ModelSpec { shrinking.model }
}

/// A run whose channels have been removed, before it goes on: what is left is cut out of everything it keeps.
///
/// It holds copies, so that the whole run can be let go before the smaller one is made.
public struct ShrunkRun {
    private let task: TrainingTask
    private let whole: ModelSpec
    private let values: [[Float]]
    private let parts: [(part: ParameterStore.Part, values: [[Float]])]
    private let masks: [[UInt8]]
    private var state: TrainingState

    /// Cuts a trainer that is ready to shrink.
    init(_ trainer: Trainer) throws(TrainingError) {
        let (program, graph) = (trainer.program, trainer.program.graph)
        let shrunk = try ShrunkModel(trainer.task.model, removed: trainer.state.pruning?.removed ?? [])
        let shrinking = shrunk.shrinking
        task = TrainingTask(trainer.task, shrunk: shrunk)
        (whole, state) = (trainer.task.model, trainer.state)
        var parts: [(ParameterStore.Part, [[Float]])] = []
        for part in program.store.parts where part != .score {
            var cut: [[Float]] = []
            for piece in shrinking.cuts {
                let values = try trainer.read(piece.source, part)
                cut.append(
                    values.isEmpty
                        ? []
                        : try compressing { () throws(CompressionError) in
                            try shrinking.slice(values, piece)
                        })
            }
            parts.append((part, cut))
        }
        self.parts = parts
        var masks: [[UInt8]] = []
        for piece in shrinking.cuts {
            let mask = try planning { () throws(PlanError) in try program.mask(of: piece.source) }
            masks.append(
                try mask.map { mask throws(TrainingError) in
                    try compressing { () throws(CompressionError) in try shrinking.slice(mask, piece) }
                } ?? [])
        }
        self.masks = masks
        var values: [[Float]] = []
        for id in graph.parameterIDs { values.append(try trainer.read(id)) }
        self.values = values
    }

    /// Proves that what is left computes what the masked model does, and goes on with it.
    ///
    /// - Returns: A trainer at the same step.
    /// - Throws: `TrainingError.notEquivalent` where the outputs differ by more than rounding.
    public consuming func trainer() throws(TrainingError) -> Trainer {
        let cut = parts.first { $0.part == .value }?.values ?? []
        let proof = try Equivalence.prove((whole.graph, values), (task.model.graph, cut), seed: task.seed)
        state.pruning?.equivalence = proof
        let trainer = try Trainer(task)
        let graph = trainer.program.graph
        for (part, values) in parts {
            for id in graph.parameterIDs where !values[id.index].isEmpty {
                try planning { () throws(PlanError) in
                    try trainer.program.write(values[id.index], to: id, part)
                }
            }
        }
        for id in graph.parameterIDs where trainer.program.isMasked && graph[id].isTrained {
            guard masks[id.index].contains(0) else { continue }
            try planning { () throws(PlanError) in try trainer.program.setMask(masks[id.index], of: id) }
        }
        trainer.state = state
        return trainer
    }
}

extension Trainer {
    /// What is left of the run once its channels are final; see `isReadyToShrink`.
    public func shrunk() throws(TrainingError) -> ShrunkRun { try ShrunkRun(self) }
}

extension TrainingTask {
    /// Whether channels of its model have been removed.
    public var isShrunk: Bool { shrunk != nil }

    /// The task that a checkpoint belongs to: that of a shrunk model where its channels were gone.
    public func resumed(from path: String) throws(TrainingError) -> TrainingTask {
        let reader = try formatting { () throws(FormatError) in try SafetensorsReader(path) }
        guard let state = TrainingState(of: reader), let pruned = state.pruning, pruned.equivalence != nil
        else { return self }
        return TrainingTask(self, shrunk: try ShrunkModel(model, removed: pruned.removed))
    }
}

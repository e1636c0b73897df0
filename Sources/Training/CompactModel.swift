internal import Compression
public import Files
internal import Formats
public import Graph
public import JSON
internal import Plan
internal import Tensor

/// A trained model without the channels that its masks have emptied.
public struct CompactModel: Sendable {
    public let model: ModelSpec
    /// That it computes what the masked model does.
    public let equivalence: Equivalence
    private let values: [[Float]]
    private let masks: [[UInt8]?]

    /// Removes what is empty; nil where nothing is.
    init?(_ whole: ModelSpec, values: [[Float]], masks: [[UInt8]?], seed: UInt64) throws(TrainingError) {
        let groups = ChannelGroups(whole.graph)
        let cut = try compressing {
            () throws(CompressionError) -> (Shrinking, [[Float]])? in
            let dead = try DeadChannels(in: groups, parameters: values)
            guard !dead.choice.removed.isEmpty else { return nil }
            let shrinking = try Shrinking(dead.choice, of: whole)
            return (shrinking, try shrinking.slice(dead.parameters))
        }
        guard let (shrinking, kept) = cut else { return nil }
        (model, self.values) = (shrinking.model, kept)
        equivalence = try Equivalence.prove(
            (whole.graph, values), (shrinking.model.graph, kept), seed: seed)
        var sliced: [[UInt8]?] = []
        for (piece, values) in zip(shrinking.cuts, kept) {
            guard let mask = masks[piece.source.index] else {
                sliced.append(nil)
                continue
            }
            let cut = try compressing { () throws(CompressionError) in try shrinking.slice(mask, piece) }
            // A bias that took up a constant is held no longer.
            sliced.append(zip(cut, values).map { $1 == 0 ? $0 : 1 })
        }
        self.masks = sliced
    }

    /// Stores the model as `Trainer.saveModel` does.
    public func save(to path: String, description: JSONObject) throws(TrainingError) -> AtomicFile.Receipt {
        let graph = model.graph
        let held = graph.parameterIDs.compactMap { id -> StoredMask? in
            guard let mask = masks[id.index], mask.contains(0) else { return nil }
            return StoredMask(parameter: graph[id], elements: mask, beside: values[id.index])
        }
        return try ModelFile.write(
            path, graph.parameters, masks: held, metadata: Trainer.metadata(of: model, description)
        ) { values[$0] }
    }
}

extension Trainer {
    /// The model as it is stored, without the channels that its masks have emptied; nil where none is empty.
    ///
    /// Throws `TrainingError.notEquivalent` where it would compute something else.
    public func withoutEmptyChannels() throws(TrainingError) -> CompactModel? {
        guard program.isMasked, task.options.adapters == nil else { return nil }
        program.swapAverages()
        defer { program.swapAverages() }
        var values: [[Float]] = []
        var masks: [[UInt8]?] = []
        for id in task.model.graph.parameterIDs {
            values.append(try read(id))
            masks.append(try planning { () throws(PlanError) in try program.mask(of: id) })
        }
        return try CompactModel(task.model, values: values, masks: masks, seed: task.seed)
    }
}

internal import Compression
internal import Formats
internal import Graph
internal import Kernels
internal import Plan
internal import Tensor

/// Runs that train for layers in bytes.
extension Trainer {
    /// Gives every parameter the value that it has in a float model, the folded normalisations included, and
    /// holds what is zero of the layers' weights.
    func initialize(
        _ bytes: ByteTraining, from reader: SafetensorsReader
    ) throws(TrainingError) {
        let (whole, graph) = (task.model.graph, program.graph)
        func values(_ id: Graph.ParameterID) throws(TrainingError) -> [Float] {
            do throws(FormatError) {
                return try reader.floats(whole[id].name, shape: whole[id].shape.dimensions)
            } catch { throw .badStart(reason: error.description) }
        }
        var numbers: [String: [Float]] = [:]
        for id in bytes.layers {
            guard let new = bytes.folded.nodes[id], let norm = bytes.folded.norms[new],
                let weight = whole.quantizableWeight(of: id),
                let bias = graph.parameter(.bias, of: graph[new])
            else { continue }
            var parts = try LayerParts(id, weight, of: whole, values: values)
            try parts.fold(whole[norm], of: whole, values: values)
            numbers[whole[weight].name] = parts.foldedWeights
            numbers[graph[bias].name] = parts.bias.map { Float($0) }
        }
        let named = Dictionary(uniqueKeysWithValues: whole.parameterIDs.map { (whole[$0].name, $0) })
        for id in graph.parameterIDs {
            let name = graph[id].name
            let found: [Float]
            if let folded = numbers[name] {
                found = folded
            } else if let own = named[name] {
                found = try values(own)
            } else {
                preconditionFailure("\(name) comes from nowhere")
            }
            try program.start(id, at: found)
            guard graph[id].role == .weight, graph[id].isTrained, found.contains(0) else { continue }
            let mask = found.map { $0 == 0 ? UInt8(0) : 1 }
            try planning { () throws(PlanError) in try program.setMask(mask, of: id) }
        }
    }

    /// The ranges of activations, as checkpoints have them.
    var rangeTensors: [(tensor: (name: String, element: StoredElement, shape: [Int]), values: [Float])] {
        program.rangeOwners.map { owner in
            let numbers = program.range(of: owner)
            return ((Self.name(ofRange: owner), .float32, [numbers.count]), numbers)
        }
    }

    /// Takes over a checkpoint's ranges.
    func loadRanges(_ reader: SafetensorsReader) throws(TrainingError) {
        for owner in program.rangeOwners {
            let count = program.range(of: owner).count
            let numbers = try formatting { () throws(FormatError) in
                try reader.floats(Self.name(ofRange: owner), shape: [count])
            }
            program.setRange(numbers, of: owner)
        }
    }

    private static func name(ofRange owner: Graph.ValueID) -> String { "range.\(owner.index)" }

    /// What the run has learned, with its layers as bytes; the averages where weights are averaged.
    ///
    /// - Parameter stored: The float model that the run started from.
    /// - Returns: What can be stored, and computes what the run evaluated but for rounding.
    /// - Throws: `TrainingError.misfit` where a number is not finite, or nothing was trained on.
    public func quantizedWeights(of stored: StoredModel) throws(TrainingError) -> QuantizedWeights {
        guard let bytes = task.bytes else { throw .misfit(reason: "the run does not train for bytes") }
        program.swapAverages()
        defer { program.swapAverages() }
        let (whole, graph) = (task.model.graph, program.graph)
        let (flow, rounded) = (ByteFlow(graph), bytes.rounded)
        var layers: [Graph.NodeID: QuantizedLayer] = [:]
        for id in bytes.layers {
            guard let new = bytes.folded.nodes[id], let weight = graph.quantizableWeight(of: new) else {
                continue
            }
            let range = program.range(of: flow.owner(of: graph[new].inputs[0]))
            guard
                let input = ActivationScale(
                    scale: range[2], zeroPoint: UInt8(range[3]), codeMax: rounded.codeMax)
            else { throw .misfit(reason: "no range is known of what \(graph[new].name) reads") }
            let parts = try LayerParts(new, weight, of: graph) { id throws(TrainingError) in try read(id) }
            layers[id] = try parts.layer(
                reading: input, bytes.options, foldsNorm: bytes.folded.norms[new] != nil)
        }
        let found = layers
        let model = try planning { () throws(PlanError) in try QuantizedModel(found, of: whole) }
        let named = Dictionary(uniqueKeysWithValues: graph.parameterIDs.map { (graph[$0].name, $0) })
        return try QuantizedWeights(stored, model) { id throws(TrainingError) in
            guard let own = named[whole[id].name] else {
                preconditionFailure("\(whole[id].name) is not trained")
            }
            return try read(own)
        }
    }
}

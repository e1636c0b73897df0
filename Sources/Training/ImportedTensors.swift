internal import Formats
internal import Graph
internal import JSON
internal import Plan
internal import Tensor

/// The tensors of a file from elsewhere, held against the architecture that it names.
struct ImportedTensors {
    private let reader: SafetensorsReader
    private let graph: Graph
    private let quantized: QuantizedModel?
    private let masked: Set<String>
    private let log: ViolationLog

    private static let floats: Set<StoredElement> = [.float32, .float16, .bfloat16]

    init(
        _ reader: SafetensorsReader, _ graph: Graph, _ quantized: QuantizedModel?, masked: [String],
        _ log: ViolationLog
    ) {
        (self.reader, self.graph, self.quantized) = (reader, graph, quantized)
        (self.masked, self.log) = (Set(masked), log)
    }

    /// Notes what is missing, too much, of another shape or type, or no number.
    func check() throws(TrainingError) {
        var known: Set<String> = []
        for id in graph.parameterIDs where quantized?.holds(id) != true {
            known.formUnion(try check(graph[id]))
        }
        // The layers in bytes were read and checked before; here it is about their names.
        for id in quantized?.layers.keys.map({ $0 }) ?? [] {
            guard let weight = graph.quantizableWeight(of: id) else { continue }
            let names = QuantizedNames(weight: graph[weight].name)
            known.formUnion(reader.parts(of: names.weight))
            known.formUnion([names.weightScale, names.bias, names.inputScale, names.inputZeroPoint])
        }
        for entry in reader.entries where !known.contains(entry.name) {
            log.add(
                JSONPointer.member(entry.name, of: ""), "unexpected_tensor",
                "the architecture has no such parameter; this is \(entry.summary)")
        }
    }

    /// Checks what stands for a parameter, and returns its names.
    private func check(_ parameter: Graph.Parameter) throws(TrainingError) -> Set<String> {
        let pointer = JSONPointer.member(parameter.name, of: "")
        let expected = parameter.shape.dimensions
        var names = reader.parts(of: parameter.name)
        // PyTorch counts the batches that a normalisation has seen; nothing is computed with that.
        if parameter.role == .runningMean {
            names.insert(
                String(parameter.name.dropLast(Graph.Parameter.Role.runningMean.rawValue.count))
                    + "num_batches_tracked")
        }
        if masked.contains(parameter.name) { names.formUnion(checkMask(of: parameter)) }
        let found = try formatting { () throws(FormatError) in try reader.description(of: parameter.name) }
        guard let found else {
            log.add(pointer, "missing_tensor", "expected F32 \(expected), found no such tensor")
            return names
        }
        let summary = "\(found.element.rawValue) \(found.shape)"
        guard Self.floats.contains(found.element) else {
            log.add(pointer, "wrong_type", "expected F32, F16 or BF16, found \(summary)")
            return names
        }
        guard found.shape == expected else {
            log.add(pointer, "wrong_shape", "expected \(expected), found \(summary)")
            return names
        }
        let values = try formatting { () throws(FormatError) in
            try reader.floats(parameter.name, shape: expected)
        }
        if let place = values.firstIndex(where: { !$0.isFinite }) {
            log.add(pointer, "not_finite", "expected numbers, found \(values[place]) at element \(place)")
        }
        return names
    }

    /// The bytes that may stand beside a parameter that is pruned.
    private func checkMask(of parameter: Graph.Parameter) -> [String] {
        let name = StoredMask.name(of: parameter)
        guard let entry = reader.entries.first(where: { $0.name == name }) else { return [] }
        if entry.element != .uint8 || entry.shape != parameter.shape.dimensions {
            log.add(
                JSONPointer.member(name, of: ""), "wrong_shape",
                "expected U8 \(parameter.shape.dimensions), found \(entry.summary)")
        }
        return [name]
    }
}

internal import Formats
internal import Graph
internal import JSON
internal import Plan
internal import Tensor

/// The mask of a parameter, as files have it.
///
/// In a model file a mask follows from the values: what is zero is held at zero. Where a weight that stays is
/// zero too, the mask stands beside its parameter as bytes; checkpoints have all masks so.
struct StoredMask {
    let parameter: Graph.Parameter
    /// 1 for what stays, 0 for what does not.
    let elements: [UInt8]
    /// Whether all that stays is not zero.
    let followsFromValues: Bool

    init(parameter: Graph.Parameter, elements: [UInt8], beside values: [Float]) {
        (self.parameter, self.elements) = (parameter, elements)
        followsFromValues = !zip(elements, values).contains { $0 == 1 && $1 == 0 }
    }

    /// The member of a model file's metadata that names the parameters which have masks.
    static let key = "vintner.masks"

    static func name(of parameter: Graph.Parameter) -> String { parameter.name + ".mask" }

    var tensor: (name: String, element: StoredElement, shape: [Int]) {
        (Self.name(of: parameter), .uint8, parameter.shape.dimensions)
    }

    /// The metadata's member.
    static func list(_ masks: [StoredMask]) -> String {
        JSONValue.array(masks.map { .string($0.parameter.name) }).encoded()
    }
}

extension Trainer {
    /// The masks that hold something at zero, in the graph's order.
    func storedMasks() throws(TrainingError) -> [StoredMask] {
        guard program.isMasked else { return [] }
        var masks: [StoredMask] = []
        for id in program.graph.parameterIDs {
            let mask = try planning { () throws(PlanError) in try program.mask(of: id) }
            guard let mask, mask.contains(0) else { continue }
            masks.append(
                StoredMask(parameter: program.graph[id], elements: mask, beside: try read(id)))
        }
        return masks
    }

    /// Takes over the masks of a checkpoint, behind its parameters; what it has none of is held nowhere.
    func loadMasks(_ reader: SafetensorsReader) throws(TrainingError) {
        guard program.isMasked else { return }
        let graph = program.graph
        for id in graph.parameterIDs where graph[id].isTrained {
            let stored = try Self.bytes(of: graph[id], in: reader)
            let mask = stored ?? [UInt8](repeating: 1, count: graph[id].shape.elementCount)
            try planning { () throws(PlanError) in try program.setMask(mask, of: id) }
        }
    }

    /// Holds at zero what a model file says, behind its parameters.
    func holdMasks(of reader: SafetensorsReader) throws(TrainingError) {
        let text = Array((reader.metadata[StoredMask.key] ?? "[]").utf8)
        let names = Set(
            (try? JSONValue(parsing: text))?.arrayValue?.compactMap(\.stringValue) ?? [])
        let graph = program.graph
        for id in graph.parameterIDs where graph[id].isTrained && names.contains(graph[id].name) {
            var mask = try Self.bytes(of: graph[id], in: reader)
            if mask == nil { mask = try read(id).map { $0 == 0 ? 0 : 1 } }
            guard let mask else { continue }
            try planning { () throws(PlanError) in try program.setMask(mask, of: id) }
        }
    }

    /// The bytes that stand beside a parameter; nil where there are none.
    private static func bytes(
        of parameter: Graph.Parameter, in reader: SafetensorsReader
    ) throws(TrainingError) -> [UInt8]? {
        let name = StoredMask.name(of: parameter)
        guard let entry = reader.entries.first(where: { $0.name == name }) else { return nil }
        guard entry.element == .uint8, entry.shape == parameter.shape.dimensions else {
            throw .badCheckpoint(path: reader.path, reason: "\(name) is \(entry.summary)")
        }
        return try formatting { () throws(FormatError) in try reader.bytes(name) }.map { min($0, 1) }
    }
}

internal import Files
internal import Formats
internal import Graph
internal import Plan
internal import Tensor

/// The weights of a stored model, as a run starts from them.
public struct StoredWeights: Sendable, Hashable {
    /// A safetensors file with the model's parameters by name.
    public let path: String
    /// The hash that the file must have.
    public let sha256: String
    /// Whether zeros that the file says are held stay so.
    public let isMasked: Bool

    public init(path: String, sha256: String, isMasked: Bool = false) {
        (self.path, self.sha256, self.isMasked) = (path, sha256, isMasked)
    }
}

extension Program {
    /// Gives a parameter the value that training starts from, of which the average is the same.
    func start(_ id: Graph.ParameterID, at values: [Float]) throws(TrainingError) {
        for part in [ParameterStore.Part.value, .average] {
            try planning { () throws(PlanError) in try write(values, to: id, part) }
        }
    }
}

extension Trainer {
    /// Gives every parameter the value that training starts from: a stored one, or a drawn one.
    ///
    /// Adapters are drawn as PyTorch's peft does, by no other rule: A uniform in ±1/sqrt(in), B zero.
    ///
    /// What is left of a shrunk model comes from the whole one; see `ShrunkRun`.
    func initialize() throws(TrainingError) {
        guard task.shrunk == nil else { return }
        let graph = program.graph
        let stored = try task.start.map { start throws(TrainingError) in try open(start) }
        if let bytes = task.bytes {
            guard let stored else { throw .badStart(reason: "there is no model to train for bytes") }
            return try initialize(bytes, from: stored)
        }
        for (index, id) in graph.parameterIDs.enumerated() {
            let isAdapter = graph.isAdapter(id)
            let values: [Float]
            if let stored, !isAdapter {
                values = try starting { () throws(FormatError) in
                    try stored.floats(graph[id].name, shape: graph[id].shape.dimensions)
                }
            } else {
                values = Initializer.values(
                    of: graph[id], index: index, rule: isAdapter ? .default : task.model.initialization,
                    seed: task.seed)
            }
            try program.start(id, at: values)
        }
        if let stored, program.isMasked { try holdMasks(of: stored) }
    }

    private func open(_ start: StoredWeights) throws(TrainingError) -> SafetensorsReader {
        let found: String
        do throws(FileError) { found = try SHA256.digest(ofFile: start.path).hex } catch {
            throw .badStart(reason: error.description)
        }
        guard found == start.sha256 else {
            throw .badStart(reason: "the file's SHA-256 is \(found), not \(start.sha256)")
        }
        return try starting { () throws(FormatError) in try SafetensorsReader(start.path) }
    }

    private func starting<R>(_ body: () throws(FormatError) -> R) throws(TrainingError) -> R {
        do { return try body() } catch { throw .badStart(reason: error.description) }
    }
}

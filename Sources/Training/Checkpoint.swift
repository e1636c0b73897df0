internal import Data
public import Files
internal import Formats
internal import Graph
public import JSON
internal import Plan
internal import Tensor

/// Writing and reading a run's state and its model, as safetensors.
extension Trainer {
    fileprivate enum Key {
        static let state = "vintner.state"
        static let task = "vintner.task"
        static let model = "vintner.model"
    }

    /// What a checkpoint must agree with to be resumed from: the model and everything that decides the run.
    private var fingerprint: String {
        let options = task.options
        var parts: [JSONValue] = [
            task.model.json, .string(task.dataset.info.sha256), .string(String(task.seed)),
            JSONValue(options.batchSize), JSONValue(options.epochs), .string(String(describing: options)),
            .string(task.start?.sha256 ?? ""),
        ]
        if let distillation = task.distillation {
            parts.append(.string(String(describing: distillation.options)))
            parts += distillation.teachers.map { .string($0.sha256) }
            if let peer = distillation.peer { parts.append(peer.json) }
        }
        if let pruning = task.pruning { parts.append(.string(String(describing: pruning.options))) }
        if let bytes = task.bytes { parts.append(.string(String(describing: bytes.options))) }
        if let shrunk = task.shrunk {
            parts += [shrunk.original.json, .array(shrunk.removed.map { JSONValue($0) })]
        }
        return SHA256.digest(of: Array(JSONValue.array(parts).encoded().utf8)).hex
    }

    /// Stores parameters, optimiser state and position; the file appears whole or not at all.
    public func save(to path: String) throws(TrainingError) -> AtomicFile.Receipt {
        try write(
            path,
            metadata: [
                Key.state: state.json.encoded(), Key.task: fingerprint, Key.model: task.model.json.encoded(),
            ])
    }

    /// Stores the model alone, with PyTorch's names and order; the averages where weights are averaged.
    ///
    /// Adapters are merged into the weights beside which they stand: what is stored is the model's own
    /// architecture, and computes the same.
    ///
    /// `description` goes into the file's metadata beside the architecture: classes, normalisation.
    public func saveModel(to path: String, description: JSONObject) throws(TrainingError)
        -> AtomicFile.Receipt
    {
        program.swapAverages()
        defer { program.swapAverages() }
        let graph = program.graph
        let own = graph.parameterIDs.filter { !graph.isAdapter($0) }
        return try ModelFile.write(
            path, own.map { graph[$0] }, masks: try storedMasks(),
            metadata: Self.metadata(of: task.model, description)
        ) { index throws(TrainingError) in try merged(own[index]) }
    }

    /// Stores what was trained alone: the adapters, and what was trained beside them.
    ///
    /// Their names are PEFT's, the adapted model's behind `adapterPrefix`; `description` goes into the file's
    /// metadata.
    public func saveAdapters(to path: String, description: JSONObject) throws(TrainingError)
        -> AtomicFile.Receipt
    {
        let metadata = Self.metadata(of: nil, description)
        program.swapAverages()
        defer { program.swapAverages() }
        let graph = program.graph
        let trained = graph.parameterIDs.filter { graph[$0].isTrained && !graph.isFeatureAdapter($0) }
        return try write(
            path, trained.map { (program, $0, .value, Self.adapterPrefix) }, metadata: metadata)
    }

    /// The metadata of a file of weights: its architecture, where it is a whole model, and what has to be
    /// kept with it.
    static func metadata(of model: ModelSpec?, _ description: JSONObject) -> [String: String] {
        var metadata = ["format": "pt"]
        if let model { metadata[Key.model] = model.json.encoded() }
        for (key, value) in description.members { metadata["vintner.\(key)"] = value.encoded() }
        return metadata
    }

    /// What PEFT puts before the names of the model that it adapts.
    public static let adapterPrefix = "base_model.model."

    /// All that is trained, and what stands before its names in a checkpoint: no layer's name has a slash.
    private var students: [(prefix: String, program: Program)] {
        [("", program)] + (peer.map { [("peer/", $0.program)] } ?? [])
    }

    private func write(
        _ path: String, metadata: [String: String]
    ) throws(TrainingError) -> AtomicFile.Receipt {
        var stored: [Stored] = []
        for (prefix, program) in students {
            for part in program.store.parts {
                let kept = program.graph.parameterIDs.filter { program.store.slot($0, part) != nil }
                stored += kept.map { (program, $0, part, prefix) }
            }
        }
        return try write(path, stored, try storedMasks(), rewindPoint: true, metadata: metadata)
    }

    private typealias Stored = (
        program: Program, id: Graph.ParameterID, part: ParameterStore.Part, prefix: String
    )

    private func write(
        _ path: String, _ stored: [Stored], _ masks: [StoredMask] = [], rewindPoint: Bool = false,
        metadata: [String: String]
    ) throws(TrainingError) -> AtomicFile.Receipt {
        let kept = rewindPoint ? keptTensors + rangeTensors : []
        let tensors = stored.map { program, id, part, prefix in
            (
                name: prefix + part.prefix + program.graph[id].name, element: StoredElement.float32,
                shape: program.graph[id].shape.dimensions
            )
        }
        let writer = try formatting { () throws(FormatError) in
            try SafetensorsWriter(
                path, tensors: tensors + kept.map(\.tensor) + masks.map(\.tensor), metadata: metadata)
        }
        for (program, id, part, _) in stored {
            let values = try planning { () throws(PlanError) in try program.read(id, part) }
            try formatting { () throws(FormatError) in try writer.append(values.span) }
        }
        return try formatting { () throws(FormatError) in
            for tensor in kept { try writer.append(tensor.values.span) }
            for mask in masks { try writer.append(mask.elements.span) }
            return try writer.commit()
        }
    }

    private typealias Kept = (
        tensor: (name: String, element: StoredElement, shape: [Int]), values: [Float]
    )

    /// What a run that prunes will go back to.
    private var keptTensors: [Kept] {
        program.store.parts.flatMap { part in
            program.graph.parameterIDs.compactMap { id in
                guard let values = rewindPoint[part]?[id.index], !values.isEmpty else { return nil }
                let parameter = program.graph[id]
                return (
                    (Self.rewindPrefix + part.prefix + parameter.name, .float32, parameter.shape.dimensions),
                    values
                )
            }
        }
    }

    private static let rewindPrefix = "rewind."

    private func loadKept(_ reader: SafetensorsReader) throws(TrainingError) {
        rewindPoint = [:]
        guard reader.entries.contains(where: { $0.name.hasPrefix(Self.rewindPrefix) }) else { return }
        for part in program.store.parts where part != .score {
            var values: [[Float]] = []
            for id in program.graph.parameterIDs {
                guard program.store.slot(id, part) != nil else {
                    values.append([])
                    continue
                }
                let parameter = program.graph[id]
                values.append(
                    try formatting { () throws(FormatError) in
                        try reader.floats(
                            Self.rewindPrefix + part.prefix + parameter.name,
                            shape: parameter.shape.dimensions)
                    })
            }
            rewindPoint[part] = values
        }
    }

    /// Takes over what `save` stored.
    ///
    /// - Parameters:
    ///   - path: The checkpoint.
    ///   - sha256: The hash it must have; nil when none is known.
    /// - Throws: `TrainingError.badCheckpoint` for a file of another run or a damaged one; the trainer is
    ///   then no longer to be used.
    public func restore(from path: String, sha256: String?) throws(TrainingError) {
        try verify(path, sha256)
        let reader = try formatting { () throws(FormatError) in try SafetensorsReader(path) }
        guard reader.metadata[Key.task] == fingerprint else {
            throw .badCheckpoint(path: path, reason: "it belongs to a run with other settings")
        }
        guard let restored = TrainingState(of: reader) else {
            throw .badCheckpoint(path: path, reason: "its state cannot be read")
        }
        try load(reader) { _ in true }
        try loadMasks(reader)
        try loadKept(reader)
        try loadRanges(reader)
        state = restored
    }

    /// Takes over the parameters and their averages alone, as from the run's best checkpoint; throws as
    /// `restore` does.
    public func restoreParameters(from path: String, sha256: String?) throws(TrainingError) {
        try verify(path, sha256)
        let reader = try formatting { () throws(FormatError) in try SafetensorsReader(path) }
        try load(reader) { $0 == .value || $0 == .average }
        try loadMasks(reader)
        try loadRanges(reader)
    }

    private func verify(_ path: String, _ sha256: String?) throws(TrainingError) {
        guard let sha256 else { return }
        let found: String
        do { found = try SHA256.digest(ofFile: path).hex } catch { throw .file(error) }
        guard found == sha256 else {
            throw .badCheckpoint(path: path, reason: "its SHA-256 is \(found), not \(sha256)")
        }
    }

    private func load(
        _ reader: SafetensorsReader, _ isWanted: (ParameterStore.Part) -> Bool
    ) throws(TrainingError) {
        for (prefix, program) in students {
            let graph = program.graph
            for part in program.store.parts where isWanted(part) {
                for id in graph.parameterIDs where program.store.slot(id, part) != nil {
                    let name = prefix + part.prefix + graph[id].name
                    let values = try formatting { () throws(FormatError) in
                        try reader.floats(name, shape: graph[id].shape.dimensions)
                    }
                    try planning { () throws(PlanError) in try program.write(values, to: id, part) }
                }
            }
        }
    }
}

extension TrainingState {
    /// What a checkpoint says; nil where it cannot be read.
    init?(of reader: SafetensorsReader) {
        let text = Array((reader.metadata[Trainer.Key.state] ?? "").utf8)
        guard let json = try? JSONValue(parsing: text) else { return nil }
        self.init(json)
    }
}

extension ParameterStore.Part {
    /// What stands before the parameter's name in a checkpoint.
    fileprivate var prefix: String {
        switch self {
        case .value: ""
        case .state(let index): "state\(index)."
        case .average: "average."
        case .score: "score."
        }
    }
}

public import Data
public import Files
internal import Formats
public import Graph
internal import JSON
internal import Tensor

/// A stored model: what it computes, where its weights lie, and what its numbers mean.
///
/// All of it is in the file's metadata, as `Trainer.saveModel` leaves it there.
public struct StoredModel: Sendable {
    /// What goes into a model and what comes out.
    public enum Use: Sendable {
        /// Text goes on.
        case language(Vocabulary)
        /// Texts belong to classes, or each of their tokens does.
        case texts(Vocabulary, perToken: Bool)
        /// Images, or rows of numbers, belong to classes; the normalisation has a number for each channel.
        case values(mean: [Double], deviation: [Double])
    }

    /// The weights, a safetensors file.
    public let path: String
    /// What it computes.
    public let model: ModelSpec
    /// The name of each class; empty where they have none.
    public let classNames: [String]
    /// What it is for.
    public let use: Use
    /// Whether zeros of its weights are held: training it further leaves them zero.
    public let isMasked: Bool
    /// The layers that leave out the zeros of their weights when it is asked something.
    public let sparse: SparseLayers
    /// Which layers are stored as bytes; nil for none.
    let quantization: StoredQuantization?

    /// Whether layers are stored as bytes: such a model answers, but cannot be trained.
    public var isQuantized: Bool { quantization != nil }

    /// Reads a file's description.
    ///
    /// - Parameters:
    ///   - path: The file.
    ///   - sha256: The hash that it must have, in hex; nil when none is known.
    /// - Throws: `TrainingError.badModel` for a damaged file, one that describes no model, or one whose
    ///   output cannot be understood.
    public init(_ path: String, sha256: String? = nil) throws(TrainingError) {
        self.path = path
        if let sha256 {
            let found: String
            do { found = try SHA256.digest(ofFile: path).hex } catch { throw .file(error) }
            guard found == sha256 else {
                throw .badModel(path: path, reason: "its SHA-256 is \(found), not \(sha256)")
            }
        }
        let metadata = try formatting { () throws(FormatError) in try SafetensorsReader(path) }.metadata
        func member(_ key: String) -> JSONValue? {
            metadata["vintner.\(key)"].flatMap { try? JSONValue(parsing: Array($0.utf8)) }
        }
        guard let json = member("model") else {
            throw .badModel(path: path, reason: "it does not say what its tensors compute")
        }
        let log = ViolationLog()
        guard let model = ModelSpec.read(json, at: "", data: DataShape(), log: log), log.isEmpty else {
            throw .badModel(path: path, reason: InvalidInput(log.violations).description)
        }
        self.model = model
        isMasked = member("masks")?.arrayValue?.isEmpty == false
        sparse = SparseLayers(member(SparseLayers.key) ?? [:])
        quantization = member("quantization").flatMap(StoredQuantization.init)
        guard quantization != nil || metadata[StoredQuantization.key] == nil else {
            throw .badModel(path: path, reason: "it does not say how its layers are quantized")
        }
        classNames = member("classes")?.arrayValue?.compactMap(\.stringValue) ?? []
        func numbers(_ key: String) -> [Double] {
            member(key)?.arrayValue?.compactMap(\.doubleValue) ?? []
        }
        let vocabulary = member("vocabulary").flatMap(Vocabulary.init)
        do throws(Misfit) {
            use = try Self.use(
                of: model.graph, vocabulary, hasClasses: member("classes") != nil,
                mean: numbers("mean"), deviation: numbers("std"))
        } catch { throw .badModel(path: path, reason: error.reason) }
    }

    private struct Misfit: Error { let reason: String }

    private static func use(
        of graph: Graph, _ vocabulary: Vocabulary?, hasClasses: Bool, mean: [Double], deviation: [Double]
    ) throws(Misfit) -> Use {
        let output = graph.outputShape
        let misfit = Misfit(reason: "nothing is known to predict with an output of \(output.dimensions)")
        guard graph[graph.input].element == .token else {
            guard output.rank == 1 else { throw misfit }
            return .values(mean: mean, deviation: deviation)
        }
        guard let vocabulary else { throw Misfit(reason: "it does not say what its tokens mean") }
        let isPerToken = output.rank == 2 && output[0] == graph.inputShape.elementCount
        guard isPerToken || output.rank == 1 else { throw misfit }
        if hasClasses { return .texts(vocabulary, perToken: isPerToken) }
        guard isPerToken, output[1] == vocabulary.count else { throw misfit }
        return .language(vocabulary)
    }
}

extension StoredModel {
    /// Writes into the file which layers leave out the zeros of their weights.
    public func store(_ sparse: SparseLayers) throws(TrainingError) -> AtomicFile.Receipt {
        try formatting { () throws(FormatError) in
            try SafetensorsMetadata.add(["vintner.\(SparseLayers.key)": sparse.json.encoded()], to: path)
        }
    }
}

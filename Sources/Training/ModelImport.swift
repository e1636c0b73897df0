internal import Data
internal import Formats
internal import Graph
public import JSON
internal import Plan
internal import Tensor

/// A model file from elsewhere of which everything was checked that its use relies on.
///
/// A violation's pointer leads into the JSON of the file's header: `/fc1.weight` is a tensor,
/// `/__metadata__/vintner.model/layers/0` a place within the text that has this key.
public struct ModelImport: Sendable {
    /// Why a file is not taken.
    public enum Failure: Error {
        /// It is no model, or not all of one.
        case invalid(InvalidInput)
        /// It could not be read.
        case unreadable(TrainingError)
    }

    /// What the file is.
    public let stored: StoredModel
    /// Learned numbers, and multiply-accumulates of one sample.
    public let parameters: Int, macsPerSample: Int
    /// The layers that are stored as bytes.
    public let quantizedLayers: [String]
    /// The dataset that it was trained on, as the file has it.
    public let datasetName: String?

    /// Checks a file, every number of it included.
    ///
    /// - Parameters:
    ///   - path: A safetensors file.
    ///   - byteCountMax: The memory that its parameters may take.
    /// - Throws: `Failure.invalid` with every violation, at most a hundred.
    public init(_ path: String, byteCountMax: Int) throws(Failure) {
        let log = ViolationLog()
        do throws(TrainingError) {
            let reader = try Self.open(path)
            let texts = ImportedTexts(reader.metadata, log)
            guard let model = texts.model else { throw Self.stop }
            let cost = CostModel(of: model.graph)
            guard cost.parameterBytes <= byteCountMax else {
                log.add(
                    ImportedTexts.pointer("model"), "too_large",
                    "expected parameters of at most \(byteCountMax) bytes, found \(cost.parameterBytes)")
                throw Self.stop
            }
            texts.check(against: model)
            var stored: StoredModel?
            if log.isEmpty { stored = try StoredModel(path) }
            let quantized = try stored?.quantizedModel()
            if stored != nil || !texts.isQuantized {
                try ImportedTensors(reader, model.graph, quantized, masked: texts.masks, log).check()
            }
            guard let stored, log.isEmpty else { throw Self.stop }
            // What is taken can be downloaded with all its zeros, too.
            try formatting { () throws(FormatError) in _ = try WholeLayout(reader) }
            (self.stored, parameters, macsPerSample) = (stored, cost.parameters, cost.macsPerSample)
            quantizedLayers = (quantized?.layers.keys.map { model.graph[$0].name } ?? []).sorted()
            datasetName = texts.dataset
        } catch { throw Self.failure(error, log) }
    }

    /// Ends the reading; the log has why.
    private static let stop = TrainingError.misfit(reason: "the file is no model")

    private static func open(_ path: String) throws(TrainingError) -> SafetensorsReader {
        try formatting { () throws(FormatError) in try SafetensorsReader(path) }
    }

    /// What a client is told of an error, without the path, which is ours.
    private static func failure(_ error: TrainingError, _ log: ViolationLog) -> Failure {
        switch error {
        case .misfit: break
        case .badModel(_, let reason): log.add("/__metadata__", "invalid_model", reason)
        case .format(.malformed(_, let reason)): log.add("", "malformed_file", reason)
        case .format(.missingTensor(let name, _, _)):
            log.add(JSONPointer.member(name, of: ""), "missing_tensor", "expected this tensor, found none")
        case .format(.mismatch(let name, _, let expected, let found)):
            log.add(
                JSONPointer.member(name, of: ""), "wrong_tensor", "expected \(expected), found \(found)")
        default: return .unreadable(error)
        }
        return .invalid(InvalidInput(log.violations))
    }
}

/// The texts beside the tensors, read.
private struct ImportedTexts {
    private(set) var model: ModelSpec?
    /// The parameters of which zeros are held.
    private(set) var masks: [String] = []
    private(set) var dataset: String?
    /// Whether layers are stored as bytes.
    let isQuantized: Bool
    private var classes: [String]?
    private var mean: [Double]?
    private var deviation: [Double]?
    private let log: ViolationLog

    private static let nameLengthMax = 200

    static func pointer(_ key: String) -> String { "/__metadata__/vintner.\(key)" }

    init(_ metadata: [String: String], _ log: ViolationLog) {
        self.log = log
        isQuantized = metadata[StoredQuantization.key] != nil
        func read(_ key: String) -> JSONValue? {
            guard let text = metadata["vintner.\(key)"] else { return nil }
            do { return try JSONValue(parsing: Array(text.utf8)) } catch {
                log.add(Self.pointer(key), "malformed_json", "expected JSON: \(error)")
                return nil
            }
        }
        func list<Element>(_ key: String, of kind: String, _ element: (JSONValue) -> Element?) -> [Element]? {
            guard let value = read(key) else { return nil }
            let elements = (value.arrayValue ?? []).compactMap(element)
            guard let count = value.arrayValue?.count, elements.count == count else {
                log.add(
                    Self.pointer(key), "wrong_type", "expected an array of \(kind), found \(value.summary)")
                return nil
            }
            return elements
        }
        classes = list("classes", of: "strings") { $0.stringValue }
        mean = list("mean", of: "numbers") { $0.doubleValue }
        deviation = list("std", of: "numbers") { $0.doubleValue }
        masks = list("masks", of: "strings") { $0.stringValue } ?? []
        if let name = read("dataset")?.stringValue, name.unicodeScalars.count <= Self.nameLengthMax {
            dataset = name
        }
        if let json = read("vocabulary"), Vocabulary(json) == nil {
            log.add(
                Self.pointer("vocabulary"), "invalid_value",
                "expected {\"tokens\", \"reserved\", \"entries\"} as docs/api.md has it")
        }
        if let json = read("model") {
            model = ModelSpec.read(json, at: Self.pointer("model"), data: DataShape(), log: log)
        } else if metadata["vintner.model"] == nil {
            log.add(
                Self.pointer("model"), "missing_field",
                "expected the architecture: the JSON of a job's field \"model\", as a text in the metadata")
        }
    }

    /// What has to agree with the model, and with each other.
    func check(against model: ModelSpec) {
        let outputs = model.graph[model.graph.output].channels
        if let classes, classes.count != outputs {
            log.add(
                Self.pointer("classes"), "invalid_value",
                "expected a name for each of \(outputs) outputs, found \(classes.count)")
        }
        let isNormalised = mean.map { mean in
            mean.count == deviation?.count && !mean.isEmpty && mean.allSatisfy(\.isFinite)
                && deviation?.allSatisfy { $0.isFinite && $0 > 0 } ?? false
        }
        if isNormalised == false || (mean == nil) != (deviation == nil) {
            log.add(
                Self.pointer("std"), "invalid_value",
                "expected as many positive numbers as vintner.mean has numbers, one for each channel")
        }
        let known = Set(model.graph.parameters.map(\.name))
        for name in masks where !known.contains(name) {
            log.add(
                Self.pointer("masks"), "invalid_value", "expected parameters, found \"\(name.prefix(100))\"")
        }
    }
}

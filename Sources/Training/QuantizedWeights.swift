public import Files
internal import Formats
public import Graph
public import JSON
public import Plan
internal import Tensor

/// A quantised model, ready to be stored.
///
/// A file has the weight of each such layer as codes (I8) under its own name, and beside it `weight_scale`
/// (one a row), `bias` (F32, the folded normalisation included), `input_scale` and `input_zero_point`. Codes
/// most of which are zero lie as a `SparseTensor`. The parameters of folded normalisations are left out, all
/// others are F32 as ever.
public struct QuantizedWeights {
    /// What it computes.
    public let model: ModelSpec
    /// The layers in bytes.
    public let quantized: QuantizedModel
    /// The other parameters, in the graph's order.
    private let floats: [(id: Graph.ParameterID, values: [Float])]
    /// What the float model's file says of its numbers.
    private let metadata: [String: String]

    init(
        _ stored: StoredModel, _ quantized: QuantizedModel,
        values: (Graph.ParameterID) throws(TrainingError) -> [Float]
    ) throws(TrainingError) {
        (model, self.quantized) = (stored.model, quantized)
        var floats: [(Graph.ParameterID, [Float])] = []
        for id in stored.model.graph.parameterIDs where !quantized.holds(id) {
            floats.append((id, try values(id)))
        }
        self.floats = floats
        let reader = try formatting { () throws(FormatError) in try SafetensorsReader(stored.path) }
        // Masks are for training, which what is quantised is not meant for; its zeros are zeros without them.
        let idle = [StoredMask.key, "vintner.\(SparseLayers.key)"]
        metadata = reader.metadata.filter { !idle.contains($0.key) }
    }

    private enum Content {
        case codes([Int8])
        case floats([Float])
        case bytes([UInt8])
        /// Both of a sparse tensor's integer tensors, the second of which has nothing left to append.
        case integers(SparseTensor)
        case nothing
        case values(SparseTensor)
        case bits(SparseTensor)
    }

    /// Stores the model; the file appears whole or not at all.
    ///
    /// `description` goes into its metadata beside what the float model's file says.
    public func save(to path: String, description: JSONObject = [:]) throws(TrainingError)
        -> AtomicFile.Receipt
    {
        let graph = model.graph
        var tensors: [(name: String, element: StoredElement, shape: [Int])] = []
        var contents: [String: Content] = [:]
        func add(_ name: String, _ element: StoredElement, _ shape: [Int], _ content: Content) {
            tensors.append((name, element, shape))
            contents[name] = content
        }
        for (id, layer) in quantized.layers.sorted(by: { $0.key.index < $1.key.index }) {
            guard let weight = graph.quantizableWeight(of: id) else { continue }
            let names = QuantizedNames(weight: graph[weight].name)
            let rows = [layer.scales.count]
            let extents = graph[weight].shape.dimensions
            if let sparse = SparseTensor(names.weight, shape: extents, codes: layer.weights) {
                let parts = sparse.integerTensors
                tensors += parts + [sparse.compressedTensor, sparse.bitmaskTensor]
                contents[parts[0].name] = .integers(sparse)
                contents[parts[1].name] = .nothing
                contents[sparse.compressedTensor.name] = .values(sparse)
                contents[sparse.bitmaskTensor.name] = .bits(sparse)
            } else {
                add(names.weight, .int8, extents, .codes(layer.weights))
            }
            add(names.weightScale, .float32, rows, .floats(layer.scales))
            add(names.bias, .float32, rows, .floats(layer.bias))
            add(names.inputScale, .float32, [1], .floats([layer.input.scale]))
            add(names.inputZeroPoint, .uint8, [1], .bytes([layer.input.zeroPoint]))
        }
        for (id, values) in floats {
            add(graph[id].name, .float32, graph[id].shape.dimensions, .floats(values))
        }
        var metadata = metadata
        for (key, value) in description.members { metadata["vintner.\(key)"] = value.encoded() }
        metadata[StoredQuantization.key] = StoredQuantization(quantized, of: graph).json.encoded()
        let (listed, texts) = (tensors, metadata)
        return try formatting { () throws(FormatError) in
            let writer = try SafetensorsWriter(path, tensors: listed, metadata: texts)
            for entry in writer.entries {
                switch contents[entry.name] {
                case .codes(let codes): try writer.append(codes.span)
                case .floats(let floats): try writer.append(floats.span)
                case .bytes(let bytes): try writer.append(bytes.span)
                case .integers(let sparse): try sparse.appendIntegers(to: writer)
                case .nothing: break
                case .values(let sparse): try sparse.appendValues(to: writer)
                case .bits(let sparse): try sparse.appendBits(to: writer)
                case nil: preconditionFailure("\(entry.name) has no content")
                }
            }
            return try writer.commit()
        }
    }
}

/// What the tensors of a layer in bytes are called.
struct QuantizedNames {
    let weight: String
    private let base: String

    init(weight: String) {
        self.weight = weight
        base = weight.hasSuffix(".weight") ? String(weight.dropLast("weight".count)) : weight + "."
    }

    var weightScale: String { base + "weight_scale" }
    var bias: String { base + "bias" }
    var inputScale: String { base + "input_scale" }
    var inputZeroPoint: String { base + "input_zero_point" }
}

/// What a file's metadata says of its layers in bytes.
struct StoredQuantization: Sendable {
    static let key = "vintner.quantization"

    struct Layer: Sendable {
        let name: String
        let foldsNorm: Bool
    }

    /// The greatest code of an activation.
    let codeMax: UInt8
    let layers: [Layer]

    init(_ model: QuantizedModel, of graph: Graph) {
        let sorted = model.layers.sorted { $0.key.index < $1.key.index }
        codeMax = sorted.first?.value.input.codeMax ?? .max
        layers = sorted.map { Layer(name: graph[$0.key].name, foldsNorm: $0.value.foldsNorm) }
    }

    /// Reads the metadata's member; nil where it says nothing that we understand.
    init?(_ json: JSONValue) {
        guard json["scheme"] == "int8", let codeMax = json["code_max"]?.intValue,
            let most = UInt8(exactly: codeMax), let list = json["layers"]?.arrayValue, !list.isEmpty
        else { return nil }
        var layers: [Layer] = []
        for entry in list {
            guard let name = entry["name"]?.stringValue, let folds = entry["folds_norm"]?.boolValue else {
                return nil
            }
            layers.append(Layer(name: name, foldsNorm: folds))
        }
        guard Set(layers.map(\.name)).count == layers.count else { return nil }
        (self.codeMax, self.layers) = (most, layers)
    }

    var json: JSONValue {
        [
            "scheme": "int8", "code_max": JSONValue(Int(codeMax)),
            "layers": .array(
                layers.map { ["name": .string($0.name), "folds_norm": .bool($0.foldsNorm)] }),
        ]
    }
}

extension StoredModel {
    /// Reads the layers in bytes; nil where there are none.
    ///
    /// Throws `TrainingError.badModel` where they do not fit the model, and what the file's reader throws.
    public func quantizedModel() throws(TrainingError) -> QuantizedModel? {
        guard let quantization else { return nil }
        let graph = model.graph
        let reader = try formatting { () throws(FormatError) in try SafetensorsReader(path) }
        var layers: [Graph.NodeID: QuantizedLayer] = [:]
        for listed in quantization.layers {
            let id = graph.nodeIDs.first {
                graph[$0].name == listed.name && graph.quantizableWeight(of: $0) != nil
            }
            guard let id, let weight = graph.quantizableWeight(of: id) else {
                throw .badModel(path: path, reason: "its layer \(listed.name) cannot be computed in bytes")
            }
            layers[id] = try layer(graph[weight], foldsNorm: listed.foldsNorm, quantization.codeMax, reader)
        }
        do { return try QuantizedModel(layers, of: graph) } catch {
            throw .badModel(path: path, reason: error.description)
        }
    }

    private func layer(
        _ weight: Graph.Parameter, foldsNorm: Bool, _ codeMax: UInt8, _ reader: SafetensorsReader
    ) throws(TrainingError) -> QuantizedLayer {
        let names = QuantizedNames(weight: weight.name)
        let shape = weight.shape
        let read = try formatting { () throws(FormatError) in
            (
                codes: try reader.codes(names.weight, shape: shape.dimensions),
                scales: try reader.floats(names.weightScale, shape: [shape[0]]),
                bias: try reader.floats(names.bias, shape: [shape[0]]),
                step: try reader.floats(names.inputScale, shape: [1]),
                zero: try reader.byte(names.inputZeroPoint)
            )
        }
        guard let step = read.step.first,
            let input = ActivationScale(scale: step, zeroPoint: read.zero, codeMax: codeMax)
        else { throw .badModel(path: path, reason: "the scale of what \(weight.name) reads means nothing") }
        return QuantizedLayer(
            weights: read.codes, scales: read.scales, bias: read.bias, input: input, foldsNorm: foldsNorm)
    }
}

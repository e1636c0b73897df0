internal import Formats
internal import Graph
public import JSON
public import Kernels
internal import Plan
internal import Tensor

/// Which layers of a stored model leave out the zeros of their weights, and how, by the batch size for which
/// that was measured.
///
/// It stands in the model's file, so that the same file gives the same bits everywhere.
public struct SparseLayers: Sendable, Equatable {
    /// By layer and batch size.
    public private(set) var formats: [String: [Int: SparseLayout.Format]] = [:]

    /// The member of a model file's metadata.
    static let key = "sparse"

    /// None.
    public init() {}

    /// Reads `{"fc1": {"1": "csr", "64": "block"}}`; what it does not understand runs dense.
    public init(_ json: JSONValue) {
        for (layer, sizes) in json.objectValue?.members ?? [] {
            for (size, format) in sizes.objectValue?.members ?? [] {
                guard let batch = Int(size), batch > 0,
                    let format = format.stringValue.flatMap(SparseLayout.Format.init)
                else { continue }
                formats[layer, default: [:]][batch] = format
            }
        }
    }

    /// The same as JSON, in the layers' and sizes' order.
    public var json: JSONValue {
        .object(
            JSONObject(
                formats.sorted { $0.key < $1.key }.map { layer, sizes in
                    (
                        layer,
                        .object(
                            JSONObject(
                                sizes.sorted { $0.key < $1.key }.map { ("\($0)", .string($1.rawValue)) }))
                    )
                }))
    }

    /// Whether there is none.
    public var isEmpty: Bool { formats.isEmpty }

    /// How a layer is computed for batches of a size; nil for all weights.
    public subscript(layer: String, batch: Int) -> SparseLayout.Format? {
        get { formats[layer]?[batch] }
        set {
            formats[layer, default: [:]][batch] = newValue
            if formats[layer]?.isEmpty == true { formats[layer] = nil }
        }
    }

    /// How plans keep the weights of these layers, counted in the values that the reader has.
    func weights(
        of graph: Graph, in reader: SafetensorsReader
    ) throws(TrainingError) -> [Graph.ParameterID: SparseWeights] {
        var found: [Graph.ParameterID: SparseWeights] = [:]
        for node in graph.nodes {
            guard let sizes = formats[node.name], let id = graph.parameter(.weight, of: node) else {
                continue
            }
            let shape = graph[id].shape.dimensions
            let values = try formatting { () throws(FormatError) in
                try reader.floats(graph[id].name, shape: shape)
            }
            var weights = SparseWeights()
            for (batch, format) in sizes {
                weights[batch: batch] = SparseLayout(format, of: values, outputs: shape.first ?? 1)
            }
            found[id] = weights
        }
        return found
    }
}

extension StoredModel {
    /// How plans keep the weights of the layers that leave out their zeros.
    func sparseWeights() throws(TrainingError) -> [Graph.ParameterID: SparseWeights] {
        guard !sparse.isEmpty else { return [:] }
        let reader = try formatting { () throws(FormatError) in try SafetensorsReader(path) }
        return try sparse.weights(of: model.graph, in: reader)
    }
}

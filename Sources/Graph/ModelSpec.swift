public import JSON
public import Tensor

/// How weights start; biases start as PyTorch's in every case.
public enum Initialization: String, CaseIterable, Sendable {
    /// PyTorch's default: uniform in ±1/sqrt(fan in), which is its He uniform with a = sqrt(5).
    case `default`
    /// Normal with deviation sqrt(2 / fan in) (He et al., 2015).
    case heNormal = "he_normal"
    /// Uniform in ±sqrt(6 / fan in) (He et al., 2015).
    case heUniform = "he_uniform"
    /// Normal with deviation sqrt(2 / (fan in + fan out)) (Glorot and Bengio, 2010).
    case xavierNormal = "xavier_normal"
    /// Uniform in ±sqrt(6 / (fan in + fan out)) (Glorot and Bengio, 2010).
    case xavierUniform = "xavier_uniform"
}

/// A model as a client describes it: a preset, or layers.
public struct ModelSpec: Sendable, Hashable {
    /// One sample: `[channels, height, width]`, `[channels, length]` or `[tokens, width]`, `[features]`, or
    /// the number of tokens.
    public let input: Shape
    public let layers: [LayerSpec]
    public let initialization: Initialization
    /// The graph of the layers.
    public let graph: Graph

    /// More layers than this are refused, nested ones counted.
    public static let layerCountMax = 4096

    public static func == (left: ModelSpec, right: ModelSpec) -> Bool {
        left.input == right.input && left.layers == right.layers
            && left.initialization == right.initialization
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(input)
        hasher.combine(layers)
    }

    /// Reads and checks a model of images, or of rows of numbers, with classes.
    ///
    /// - Parameters:
    ///   - value: The JSON of the field `model`.
    ///   - pointer: Where it stands in the document.
    ///   - datasetInput: The shape of the dataset's samples, if one is known.
    ///   - classes: The dataset's number of classes, if one is known.
    ///   - log: Takes the violations.
    /// - Returns: nil after violations, all of which are in the log.
    public static func read(
        _ value: JSONValue, at pointer: String, datasetInput: Shape?, classes: Int?, log: ViolationLog
    ) -> ModelSpec? {
        read(value, at: pointer, data: .images(datasetInput, classes: classes), log: log)
    }

    /// Reads and checks a model.
    ///
    /// - Parameters:
    ///   - value: The JSON of the field `model`.
    ///   - pointer: Where it stands in the document.
    ///   - data: What is known of the data: the presets' defaults, and what input and output must agree with.
    ///   - log: Takes the violations.
    /// - Returns: nil after violations, all of which are in the log.
    public static func read(
        _ value: JSONValue, at pointer: String, data: DataShape, log: ViolationLog
    ) -> ModelSpec? {
        ModelReader(pointer: pointer, data: data, log: log).read(value)
    }

    /// Makes a model of layers.
    ///
    /// - Throws: Every violation, with pointers as if `layers` stood in a document.
    public init(
        input: Shape, layers: [LayerSpec], initialization: Initialization = .default
    ) throws(InvalidInput) {
        let log = ViolationLog()
        let place = Place(pointer: "").member("layers")
        var references = References(log: log)
        references.check(layers, at: place)
        let value = Self.inputValue(input, layers)
        let graph = ShapeInference.graph(of: layers, input: value, at: place, log: log)
        try log.throwIfAny()
        guard let graph else {
            throw InvalidInput(pointer: "", code: "invalid_value", detail: "the layers make no model")
        }
        self.init(input: input, layers: layers, initialization: initialization, graph: graph)
    }

    init(input: Shape, layers: [LayerSpec], initialization: Initialization, graph: Graph) {
        self.input = input
        self.layers = layers
        self.initialization = initialization
        self.graph = graph
    }

    /// The model spelt out: input, layers with every default, initialisation.
    ///
    /// Reading it gives the same model.
    public var json: JSONValue {
        [
            "input": .array(input.dimensions.map { JSONValue($0) }),
            "layers": .array(layers.map(\.json)), "initialization": .string(initialization.rawValue),
        ]
    }

    /// The input as its first reader takes it: tokens for an embedding; images, and signals that are
    /// convolved, with their channels innermost.
    static func inputValue(_ shape: Shape, _ layers: [LayerSpec?]) -> Graph.Value {
        switch firstReader(of: layers) {
        case .embedding: Graph.Value(shape: shape, order: .plain, element: .token)
        case .conv1d, .maxPool1d, .avgPool1d, .batchNorm, .groupNorm, .squeezeExcite:
            Graph.Value(shape: shape, order: shape.rank > 1 ? .channelsLast : .plain)
        default: Graph.Value(shape: shape, order: shape.rank == 3 ? .channelsLast : .plain)
        }
    }

    private static func firstReader(of layers: [LayerSpec?]) -> LayerType? {
        guard let kind = layers.first??.kind else { return nil }
        return switch kind {
        case .sequential(let nested), .residual(let nested, shortcut: _): firstReader(of: nested)
        default: kind.typeName
        }
    }
}

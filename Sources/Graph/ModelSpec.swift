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
    /// One sample: `[channels, height, width]` or `[features]`.
    public let input: Shape
    public let layers: [LayerSpec]
    public let initialization: Initialization
    /// The graph of the layers.
    public let graph: Graph

    /// More layers than this are refused.
    public static let layerCountMax = 1000

    public static func == (left: ModelSpec, right: ModelSpec) -> Bool {
        left.input == right.input && left.layers == right.layers
            && left.initialization == right.initialization
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(input)
        hasher.combine(layers)
    }

    /// Reads and checks a model.
    ///
    /// - Parameters:
    ///   - value: The JSON of the field `model`.
    ///   - pointer: Where it stands in the document.
    ///   - datasetInput: The shape of the dataset's samples, if one is known: the input by default, and what
    ///     a given input must agree with.
    ///   - classes: The dataset's number of classes, if one is known: the presets' default, and what the
    ///     output must agree with.
    ///   - log: Takes the violations.
    /// - Returns: nil after violations, all of which are in the log.
    public static func read(
        _ value: JSONValue, at pointer: String, datasetInput: Shape?, classes: Int?, log: ViolationLog
    ) -> ModelSpec? {
        let before = log.violations.count
        let isPreset = value.objectValue?["preset"] != nil
        var reader = ObjectReader(
            value, as: isPreset ? ModelFields.preset : ModelFields.layered, at: pointer, log: log)
        let initialization = reader.read(ModelFields.initialization)
        let input = readInput(&reader, datasetInput)
        let layers = isPreset ? readPreset(&reader, classes) : readLayers(&reader)
        reader.finish()
        guard let input else { return nil }
        var inference = ShapeInference(input: input, pointer: pointer, hasLayers: !isPreset, log: log)
        // Up to the first layer that cannot be read: what follows it has no known input.
        for (index, layer) in layers.enumerated() {
            guard let layer, inference.append(layer, at: index) else { return nil }
        }
        guard log.violations.count == before else { return nil }
        inference.straighten()
        checkOutput(inference.graph, classes, pointer, log)
        guard log.violations.count == before else { return nil }
        return ModelSpec(
            input: input, layers: layers.compactMap(\.self), initialization: initialization,
            graph: inference.graph)
    }

    /// Makes a model of layers.
    ///
    /// - Throws: Every violation, with pointers as if `layers` stood in a document.
    public init(
        input: Shape, layers: [LayerSpec], initialization: Initialization = .default
    ) throws(InvalidInput) {
        let log = ViolationLog()
        var inference = ShapeInference(input: input, pointer: "", hasLayers: true, log: log)
        for (index, layer) in layers.enumerated() where !inference.append(layer, at: index) { break }
        try log.throwIfAny()
        inference.straighten()
        self.init(input: input, layers: layers, initialization: initialization, graph: inference.graph)
    }

    private init(input: Shape, layers: [LayerSpec], initialization: Initialization, graph: Graph) {
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

    private static func readInput(_ reader: inout ObjectReader, _ datasetInput: Shape?) -> Shape? {
        let place = reader.pointer(to: "input")
        guard let given = reader.read(ModelFields.input) else {
            if datasetInput == nil { reader.log.add(place, "missing_field", "\"input\" is required") }
            return datasetInput
        }
        guard given.count == 1 || given.count == 3 else {
            reader.log.add(
                place, "invalid_value", "expected [channels, height, width] or [features], found \(given)")
            return nil
        }
        guard let shape = try? Shape(given) else {
            reader.log.add(place, "too_large", "the input has more than \(Shape.elementCountMax) elements")
            return nil
        }
        if let datasetInput, datasetInput != shape {
            reader.log.add(
                place, "shape_mismatch", "the dataset's samples are \(datasetInput), the model takes \(shape)"
            )
        }
        return shape
    }

    private static func readPreset(_ reader: inout ObjectReader, _ datasetClasses: Int?) -> [LayerSpec?] {
        let preset = reader.read(ModelFields.presetName)
        let hidden = reader.read(ModelFields.hidden)
        let dropout = reader.read(ModelFields.dropout)
        let given = reader.read(ModelFields.classes)
        if preset != .mlp, reader.contains("hidden") {
            reader.log.add(
                reader.pointer(to: "hidden"), "invalid_value", "only the preset mlp takes hidden widths")
        }
        guard let classes = given ?? datasetClasses else {
            reader.log.add(reader.pointer(to: "classes"), "missing_field", "\"classes\" is required")
            return []
        }
        return preset.layers(classes: classes, hidden: hidden, dropout: dropout)
    }

    /// One element for each layer of the document; nil for one that cannot be read.
    private static func readLayers(_ reader: inout ObjectReader) -> [LayerSpec?] {
        let place = reader.pointer(to: "layers")
        guard let values = reader.read(ModelFields.layers).arrayValue else {
            if reader.contains("layers") {
                reader.log.add(place, "wrong_type", "expected an array of layers")
            }
            return []
        }
        guard (1...layerCountMax).contains(values.count) else {
            reader.log.add(
                place, "out_of_range", "expected 1 to \(layerCountMax) layers, found \(values.count)")
            return []
        }
        var numbers: [String: Int] = [:]
        var names: Set<String> = []
        var layers: [LayerSpec?] = []
        for (index, value) in values.enumerated() {
            let at = JSONPointer.element(index, of: place)
            let layer = LayerSpec.read(value, at: at, log: reader.log, number: &numbers)
            layers.append(layer)
            if let layer, !names.insert(layer.name).inserted {
                reader.log.add(
                    JSONPointer.member("name", of: at), "invalid_value",
                    "another layer is called \"\(layer.name)\" already")
            }
        }
        return layers
    }

    private static func checkOutput(_ graph: Graph, _ classes: Int?, _ pointer: String, _ log: ViolationLog) {
        guard let classes, graph.outputShape.dimensions != [classes] else { return }
        log.add(
            pointer, "shape_mismatch",
            "the dataset has \(classes) classes, the model's output is \(graph.outputShape)")
    }
}

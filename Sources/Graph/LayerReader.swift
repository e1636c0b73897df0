internal import JSON

/// Reads lists of layers, nested ones too; what one layer's fields say, not yet whether layers fit.
struct LayerReader {
    /// Lists within lists.
    static let depthMax = 8

    let data: DataShape
    let log: ViolationLog
    /// Layers so far, in all lists.
    private var count = 0
    private var depth = 0

    init(data: DataShape, log: ViolationLog) {
        self.data = data
        self.log = log
    }

    /// One element for each layer of a list; nil for one that cannot be read.
    ///
    /// nil for what is no list of layers; `countMin` is the least that it must have.
    mutating func read(_ value: JSONValue, at place: String, countMin: Int = 1) -> [LayerSpec?]? {
        guard let values = value.arrayValue else {
            log.add(place, "wrong_type", "expected an array of layers")
            return nil
        }
        guard (countMin...ModelSpec.layerCountMax).contains(values.count) else {
            log.add(
                place, "out_of_range",
                "expected \(countMin) to \(ModelSpec.layerCountMax) layers, found \(values.count)")
            return nil
        }
        guard depth < Self.depthMax else {
            log.add(place, "too_large", "layers are nested more than \(Self.depthMax) deep")
            return nil
        }
        count += values.count
        guard count <= ModelSpec.layerCountMax else {
            log.add(place, "too_large", "the model has more than \(ModelSpec.layerCountMax) layers")
            return nil
        }
        depth += 1
        defer { depth -= 1 }
        var names = DefaultNames(taken: values)
        return values.enumerated().map { index, value in
            read(value, at: JSONPointer.element(index, of: place), &names)
        }
    }

    private mutating func read(
        _ value: JSONValue, at pointer: String, _ names: inout DefaultNames
    ) -> LayerSpec? {
        let before = log.violations.count
        guard let type = readType(value, at: pointer) else { return nil }
        var reader = ObjectReader(value, as: LayerFields.schema(of: type), at: pointer, log: log)
        _ = reader.read(LayerFields.type)
        let name = reader.read(LayerFields.name) ?? names.next(for: type)
        let inputs = readInputs(&reader)
        let kind = readKind(type, &reader)
        reader.finish()
        guard let kind, log.violations.count == before, !log.isFull else { return nil }
        return LayerSpec(kind, name: name, inputs: inputs)
    }

    /// The type, for which an unknown one is answered with the nearest.
    private func readType(_ value: JSONValue, at pointer: String) -> LayerType? {
        if let text = value["type"]?.stringValue, LayerType(rawValue: text) == nil {
            log.add(
                JSONPointer.member("type", of: pointer), "invalid_value",
                Spelling.complaint(unknown: "layer type", text, among: LayerType.allCases.map(\.rawValue)))
            return nil
        }
        var probe = ObjectReader(
            value, as: ObjectSchema("layer", "A layer.", fields: [LayerFields.type]), at: pointer, log: log)
        let before = log.violations.count
        let type = probe.read(LayerFields.type)
        return log.violations.count == before && !log.isFull ? type : nil
    }

    private func readInputs(_ reader: inout ObjectReader) -> [String] {
        let value = reader.read(LayerFields.inputs)
        let place = reader.pointer(to: "inputs")
        switch value {
        case .null: return []
        case .string(let name): return [name]
        case .array(let names) where (1...LayerSpec.inputCountMax).contains(names.count):
            let texts = names.compactMap(\.stringValue)
            if texts.count == names.count { return texts }
            log.add(place, "wrong_type", "expected names of layers")
        case .array(let names):
            log.add(
                place, "out_of_range", "expected 1 to \(LayerSpec.inputCountMax) names, found \(names.count)")
        case .bool, .integer, .number, .object:
            log.add(place, "wrong_type", "expected a name or an array of names, found \(value.summary)")
        }
        return []
    }

    private mutating func readKind(_ type: LayerType, _ reader: inout ObjectReader) -> LayerKind? {
        switch type {
        case .conv2d: .conv2d(LayerKind.Conv2d.table.read(&reader))
        case .depthwiseConv2d: .depthwiseConv2d(LayerKind.DepthwiseConv2d.table.read(&reader))
        case .separableConv2d: .separableConv2d(LayerKind.SeparableConv2d.table.read(&reader))
        case .conv1d: .conv1d(LayerKind.Conv1d.table.read(&reader))
        case .convTranspose2d: .convTranspose2d(LayerKind.ConvTranspose2d.table.read(&reader))
        case .linear: .linear(LayerKind.Linear.table.read(&reader))
        case .relu: .relu
        case .relu6: .activation(.relu6)
        case .leakyReLU: .activation(.leakyReLU(slope: reader.read(LayerFields.negativeSlope)))
        case .gelu: .activation(.gelu(tanh: reader.read(LayerFields.approximate) == .tanh))
        case .silu: .activation(.silu)
        case .sigmoid: .activation(.sigmoid)
        case .tanh: .activation(.tanh)
        case .hardSwish: .activation(.hardSwish)
        case .softmax: .softmax
        case .maxPool2d: .maxPool2d(LayerKind.Pool2d.maximumTable.read(&reader))
        case .avgPool2d: .avgPool2d(LayerKind.Pool2d.table.read(&reader))
        case .maxPool1d: .maxPool1d(LayerKind.Pool1d.maximumTable.read(&reader))
        case .avgPool1d: .avgPool1d(LayerKind.Pool1d.table.read(&reader))
        case .adaptiveAvgPool2d: .adaptiveAvgPool2d(reader.read(LayerFields.outputSize))
        case .globalAvgPool: .globalAvgPool
        case .batchNorm: .batchNorm(LayerKind.BatchNorm.table.read(&reader))
        case .layerNorm: .layerNorm(LayerKind.LayerNorm.table.read(&reader))
        case .rmsNorm: .rmsNorm(epsilon: reader.read(LayerFields.rmsEpsilon))
        case .groupNorm: .groupNorm(LayerKind.GroupNorm.table.read(&reader))
        case .dropout: .dropout(reader.read(LayerFields.probability))
        case .flatten: readFlatten(&reader)
        case .reshape: .reshape(reader.read(LayerFields.shape))
        case .transpose: .transpose(reader.read(LayerFields.dims))
        case .add: .add
        case .multiply: .multiply
        case .concat: .concat(reader.read(LayerFields.dim))
        case .residual, .sequential: readNested(type, &reader)
        case .squeezeExcite: .squeezeExcite(LayerKind.SqueezeExcite.table.read(&reader))
        case .embedding: readEmbedding(&reader)
        case .positionalEmbedding: .positionalEmbedding(deviation: reader.read(LayerFields.rowDeviation))
        case .classToken: .classToken(deviation: reader.read(LayerFields.rowDeviation))
        case .selectToken: .selectToken(reader.read(LayerFields.index))
        case .multiHeadAttention: .multiHeadAttention(LayerKind.Attention.table.read(&reader))
        case .transformerBlock: .transformerBlock(LayerKind.TransformerBlock.table.read(&reader))
        }
    }

    private func readFlatten(_ reader: inout ObjectReader) -> LayerKind {
        let start = reader.read(LayerFields.startDim)
        let end = reader.read(LayerFields.endDim)
        return start == 0 && end == -1 ? .flatten : .flattenAxes(start, end)
    }

    private mutating func readNested(_ type: LayerType, _ reader: inout ObjectReader) -> LayerKind? {
        let value = reader.read(LayerFields.nested)
        let layers = reader.contains("layers") ? read(value, at: reader.pointer(to: "layers")) : nil
        guard type == .residual else { return layers.flatMap(complete).map(LayerKind.sequential) }
        let shortcut = read(
            reader.read(LayerFields.shortcut), at: reader.pointer(to: "shortcut"), countMin: 0)
        guard let layers = layers.flatMap(complete), let shortcut = shortcut.flatMap(complete) else {
            return nil
        }
        return .residual(layers, shortcut: shortcut)
    }

    private func complete(_ layers: [LayerSpec?]) -> [LayerSpec]? {
        let read = layers.compactMap(\.self)
        return read.count == layers.count ? read : nil
    }

    private func readEmbedding(_ reader: inout ObjectReader) -> LayerKind {
        let place = reader.pointer(to: "vocabulary")
        let given = reader.read(LayerFields.vocabulary)
        if case .automatic = given, data.vocabulary == nil {
            log.add(place, "missing_field", "\"vocabulary\" is required without a dataset of tokens")
        }
        let vocabulary = given.resolved(data.vocabulary ?? 1)
        if let least = data.vocabulary, vocabulary < least {
            log.add(
                place, "shape_mismatch", "the dataset has \(least) tokens, the embedding \(vocabulary)")
        }
        var embedding = LayerKind.Embedding(
            vocabulary: vocabulary, width: reader.read(LayerFields.width))
        embedding.initialDeviation = reader.read(LayerFields.deviation)
        embedding.padding = reader.read(LayerFields.paddingIndex) ?? data.padding
        if let padding = embedding.padding, padding >= vocabulary {
            log.add(
                reader.pointer(to: "padding_idx"), "out_of_range",
                "token \(padding) is none of the embedding's \(vocabulary)")
        }
        return .embedding(embedding)
    }
}

/// The names of layers that were given none: their type and number in their list, but for names given.
private struct DefaultNames {
    private let taken: Set<String>
    private var numbers: [String: Int] = [:]

    init(taken layers: [JSONValue]) { taken = Set(layers.compactMap { $0["name"]?.stringValue }) }

    mutating func next(for type: LayerType) -> String {
        let prefix = type.namePrefix
        // Ends: no more names are taken than there are layers.
        while true {
            numbers[prefix, default: 0] += 1
            let name = "\(prefix)\(numbers[prefix, default: 1])"
            if !taken.contains(name) { return name }
        }
    }
}

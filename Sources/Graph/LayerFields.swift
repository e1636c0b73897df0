public import JSON

/// The JSON fields of every layer type: checked by them, and published as JSON Schema.
enum LayerFields {
    static let extentMax = 65_536

    static let type = Field.choice("type", of: LayerType.self, "What the layer computes.")
    static let name = Field.optionalString(
        "name", lengthMax: 64, "The layer's name; by default its type and number, as in conv1.")
    static let outChannels = Field.integer("out_channels", in: 1...extentMax, "Channels of the output.")
    static let kernelSize = Field.pair(
        "kernel_size", in: 1...1024, "The window, as one number or [height, width].")
    static let stride = Field.pair("stride", default: Pair(1, 1), in: 1...1024, "Distance between windows.")
    /// `null` is the window itself.
    static let poolStride = Field.raw(
        "stride", schema: ["description": "Distance between windows; by default the window's extents."],
        "Distance between windows; by default the window's extents.")
    static let padding = Field.pair("padding", default: Pair(0, 0), in: 0...1024, "Zeros on every side.")
    static let dilation = Field.pair("dilation", default: Pair(1, 1), in: 1...1024, "Distance between taps.")
    static let groups = Field.integer(
        "groups", default: 1, in: 1...extentMax, "Channel groups that do not see each other.")
    static let bias = Field.bool("bias", default: true, "Whether a learned constant is added.")
    static let outFeatures = Field.integer("out_features", in: 1...(1 << 20), "Width of the output.")
    static let countIncludePad = Field.bool(
        "count_include_pad", default: true, "Whether the padding's zeros enter the mean.")
    static let probability = Field.number(
        "p", default: 0.5, in: 0...0.99, "Probability that an element is dropped.")
    static let epsilon = Field.number("eps", default: 1e-5, in: 1e-12...1, "Added to the variance.")
    static let momentum = Field.number(
        "momentum", default: 0.1, in: 0...1, "Weight of the newest batch in the running statistics.")

    static func fields(of type: LayerType) -> [any AnyField] {
        let common: [any AnyField] = [Self.type, name]
        return switch type {
        case .conv2d: common + [outChannels, kernelSize, stride, padding, dilation, groups, bias]
        case .linear: common + [outFeatures, bias]
        case .relu, .flatten: common
        case .maxPool2d: common + [kernelSize, poolStride, padding]
        case .avgPool2d: common + [kernelSize, poolStride, padding, countIncludePad]
        case .dropout: common + [probability]
        case .batchNorm: common + [epsilon, momentum]
        }
    }

    static func schema(of type: LayerType) -> ObjectSchema {
        ObjectSchema(type.rawValue, "A \(type.rawValue) layer.", fields: fields(of: type))
    }
}

extension LayerSpec {
    /// Reads one layer; `nil` after a violation that leaves nothing to go on with.
    ///
    /// `number` counts the layers of each type so far, for default names.
    static func read(
        _ value: JSONValue, at pointer: String, log: ViolationLog, number: inout [String: Int]
    ) -> LayerSpec? {
        var probe = ObjectReader(
            value, as: ObjectSchema("layer", "A layer.", fields: [LayerFields.type]), at: pointer, log: log)
        let before = log.violations.count
        let type = probe.read(LayerFields.type)
        guard log.violations.count == before else { return nil }
        var reader = ObjectReader(value, as: LayerFields.schema(of: type), at: pointer, log: log)
        _ = reader.read(LayerFields.type)
        let given = reader.read(LayerFields.name)
        let kind = LayerKind.read(type, &reader)
        reader.finish()
        number[type.namePrefix, default: 0] += 1
        let name = given ?? "\(type.namePrefix)\(number[type.namePrefix, default: 1])"
        if given != nil, !isName(name) {
            log.add(
                reader.pointer(to: "name"), "invalid_value",
                "expected letters, digits, '_' and '-', found \"\(name)\"")
        }
        return log.violations.count == before ? LayerSpec(kind, name: name) : nil
    }

    private static func isName(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
                    true
                default: false
                }
            }
    }

    /// The layer with every default filled in.
    public var json: JSONValue {
        var object: JSONObject = ["type": .string(kind.typeName.rawValue), "name": .string(name)]
        for (key, value) in kind.members { object[key] = value }
        return .object(object)
    }
}

extension LayerKind {
    fileprivate static func read(_ type: LayerType, _ reader: inout ObjectReader) -> LayerKind {
        switch type {
        case .conv2d:
            var conv = Conv2d(
                outChannels: reader.read(LayerFields.outChannels),
                kernelSize: reader.read(LayerFields.kernelSize))
            conv.stride = reader.read(LayerFields.stride)
            conv.padding = reader.read(LayerFields.padding)
            conv.dilation = reader.read(LayerFields.dilation)
            conv.groups = reader.read(LayerFields.groups)
            conv.bias = reader.read(LayerFields.bias)
            return .conv2d(conv)
        case .linear:
            var linear = Linear(outFeatures: reader.read(LayerFields.outFeatures))
            linear.bias = reader.read(LayerFields.bias)
            return .linear(linear)
        case .relu: return .relu
        case .flatten: return .flatten
        case .maxPool2d: return .maxPool2d(readPool(&reader))
        case .avgPool2d:
            var pool = readPool(&reader)
            pool.countIncludePad = reader.read(LayerFields.countIncludePad)
            return .avgPool2d(pool)
        case .dropout: return .dropout(reader.read(LayerFields.probability))
        case .batchNorm:
            return .batchNorm(
                BatchNorm(
                    epsilon: reader.read(LayerFields.epsilon), momentum: reader.read(LayerFields.momentum)))
        }
    }

    private static func readPool(_ reader: inout ObjectReader) -> Pool2d {
        var pool = Pool2d(kernelSize: reader.read(LayerFields.kernelSize))
        pool.padding = reader.read(LayerFields.padding)
        if reader.raw("stride")?.isNull == false { pool.stride = reader.read(LayerFields.stride) }
        return pool
    }

    fileprivate var members: [(String, JSONValue)] {
        switch self {
        case .conv2d(let conv):
            [
                ("out_channels", JSONValue(conv.outChannels)), ("kernel_size", conv.kernelSize.json),
                ("stride", conv.stride.json), ("padding", conv.padding.json),
                ("dilation", conv.dilation.json), ("groups", JSONValue(conv.groups)),
                ("bias", .bool(conv.bias)),
            ]
        case .linear(let linear):
            [("out_features", JSONValue(linear.outFeatures)), ("bias", .bool(linear.bias))]
        case .relu, .flatten: []
        case .maxPool2d(let pool): pool.members
        case .avgPool2d(let pool): pool.members + [("count_include_pad", .bool(pool.countIncludePad))]
        case .dropout(let probability): [("p", .number(probability))]
        case .batchNorm(let norm): [("eps", .number(norm.epsilon)), ("momentum", .number(norm.momentum))]
        }
    }
}

extension LayerKind.Pool2d {
    fileprivate var members: [(String, JSONValue)] {
        [("kernel_size", kernelSize.json), ("stride", stride.json), ("padding", padding.json)]
    }
}

extension Pair {
    fileprivate var json: JSONValue { [JSONValue(first), JSONValue(second)] }
}

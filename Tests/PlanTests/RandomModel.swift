import Tensor

/// A model of random form in the layer language: values are read zero to many times, in any order.
struct RandomModel {
    private struct Value {
        let name: String
        /// `[channels, height, width]`.
        let shape: [Int]
    }

    /// JSON.
    private(set) var text = ""
    private var random: CounterRandom
    private var values: [Value]
    private var layers: [String] = []
    private var unread: Set<String> = []
    private let dropout: Double

    /// Draws a model of a few to `sizeMax` layers; `dropout` is the probability of its dropouts.
    init(seed: UInt64, sizeMax: Int = 14, dropout: Double = 0) {
        random = CounterRandom(seed: seed, purpose: .test)
        self.dropout = dropout
        let input = [1 + Int(random.below(3)), 5 + Int(random.below(4)), 5 + Int(random.below(4))]
        values = [Value(name: "input", shape: input)]
        // What follows needs parameters in front of it, or there is nothing to check.
        convolve(values[0], kernel: 3)
        for _ in 0..<(3 + Int(random.below(UInt32(sizeMax - 3)))) { addLayer() }
        gather()
        text = #"{"input": \#(input), "layers": [\#(layers.joined(separator: ",\n"))]}"#
    }

    private mutating func pick(where isFit: (Value) -> Bool = { _ in true }) -> Value? {
        let fits = values.dropFirst().filter(isFit)
        guard !fits.isEmpty else { return nil }
        // Recent values more often: long chains with a few far readers.
        let back = min(random.below(UInt32(fits.count)), random.below(UInt32(fits.count)))
        return fits[fits.count - 1 - Int(back)]
    }

    private mutating func append(_ type: String, _ fields: String, _ inputs: [Value], _ shape: [Int]) {
        let name = "v\(layers.count)"
        let names = inputs.map { "\"\($0.name)\"" }.joined(separator: ", ")
        layers.append(
            #"{"type": "\#(type)", "name": "\#(name)", "inputs": [\#(names)]\#(fields)}"#)
        for input in inputs { unread.remove(input.name) }
        unread.insert(name)
        values.append(Value(name: name, shape: shape))
    }

    private mutating func convolve(_ value: Value, kernel: Int) {
        let channels = 2 + Int(random.below(4))
        append(
            "conv2d",
            #", "out_channels": \#(channels), "kernel_size": \#(kernel), "padding": \#(kernel / 2)"#,
            [value], [channels] + value.shape.dropFirst())
    }

    private mutating func addLayer() {
        guard let value = pick() else { return }
        let shape = value.shape
        switch random.below(16) {
        case 0: convolve(value, kernel: 3)
        case 1: convolve(value, kernel: 1)
        case 2: append("depthwise_conv2d", #", "kernel_size": 3, "padding": 1"#, [value], shape)
        case 3: append("batch_norm", "", [value], shape)
        case 4: append("group_norm", #", "groups": 1"#, [value], shape)
        case 5: append("dropout", #", "p": \#(dropout)"#, [value], shape)
        case 6 where shape[1] > 3 && shape[2] > 3:
            append(
                "avg_pool2d", #", "kernel_size": 2"#, [value], [shape[0], shape[1] / 2, shape[2] / 2])
        case 7: append("max_pool2d", #", "kernel_size": 3, "stride": 1, "padding": 1"#, [value], shape)
        case 8, 9, 10:
            guard let other = pick(where: { $0.shape == shape }) else { return }
            append(random.below(3) == 0 ? "multiply" : "add", "", [value, other], shape)
        case 11:
            guard let other = pick(where: { $0.shape.dropFirst() == shape.dropFirst() }) else { return }
            append("concat", "", [value, other], [shape[0] + other.shape[0]] + shape.dropFirst())
        case 12: excite(value)
        case 13:
            let inner =
                #"{"type": "conv2d", "out_channels": \#(shape[0]), "kernel_size": 3, "padding": 1}, "#
                + #"{"type": "batch_norm"}"# + (random.below(2) == 0 ? #", {"type": "relu"}"# : "")
            append("residual", #", "layers": [\#(inner)]"#, [value], shape)
        default:
            let kinds = ["relu", "relu", "gelu", "silu", "sigmoid", "tanh", "hard_swish", "leaky_relu"]
            append(kinds[Int(random.below(UInt32(kinds.count)))], "", [value], shape)
        }
    }

    /// Scales a value's channels by what a small net makes of their means.
    private mutating func excite(_ value: Value) {
        append("squeeze_excite", #", "reduction": 1"#, [value], value.shape)
    }

    /// Brings everything that nobody has read into one head.
    private mutating func gather() {
        let ends = values.filter { unread.contains($0.name) }
        var pooled: [Value] = []
        for end in ends {
            append("global_avg_pool", "", [end], [end.shape[0]])
            pooled.append(values[values.count - 1])
        }
        if pooled.count > 1 { append("concat", "", pooled, []) }
        layers.append(#"{"type": "linear", "name": "head", "out_features": 3}"#)
    }
}

internal import JSON
internal import Tensor

/// Turns layer descriptions into a graph, or says which field of which layer cannot be.
struct ShapeInference {
    /// More multiply-accumulates a sample are refused, so that no count made of them overflows: three
    /// passes over a batch of 2^16 samples stay below 2^62.
    static let macsMax = 1 << 44

    var graph: Graph
    /// Multiply-accumulates of the layers so far.
    private var macs = 0
    /// Where the model stands in the document.
    let pointer: String
    /// Whether the layers stand there too, one by one; a preset's do not.
    let hasLayers: Bool
    let log: ViolationLog

    init(input: Shape, pointer: String, hasLayers: Bool, log: ViolationLog) {
        graph = Graph(input: Graph.Value(shape: input, order: input.rank == 3 ? .channelsLast : .plain))
        self.pointer = pointer
        self.hasLayers = hasLayers
        self.log = log
    }

    /// Appends a layer to the chain; false after a violation, when nothing behind it can be checked.
    mutating func append(_ layer: LayerSpec, at index: Int) -> Bool {
        let place =
            hasLayers
            ? JSONPointer.element(index, of: JSONPointer.member("layers", of: pointer))
            : JSONPointer.member("preset", of: pointer)
        let input = graph.outputShape
        switch layer.kind {
        case .conv2d(let conv): return appendConvolution(conv, layer, input, place)
        case .linear(let linear): return appendLinear(linear, layer, input, place)
        case .maxPool2d(let pool), .avgPool2d(let pool): return appendPooling(pool, layer, input, place)
        case .batchNorm: return appendBatchNorm(layer, input)
        case .flatten: return finish(layer, [input.elementCount], place)
        case .relu, .dropout: return finish(layer, input.dimensions, place)
        }
    }

    private mutating func appendConvolution(
        _ conv: LayerKind.Conv2d, _ layer: LayerSpec, _ input: Shape, _ place: String
    ) -> Bool {
        guard let image = image(input, layer, place) else { return false }
        guard image.channels % conv.groups == 0, conv.outChannels % conv.groups == 0 else {
            log.add(
                field("groups", of: place), "shape_mismatch",
                "\(conv.groups) groups do not divide \(image.channels) input and \(conv.outChannels) output "
                    + "channels")
            return false
        }
        let height = extent(
            image.height, conv.kernelSize.first, conv.stride.first, conv.padding.first, conv.dilation.first)
        let width = extent(
            image.width, conv.kernelSize.second, conv.stride.second, conv.padding.second, conv.dilation.second
        )
        guard let height, let width else { return misfit(conv.kernelSize, conv.padding, image, place) }
        let taps = conv.kernelSize.first * conv.kernelSize.second
        let fanIn = image.channels / conv.groups * taps
        let weight = [
            conv.outChannels, image.channels / conv.groups, conv.kernelSize.first, conv.kernelSize.second,
        ]
        return appendWeighted(
            layer, place, weight: weight, bias: conv.bias, fanIn: fanIn,
            fanOut: conv.outChannels / conv.groups * taps, output: [conv.outChannels, height, width])
    }

    private mutating func appendLinear(
        _ linear: LayerKind.Linear, _ layer: LayerSpec, _ input: Shape, _ place: String
    ) -> Bool {
        guard input.rank == 1 else {
            log.add(
                place, "shape_mismatch",
                "\(layer.name) needs a flat input, found \(input); put a flatten layer before it")
            return false
        }
        return appendWeighted(
            layer, place, weight: [linear.outFeatures, input[0]], bias: linear.bias, fanIn: input[0],
            fanOut: linear.outFeatures, output: [linear.outFeatures])
    }

    private mutating func appendPooling(
        _ pool: LayerKind.Pool2d, _ layer: LayerSpec, _ input: Shape, _ place: String
    ) -> Bool {
        guard let image = image(input, layer, place) else { return false }
        guard pool.padding.first * 2 <= pool.kernelSize.first,
            pool.padding.second * 2 <= pool.kernelSize.second
        else {
            log.add(
                field("padding", of: place), "shape_mismatch",
                "padding must be at most half of the kernel")
            return false
        }
        let height = extent(image.height, pool.kernelSize.first, pool.stride.first, pool.padding.first, 1)
        let width = extent(image.width, pool.kernelSize.second, pool.stride.second, pool.padding.second, 1)
        guard let height, let width else { return misfit(pool.kernelSize, pool.padding, image, place) }
        return finish(layer, [image.channels, height, width], place)
    }

    private mutating func appendBatchNorm(_ layer: LayerSpec, _ input: Shape) -> Bool {
        straighten()
        guard let shape = try? Shape([input[0]]) else { return false }
        let roles: [Graph.Parameter.Role] = [.scale, .shift, .runningMean, .runningVariance]
        let parameters = roles.map { role in
            // PyTorch's state dictionary calls scale and shift weight and bias.
            let suffix = role == .scale ? "weight" : role == .shift ? "bias" : role.rawValue
            return graph.addParameter(
                Graph.Parameter(
                    name: "\(layer.name).\(suffix)", shape: shape, role: role, fanIn: 0, fanOut: 0))
        }
        return finish(layer, input.dimensions, "", parameters: parameters)
    }

    /// Adds weight, bias and the node of a convolution or product.
    private mutating func appendWeighted(
        _ layer: LayerSpec, _ place: String, weight: [Int], bias: Bool, fanIn: Int, fanOut: Int, output: [Int]
    ) -> Bool {
        guard let shape = checkedShape(weight, "weight of \(layer.name)", place),
            let result = checkedShape(output, "output of \(layer.name)", place)
        else { return false }
        let (macs, overflow) = (result.elementCount).multipliedReportingOverflow(by: fanIn)
        guard !overflow, macs <= Self.macsMax - self.macs else {
            log.add(
                place, "too_large", "up to \(layer.name) a sample takes more than 2^44 multiply-accumulates")
            return false
        }
        self.macs += macs
        var parameters = [
            graph.addParameter(
                Graph.Parameter(
                    name: "\(layer.name).weight", shape: shape, role: .weight, fanIn: fanIn, fanOut: fanOut))
        ]
        if bias, let extent = try? Shape([output[0]]) {
            parameters.append(
                graph.addParameter(
                    Graph.Parameter(
                        name: "\(layer.name).bias", shape: extent, role: .bias, fanIn: fanIn, fanOut: fanOut))
            )
        }
        return finish(layer, output, place, parameters: parameters, macs: macs)
    }

    private mutating func finish(
        _ layer: LayerSpec, _ output: [Int], _ place: String, parameters: [Graph.ParameterID] = [],
        macs: Int = 0
    ) -> Bool {
        guard let shape = checkedShape(output, "output of \(layer.name)", place) else { return false }
        let input = graph[graph.output]
        var order = shape.rank == 3 ? Graph.Order.channelsLast : .plain
        if shape.rank == 1, case .flatten = layer.kind, input.shape.rank == 3, input.shape[0] > 1,
            input.positions > 1
        {
            order = .flattened(input.shape)
        }
        switch layer.kind {
        case .relu, .dropout: order = input.order
        default: break
        }
        graph.output = graph.addNode(
            layer.name, layer.kind.operation, [graph.output], Graph.Value(shape: shape, order: order),
            parameters: parameters, macs: macs)
        return true
    }

    /// Brings flattened features into PyTorch's order.
    mutating func straighten() {
        let value = graph[graph.output]
        guard case .flattened = value.order else { return }
        graph.output = graph.addNode(
            "permute", .permute(axes: [0]), [graph.output], Graph.Value(shape: value.shape, order: .plain))
    }

    private func field(_ name: String, of place: String) -> String {
        hasLayers ? JSONPointer.member(name, of: place) : place
    }

    private func checkedShape(_ dimensions: [Int], _ what: String, _ place: String) -> Shape? {
        do { return try Shape(dimensions) } catch {
            log.add(place, "too_large", "the \(what) cannot be: \(error)")
            return nil
        }
    }

    private func image(
        _ input: Shape, _ layer: LayerSpec, _ place: String
    ) -> (channels: Int, height: Int, width: Int)? {
        guard input.rank == 3 else {
            log.add(
                place, "shape_mismatch",
                "\(layer.name) needs an image [channels, height, width], found \(input)")
            return nil
        }
        return (input[0], input[1], input[2])
    }

    /// Windows that fit along one axis; nil for none.
    private func extent(_ input: Int, _ kernel: Int, _ stride: Int, _ padding: Int, _ dilation: Int) -> Int? {
        let reach = dilation * (kernel - 1) + 1
        let room = input + 2 * padding - reach
        return room < 0 ? nil : room / stride + 1
    }

    private func misfit(
        _ kernel: Pair, _ padding: Pair, _ image: (channels: Int, height: Int, width: Int), _ place: String
    ) -> Bool {
        let size = kernel.first == kernel.second ? "\(kernel.first)" : "\(kernel.first)x\(kernel.second)"
        let padded = padding == Pair(0, 0) ? "" : " padded by \(padding.first)x\(padding.second)"
        log.add(
            field("kernel_size", of: place), "shape_mismatch",
            "kernel \(size) does not fit the \(image.height)x\(image.width) input\(padded)")
        return false
    }
}

extension LayerKind {
    fileprivate var operation: Operation {
        switch self {
        case .conv2d(let conv):
            var window = Operation.Window(kernelSize: conv.kernelSize)
            (window.stride, window.padding, window.dilation) = (conv.stride, conv.padding, conv.dilation)
            (window.groups, window.bias) = (conv.groups, conv.bias)
            return .convolution(window)
        case .linear(let linear): return .linear(bias: linear.bias)
        case .relu: return .activation(.relu)
        case .maxPool2d(let pool):
            return .pooling(
                .init(.maximum, kernelSize: pool.kernelSize, stride: pool.stride, padding: pool.padding))
        case .avgPool2d(let pool):
            return .pooling(
                .init(
                    .average(countsPadding: pool.countIncludePad), kernelSize: pool.kernelSize,
                    stride: pool.stride, padding: pool.padding))
        case .flatten: return .view
        case .dropout(let probability): return .dropout(probability)
        case .batchNorm(let norm): return .batchNorm(.init(epsilon: norm.epsilon, momentum: norm.momentum))
        }
    }
}

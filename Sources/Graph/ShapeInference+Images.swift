internal import JSON
internal import Tensor

// Convolutions and pooling.
extension ShapeInference {
    /// What an image layer looks at; a signal is an image of height 1.
    private struct Image {
        let id: Graph.ValueID
        let channels, height, width: Int
        let isSignal: Bool

        var places: Int { height * width }
        func shape(_ channels: Int, _ height: Int, _ width: Int) -> [Int] {
            isSignal ? [channels, width] : [channels, height, width]
        }
    }

    mutating func appendImageLayer(
        _ kind: LayerKind, _ site: Site, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        switch kind {
        case .conv2d(let conv):
            return try appendConvolution(conv.outChannels, conv.window, site, image(input, site))
        case .conv1d(let conv):
            return try appendConvolution(conv.outChannels, conv.window, site, signal(input, site))
        case .depthwiseConv2d(let conv):
            return try appendDepthwise(conv, site, image(input, site))
        case .separableConv2d(let conv): return try appendSeparable(conv, site, input)
        case .convTranspose2d(let conv): return try appendTransposed(conv, site, image(input, site))
        case .maxPool2d(let pool):
            return try appendPooling(.maximum, pool, site, image(input, site))
        case .avgPool2d(let pool):
            return try appendPooling(
                .average(countsPadding: pool.countIncludePad), pool, site, image(input, site))
        case .maxPool1d(let pool):
            return try appendPooling(.maximum, pool.flat, site, signal(input, site))
        case .avgPool1d(let pool):
            return try appendPooling(
                .average(countsPadding: pool.countIncludePad), pool.flat, site, signal(input, site))
        case .adaptiveAvgPool2d(let size):
            let image = try image(input, site)
            return try emit(
                site.name, .adaptiveAveragePooling, [image.id], [image.channels, size.first, size.second],
                .channelsLast, at: site.place)
        case .globalAvgPool: return try appendMean(site, input)
        case .squeezeExcite(let layer): return try appendSqueezeExcite(layer, site, input)
        default: throw InvalidInput([])
        }
    }

    private mutating func appendConvolution(
        _ outChannels: Int, _ window: Operation.Window, _ site: Site, _ image: Image
    ) throws(InvalidInput) -> Graph.ValueID {
        guard image.channels % window.groups == 0, outChannels % window.groups == 0 else {
            throw site.place.refusal(
                "groups", "shape_mismatch",
                "\(window.groups) groups do not divide \(image.channels) input and \(outChannels) output "
                    + "channels")
        }
        let height = extent(
            image.height, window.kernelSize.first, window.stride.first, window.padding.first,
            window.dilation.first)
        let width = extent(
            image.width, window.kernelSize.second, window.stride.second, window.padding.second,
            window.dilation.second)
        guard let height, let width else {
            throw misfit(window.kernelSize, window.padding, image, site.place)
        }
        let taps = window.kernelSize.first * window.kernelSize.second
        let fanIn = image.channels / window.groups * taps
        let kernel =
            image.isSignal
            ? [window.kernelSize.second] : [window.kernelSize.first, window.kernelSize.second]
        let parameters = try learnWeights(
            site, [outChannels, image.channels / window.groups] + kernel, outputs: outChannels,
            bias: window.bias, fanIn: fanIn, fanOut: outChannels / window.groups * taps)
        return try emit(
            site.name, .convolution(window), [image.id], image.shape(outChannels, height, width),
            .channelsLast, parameters: parameters, macs: Self.product(outChannels, height, width, fanIn),
            at: site.place)
    }

    private mutating func appendDepthwise(
        _ conv: LayerKind.DepthwiseConv2d, _ site: Site, _ image: Image
    ) throws(InvalidInput) -> Graph.ValueID {
        guard let outputs = Self.product(image.channels, conv.multiplier), outputs <= LayerFields.extentMax
        else {
            throw site.place.refusal(
                "multiplier", "too_large", "the output has more than \(LayerFields.extentMax) channels")
        }
        var window = Operation.Window(kernelSize: conv.kernelSize)
        (window.stride, window.padding, window.dilation) = (conv.stride, conv.padding, conv.dilation)
        (window.groups, window.bias) = (image.channels, conv.bias)
        return try appendConvolution(outputs, window, site, image)
    }

    private mutating func appendSeparable(
        _ conv: LayerKind.SeparableConv2d, _ site: Site, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        var depthwise = LayerKind.DepthwiseConv2d(kernelSize: conv.kernelSize)
        (depthwise.stride, depthwise.padding, depthwise.dilation) = (conv.stride, conv.padding, conv.dilation)
        depthwise.bias = conv.bias
        var pointwise = Operation.Window(kernelSize: Pair(1, 1))
        pointwise.bias = conv.bias
        var value = try appendDepthwise(depthwise, site.part("depthwise"), image(input, site))
        value = try appendFollowers(conv, "depthwise", site, value)
        value = try appendConvolution(
            conv.outChannels, pointwise, site.part("pointwise"), image(value, site))
        return try appendFollowers(conv, "pointwise", site, value)
    }

    private mutating func appendFollowers(
        _ conv: LayerKind.SeparableConv2d, _ half: String, _ site: Site, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        var value = input
        if conv.norm == .batchNorm {
            value = try appendPointwise(.batchNorm(.init()), site.part(half + "_norm"), value)
        }
        guard let activation = conv.activation.operation else { return value }
        return try appendPointwise(.activation(activation), site.part(half + "_activation"), value)
    }

    private mutating func appendTransposed(
        _ conv: LayerKind.ConvTranspose2d, _ site: Site, _ image: Image
    ) throws(InvalidInput) -> Graph.ValueID {
        var window = Operation.Window(kernelSize: conv.kernelSize)
        (window.stride, window.padding, window.dilation) = (conv.stride, conv.padding, conv.dilation)
        (window.groups, window.bias, window.outputPadding) = (conv.groups, conv.bias, conv.outputPadding)
        guard image.channels % conv.groups == 0, conv.outChannels % conv.groups == 0 else {
            throw site.place.refusal(
                "groups", "shape_mismatch",
                "\(conv.groups) groups do not divide \(image.channels) input and \(conv.outChannels) output "
                    + "channels")
        }
        guard conv.outputPadding.first < max(conv.stride.first, conv.dilation.first),
            conv.outputPadding.second < max(conv.stride.second, conv.dilation.second)
        else {
            throw site.place.refusal(
                "output_padding", "shape_mismatch", "output_padding must be below the stride or the dilation")
        }
        func enlarged(_ input: Int, _ axis: KeyPath<Pair, Int>) -> Int {
            (input - 1) * conv.stride[keyPath: axis] - 2 * conv.padding[keyPath: axis]
                + conv.dilation[keyPath: axis] * (conv.kernelSize[keyPath: axis] - 1)
                + conv.outputPadding[keyPath: axis] + 1
        }
        let (height, width) = (enlarged(image.height, \.first), enlarged(image.width, \.second))
        guard height >= 1, width >= 1 else {
            throw site.place.refusal("padding", "shape_mismatch", "the padding leaves nothing of the output")
        }
        let taps = conv.kernelSize.first * conv.kernelSize.second
        // PyTorch's initialisation takes the second axis for the inputs here too.
        let fanIn = conv.outChannels / conv.groups * taps
        let parameters = try learnWeights(
            site,
            [image.channels, conv.outChannels / conv.groups, conv.kernelSize.first, conv.kernelSize.second],
            outputs: conv.outChannels, bias: conv.bias, fanIn: fanIn,
            fanOut: image.channels / conv.groups * taps)
        return try emit(
            site.name, .transposedConvolution(window), [image.id], [conv.outChannels, height, width],
            .channelsLast, parameters: parameters, macs: Self.product(image.channels, image.places, fanIn),
            at: site.place)
    }

    private mutating func appendPooling(
        _ kind: Operation.Pooling.Kind, _ pool: LayerKind.Pool2d, _ site: Site, _ image: Image
    ) throws(InvalidInput) -> Graph.ValueID {
        guard pool.padding.first * 2 <= pool.kernelSize.first,
            pool.padding.second * 2 <= pool.kernelSize.second
        else {
            throw site.place.refusal(
                "padding", "shape_mismatch", "padding must be at most half of the kernel")
        }
        let height = extent(image.height, pool.kernelSize.first, pool.stride.first, pool.padding.first, 1)
        let width = extent(image.width, pool.kernelSize.second, pool.stride.second, pool.padding.second, 1)
        guard let height, let width else {
            throw misfit(pool.kernelSize, pool.padding, image, site.place)
        }
        let pooling = Operation.Pooling(
            kind, kernelSize: pool.kernelSize, stride: pool.stride, padding: pool.padding)
        return try emit(
            site.name, .pooling(pooling), [image.id], image.shape(image.channels, height, width),
            .channelsLast, at: site.place)
    }

    /// Weight and bias of a convolution or product, under PyTorch's names.
    private mutating func learnWeights(
        _ site: Site, _ weight: [Int], outputs: Int, bias: Bool, fanIn: Int, fanOut: Int
    ) throws(InvalidInput) -> [Graph.ParameterID] {
        var parameters = [
            try learn(
                "\(site.name).weight", of: "weight of \(site.name)", weight, .weight, fanIn: fanIn,
                fanOut: fanOut, at: site.place)
        ]
        if bias {
            parameters.append(
                try learn(
                    "\(site.name).bias", of: "bias of \(site.name)", [outputs], .bias, fanIn: fanIn,
                    fanOut: fanOut, at: site.place))
        }
        return parameters
    }

    /// An image as image layers need it.
    private mutating func image(_ id: Graph.ValueID, _ site: Site) throws(InvalidInput) -> Image {
        let shape = graph[id].shape
        guard shape.rank == 3 else {
            throw site.place.refusal(
                "shape_mismatch", "\(site.name) needs an image [channels, height, width], found \(shape)")
        }
        return Image(
            id: try channelsLast(id, site), channels: shape[0], height: shape[1], width: shape[2],
            isSignal: false)
    }

    private mutating func signal(_ id: Graph.ValueID, _ site: Site) throws(InvalidInput) -> Image {
        let shape = graph[id].shape
        guard shape.rank == 2 else {
            throw site.place.refusal(
                "shape_mismatch", "\(site.name) needs a signal [channels, length], found \(shape)")
        }
        return Image(
            id: try channelsLast(id, site), channels: shape[0], height: 1, width: shape[1], isSignal: true)
    }

    /// Windows that fit along one axis; nil for none.
    private func extent(_ input: Int, _ kernel: Int, _ stride: Int, _ padding: Int, _ dilation: Int) -> Int? {
        let reach = dilation * (kernel - 1) + 1
        let room = input + 2 * padding - reach
        return room < 0 ? nil : room / stride + 1
    }

    private func misfit(_ kernel: Pair, _ padding: Pair, _ image: Image, _ place: Place) -> InvalidInput {
        let found = image.isSignal ? "input of length \(image.width)" : "\(image.height)x\(image.width) input"
        let size =
            image.isSignal || kernel.first == kernel.second
            ? "\(kernel.second)" : "\(kernel.first)x\(kernel.second)"
        let added = image.isSignal ? "\(padding.second)" : "\(padding.first)x\(padding.second)"
        let padded = padding == Pair(0, 0) ? "" : " padded by \(added)"
        return place.refusal(
            "kernel_size", "shape_mismatch", "kernel \(size) does not fit the \(found)\(padded)")
    }
}

extension LayerKind.Conv2d {
    fileprivate var window: Operation.Window {
        var window = Operation.Window(kernelSize: kernelSize)
        (window.stride, window.padding, window.dilation) = (stride, padding, dilation)
        (window.groups, window.bias) = (groups, bias)
        return window
    }
}

extension LayerKind.Conv1d {
    fileprivate var window: Operation.Window {
        var window = Operation.Window(kernelSize: Pair(1, kernelSize))
        (window.stride, window.padding) = (Pair(1, stride), Pair(0, padding))
        (window.dilation, window.groups, window.bias) = (Pair(1, dilation), groups, bias)
        return window
    }
}

extension LayerKind.Pool1d {
    /// The same over an image of height 1.
    fileprivate var flat: LayerKind.Pool2d {
        var pool = LayerKind.Pool2d(kernelSize: Pair(1, kernelSize), stride: Pair(1, stride))
        pool.padding = Pair(0, padding)
        return pool
    }
}

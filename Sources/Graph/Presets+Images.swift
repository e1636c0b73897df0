internal import JSON

// Convolutional presets. Convolutions in front of a batch normalisation have no bias.
extension Preset {
    static func mobilenet(_ factor: Double, _ classes: Int, isSmall: Bool) -> [LayerSpec] {
        func wide(_ channels: Int) -> Int { max(1, Int((Double(channels) * factor).rounded())) }
        let widths = [64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]
        let halved = [1, 3, 5, 11]
        var layers = stem(wide(32), stride: isSmall ? 1 : 2)
        for (index, width) in widths.enumerated() {
            layers.append(
                LayerSpec(
                    separable(wide(width), stride: halved.contains(index) ? 2 : 1),
                    name: "block\(index + 1)"))
        }
        return layers + head(classes)
    }

    static func fiveBlocks(_ classes: Int, isSeparable: Bool) -> [LayerSpec] {
        var layers = stem(32, stride: 1)
        for (index, (width, stride)) in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1)].enumerated() {
            let number = index + 1
            if isSeparable {
                layers.append(LayerSpec(separable(width, stride: stride), name: "block\(number)"))
            } else {
                layers += convolution(width, stride: stride, number: number + 1)
            }
        }
        return layers + head(classes)
    }

    static func smallResnet(blocksEach: Int, _ classes: Int) -> [LayerSpec] {
        stem(16, stride: 1) + stages([16, 32, 64], blocksEach: blocksEach, inChannels: 16) + head(classes)
    }

    static func resnet18(_ classes: Int, isSmall: Bool) -> [LayerSpec] {
        var layers = stem(64, stride: 1)
        if !isSmall {
            var conv = LayerKind.Conv2d(outChannels: 64, kernelSize: Pair(7, 7))
            (conv.stride, conv.padding, conv.bias) = (Pair(2, 2), Pair(3, 3), false)
            var pool = LayerKind.Pool2d(kernelSize: Pair(3, 3), stride: Pair(2, 2))
            pool.padding = Pair(1, 1)
            layers[0].kind = .conv2d(conv)
            layers.append(LayerSpec(.maxPool2d(pool), name: "pool1"))
        }
        return layers + stages([64, 128, 256, 512], blocksEach: 2, inChannels: 64) + head(classes)
    }

    static func dsCNN(_ classes: Int) -> [LayerSpec] {
        var conv = LayerKind.Conv2d(outChannels: 64, kernelSize: Pair(10, 4))
        (conv.stride, conv.padding, conv.bias) = (Pair(2, 2), Pair(5, 1), false)
        var layers = stem(64, stride: 1)
        layers[0].kind = .conv2d(conv)
        for number in 1...4 {
            layers.append(LayerSpec(separable(64, stride: 1), name: "block\(number)"))
        }
        return layers + head(classes)
    }

    /// A 3x3 convolution, its norm and ReLU.
    private static func convolution(_ channels: Int, stride: Int, number: Int) -> [LayerSpec] {
        [
            LayerSpec(.conv2d(kernel3(channels, stride: stride)), name: "conv\(number)"),
            LayerSpec(.batchNorm(.init()), name: "bn\(number)"), LayerSpec(.relu, name: "relu\(number)"),
        ]
    }

    private static func stem(_ channels: Int, stride: Int) -> [LayerSpec] {
        convolution(channels, stride: stride, number: 1)
    }

    private static func kernel3(_ channels: Int, stride: Int) -> LayerKind.Conv2d {
        var conv = LayerKind.Conv2d(outChannels: channels, kernelSize: Pair(3, 3))
        (conv.stride, conv.padding, conv.bias) = (Pair(stride, stride), Pair(1, 1), false)
        return conv
    }

    private static func separable(_ channels: Int, stride: Int) -> LayerKind {
        var conv = LayerKind.SeparableConv2d(outChannels: channels, kernelSize: Pair(3, 3))
        (conv.stride, conv.padding, conv.bias) = (Pair(stride, stride), Pair(1, 1), false)
        (conv.norm, conv.activation) = (.batchNorm, .relu)
        return .separableConv2d(conv)
    }

    /// Residual blocks of two 3x3 convolutions; every stage but the first halves the extents.
    private static func stages(_ widths: [Int], blocksEach: Int, inChannels: Int) -> [LayerSpec] {
        var layers: [LayerSpec] = []
        var channels = inChannels
        for (stage, width) in widths.enumerated() {
            for block in 0..<blocksEach {
                let stride = stage > 0 && block == 0 ? 2 : 1
                var inner = convolution(width, stride: stride, number: 1)
                inner += convolution(width, stride: 1, number: 2).dropLast()
                let number = stage * blocksEach + block + 1
                layers.append(
                    LayerSpec(
                        .residual(inner, shortcut: projection(from: channels, to: width, stride: stride)),
                        name: "block\(number)"))
                layers.append(LayerSpec(.relu, name: "block\(number)_relu"))
                channels = width
            }
        }
        return layers
    }

    private static func projection(from channels: Int, to width: Int, stride: Int) -> [LayerSpec] {
        guard channels != width || stride != 1 else { return [] }
        var conv = LayerKind.Conv2d(outChannels: width, kernelSize: Pair(1, 1))
        (conv.stride, conv.bias) = (Pair(stride, stride), false)
        return [
            LayerSpec(.conv2d(conv), name: "conv1"), LayerSpec(.batchNorm(.init()), name: "bn1"),
        ]
    }

    private static func head(_ classes: Int) -> [LayerSpec] {
        [
            LayerSpec(.globalAvgPool, name: "pool"),
            LayerSpec(.linear(.init(outFeatures: classes)), name: "fc"),
        ]
    }
}

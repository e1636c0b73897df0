import Kernels

/// The three passes of a convolution as one loop over its taps, in double precision.
///
/// Activations are channels-last, weights PyTorch's. A transposed convolution is the same loop read the other
/// way round: its output is this one's input gradient.
struct ConvolutionReference {
    let shape: ConvolutionShape

    var inputCount: Int { shape.batch * shape.inHeight * shape.inWidth * shape.inChannels }
    var outputCount: Int { shape.batch * shape.outHeight * shape.outWidth * shape.outChannels }
    var weightCount: Int { shape.weightExtents.reduce(1, *) }

    func output(_ input: [Float], _ weight: [Float], _ bias: [Float]?) -> [Double] {
        var output = (0..<outputCount).map { Double(bias?[$0 % shape.outChannels] ?? 0) }
        forEachTap { output[$2] += Double(input[$0]) * Double(weight[$1]) }
        return output
    }

    func inputGradient(_ outputGradient: [Float], _ weight: [Float]) -> [Double] {
        var gradient = [Double](repeating: 0, count: inputCount)
        forEachTap { gradient[$0] += Double(outputGradient[$2]) * Double(weight[$1]) }
        return gradient
    }

    func weightGradient(_ input: [Float], _ outputGradient: [Float]) -> [Double] {
        var gradient = [Double](repeating: 0, count: weightCount)
        forEachTap { gradient[$1] += Double(input[$0]) * Double(outputGradient[$2]) }
        return gradient
    }

    func biasGradient(_ outputGradient: [Float]) -> [Double] {
        var gradient = [Double](repeating: 0, count: shape.outChannels)
        for (index, value) in outputGradient.enumerated() {
            gradient[index % shape.outChannels] += Double(value)
        }
        return gradient
    }

    /// Terms behind an output, an input gradient and a weight gradient, at most.
    var terms: (output: Int, input: Int, weight: Int) {
        let taps = shape.kernelHeight * shape.kernelWidth
        return (
            taps * shape.inChannels / shape.groups + 1, taps * shape.outChannels / shape.groups,
            shape.batch * shape.outHeight * shape.outWidth
        )
    }

    /// Calls `body` with the indices of each product's input, weight and output element.
    private func forEachTap(_ body: (Int, Int, Int) -> Void) {
        let s = shape
        let (inner, outer) = (s.inChannels / s.groups, s.outChannels / s.groups)
        for n in 0..<s.batch {
            for oy in 0..<s.outHeight {
                for ox in 0..<s.outWidth {
                    for ky in 0..<s.kernelHeight {
                        for kx in 0..<s.kernelWidth {
                            let y = oy * s.strideHeight - s.paddingHeight + ky * s.dilationHeight
                            let x = ox * s.strideWidth - s.paddingWidth + kx * s.dilationWidth
                            guard (0..<s.inHeight).contains(y), (0..<s.inWidth).contains(x) else { continue }
                            let from = ((n * s.inHeight + y) * s.inWidth + x) * s.inChannels
                            let to = ((n * s.outHeight + oy) * s.outWidth + ox) * s.outChannels
                            for o in 0..<s.outChannels {
                                for i in 0..<inner {
                                    let weight = ((o * inner + i) * s.kernelHeight + ky) * s.kernelWidth + kx
                                    body(from + o / outer * inner + i, weight, to + o)
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

extension ConvolutionShape {
    /// A case in one line.
    static func of(
        batch: Int, _ inChannels: Int, _ size: (Int, Int), to outChannels: Int, kernel: (Int, Int) = (3, 3),
        stride: (Int, Int) = (1, 1), padding: (Int, Int) = (0, 0), dilation: (Int, Int) = (1, 1),
        groups: Int = 1, hasBias: Bool = true
    ) -> ConvolutionShape {
        var shape = ConvolutionShape(
            batch: batch, inChannels: inChannels, inHeight: size.0, inWidth: size.1,
            outChannels: outChannels, kernelHeight: kernel.0, kernelWidth: kernel.1)
        (shape.strideHeight, shape.strideWidth) = stride
        (shape.paddingHeight, shape.paddingWidth) = padding
        (shape.dilationHeight, shape.dilationWidth) = dilation
        (shape.groups, shape.hasBias) = (groups, hasBias)
        return shape
    }

    /// A 3x3 kernel for each channel, padded by 1.
    static func depthwise(
        batch: Int, _ channels: Int, _ size: (Int, Int), stride: Int = 1, hasBias: Bool = true
    ) -> ConvolutionShape {
        .of(
            batch: batch, channels, size, to: channels, stride: (stride, stride), padding: (1, 1),
            groups: channels, hasBias: hasBias)
    }
}

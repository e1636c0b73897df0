public import Graph
internal import Kernels
internal import Tensor

/// What a layer in bytes yields by its definition, number by number, in whole numbers and double precision.
///
/// scale · weight scale · (Σ (code - zero point) · weight code + round(bias / step)), where padding adds
/// nothing: the oracle that kernels and packed weights are held against.
public struct ByteReference {
    /// A number of the output.
    public struct Output: Sendable {
        public let value: Double
        /// How far float32 may be from it: sum and bias each become floats, and are added and scaled.
        public let tolerance: Double
    }

    private let layer: QuantizedLayer
    private let shape: ConvolutionShape
    /// Channels of an image that was flattened and still lies channels last; 1 if none was.
    private let flattenedChannels: Int
    private let bias: [Double]

    /// Describes the first layer of a graph.
    ///
    /// - Parameters:
    ///   - graph: One convolution or product, as `Graph.alone` has it.
    ///   - layer: Its numbers.
    ///   - batch: Samples.
    public init(_ graph: Graph, _ layer: QuantizedLayer, batch: Int) {
        self.layer = layer
        let node = graph.nodes[0], input = graph[graph.input]
        let shapes = NodeShapes(graph: graph, batch: batch, element: .float32)
        if case .convolution(let window) = node.operation {
            shape = shapes.convolution(window, node)
        } else {
            let product = shapes.innerProduct(hasBias: true, node)
            shape = ConvolutionShape(
                batch: product.batch, inChannels: product.inputs, inHeight: 1, inWidth: 1,
                outChannels: product.outputs, kernelHeight: 1, kernelWidth: 1)
        }
        if case .flattened(let image) = input.order {
            flattenedChannels = image[0]
        } else {
            flattenedChannels = 1
        }
        bias = layer.scales.indices.map { row in
            let step = Double(layer.input.scale) * Double(layer.scales[row])
            return (Double(layer.bias[row]) / step).rounded(.toNearestOrEven)
        }
    }

    /// Numbers of the output, as it lies in memory.
    public var count: Int { shape.batch * shape.outHeight * shape.outWidth * shape.outChannels }

    /// Numbers of the input, as it lies in memory.
    public var inputCount: Int { shape.batch * shape.inHeight * shape.inWidth * shape.inChannels }

    /// One number of the output.
    ///
    /// - Parameters:
    ///   - index: Its place.
    ///   - codes: The input.
    /// - Returns: Its value, and what rounding is allowed.
    public func output(_ index: Int, of codes: [UInt8]) -> Output {
        let channel = index % shape.outChannels
        let (sum, gathered, weights) = sums(at: index / shape.outChannels, channel, codes)
        let step = Double(layer.input.scale) * Double(layer.scales[channel])
        let zero = Int(layer.input.zeroPoint)
        // What the kernel adds up: codes of padding are the zero point's, and the bias takes it back.
        let stored = Double(gathered), back = bias[channel] - Double(zero * weights)
        let total = Double(sum) + bias[channel]
        let roundoff = Double(Float.ulpOfOne) / 2
        return Output(
            value: step * total, tolerance: step * roundoff * (abs(stored) + abs(back) + 4 * abs(total)))
    }

    /// Σ (code - zero point) · weight, Σ code · weight with padding, and Σ weight.
    private func sums(at place: Int, _ channel: Int, _ codes: [UInt8]) -> (Int, Int, Int) {
        let zero = Int(layer.input.zeroPoint), width = shape.inChannels / shape.groups
        let group = channel / (shape.outChannels / shape.groups)
        let image = place / (shape.outHeight * shape.outWidth)
        let (y, x) = (place / shape.outWidth % shape.outHeight, place % shape.outWidth)
        var (sum, gathered, weights) = (0, 0, 0)
        for i in 0..<shape.kernelHeight {
            let row = y * shape.strideHeight + i * shape.dilationHeight - shape.paddingHeight
            for j in 0..<shape.kernelWidth {
                let column = x * shape.strideWidth + j * shape.dilationWidth - shape.paddingWidth
                let isInside = (0..<shape.inHeight).contains(row) && (0..<shape.inWidth).contains(column)
                let pixel = (image * shape.inHeight + row) * shape.inWidth + column
                for c in 0..<width {
                    let code = isInside ? Int(codes[pixel * shape.inChannels + group * width + c]) : zero
                    let tap = (canonical(c, of: width) * shape.kernelHeight + i) * shape.kernelWidth + j
                    let weight = Int(
                        layer.weights[channel * width * shape.kernelHeight * shape.kernelWidth + tap])
                    sum += (code - zero) * weight
                    gathered += code * weight
                    weights += weight
                }
            }
        }
        return (sum, gathered, weights)
    }

    /// Where PyTorch, channels first, has what lies at a place of a flattened image.
    private func canonical(_ index: Int, of count: Int) -> Int {
        index % flattenedChannels * (count / flattenedChannels) + index / flattenedChannels
    }
}

internal import COneDNN
internal import Tensor

/// How a convolution is computed.
public enum ConvolutionAlgorithm: Sendable {
    /// Every product of the definition.
    case direct
    /// F(4x4, 3x3) of Lavin and Gray ("Fast algorithms for convolutional neural networks", 2015).
    ///
    /// A quarter of the products; at most 5e-6 of the largest value apart from the direct results.
    /// oneDNN has it for blocked activations alone, so source and destination are copied, for a few percent.
    case winograd
    /// The same and its like for 5x5 kernels by our own kernels, channels-last in and out.
    case tiled
    /// Our own kernels for a 3x3 kernel of each channel.
    case depthwise

    /// The faster one, by the shape alone: the choice has to be the same in every run.
    ///
    /// Times in ms, copies included, batch 64, two threads, float32 (direct, Winograd), forward / data
    /// gradient / weight gradient; all figures are in docs/convolutions.md:
    /// - 32 -> 64 at 32x32: 5.1, 3.0 / 5.5, 3.5 / 5.2, 4.2.
    /// - 128 -> 128 at 16x16: 9.2, 5.0 / 9.8, 5.1 / 10.1, 5.6.
    /// - 256 -> 256 at 8x8: 8.4, 3.6 / 9.3, 3.6 / 9.4, 4.6.
    /// - 64 -> 64 at 8x8: 0.51, 0.35 / 0.57, 0.35 / 0.56, 0.48.
    /// - 32 -> 32 at 16x16: 0.57, 0.47 / 0.59, 0.47 / 0.58, 0.58; 16 -> 16 loses.
    static func suggested(for shape: ConvolutionShape, _ element: ElementType) -> ConvolutionAlgorithm {
        if DepthwiseConvolution.covers(shape) { return .depthwise }
        if TiledConvolution.covers(shape), TiledConvolution.wins(shape, element) { return .tiled }
        guard element == .float32, shape.groups == 1, shape.kernelHeight == 3, shape.kernelWidth == 3,
            shape.strideHeight == 1, shape.strideWidth == 1, shape.dilationHeight == 1,
            shape.dilationWidth == 1, shape.paddingHeight <= 1, shape.paddingWidth <= 1
        else { return .direct }
        guard min(shape.inChannels, shape.outChannels) >= 32, shape.inChannels * shape.outChannels >= 2048
        else { return .direct }
        // Tiles of 4x4 outputs: enough of them, and mostly filled.
        let tiles = shape.batch * ((shape.outHeight + 3) / 4) * ((shape.outWidth + 3) / 4)
        let isFilled = 5 * shape.batch * shape.outHeight * shape.outWidth >= 3 * 16 * tiles
        return tiles >= 128 && isFilled ? .winograd : .direct
    }

    var kind: dnnl_alg_kind_t {
        switch self {
        case .direct, .tiled, .depthwise: dnnl_convolution_direct
        case .winograd: dnnl_convolution_winograd
        }
    }

    /// The layouts of source and destination where oneDNN's differ from ours.
    func outer(
        _ source: Int32, _ destination: Int32, _ shape: ConvolutionShape, _ element: ElementType
    ) throws(KernelError) -> [Int32: TensorLayout] {
        guard self == .winograd else { return [:] }
        return [
            source: try shape.sourceLayout(element), destination: try shape.destinationLayout(element),
        ]
    }
}

/// Into how many slices Winograd's algorithm cuts a batch.
///
/// Each slice transforms the weights anew, which costs forward pass and data gradient of many channels much;
/// the weight gradient gains where a slice's transforms stay in the cache. In ms for 1, 2, 4 and 8 slices,
/// batch 64, two threads, copies and sums included:
/// - 32 -> 64 at 32x32: forward 3.7, 3.3, 3.4, 3.6; data 4.8, 4.3, 4.2, 4.3; weights 5.5, 4.9, 4.8, 5.0.
/// - 128 -> 128 at 16x16: forward 5.7, 5.6, 5.9, 6.1; data 5.8, 7.2, 7.2, 7.3; weights 8.3, 7.5, 6.5, 5.9.
/// - 256 -> 256 at 8x8: forward 3.9, 5.2, 7.3, 9.3; data 4.1, 5.7, 6.9, 10.1; weights 5.3, 5.7, 6.0, 7.1.
struct WinogradSlicing {
    /// The most that a slice should take beside the transformed weights.
    let byteCountMax: Int
    /// The fewest tiles of a slice: fewer do not fill a product's blocks.
    let tilesMin: Int

    static let forward = WinogradSlicing(byteCountMax: 64_000_000, tilesMin: 128)
    static let backwardData = forward
    /// The last layer's 0.7 ms are worth 18 MB: it is the step that needs most memory.
    static let backwardWeights = WinogradSlicing(byteCountMax: 12_000_000, tilesMin: 64)

    /// A power of two.
    func count(for shape: ConvolutionShape) -> Int {
        // 36 numbers for a tile of each channel before and after the product, and a blocked copy of each
        // sample and its output.
        let tiles = ((shape.outHeight + 3) / 4) * ((shape.outWidth + 3) / 4)
        let numbers =
            36 * tiles * (shape.inChannels + shape.outChannels)
            + shape.inChannels * shape.inHeight * shape.inWidth
            + shape.outChannels * shape.outHeight * shape.outWidth
        var count = 1
        while shape.batch / count * numbers * MemoryLayout<Float>.stride > byteCountMax,
            shape.batch / (2 * count) * tiles >= tilesMin
        { count *= 2 }
        return count
    }
}

import CData

/// Counts how often each byte value occurs in each channel; exact, so means do not depend on any order.
struct ValueHistogram {
    /// `[channels][256]`.
    private var counts: [UInt64]
    private let channels: Int
    private var byteCount = 0

    init(channels: Int) {
        precondition(channels > 0, "images of no channels")
        self.channels = channels
        counts = [UInt64](repeating: 0, count: channels * 256)
    }

    /// Adds the next bytes of images stored `[..., channels]`.
    mutating func add(_ bytes: [UInt8]) {
        unsafe cdata_count_values(bytes, bytes.count, channels, byteCount % channels, &counts)
        byteCount += bytes.count
    }

    /// Mean and population deviation per channel of values divided by 255.
    ///
    /// From integer sums: E[v] and E[v²] − E[v]² lose nothing that matters, because v ≤ 255.
    func moments() -> (mean: [Double], standardDeviation: [Double]) {
        var means: [Double] = []
        var deviations: [Double] = []
        for channel in 0..<channels {
            var (total, sum, squares) = (0.0, 0.0, 0.0)
            for value in 0..<256 {
                let count = Double(counts[channel * 256 + value])
                let scaled = Double(value)
                total += count
                sum += count * scaled
                squares += count * scaled * scaled
            }
            let mean = sum / max(total, 1)
            let variance = max(squares / max(total, 1) - mean * mean, 0)
            means.append(mean / 255)
            deviations.append(variance > 0 ? variance.squareRoot() / 255 : 1)
        }
        return (means, deviations)
    }
}

/// The largest of `bytes`; 0 of none.
func largest(_ bytes: [UInt8]) -> UInt8 { unsafe cdata_largest(bytes, bytes.count) }

/// Turns byte images into normalised float images, `(value / 255 − mean) / deviation` per channel.
///
/// The 256 results per channel are computed once, in float32 and in this order, so they carry the same
/// bits as `ToTensor` followed by `Normalize` in torchvision.
struct PixelTable: Sendable {
    private let shape: ImageShape
    /// `[channels][256]`.
    private let values: [Float]

    init(shape: ImageShape, mean: [Double], standardDeviation: [Double]) {
        precondition(mean.count == shape.channels && standardDeviation.count == shape.channels)
        self.shape = shape
        var values: [Float] = []
        for (mean, deviation) in zip(mean, standardDeviation) {
            for value in 0..<256 { values.append((Float(value) / 255 - Float(mean)) / Float(deviation)) }
        }
        self.values = values
    }

    /// Normalises image `index` of `images` into elements `start...` of `output`.
    ///
    /// - Parameters:
    ///   - index: Which image.
    ///   - images: `[count, height, width, channels]`.
    ///   - view: Shift and flip, or `nil` for the image as it is.
    ///   - output: Receives `[height, width, channels]`.
    ///   - start: Where in `output`, in elements.
    func fill(
        _ index: Int, of images: [UInt8], view: PixelView?, into output: inout MutableSpan<Float>,
        at start: Int
    ) {
        let count = shape.elementCount
        let offset = index * count
        precondition(index >= 0 && offset + count <= images.count, "image \(index) does not exist")
        precondition(start >= 0 && start + count <= output.count, "no room for an image at \(start)")
        unsafe images.withUnsafeBufferPointer { source in
            unsafe output.withUnsafeMutableBufferPointer { target in
                guard let image = source.baseAddress, let first = target.baseAddress else { return }
                guard let view else {
                    return unsafe cdata_look_up(image + offset, count, shape.channels, values, first + start)
                }
                var described = cdata_view(
                    height: shape.height, width: shape.width, channels: shape.channels,
                    row_offset: view.rowOffset, column_offset: view.columnOffset,
                    is_flipped: view.isFlipped ? 1 : 0)
                unsafe cdata_look_up_view(image + offset, &described, values, first + start)
            }
        }
    }
}

extension PixelTable {
    /// Gives a rectangle of the image at elements `start...` the mean colour, which is 0.
    func clear(_ hole: PixelHole, in images: inout MutableSpan<Float>, at start: Int) {
        precondition(start >= 0 && start + shape.elementCount <= images.count, "no image at \(start)")
        let width = hole.columns.count * shape.channels
        for row in hole.rows {
            let first = start + (row * shape.width + hole.columns.lowerBound) * shape.channels
            for element in first..<first + width { images[element] = 0 }
        }
    }
}

/// Makes the image at elements `start...` a mixture: `share` of itself, the rest of `other`.
func mix(_ other: [Float], into images: inout MutableSpan<Float>, at start: Int, share: Float) {
    precondition(start >= 0 && start + other.count <= images.count, "no image at \(start)")
    unsafe images.withUnsafeMutableBufferPointer { target in
        guard let first = target.baseAddress else { return }
        unsafe cdata_mix(other, other.count, share, first + start)
    }
}

/// A rectangle of an image, in pixels; never empty.
struct PixelHole: Equatable, Sendable {
    var rows: Range<Int>
    var columns: Range<Int>
}

/// How an augmented image is taken from the original: shifted, then mirrored.
struct PixelView: Equatable, Sendable {
    /// Rows the window is moved down; rows outside the original are black.
    var rowOffset: Int
    /// Columns the window is moved right.
    var columnOffset: Int
    /// Whether left and right are swapped.
    var isFlipped: Bool
}

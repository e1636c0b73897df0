/// A tensor of float32 most of whose elements are zero, as files have it.
///
/// Four tensors stand for it, those of the sparse-bitmask format of the compressed-tensors package:
/// `NAME.compressed` has the elements that are not zero, row by row; `NAME.bitmask` a bit for every element,
/// the first in the lowest, each row in bytes of its own; `NAME.row_offsets` how many stand before each row;
/// `NAME.shape` the extents. A row is what belongs to one place of the first dimension; a vector is one row.
public struct SparseTensor: Sendable, Equatable {
    /// The tensor that is stood for.
    public let name: String
    let shape: [Int]
    let compressed: [Float]
    let bitmask: [UInt8]
    let rowOffsets: [Int64]

    /// The part of the dense bytes that the four may take to be worth reading them.
    static let worthwhileRatio = 0.9

    /// Compresses a tensor; nil where that would save less than a tenth.
    ///
    /// A negative zero is kept as it is.
    ///
    /// - Parameters:
    ///   - name: The tensor's.
    ///   - shape: Extents, outermost first.
    ///   - values: Its elements, row-major.
    public init?(_ name: String, shape: [Int], values: [Float]) {
        guard let plan = SparseLayout(shape), plan.rows * plan.columns == values.count, !values.isEmpty else {
            return nil
        }
        let count = values.reduce(0) { $0 + ($1.bitPattern == 0 ? 0 : 1) }
        let bytes = 4 * count + plan.bitmaskCount + 8 * (plan.rows + shape.count)
        guard Double(bytes) <= Self.worthwhileRatio * Double(4 * values.count) else { return nil }
        var (compressed, offsets): ([Float], [Int64]) = ([], [])
        var bitmask = [UInt8](repeating: 0, count: plan.bitmaskCount)
        compressed.reserveCapacity(count)
        for row in 0..<plan.rows {
            offsets.append(Int64(compressed.count))
            for column in 0..<plan.columns {
                let value = values[row * plan.columns + column]
                guard value.bitPattern != 0 else { continue }
                compressed.append(value)
                bitmask[row * plan.rowBytes + column / 8] |= 1 << (column % 8)
            }
        }
        (self.name, self.shape, self.compressed) = (name, shape, compressed)
        (self.bitmask, rowOffsets) = (bitmask, offsets)
    }

    /// The tensors that hold its elements, its bits and its numbers, as a writer takes them.
    public var compressedTensor: (name: String, element: StoredElement, shape: [Int]) {
        (name + SparseLayout.compressedSuffix, .float32, [compressed.count])
    }
    public var bitmaskTensor: (name: String, element: StoredElement, shape: [Int]) {
        (name + SparseLayout.bitmaskSuffix, .uint8, [rowOffsets.count, bitmask.count / rowOffsets.count])
    }
    public var integerTensors: [(name: String, element: StoredElement, shape: [Int])] {
        [
            (name + SparseLayout.offsetsSuffix, .int64, [rowOffsets.count]),
            (name + SparseLayout.shapeSuffix, .int64, [shape.count]),
        ]
    }

    /// Appends what `integerTensors` announced.
    public func appendIntegers(to writer: SafetensorsWriter) throws(FormatError) {
        try writer.append(rowOffsets.span)
        let extents = shape.map { Int64($0) }
        try writer.append(extents.span)
    }

    /// Appends what `compressedTensor` announced.
    public func appendValues(to writer: SafetensorsWriter) throws(FormatError) {
        try writer.append(compressed.span)
    }

    /// Appends what `bitmaskTensor` announced.
    public func appendBits(to writer: SafetensorsWriter) throws(FormatError) {
        try writer.append(bitmask.span)
    }
}

/// How the bits of a compressed tensor lie.
struct SparseLayout {
    static let compressedSuffix = ".compressed"
    static let bitmaskSuffix = ".bitmask"
    static let offsetsSuffix = ".row_offsets"
    static let shapeSuffix = ".shape"

    let rows: Int
    let columns: Int

    /// nil for extents that no tensor has.
    init?(_ shape: [Int]) {
        guard let bytes = TensorEntry.byteCount(.float32, shape) else { return nil }
        rows = shape.count > 1 ? shape[0] : 1
        columns = rows == 0 ? 0 : bytes / 4 / rows
    }

    /// Bytes of the bits of one row.
    var rowBytes: Int { (columns + 7) / 8 }
    var bitmaskCount: Int { rows * rowBytes }
}

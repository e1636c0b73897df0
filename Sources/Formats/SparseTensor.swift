/// A tensor of float32 or int8 most of whose elements are zero, as files have it.
///
/// Four tensors stand for it, those of the sparse-bitmask format of the compressed-tensors package:
/// `NAME.compressed` has the elements that are not zero, row by row; `NAME.bitmask` a bit for every element,
/// the first in the lowest, each row in bytes of its own; `NAME.row_offsets` how many stand before each row;
/// `NAME.shape` the extents. A row is what belongs to one place of the first dimension; a vector is one row.
public struct SparseTensor: Sendable, Equatable {
    /// The tensor that is stood for.
    public let name: String
    let shape: [Int]
    let compressed: Elements
    let bitmask: [UInt8]
    let rowOffsets: [Int64]

    /// What is left of the elements.
    enum Elements: Sendable, Equatable {
        case floats([Float])
        case codes([Int8])
    }

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
        self.init(name, shape: shape, values, isZero: { $0.bitPattern == 0 }, Elements.floats)
    }

    /// Compresses a tensor of type I8; nil where that would save less than a tenth.
    public init?(_ name: String, shape: [Int], codes: [Int8]) {
        self.init(name, shape: shape, codes, isZero: { $0 == 0 }, Elements.codes)
    }

    private init?<Element>(
        _ name: String, shape: [Int], _ values: [Element], isZero: (Element) -> Bool,
        _ wrap: ([Element]) -> Elements
    ) {
        guard let plan = SparseLayout(shape), plan.rows * plan.columns == values.count, !values.isEmpty else {
            return nil
        }
        let width = MemoryLayout<Element>.stride
        let count = values.reduce(0) { $0 + (isZero($1) ? 0 : 1) }
        let bytes = width * count + plan.bitmaskCount + 8 * (plan.rows + shape.count)
        guard Double(bytes) <= Self.worthwhileRatio * Double(width * values.count) else { return nil }
        var (compressed, offsets): ([Element], [Int64]) = ([], [])
        var bitmask = [UInt8](repeating: 0, count: plan.bitmaskCount)
        compressed.reserveCapacity(count)
        for row in 0..<plan.rows {
            offsets.append(Int64(compressed.count))
            for column in 0..<plan.columns {
                let value = values[row * plan.columns + column]
                guard !isZero(value) else { continue }
                compressed.append(value)
                bitmask[row * plan.rowBytes + column / 8] |= 1 << (column % 8)
            }
        }
        (self.name, self.shape, self.compressed) = (name, shape, wrap(compressed))
        (self.bitmask, rowOffsets) = (bitmask, offsets)
    }

    /// The tensors that hold its elements, its bits and its numbers, as a writer takes them.
    public var compressedTensor: (name: String, element: StoredElement, shape: [Int]) {
        let place = name + SparseLayout.compressedSuffix
        return switch compressed {
        case .floats(let floats): (place, .float32, [floats.count])
        case .codes(let codes): (place, .int8, [codes.count])
        }
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
        switch compressed {
        case .floats(let floats): try writer.append(floats.span)
        case .codes(let codes): try writer.append(codes.span)
        }
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

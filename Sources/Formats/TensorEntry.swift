/// The element types of safetensors that we read; `rawValue` is the name in the file.
public enum StoredElement: String, Sendable, CaseIterable {
    case float64 = "F64", float32 = "F32", float16 = "F16", bfloat16 = "BF16"
    case int64 = "I64", int32 = "I32", int16 = "I16", int8 = "I8"
    case uint64 = "U64", uint32 = "U32", uint16 = "U16", uint8 = "U8", bool = "BOOL"

    /// Bytes of one element.
    public var byteCount: Int {
        switch self {
        case .float64, .int64, .uint64: 8
        case .float32, .int32, .uint32: 4
        case .float16, .bfloat16, .int16, .uint16: 2
        case .int8, .uint8, .bool: 1
        }
    }
}

/// One tensor of a file: its name, type, extents and place.
public struct TensorEntry: Sendable, Equatable {
    /// Unique within the file.
    public let name: String
    /// What its elements are.
    public let element: StoredElement
    /// Extents, outermost first; empty for a scalar.
    public let shape: [Int]
    /// Where its bytes lie behind the header; row-major, little-endian, without gaps.
    public let range: Range<Int>

    /// Product of the extents.
    public var elementCount: Int { range.count / element.byteCount }

    /// Type and shape as people write them: `F32 [20, 1, 5, 5]`.
    public var summary: String { "\(element.rawValue) \(shape)" }

    /// The most dimensions that we accept.
    static let rankMax = 8

    /// Bytes of a tensor, or `nil` when extents are negative, too many, or overflow.
    static func byteCount(_ element: StoredElement, _ shape: [Int]) -> Int? {
        guard shape.count <= rankMax else { return nil }
        var product = element.byteCount
        for extent in shape {
            let (next, overflow) = product.multipliedReportingOverflow(by: extent)
            guard extent >= 0, extent <= 1 << 31, !overflow else { return nil }
            product = next
        }
        return product
    }
}

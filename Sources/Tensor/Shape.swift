/// The extents of a tensor, outermost first.
public struct Shape: Hashable, Sendable, CustomStringConvertible {
    /// The largest rank that any part of Vintner handles.
    public static let rankMax = 8
    /// The largest extent and the largest element count of one tensor (2^40 elements are 4 TiB of float32).
    public static let elementCountMax = 1 << 40

    public let dimensions: [Int]
    /// The product of the extents; 1 for a scalar.
    public let elementCount: Int

    /// Checks extents that come from outside.
    ///
    /// - Throws: `TensorError.badShape` for a rank above `rankMax`, an extent below 1, or a product above
    ///   `elementCountMax`.
    public init(_ dimensions: [Int]) throws(TensorError) {
        guard dimensions.count <= Self.rankMax else {
            throw .badShape(dimensions, "has more than \(Self.rankMax) dimensions")
        }
        var product = 1
        for extent in dimensions {
            guard extent >= 1 else { throw .badShape(dimensions, "has an extent below 1") }
            let (next, overflow) = product.multipliedReportingOverflow(by: extent)
            guard !overflow, next <= Self.elementCountMax else {
                throw .badShape(dimensions, "has more than \(Self.elementCountMax) elements")
            }
            product = next
        }
        self.dimensions = dimensions
        elementCount = product
    }

    public var rank: Int { dimensions.count }

    public subscript(index: Int) -> Int { dimensions[index] }

    /// This shape with a batch extent in front.
    public func batched(_ batch: Int) throws(TensorError) -> Shape { try Shape([batch] + dimensions) }

    /// The extents as people write them: `20x12x12`.
    public var description: String { dimensions.map(String.init).joined(separator: "x") }
}

/// What a tensor's elements are.
public enum ElementType: String, Sendable, CaseIterable {
    case float32, bfloat16, int32, uint8, int8

    /// Bytes of one element.
    public var byteCount: Int {
        switch self {
        case .float32, .int32: 4
        case .bfloat16: 2
        case .uint8, .int8: 1
        }
    }
}

/// A tensor that cannot exist or cannot be stored.
public enum TensorError: Error, Equatable, CustomStringConvertible {
    case badShape([Int], String)
    case outOfMemory(byteCount: Int)

    public var description: String {
        switch self {
        case .badShape(let dimensions, let reason): "The shape \(dimensions) \(reason)."
        case .outOfMemory(let byteCount): "The system refused \(byteCount) bytes of memory."
        }
    }
}

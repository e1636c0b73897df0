/// Which elements of a parameter stay, in PyTorch's order.
public struct Mask: Sendable, Hashable {
    /// 1 for what stays, 0 for what is pruned.
    public let elements: [UInt8]
    /// How many stay.
    public let keptCount: Int

    /// Takes elements of which each is 0 or 1.
    public init(_ elements: [UInt8]) {
        self.elements = elements
        keptCount = elements.reduce(0) { $0 + Int($1) }
    }

    /// Keeps everything.
    public init(keeping count: Int) {
        elements = [UInt8](repeating: 1, count: count)
        keptCount = count
    }

    public var count: Int { elements.count }
    /// Part that is pruned.
    public var sparsity: Double { count == 0 ? 0 : Double(count - keptCount) / Double(count) }

    /// Puts zeros where nothing stays; `values` has as many elements.
    public func apply(to values: inout [Float]) {
        precondition(values.count == count, "\(values.count) values under a mask of \(count)")
        for index in values.indices where elements[index] == 0 { values[index] = 0 }
    }

    /// What both keep.
    public func intersection(_ other: Mask) -> Mask {
        precondition(other.count == count, "masks of \(count) and \(other.count)")
        return Mask(zip(elements, other.elements).map { $0 & $1 })
    }
}

/// Counting in parts of a whole.
enum Share {
    /// The nearest count, ties to the even one as in Python and PyTorch.
    static func count(_ share: Double, of whole: Int) -> Int {
        min(whole, max(0, Int((share * Double(whole)).rounded(.toNearestOrEven))))
    }

    /// The largest count that is no more than a share.
    ///
    /// A share written in decimals, 0.98 of 50, may lie below the whole number that it means by a rounding.
    static func countMax(_ share: Double, of whole: Int) -> Int {
        min(whole, max(0, Int((share * Double(whole) * (1 + 4 * Double.ulpOfOne)).rounded(.down))))
    }
}

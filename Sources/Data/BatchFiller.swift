public import Tensor

/// What a sample takes in a batch: its input and its target.
public struct BatchLayout: Sendable, Hashable {
    /// `float32` for pixels, `int32` for tokens.
    public let input: ElementType
    /// Elements of one sample's input.
    public let inputWidth: Int
    /// `int32` for labels, `float32` for shares of the classes.
    public let target: ElementType
    /// Elements of one sample's target: 1 for a class, the context's length for one label per token.
    public let targetWidth: Int

    /// The label that losses leave out, as PyTorch's `ignore_index`.
    public static let ignoredLabel: Int32 = -100

    /// Names types and widths.
    public init(input: ElementType, inputWidth: Int, target: ElementType, targetWidth: Int) {
        (self.input, self.inputWidth) = (input, inputWidth)
        (self.target, self.targetWidth) = (target, targetWidth)
    }

    /// Bytes of a batch's input and target; `nil` when they cannot be counted.
    public func byteCounts(capacity: Int) -> (input: Int, target: Int)? {
        func bytes(_ width: Int, _ type: ElementType) -> Int? {
            let elements = width.multipliedReportingOverflow(by: capacity)
            let bytes = elements.partialValue.multipliedReportingOverflow(by: type.byteCount)
            return elements.overflow || bytes.overflow || bytes.partialValue > 1 << 50
                ? nil : bytes.partialValue
        }
        guard let input = bytes(inputWidth, input), let target = bytes(targetWidth, target) else {
            return nil
        }
        return (input, target)
    }
}

/// Where a filler writes one batch.
public struct BatchBuffers {
    /// What holds both slots.
    public let arena: Arena
    /// `[capacity, inputWidth]` of the layout's input type.
    public let input: Slot
    /// `[capacity, targetWidth]` of the layout's target type.
    public let target: Slot

    /// Names the slots of an arena.
    public init(arena: Arena, input: Slot, target: Slot) {
        (self.arena, self.input, self.target) = (arena, input, target)
    }
}

/// Turns samples of a split into the numbers that a training step reads.
///
/// A value without a position: what it writes follows from its own settings, the samples and where in
/// training the batch stands, which is what makes resuming and reading ahead exact.
public protocol BatchFiller: Sendable {
    /// Types and widths of what it writes.
    var layout: BatchLayout { get }

    /// Writes one batch; behind the last sample, zeros and ignored labels.
    ///
    /// - Parameters:
    ///   - samples: At most as many as the buffers hold.
    ///   - position: Chooses random changes.
    ///   - buffers: Both are overwritten as a whole.
    /// - Returns: Targets that are not ignored: what a mean loss is divided by.
    func fill(_ samples: ArraySlice<UInt32>, at position: BatchPosition, into buffers: BatchBuffers) -> Int
}

import Tensor

/// The running text of one split.
public struct TextSplit: Sendable {
    /// Its tokens, from start to end.
    public let tokens: ArraySlice<UInt16>

    /// Number of tokens.
    public var count: Int { tokens.count }

    /// Windows of `context` tokens that follow each other without a gap and hold each target once.
    static func windowCount(tokens: Int, context: Int) -> Int { (max(tokens - 1, 0) + context - 1) / context }
}

/// Cuts windows out of running text, each with the tokens that come one later as targets.
///
/// A sample is the place of a window's first token. A window that the text ends in is filled with zeros, and
/// its missing targets are ignored.
public struct TextFiller: BatchFiller {
    private let split: TextSplit
    private let context: Int

    /// Reads windows of `context` tokens.
    public init(_ split: TextSplit, context: Int) {
        precondition(context > 0, "windows of \(context) tokens")
        (self.split, self.context) = (split, context)
    }

    /// Tokens, and as many labels.
    public var layout: BatchLayout {
        BatchLayout(input: .int32, inputWidth: context, target: .int32, targetWidth: context)
    }

    /// Writes `[capacity, context]` twice.
    public func fill(
        _ samples: ArraySlice<UInt32>, at position: BatchPosition, into buffers: BatchBuffers
    ) -> Int {
        buffers.arena.withSlot(buffers.input, as: Int32.self) { inputs in
            buffers.arena.withSlot(buffers.target, as: Int32.self) { targets in
                fill(samples, inputs: &inputs, targets: &targets)
            }
        }
    }

    func fill(
        _ samples: ArraySlice<UInt32>, inputs: inout MutableSpan<Int32>, targets: inout MutableSpan<Int32>
    ) -> Int {
        let (tokens, first) = (split.tokens, split.tokens.startIndex)
        precondition(samples.count * context <= inputs.count, "\(samples.count) windows are too many")
        var targetCount = 0
        for (place, sample) in samples.enumerated() {
            let count = min(context, tokens.count - 1 - Int(sample))
            precondition(count > 0, "no window starts at token \(sample) of \(tokens.count)")
            let start = first + Int(sample)
            let element = place * context
            widen(tokens[start..<start + count], into: &inputs, at: element)
            widen(tokens[start + 1..<start + 1 + count], into: &targets, at: element)
            for missing in element + count..<element + context {
                (inputs[missing], targets[missing]) = (0, BatchLayout.ignoredLabel)
            }
            targetCount += count
        }
        for missing in samples.count * context..<inputs.count {
            (inputs[missing], targets[missing]) = (0, BatchLayout.ignoredLabel)
        }
        return targetCount
    }
}

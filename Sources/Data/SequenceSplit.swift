import Tensor

/// The labelled sequences of one split, stored one behind the other.
public struct SequenceSplit: Sendable {
    /// All tokens.
    public let tokens: [UInt16]
    /// Where each sequence starts in `tokens`, and behind the last one their count.
    public let starts: [UInt32]
    /// One label per sequence, or one per token.
    public let labels: [UInt16]

    /// Number of sequences.
    public var count: Int { starts.count - 1 }

    /// The tokens of one sequence.
    func range(of sequence: Int) -> Range<Int> {
        Int(starts[sequence])..<Int(starts[sequence + 1])
    }

    /// Decoded size in bytes.
    var byteCount: Int { 2 * (tokens.count + labels.count) + MemoryLayout<UInt32>.stride * starts.count }
}

/// Pads or cuts labelled sequences to one length.
public struct SequenceFiller: BatchFiller {
    private let split: SequenceSplit
    private let labelling: SequenceInfo.Labelling
    private let context: Int

    /// Reads the first `context` tokens of each sequence.
    public init(_ split: SequenceSplit, labelling: SequenceInfo.Labelling, context: Int) {
        precondition(context > 0, "sequences of \(context) tokens")
        (self.split, self.labelling, self.context) = (split, labelling, context)
    }

    /// Tokens, and one label each or one for all.
    public var layout: BatchLayout {
        BatchLayout(
            input: .int32, inputWidth: context, target: .int32,
            targetWidth: labelling == .tokens ? context : 1)
    }

    /// Writes `[capacity, context]`, and `[capacity, context]` or `[capacity]`.
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
        precondition(samples.count * context <= inputs.count, "\(samples.count) sequences are too many")
        for element in inputs.indices { inputs[element] = Vocabulary.padding }
        for element in targets.indices { targets[element] = BatchLayout.ignoredLabel }
        var targetCount = 0
        for (place, sample) in samples.enumerated() {
            let range = split.range(of: Int(sample)).prefix(context)
            widen(split.tokens[range], into: &inputs, at: place * context)
            switch labelling {
            case .sequences:
                targets[place] = Int32(split.labels[Int(sample)])
                targetCount += 1
            case .tokens:
                widen(split.labels[range], into: &targets, at: place * context)
                targetCount += range.count
            }
        }
        return targetCount
    }
}

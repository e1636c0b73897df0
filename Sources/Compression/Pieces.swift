/// How a parameter's elements belong together when they are pruned.
struct Pieces: Sendable, Hashable {
    private enum Kind: Hashable {
        case elements
        /// Tiles of a matrix.
        case tiles(rows: Int, columns: Int, outputs: Int, inputs: Int)
        /// `kept` of every `size` elements that lie `stride` apart.
        case groups(size: Int, kept: Int, stride: Int)
    }

    private let kind: Kind
    let elementCount: Int
    /// How many pieces there are; groups are not pieces that go as a whole, but where the choice is made.
    let count: Int

    /// Every element on its own.
    init(elements count: Int) {
        kind = .elements
        (elementCount, self.count) = (count, count)
    }

    /// Tiles of a matrix `[outputs, inputs]`; those at its far ends may be smaller.
    init(tiles rows: Int, _ columns: Int, outputs: Int, inputs: Int) {
        kind = .tiles(rows: rows, columns: columns, outputs: outputs, inputs: inputs)
        elementCount = outputs * inputs
        count = ((outputs + rows - 1) / rows) * ((inputs + columns - 1) / columns)
    }

    /// Groups of `size` neighbours along an axis, whose extent is a multiple of it.
    init(groups size: Int, kept: Int, shape: [Int], inputAxis: Int) {
        let stride = shape[(inputAxis + 1)...].reduce(1, *)
        elementCount = shape.reduce(1, *)
        kind = .groups(size: size, kept: kept, stride: stride)
        count = elementCount / size
    }

    /// The piece that each element belongs to, in ascending order of elements.
    private func forEachElement(_ body: (_ element: Int, _ piece: Int) -> Void) {
        guard case .tiles(let rows, let columns, let outputs, let inputs) = kind else {
            for element in 0..<elementCount { body(element, element) }
            return
        }
        let across = (inputs + columns - 1) / columns
        var element = 0
        for output in 0..<outputs {
            let first = output / rows * across
            for input in 0..<inputs {
                body(element, first + input / columns)
                element += 1
            }
        }
    }

    /// A score for each piece of elements' numbers; groups keep those of their elements.
    func scores(_ numbers: [Float], _ scoring: Scoring) -> [Float] {
        precondition(numbers.count == elementCount, "\(numbers.count) numbers for \(elementCount) elements")
        guard case .tiles = kind else { return numbers.map { scoring.score(of: $0) } }
        var (sums, counts) = ([Double](repeating: 0, count: count), [Int](repeating: 0, count: count))
        forEachElement { element, piece in
            sums[piece] += scoring.term(numbers[element])
            counts[piece] += 1
        }
        // A mean, so that the smaller tiles at the far ends are not at a disadvantage.
        return zip(sums, counts).map { scoring.score(sum: $0, count: $1) }
    }

    /// A number for each piece; a group's pieces are its elements here.
    var scoredCount: Int {
        if case .tiles = kind { count } else { elementCount }
    }

    /// Whether each piece is kept, for elements of which none or all of a piece are.
    func kept(by mask: Mask) -> [UInt8] {
        guard case .tiles = kind else { return mask.elements }
        var kept = [UInt8](repeating: 0, count: count)
        forEachElement { element, piece in kept[piece] |= mask.elements[element] }
        return kept
    }

    /// The elements' mask when some pieces go.
    func mask(pruning pieces: some Sequence<Int>) -> Mask {
        var kept = [UInt8](repeating: 1, count: count)
        for piece in pieces { kept[piece] = 0 }
        guard case .tiles = kind else { return Mask(kept) }
        var elements = [UInt8](repeating: 1, count: elementCount)
        forEachElement { element, piece in elements[element] = kept[piece] }
        return Mask(elements)
    }

    /// The mask that keeps the best of every group, ties going to the later; nil where there are no groups.
    func grouped(_ scores: [Float], previous: Mask?) -> Mask? {
        guard case .groups(let size, let kept, let stride) = kind else { return nil }
        var elements = [UInt8](repeating: 1, count: elementCount)
        for group in 0..<count {
            // Groups lie one behind the other along their axis, interleaved `stride` times.
            let first = group / stride * stride * size + group % stride
            let members = (0..<size).map { first + $0 * stride }
            let ranking = Ranking(
                members.map { scores[$0] }, isKept: previous.map { mask in members.map { mask.elements[$0] } }
            )
            for place in ranking.first(max(size - kept, ranking.prunedCount)) { elements[members[place]] = 0 }
        }
        return Mask(elements)
    }
}

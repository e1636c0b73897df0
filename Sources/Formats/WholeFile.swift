public import Files

/// A file whose tensors are partly stored without their zeros, as it reads with all of them.
///
/// It is written nowhere: any part is made when it is asked for. Tensors keep their stored types, so that
/// their numbers are the stored ones exactly.
public final class WholeFile: Sendable {
    private let layout: WholeLayout
    /// How many elements of a tensor stand before each block of its bits.
    private let ranks: [Int]

    /// Size in bytes.
    public var byteCount: Int { layout.byteCount }

    /// Counts the bits of every tensor, a block at a time.
    ///
    /// - Parameters:
    ///   - layout: How the file would lie.
    ///   - file: The stored file that `layout` was made of.
    /// - Throws: `FormatError.malformed` where bits and elements do not go together.
    public init(_ layout: WholeLayout, from file: RandomReader) throws(FormatError) {
        self.layout = layout
        var ranks: [Int] = []
        ranks.reserveCapacity(layout.blockCount)
        for piece in layout.pieces {
            guard let sparse = piece.sparse else { continue }
            // A tensor without elements has no piece, and its bits no blocks.
            var count = 0
            for block in 0..<WholeLayout.blocks(of: sparse.layout) {
                ranks.append(count)
                let start = block * WholeLayout.blockByteCount
                let end = min(start + WholeLayout.blockByteCount, sparse.layout.bitmaskCount)
                let bits = try Self.bytes(end - start, at: sparse.bits + start, of: file)
                guard sparse.layout.endsRows(of: bits, at: start) else {
                    throw SparseLayout.malformed(layout.path, piece.name, "has bits behind the last column")
                }
                count += bits.bitCount
            }
            guard count == sparse.count else {
                throw SparseLayout.malformed(
                    layout.path, piece.name, "has \(count) bits for \(sparse.count) elements")
            }
        }
        self.ranks = ranks
    }

    /// A part of the whole file.
    ///
    /// - Parameters:
    ///   - range: Which bytes; what lies beyond the end is left out.
    ///   - file: The stored file, open. Any thread may read.
    /// - Returns: The bytes.
    /// - Throws: `FormatError`, where the stored file has changed since its bits were counted.
    /// - Complexity: That of the range, and of one block of bits for each tensor it touches.
    public func read(_ range: Range<Int>, from file: RandomReader) throws(FormatError) -> [UInt8] {
        guard file.byteCount == layout.storedByteCount else { throw Self.changed(file) }
        let range = range.clamped(to: 0..<byteCount)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(range.count)
        bytes += layout.header[range.clamped(to: 0..<layout.header.count)]
        for index in firstPiece(endingBehind: range.lowerBound)..<layout.pieces.count {
            let piece = layout.pieces[index]
            guard piece.range.lowerBound < range.upperBound else { break }
            let wanted = piece.range.clamped(to: range)
            let start = wanted.lowerBound - piece.range.lowerBound
            if let sparse = piece.sparse {
                bytes += try make(start..<start + wanted.count, of: sparse, piece.source, from: file)
            } else {
                bytes += try Self.bytes(wanted.count, at: piece.source + start, of: file)
            }
        }
        return bytes
    }

    private func firstPiece(endingBehind offset: Int) -> Int {
        var (low, high) = (0, layout.pieces.count)
        while low < high {
            let middle = (low + high) / 2
            if layout.pieces[middle].range.upperBound > offset { high = middle } else { low = middle + 1 }
        }
        return low
    }

    /// Some bytes of a tensor that is stored without its zeros, counted from its first.
    private func make(
        _ range: Range<Int>, of sparse: WholeLayout.Sparse, _ source: Int, from file: RandomReader
    ) throws(FormatError) -> ArraySlice<UInt8> {
        let (layout, width) = (sparse.layout, sparse.width)
        let (first, end) = (range.lowerBound / width, (range.upperBound + width - 1) / width)
        let block = layout.bit(of: first) / 8 / WholeLayout.blockByteCount
        let start = block * WholeLayout.blockByteCount
        let bits = try Self.bytes((layout.bit(of: end) + 7) / 8 - start, at: sparse.bits + start, of: file)
        let before = bits.bitCount(upTo: layout.bit(of: first) - 8 * start)
        let count = bits.bitCount(upTo: layout.bit(of: end) - 8 * start) - before
        let rank = ranks[sparse.firstBlock + block] + before
        guard rank + count <= sparse.count else { throw Self.changed(file) }
        let values = try Self.bytes(width * count, at: source + width * rank, of: file)
        var bytes = [UInt8](repeating: 0, count: width * (end - first))
        var next = 0
        layout.forEachBit(of: first..<end, in: bits, from: start) { element in
            let place = width * (element - first)
            for byte in 0..<width { bytes[place + byte] = values[next + byte] }
            next += width
        }
        let skipped = range.lowerBound - width * first
        return bytes[skipped..<skipped + range.count]
    }

    private static func bytes(
        _ count: Int, at offset: Int, of file: RandomReader
    ) throws(FormatError) -> [UInt8] {
        let bytes = try FormatError.translating { () throws(FileError) in try file.read(count, at: offset) }
        guard bytes.count == count else { throw changed(file) }
        return bytes
    }

    private static func changed(_ file: RandomReader) -> FormatError {
        .malformed(path: file.path, reason: "it changed while it was read")
    }
}

extension SparseLayout {
    /// Where an element's bit stands; for the one behind the last, where all end.
    func bit(of element: Int) -> Int { element / columns * rowBytes * 8 + element % columns }

    /// Whether no row has a bit behind its last column in these bytes, which stand at `start` in all.
    func endsRows(of bits: [UInt8], at start: Int) -> Bool {
        guard columns % 8 != 0 else { return true }
        let behind = UInt8.max << UInt8(columns % 8)
        let first = rowBytes - 1 - start % rowBytes
        return stride(from: first, to: bits.count, by: rowBytes).allSatisfy { bits[$0] & behind == 0 }
    }

    /// Calls `body` with each of these elements that has a bit, in order; `bits` begin at byte `start`.
    func forEachBit(of elements: Range<Int>, in bits: [UInt8], from start: Int, _ body: (Int) -> Void) {
        var element = elements.lowerBound
        while element < elements.upperBound {
            let (row, column) = (element / columns, element % columns)
            let end = min(columns, column + elements.upperBound - element)
            for byte in column / 8...(end - 1) / 8 {
                var left = bits[row * rowBytes + byte - start]
                if 8 * byte < column { left &= UInt8.max << UInt8(column - 8 * byte) }
                if 8 * byte + 8 > end { left &= UInt8.max >> UInt8(8 * byte + 8 - end) }
                while left != 0 {
                    body(row * columns + 8 * byte + left.trailingZeroBitCount)
                    left &= left - 1
                }
            }
            element += end - column
        }
    }

    /// What is wrong with a tensor's parts.
    static func malformed(_ path: String, _ name: String, _ reason: String) -> FormatError {
        .malformed(path: path, reason: "\"\(name)\", stored without its zeros, \(reason)")
    }
}

extension [UInt8] {
    /// Bits that are set.
    var bitCount: Int { reduce(0) { $0 + $1.nonzeroBitCount } }

    /// Bits that are set among the first `end`.
    func bitCount(upTo end: Int) -> Int {
        var count = self[..<(end / 8)].reduce(0) { $0 + $1.nonzeroBitCount }
        if end % 8 != 0 { count += (self[end / 8] & ~(UInt8.max << UInt8(end % 8))).nonzeroBitCount }
        return count
    }
}

/// How a file whose tensors are partly stored without their zeros would lie with all of them.
///
/// All of it follows from the stored file's header: no tensor is read, and nothing is as large as one.
public struct WholeLayout: Sendable {
    /// A tensor of the whole file, and where what it is made of lies in the stored one.
    struct Piece: Sendable {
        let name: String
        /// Its bytes in the whole file.
        let range: Range<Int>
        /// Where its bytes begin in the stored file, or those of its elements that are not zero.
        let source: Int
        /// nil where it is stored whole.
        let sparse: Sparse?
    }

    /// What stands for a tensor without its zeros.
    struct Sparse: Sendable {
        let layout: SparseLayout
        /// Bytes of an element.
        let width: Int
        /// Elements that are not zero.
        let count: Int
        /// Where the bits begin in the stored file.
        let bits: Int
        /// The place of its first block among those of all tensors.
        let firstBlock: Int
    }

    /// Bits are counted in blocks of so many bytes.
    static let blockByteCount = 16 << 10

    /// The stored file, for messages.
    let path: String
    let storedByteCount: Int
    let header: [UInt8]
    /// In the order of their bytes; none is empty.
    let pieces: [Piece]
    /// Blocks of bits of all tensors.
    let blockCount: Int
    /// Size of the whole file.
    public let byteCount: Int

    /// What this and a `WholeFile` of it keep in memory, in bytes.
    public var memoryByteCount: Int {
        header.count + pieces.count * MemoryLayout<Piece>.stride + blockCount * MemoryLayout<Int>.stride
    }

    /// Lays the file out again; nil where every tensor is stored whole.
    ///
    /// - Parameter reader: The stored file.
    /// - Throws: `FormatError.malformed` where the parts of a tensor do not go together.
    public init?(_ reader: SafetensorsReader) throws(FormatError) {
        let names = Set(reader.sparseNames)
        guard !names.isEmpty else { return nil }
        var tensors: [(name: String, element: StoredElement, shape: [Int])] = []
        var beside: Set<String> = []
        for name in names { beside.formUnion(reader.parts(of: name)) }
        for entry in reader.entries {
            let name = String(entry.name.dropLast(SparseLayout.compressedSuffix.count))
            if entry.name == name + SparseLayout.compressedSuffix, names.contains(name) {
                tensors.append((name, entry.element, try reader.sparseShape(name).shape))
            } else if !beside.contains(entry.name) {
                tensors.append((entry.name, entry.element, entry.shape))
            }
        }
        let whole = try SafetensorsHeader(tensors, metadata: reader.metadata, path: reader.path)
        header = try whole.encoded(for: reader.path)
        path = reader.path
        storedByteCount = reader.dataOffset + (reader.entries.last?.range.upperBound ?? 0)
        let end = header.count.addingReportingOverflow(whole.entries.last?.range.upperBound ?? 0)
        guard !end.overflow else {
            throw .malformed(path: path, reason: "it would be too large with all its zeros")
        }
        byteCount = end.partialValue
        var (pieces, blocks): ([Piece], Int) = ([], 0)
        for entry in whole.entries {
            let isSparse = names.contains(entry.name)
            let sparse = isSparse ? try reader.sparse(entry.name, firstBlock: blocks) : nil
            blocks += sparse.map { Self.blocks(of: $0.layout) } ?? 0
            guard !entry.range.isEmpty else { continue }
            let source = try reader.entry(entry.name + (isSparse ? SparseLayout.compressedSuffix : ""))
            pieces.append(
                Piece(
                    name: entry.name,
                    range: header.count + entry.range.lowerBound..<header.count + entry.range.upperBound,
                    source: reader.dataOffset + source.range.lowerBound, sparse: sparse))
        }
        (self.pieces, blockCount) = (pieces, blocks)
    }

    /// Blocks that the bits of a tensor make.
    static func blocks(of layout: SparseLayout) -> Int {
        (layout.bitmaskCount + blockByteCount - 1) / blockByteCount
    }
}

extension SafetensorsReader {
    /// What stands for a tensor without its zeros.
    fileprivate func sparse(_ name: String, firstBlock: Int) throws(FormatError) -> WholeLayout.Sparse {
        let layout = try sparseShape(name).layout
        let (bits, values) = try sparseParts(name, layout)
        return WholeLayout.Sparse(
            layout: layout, width: values.element.byteCount, count: values.elementCount,
            bits: dataOffset + bits.range.lowerBound, firstBlock: firstBlock)
    }
}

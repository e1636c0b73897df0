/// Tensors that are stored without their zeros; see `SparseTensor`.
extension SafetensorsReader {
    /// The tensors that compressed ones stand for, in the order of their elements.
    var sparseNames: [String] {
        let suffix = SparseLayout.compressedSuffix
        return entries.compactMap { entry in
            guard entry.name.hasSuffix(suffix) else { return nil }
            let name = String(entry.name.dropLast(suffix.count))
            return isSparse(name) ? name : nil
        }
    }

    /// Whether a tensor is stored without its zeros.
    func isSparse(_ name: String) -> Bool {
        !contains(name)
            && [SparseLayout.compressedSuffix, SparseLayout.bitmaskSuffix, SparseLayout.shapeSuffix]
                .allSatisfy { contains(name + $0) }
    }

    /// The names of what stands for a tensor, whole or without its zeros.
    public func parts(of name: String) -> Set<String> {
        guard isSparse(name) else { return [name] }
        let suffixes = [
            SparseLayout.compressedSuffix, SparseLayout.bitmaskSuffix, SparseLayout.offsetsSuffix,
            SparseLayout.shapeSuffix,
        ]
        return Set(suffixes.map { name + $0 })
    }

    /// The type and the extents of a tensor, whole or without its zeros; nil where there is none.
    public func description(
        of name: String
    ) throws(FormatError) -> (element: StoredElement, shape: [Int])? {
        guard isSparse(name) else {
            return contains(name) ? try (entry(name).element, entry(name).shape) : nil
        }
        return (try entry(name + SparseLayout.compressedSuffix).element, try sparseShape(name).shape)
    }

    /// The extents of a tensor that is stored without its zeros, and how its bits lie.
    func sparseShape(_ name: String) throws(FormatError) -> (shape: [Int], layout: SparseLayout) {
        let place = name + SparseLayout.shapeSuffix
        // Checked before it is read: a file may call anything so.
        let rank = try entry(place).elementCount
        let shape = rank <= TensorEntry.rankMax ? try integers(place).map { Int($0) } : []
        guard shape.count == rank, let layout = SparseLayout(shape) else {
            throw malformed(name, "has an impossible shape of \(rank) dimensions: \(shape)")
        }
        return (shape, layout)
    }

    /// The bits and the elements of a tensor that is stored without its zeros.
    ///
    /// - Throws: `FormatError.malformed` unless there is a bit for each element of the shape.
    func sparseParts(
        _ name: String, _ layout: SparseLayout
    ) throws(FormatError) -> (bits: TensorEntry, values: TensorEntry) {
        let bits = try entry(name + SparseLayout.bitmaskSuffix)
        guard bits.element == .uint8, bits.range.count == layout.bitmaskCount else {
            throw malformed(
                name, "needs \(layout.bitmaskCount) bytes of bits, its bitmask is \(bits.summary)")
        }
        let values = try entry(name + SparseLayout.compressedSuffix)
        guard values.elementCount <= layout.rows * layout.columns else {
            throw malformed(
                name, "has \(layout.rows * layout.columns) places for \(values.elementCount) elements")
        }
        return (bits, values)
    }

    /// The elements of a tensor that is stored without its zeros.
    ///
    /// - Parameters:
    ///   - name: The tensor that is stood for.
    ///   - shape: The extents it must have, or `nil` for any.
    /// - Returns: The elements, row-major.
    /// - Throws: `FormatError.mismatch` for another shape, `.malformed` where the parts do not go together.
    func sparseFloats(_ name: String, shape: [Int]?) throws(FormatError) -> [Float] {
        try sparseElements(name, shape: shape, zero: 0) { name throws(FormatError) in try floats(name) }
    }

    /// The same of a tensor of type I8.
    func sparseCodes(_ name: String, shape: [Int]?) throws(FormatError) -> [Int8] {
        try sparseElements(name, shape: shape, zero: 0) { name throws(FormatError) in
            try codes(name, shape: entry(name).shape)
        }
    }

    private func sparseElements<Element>(
        _ name: String, shape: [Int]?, zero: Element, _ load: (String) throws(FormatError) -> [Element]
    ) throws(FormatError) -> [Element] {
        let (found, layout) = try sparseShape(name)
        if let shape, shape != found {
            throw .mismatch(tensor: name, path: path, expected: "\(shape)", found: "\(found)")
        }
        // Checked before anything is allocated: as many bits as the shape has elements, eight to a byte.
        let parts = try sparseParts(name, layout)
        let bitmask = try bytes(parts.bits.name)
        guard bitmask.bitCount == parts.values.elementCount else {
            throw malformed(name, "has \(bitmask.bitCount) bits for \(parts.values.elementCount) elements")
        }
        guard layout.endsRows(of: bitmask, at: 0) else {
            throw malformed(name, "has bits behind the last column")
        }
        let values = try load(parts.values.name)
        var dense = [Element](repeating: zero, count: layout.rows * layout.columns)
        var next = 0
        layout.forEachBit(of: dense.indices, in: bitmask, from: 0) { element in
            dense[element] = values[next]
            next += 1
        }
        return dense
    }

    private func malformed(_ name: String, _ reason: String) -> FormatError {
        SparseLayout.malformed(path, name, reason)
    }
}

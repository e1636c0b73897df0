public import Files

/// Tensors that are stored without their zeros; see `SparseTensor`.
extension SafetensorsReader {
    /// The tensors that compressed ones stand for, in the order of their elements.
    private var sparseNames: [String] {
        let suffix = SparseLayout.compressedSuffix
        return entries.compactMap { entry in
            guard entry.name.hasSuffix(suffix) else { return nil }
            let name = String(entry.name.dropLast(suffix.count))
            return isSparse(name) ? name : nil
        }
    }

    /// Whether any tensor is stored without its zeros.
    public var hasSparse: Bool { !sparseNames.isEmpty }

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
        return (try entry(name + SparseLayout.compressedSuffix).element, try sparseShape(name).0)
    }

    /// The extents of a tensor that is stored without its zeros.
    private func sparseShape(_ name: String) throws(FormatError) -> ([Int], SparseLayout) {
        let shape = try integers(name + SparseLayout.shapeSuffix).map { Int($0) }
        guard let layout = SparseLayout(shape) else {
            throw malformed(name, "has an impossible shape of \(shape.count) dimensions: \(shape.prefix(9))")
        }
        return (shape, layout)
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
        let bits = try entry(name + SparseLayout.bitmaskSuffix)
        // Checked before anything is allocated: as many bits as the shape has elements, eight to a byte.
        guard bits.element == .uint8, bits.range.count == layout.bitmaskCount else {
            throw malformed(
                name, "needs \(layout.bitmaskCount) bytes of bits, its bitmask is \(bits.summary)")
        }
        let bitmask = try bytes(bits.name)
        let values = try load(name + SparseLayout.compressedSuffix)
        let count = bitmask.reduce(0) { $0 + $1.nonzeroBitCount }
        guard count == values.count else {
            throw malformed(name, "has \(count) bits for \(values.count) elements")
        }
        var dense = [Element](repeating: zero, count: layout.rows * layout.columns)
        var next = 0
        for row in 0..<layout.rows {
            for byte in 0..<layout.rowBytes {
                var left = bitmask[row * layout.rowBytes + byte]
                while left != 0 {
                    let column = 8 * byte + left.trailingZeroBitCount
                    guard column < layout.columns else {
                        throw malformed(name, "has bits behind the last column")
                    }
                    dense[row * layout.columns + column] = values[next]
                    next += 1
                    left &= left - 1
                }
            }
        }
        return dense
    }

    /// Writes the file again with every tensor whole, as programs expect it that know no compression.
    ///
    /// - Parameter path: Where the new file goes.
    /// - Returns: Its size and hash.
    /// - Throws: `FormatError`, also where a compressed tensor is damaged.
    public func expand(to path: String) throws(FormatError) -> AtomicFile.Receipt {
        let sparse = Set(sparseNames)
        var parts: Set<String> = []
        for name in sparse {
            for suffix in [
                SparseLayout.bitmaskSuffix, SparseLayout.offsetsSuffix, SparseLayout.shapeSuffix,
            ] { parts.insert(name + suffix) }
        }
        var tensors: [(name: String, element: StoredElement, shape: [Int])] = []
        for entry in entries where !parts.contains(entry.name) {
            let name = String(entry.name.dropLast(SparseLayout.compressedSuffix.count))
            if entry.name == name + SparseLayout.compressedSuffix, sparse.contains(name) {
                tensors.append((name, entry.element, try sparseShape(name).0))
            } else {
                tensors.append((entry.name, entry.element, entry.shape))
            }
        }
        let writer = try SafetensorsWriter(path, tensors: tensors, metadata: metadata)
        for entry in writer.entries {
            if sparse.contains(entry.name), entry.element == .int8 {
                let codes = try sparseCodes(entry.name, shape: nil)
                try writer.append(codes.span)
            } else if sparse.contains(entry.name) {
                let values = try sparseFloats(entry.name, shape: nil)
                try writer.append(values.span)
            } else {
                try writer.append(bytes(entry.name))
            }
        }
        return try writer.commit()
    }

    private func malformed(_ name: String, _ reason: String) -> FormatError {
        .malformed(path: path, reason: "\"\(name)\", stored without its zeros, \(reason)")
    }
}

import CData

/// Bytes that are known to be well-formed UTF-8, and the loops over them.
struct UTF8Text {
    /// Scalars have numbers below this.
    static let scalarRange = 0x11_0000

    let bytes: [UInt8]

    /// Where the first byte stands at which well-formed UTF-8 ends; `nil` when all of it is.
    static func fault(in bytes: [UInt8]) -> Int? {
        let place = unsafe cdata_utf8_fault(bytes, bytes.count)
        return place == bytes.count ? nil : place
    }

    /// - Throws: `DataError.malformed` for an empty text, or naming the first malformed byte's offset.
    init(_ bytes: [UInt8], of file: String) throws(DataError) {
        guard !bytes.isEmpty else {
            throw .malformed(file: file, expected: "UTF-8 text", found: "an empty file")
        }
        if let fault = Self.fault(in: bytes) {
            let byte = String(bytes[fault], radix: 16)
            throw .malformed(file: file, expected: "UTF-8", found: "the byte 0x\(byte) at offset \(fault)")
        }
        self.bytes = bytes
    }

    /// Text that has been checked already.
    init(checked bytes: [UInt8]) { self.bytes = bytes }

    /// Number of scalars: the bytes that continue none.
    var scalarCount: Int { bytes.count { $0 & 0xC0 != 0x80 } }

    /// Marks the scalars that occur in `seen`, which has `scalarRange` places, and counts all of them.
    func markScalars(in seen: inout [UInt8]) -> Int {
        precondition(seen.count == Self.scalarRange, "a set of \(seen.count) scalars")
        return unsafe cdata_mark_scalars(bytes, bytes.count, &seen)
    }

    /// The number that `table` has for each scalar.
    func tokens(from table: [UInt16]) -> [UInt16] {
        precondition(table.count == Self.scalarRange, "a table of \(table.count) scalars")
        let count = scalarCount
        return unsafe [UInt16](unsafeUninitializedCapacity: count) { buffer, initialized in
            if let first = buffer.baseAddress {
                unsafe cdata_map_scalars(bytes, bytes.count, table, first)
            }
            initialized = count
        }
    }

    /// Each byte as a token, counted from `first`.
    func byteTokens(from first: UInt16) -> [UInt16] {
        unsafe [UInt16](unsafeUninitializedCapacity: bytes.count) { buffer, initialized in
            if let start = buffer.baseAddress {
                unsafe cdata_map_bytes(bytes, bytes.count, first, start)
            }
            initialized = bytes.count
        }
    }
}

/// Writes tokens as 32-bit integers from element `start` of `output` on.
func widen(_ tokens: ArraySlice<UInt16>, into output: inout MutableSpan<Int32>, at start: Int) {
    precondition(start >= 0 && start + tokens.count <= output.count, "no room for tokens at \(start)")
    unsafe tokens.withUnsafeBufferPointer { source in
        unsafe output.withUnsafeMutableBufferPointer { target in
            guard let from = source.baseAddress, let to = target.baseAddress else { return }
            unsafe cdata_widen(from, source.count, to + start)
        }
    }
}

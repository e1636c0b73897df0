public import Files

/// Writes a safetensors file tensor by tensor; it appears whole or not at all.
///
/// The same tensors and metadata give the same bytes. Belongs to the thread that made it.
public final class SafetensorsWriter {
    /// The tensors in the order in which they must be appended.
    public let entries: [TensorEntry]
    private let path: String
    private let writer: AtomicFile.Writer
    private var appended = 0

    /// Starts a file.
    ///
    /// - Parameters:
    ///   - path: Where it will appear.
    ///   - tensors: Names, types and extents. Wider types are laid out first; else the order is kept.
    ///   - metadata: Free texts, stored sorted by key.
    /// - Throws: `FormatError` for names used twice and shapes that overflow, or from the file system.
    public init(
        _ path: String, tensors: [(name: String, element: StoredElement, shape: [Int])],
        metadata: [String: String] = [:]
    ) throws(FormatError) {
        self.path = path
        let header = try SafetensorsHeader(tensors, metadata: metadata, path: path)
        entries = header.entries
        let encoded = try header.encoded(for: path)
        writer = try FormatError.translating { () throws(FileError) in
            let writer = try AtomicFile.Writer(path)
            try writer.write(encoded)
            return writer
        }
    }

    /// Appends the next tensor, of type F32.
    public func append(_ floats: Span<Float>) throws(FormatError) {
        unsafe try append(floats.bytes, as: .float32)
    }

    /// Appends the next tensor, of type F64.
    public func append(_ doubles: Span<Double>) throws(FormatError) {
        unsafe try append(doubles.bytes, as: .float64)
    }

    /// Appends the next tensor, of type I64.
    public func append(_ integers: Span<Int64>) throws(FormatError) {
        unsafe try append(integers.bytes, as: .int64)
    }

    /// Appends the next tensor, of type U8.
    public func append(_ bytes: Span<UInt8>) throws(FormatError) {
        unsafe try append(bytes.bytes, as: .uint8)
    }

    /// Appends the next tensor, of type I8.
    public func append(_ codes: Span<Int8>) throws(FormatError) {
        unsafe try append(codes.bytes, as: .int8)
    }

    /// Publishes the file.
    ///
    /// - Returns: Its size and hash.
    /// - Throws: `FormatError.mismatch` unless every tensor has been appended, and `.file`; then the old
    ///   file, if any, is untouched.
    public func commit() throws(FormatError) -> AtomicFile.Receipt {
        if let missing = entries.dropFirst(appended).first {
            throw .mismatch(tensor: missing.name, path: path, expected: missing.summary, found: "nothing")
        }
        return try FormatError.translating { () throws(FileError) in try writer.commit() }
    }

    /// Takes what was announced next, and nothing else.
    private func append(_ bytes: RawSpan, as element: StoredElement) throws(FormatError) {
        let found = "\(bytes.byteCount) bytes of \(element.rawValue)"
        guard appended < entries.count else {
            throw .malformed(
                path: path, reason: "its \(entries.count) tensors are there, and \(found) more")
        }
        let entry = entries[appended]
        guard element == entry.element && bytes.byteCount == entry.range.count else {
            throw .mismatch(tensor: entry.name, path: path, expected: entry.summary, found: found)
        }
        try FormatError.translating { () throws(FileError) in try writer.write(bytes) }
        appended += 1
    }
}

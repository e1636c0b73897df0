public import Files

/// Writes a safetensors file tensor by tensor; it appears whole or not at all.
///
/// The same tensors and metadata give the same bytes. Belongs to the thread that made it.
public final class SafetensorsWriter {
    /// The tensors in the order in which they must be appended.
    public let entries: [TensorEntry]
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
        let header = try SafetensorsHeader(tensors, metadata: metadata, path: path)
        entries = header.entries
        let encoded = header.encoded()
        guard encoded.count - SafetensorsHeader.prefixByteCount <= SafetensorsHeader.byteCountMax else {
            throw .malformed(
                path: path,
                reason: "its header of \(encoded.count) bytes would exceed \(SafetensorsHeader.byteCountMax)")
        }
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

    /// Appends the next tensor, of any type, as its bytes lie in a file.
    func append(_ bytes: [UInt8]) throws(FormatError) {
        precondition(appended < entries.count, "all \(entries.count) tensors have been appended")
        unsafe try append(bytes.span.bytes, as: entries[appended].element)
    }

    /// Appends the next tensor, of type I8.
    public func append(_ codes: Span<Int8>) throws(FormatError) {
        unsafe try append(codes.bytes, as: .int8)
    }

    /// Publishes the file.
    ///
    /// - Precondition: Every tensor has been appended.
    /// - Returns: Its size and hash.
    /// - Throws: `FormatError.file`; then the old file, if any, is untouched.
    public func commit() throws(FormatError) -> AtomicFile.Receipt {
        precondition(appended == entries.count, "\(appended) of \(entries.count) tensors were appended")
        return try FormatError.translating { () throws(FileError) in try writer.commit() }
    }

    private func append(_ bytes: RawSpan, as element: StoredElement) throws(FormatError) {
        precondition(appended < entries.count, "all \(entries.count) tensors have been appended")
        let entry = entries[appended]
        precondition(
            element == entry.element && bytes.byteCount == entry.range.count,
            "\(entry.name) is \(entry.summary), not \(bytes.byteCount) bytes of \(element.rawValue)")
        try FormatError.translating { () throws(FileError) in try writer.write(bytes) }
        appended += 1
    }
}

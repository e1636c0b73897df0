import Files
import Glibc

/// Reads tensors from a safetensors file, one at a time.
///
/// Opening checks the whole header against the file; tensors are read when asked for. Belongs to the
/// thread that made it.
public final class SafetensorsReader {
    /// What was opened.
    public let path: String
    /// The tensors in the order of their bytes.
    public let entries: [TensorEntry]
    /// The free texts of `__metadata__`.
    public let metadata: [String: String]
    private let reader: FileReader
    /// Where the tensors' bytes begin.
    let dataOffset: Int
    private let indices: [String: Int]

    /// Opens `path` and checks its header.
    ///
    /// - Throws: `FormatError.malformed` naming the first rule the file breaks.
    public init(_ path: String) throws(FormatError) {
        self.path = path
        let (reader, byteCount) = try FormatError.translating { () throws(FileError) in
            let reader = try FileReader(path)
            return (reader, try reader.byteCount())
        }
        self.reader = reader
        let prefixCount = SafetensorsHeader.prefixByteCount
        let prefix = try FormatError.translating { () throws(FileError) in
            try reader.read(prefixCount, at: 0)
        }
        guard prefix.count == prefixCount else {
            throw .malformed(path: path, reason: "it has \(byteCount) bytes, fewer than the 8 of a length")
        }
        let length = prefix.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard length <= UInt64(SafetensorsHeader.byteCountMax) else {
            throw .malformed(
                path: path,
                reason: "its header claims \(length) bytes of at most \(SafetensorsHeader.byteCountMax)")
        }
        let offset = prefixCount + Int(length)
        guard offset <= byteCount else {
            throw .malformed(path: path, reason: "its header claims \(length) of \(byteCount) bytes")
        }
        let json = try FormatError.translating { () throws(FileError) in
            try reader.read(Int(length), at: prefixCount)
        }
        let header = try SafetensorsHeader(parsing: json, dataByteCount: byteCount - offset, path: path)
        dataOffset = offset
        entries = header.entries
        metadata = header.metadata
        indices = Dictionary(uniqueKeysWithValues: header.entries.enumerated().map { ($1.name, $0) })
    }

    /// The tensor `name`.
    public func entry(_ name: String) throws(FormatError) -> TensorEntry {
        guard let index = indices[name] else {
            throw .missingTensor(name, path: path, known: entries.map(\.name))
        }
        return entries[index]
    }

    /// A tensor's raw bytes.
    public func bytes(_ name: String) throws(FormatError) -> [UInt8] {
        let entry = try entry(name)
        let bytes = try FormatError.translating { () throws(FileError) in
            try reader.read(entry.range.count, at: dataOffset + entry.range.lowerBound)
        }
        guard bytes.count == entry.range.count else {
            throw .malformed(path: path, reason: "it became shorter while it was read")
        }
        return bytes
    }

    /// Whether there is a tensor of this name.
    func contains(_ name: String) -> Bool { indices[name] != nil }

    /// A tensor's elements as float32; half-precision types are widened exactly, and a tensor that is stored
    /// without its zeros is made whole.
    ///
    /// - Parameters:
    ///   - name: A tensor of type F32, F16 or BF16.
    ///   - shape: The extents it must have, or `nil` for any.
    /// - Returns: The elements, row-major.
    /// - Throws: `FormatError.mismatch` for another type or shape.
    public func floats(_ name: String, shape: [Int]? = nil) throws(FormatError) -> [Float] {
        if isSparse(name) { return try sparseFloats(name, shape: shape) }
        let entry = try entry(name)
        if let shape, shape != entry.shape {
            throw .mismatch(tensor: name, path: path, expected: "\(shape)", found: entry.summary)
        }
        switch entry.element {
        case .float32: return try values(name)
        case .float16: return try (values(name) as [Float16]).map(Float.init)
        case .bfloat16:
            return try (values(name) as [UInt16]).map { Float(bitPattern: UInt32($0) << 16) }
        case .float64, .int64, .int32, .int16, .int8, .uint64, .uint32, .uint16, .uint8, .bool:
            throw .mismatch(tensor: name, path: path, expected: "F32, F16 or BF16", found: entry.summary)
        }
    }

    /// The elements of a tensor of type F64.
    public func doubles(_ name: String) throws(FormatError) -> [Double] {
        try typed(name, .float64)
    }

    /// The elements of a tensor of type I64.
    public func integers(_ name: String) throws(FormatError) -> [Int64] {
        try typed(name, .int64)
    }

    /// The elements of a tensor of type I8 and these extents; one without its zeros is made whole.
    public func codes(_ name: String, shape: [Int]) throws(FormatError) -> [Int8] {
        if isSparse(name) { return try sparseCodes(name, shape: shape) }
        let entry = try entry(name)
        guard shape == entry.shape else {
            throw .mismatch(tensor: name, path: path, expected: "\(shape)", found: entry.summary)
        }
        return try typed(name, .int8)
    }

    /// The element of a tensor of type U8 that has one.
    public func byte(_ name: String) throws(FormatError) -> UInt8 {
        let entry = try entry(name)
        guard entry.element == .uint8, entry.elementCount == 1, let byte = try bytes(name).first else {
            throw .mismatch(tensor: name, path: path, expected: "U8 [1]", found: entry.summary)
        }
        return byte
    }

    private func typed<T: BitwiseCopyable>(
        _ name: String, _ element: StoredElement
    ) throws(FormatError) -> [T] {
        let entry = try entry(name)
        guard entry.element == element else {
            throw .mismatch(tensor: name, path: path, expected: element.rawValue, found: entry.summary)
        }
        return try values(name)
    }

    /// A tensor's bytes as numbers; the file and every machine we run on are little-endian.
    private func values<T: BitwiseCopyable>(_ name: String) throws(FormatError) -> [T] {
        let bytes = try bytes(name)
        let count = bytes.count / MemoryLayout<T>.stride
        return unsafe [T](unsafeUninitializedCapacity: count) { buffer, initialized in
            if let start = buffer.baseAddress { unsafe memcpy(start, bytes, bytes.count) }
            initialized = count
        }
    }
}

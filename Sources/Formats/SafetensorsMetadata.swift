public import Files

/// Texts that are added to a file which is there already.
public enum SafetensorsMetadata {
    /// Bytes that are copied at once.
    private static let chunkByteCount = 1 << 18

    /// Adds texts to a file's `__metadata__`; its tensors stay as they are, byte for byte.
    ///
    /// - Parameters:
    ///   - texts: By their keys; one that is there already is replaced.
    ///   - path: A safetensors file, which is replaced as a whole or not at all.
    /// - Returns: Its new size and hash.
    /// - Throws: `FormatError` as reading and writing do.
    @discardableResult
    public static func add(
        _ texts: [String: String], to path: String
    ) throws(FormatError) -> AtomicFile.Receipt {
        let known = try SafetensorsReader(path)
        return try FormatError.translating { () throws(FileError) in
            let reader = try FileReader(path)
            let prefix = try reader.readFully(SafetensorsHeader.prefixByteCount)
            // The reader has checked it.
            let length = prefix.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            _ = try reader.readFully(Int(length))
            let header = SafetensorsHeader(
                metadata: known.metadata.merging(texts) { $1 }, entries: known.entries)
            let writer = try AtomicFile.Writer(path)
            try writer.write(header.encoded())
            while true {
                let chunk = try reader.read(upTo: chunkByteCount)
                if chunk.isEmpty { return try writer.commit() }
                try writer.write(chunk)
            }
        }
    }
}

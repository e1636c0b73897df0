import CAssets

/// Reads the table of CAssets; the only file that sees its pointers.
enum EmbeddedFile {
    static var count: Int { cassets_file_count() }

    static func name(at index: Int) -> String {
        guard let name = unsafe cassets_file_at(index).name else { return "" }
        return unsafe String(cString: name)
    }

    static func byteCount(at index: Int) -> Int { unsafe cassets_file_at(index).count }

    static func bytes(at index: Int) -> [UInt8] {
        let file = unsafe cassets_file_at(index)
        return unsafe Array(UnsafeBufferPointer(start: file.bytes, count: file.count))
    }
}

public import Files

/// Why a model file could not be read or written.
public enum FormatError: Error, Equatable, CustomStringConvertible {
    /// The file system failed.
    case file(FileError)
    /// The file breaks a rule of its format.
    case malformed(path: String, reason: String)
    /// The file lacks a tensor.
    case missingTensor(String, path: String, known: [String])
    /// A tensor has another element type or shape than the reader needs.
    case mismatch(tensor: String, path: String, expected: String, found: String)

    /// What was attempted, on what, expected against found.
    public var description: String {
        switch self {
        case .file(let error): return error.description
        case .malformed(let path, let reason): return "\(path) is not a valid safetensors file: \(reason)."
        case .missingTensor(let name, let path, let known):
            let some = known.prefix(20).joined(separator: ", ") + (known.count > 20 ? ", ..." : "")
            return "\(path) holds no tensor \"\(name)\"; it holds \(known.isEmpty ? "none" : some)."
        case .mismatch(let tensor, let path, let expected, let found):
            return "\(path): expected \"\(tensor)\" to be \(expected), found \(found)."
        }
    }

    /// Runs `body` and translates its file errors.
    static func translating<R>(_ body: () throws(FileError) -> R) throws(FormatError) -> R {
        do { return try body() } catch { throw .file(error) }
    }
}

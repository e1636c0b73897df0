public import Files
import Threads

/// Why a dataset cannot be read, found or imported.
public enum DataError: Error, Equatable, CustomStringConvertible {
    /// The file system or a compressed stream failed.
    case file(FileError)
    /// A file is not what its format or its siblings say it must be.
    case malformed(file: String, expected: String, found: String)
    /// A line of a text file, counted from 1, is not what its format says it must be.
    case malformedLine(file: String, line: Int, expected: String, found: String)
    /// No dataset has this name or id; `known` are those that are there.
    case unknownDataset(String, known: [String])
    /// A folder lacks one of the files of a dataset; `tried` are the names looked for.
    case missingFile(folder: String, tried: [String])
    /// A dataset of this name exists.
    case nameTaken(String)
    /// The name breaks the rule for names.
    case badName(String)
    /// A setting of an import is out of range.
    case badSetting(String, found: String)
    /// The files changed after the dataset was registered.
    case changed(name: String, expected: String, found: String)
    /// A split has too few tokens for samples of the model's length.
    case tooShort(split: String, tokens: Int, needed: Int)
    /// The disk, or what datasets may take of it, has no room for a dataset's files; says why.
    case noRoom(String)
    /// A thread or its memory could not be had.
    case outOfResources(String)
    /// More than one thing is wrong.
    case several([DataError])

    /// What was attempted, on what, expected against found.
    public var description: String {
        switch self {
        case .file(let error): return error.description
        case .malformed(let file, let expected, let found):
            return "\(file): expected \(expected), found \(found)."
        case .malformedLine(let file, let line, let expected, let found):
            return "\(file), line \(line): expected \(expected), found \(found)."
        case .unknownDataset(let name, let known):
            let list = known.isEmpty ? "none" : known.joined(separator: ", ")
            return "There is no dataset \"\(name)\"; known: \(list)."
        case .missingFile(let folder, let tried):
            return "\(folder) holds none of \(tried.joined(separator: ", "))."
        case .nameTaken(let name): return "A dataset named \"\(name)\" exists already."
        case .badName(let name):
            return "\"\(name)\" is not a dataset's name: expected 1 to 64 of a-z, 0-9, '-', '_' and '.', "
                + "starting with a letter or digit."
        case .badSetting(let expected, let found): return "Expected \(expected), found \(found)."
        case .changed(let name, let expected, let found):
            return "The files of dataset \"\(name)\" changed: expected SHA-256 \(expected), found \(found)."
        case .tooShort(let split, let tokens, let needed):
            return "The \(split) text has \(tokens) tokens, and the model's context needs \(needed)."
        case .noRoom(let reason): return reason
        case .outOfResources(let what): return "The system refused \(what)."
        case .several(let errors): return errors.map(\.description).joined(separator: "\n")
        }
    }

    /// Each thing that is wrong.
    public var parts: [DataError] {
        if case .several(let errors) = self { errors.flatMap(\.parts) } else { [self] }
    }

    /// All of `errors`, of which there is one at least.
    static func of(_ errors: [DataError]) -> DataError { errors.count == 1 ? errors[0] : .several(errors) }

    /// The same with files called otherwise: as whoever brought them does.
    func naming(_ names: [String: String]) -> DataError {
        func name(_ path: String) -> String { names[path] ?? path }
        switch self {
        case .malformed(let file, let expected, let found):
            return .malformed(file: name(file), expected: expected, found: found)
        case .malformedLine(let file, let line, let expected, let found):
            return .malformedLine(file: name(file), line: line, expected: expected, found: found)
        case .file(.corrupt(let path, let reason)):
            return .file(.corrupt(path: name(path), reason: reason))
        case .file(.tooLarge(let path, let limit)):
            return .file(.tooLarge(path: name(path), limit: limit))
        case .several(let errors): return .several(errors.map { $0.naming(names) })
        case .file, .unknownDataset, .missingFile, .nameTaken, .badName, .badSetting, .changed, .tooShort,
            .noRoom, .outOfResources:
            return self
        }
    }

    /// Runs `body` and translates its file errors.
    static func translating<R>(_ body: () throws(FileError) -> R) throws(DataError) -> R {
        do { return try body() } catch { throw .file(error) }
    }

    /// Runs `body`, turning the lack of a thread into an error of ours.
    static func translating<R>(_ body: () throws(NoThread) -> R) throws(DataError) -> R {
        do { return try body() } catch { throw .outOfResources("a thread (errno \(error.errno))") }
    }
}

import Data
import Files
import JSON
import Jobs

extension JobError {
    /// What a client is told of files that make no dataset: each thing that is wrong, and in which file.
    init(_ error: DataError) {
        if case .nameTaken(let name) = error {
            self = .nameTaken(name)
            return
        }
        if case .noRoom(let reason) = error {
            self = .noRoom(reason)
            return
        }
        var violations: [Violation] = []
        for part in error.parts {
            guard let violation = Self.violation(part) else {
                self = .init(unexpected: part)
                return
            }
            violations.append(violation)
        }
        self = .invalid(violations)
    }

    /// A fault of ours or of the machine.
    private init(unexpected error: DataError) {
        if case .file(let file) = error {
            self.init(file)
        } else {
            self = .storeUnavailable(cause: "\(error)")
        }
    }

    private static func violation(_ error: DataError) -> Violation? {
        switch error {
        case .malformed(let file, let expected, let found):
            Violation(
                pointer: pointer(file), code: "malformed_file", detail: "expected \(expected), found \(found)"
            )
        case .malformedLine(let file, let line, let expected, let found):
            Violation(
                pointer: pointer(file), code: "malformed_file",
                detail: "line \(line): expected \(expected), found \(found)")
        case .file(.corrupt(let file, let reason)):
            Violation(pointer: pointer(file), code: "malformed_file", detail: reason)
        case .file(.tooLarge(let file, let limit)):
            Violation(
                pointer: pointer(file), code: "too_large", detail: "it holds more than \(limit) bytes")
        case .missingFile(_, let tried):
            Violation(
                pointer: "/files", code: "missing_file", detail: "expected \(tried.joined(separator: " or "))"
            )
        case .badSetting(let expected, let found):
            Violation(
                pointer: "/options", code: "invalid_value", detail: "expected \(expected), found \(found)")
        case .tooShort: Violation(pointer: "/files", code: "too_short", detail: error.description)
        case .file(.system), .file(.locked), .unknownDataset, .nameTaken, .badName, .changed,
            .noRoom, .outOfResources, .several:
            nil
        }
    }

    private static func pointer(_ file: String) -> String { JSONPointer.member(file, of: "/files") }
}

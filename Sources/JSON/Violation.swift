/// One thing wrong with a request's body: where, which kind, and what was expected.
public struct Violation: Sendable, Equatable {
    /// Where in the document (RFC 6901); empty for the whole of it.
    public let pointer: String
    /// The stable name of the kind of fault, in snake_case.
    public let code: String
    /// What was expected and what was found, for people.
    public let detail: String

    /// Makes a violation.
    public init(pointer: String, code: String, detail: String) {
        self.pointer = pointer
        self.code = code
        self.detail = detail
    }

    /// The violation as clients see it.
    public var json: JSONValue {
        ["pointer": .string(pointer), "code": .string(code), "detail": .string(detail)]
    }
}

/// A document that breaks rules; carries every violation found, at least one.
public struct InvalidInput: Error, Equatable, Sendable, CustomStringConvertible {
    /// What was wrong, in the order it was found.
    public let violations: [Violation]

    /// Makes the error of several violations.
    public init(_ violations: [Violation]) { self.violations = violations }

    /// Makes the error of a single violation.
    public init(pointer: String, code: String, detail: String) {
        self.init([Violation(pointer: pointer, code: code, detail: detail)])
    }

    /// All details, one per line.
    public var description: String {
        violations.map { $0.pointer.isEmpty ? $0.detail : "\($0.pointer): \($0.detail)" }
            .joined(separator: "\n")
    }
}

/// Gathers violations while a document is read, so that a client sees all of them at once.
///
/// Belongs to the thread that reads the document. Keeps the first 100: a hostile body must not
/// buy an answer longer than itself.
public final class ViolationLog {
    /// How many violations are kept.
    public static let countMax = 100

    /// The violations so far.
    public private(set) var violations: [Violation] = []

    /// Makes an empty log.
    public init() {}

    /// Whether nothing was wrong so far.
    public var isEmpty: Bool { violations.isEmpty }
    /// Whether further violations are dropped.
    public var isFull: Bool { violations.count >= Self.countMax }

    /// Notes a violation.
    ///
    /// - Parameters:
    ///   - pointer: Where in the document (RFC 6901).
    ///   - code: The kind of fault, in snake_case.
    ///   - detail: What was expected and what was found.
    public func add(_ pointer: String, _ code: String, _ detail: String) {
        guard !isFull else { return }
        violations.append(Violation(pointer: pointer, code: code, detail: detail))
    }

    /// Ends the reading with all violations, if there were any.
    public func throwIfAny() throws(InvalidInput) {
        if !isEmpty { throw InvalidInput(violations) }
    }
}

/// Building JSON Pointers (RFC 6901).
public enum JSONPointer {
    /// The pointer to a member of the value at `parent`; `~` and `/` are escaped.
    public static func member(_ name: String, of parent: String) -> String {
        guard name.utf8.contains(where: { $0 == UInt8(ascii: "~") || $0 == UInt8(ascii: "/") }) else {
            return "\(parent)/\(name)"
        }
        var escaped = ""
        for character in name.unicodeScalars {
            switch character {
            case "~": escaped += "~0"
            case "/": escaped += "~1"
            default: escaped.unicodeScalars.append(character)
            }
        }
        return "\(parent)/\(escaped)"
    }

    /// The pointer to an element of the array at `parent`.
    public static func element(_ index: Int, of parent: String) -> String { "\(parent)/\(index)" }
}

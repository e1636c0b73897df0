/// Swift source with comments and string literals blanked out, and the words that are left.
///
/// A scanner, not a parser: it knows nested comments, raw and multi-line strings and interpolations, which is
/// what it takes not to mistake prose for code.
struct SwiftCode: Sendable {
    struct Word: Sendable {
        let text: String
        /// One-based.
        let line: Int
        /// The bytes on both sides, 0 at the ends of the file.
        let before: UInt8
        let after: UInt8
        /// Where the word ends in `bytes`.
        let end: Int
    }

    struct Function: Sendable {
        let line: Int
        let lineCount: Int
    }

    private(set) var bytes: [UInt8]
    private(set) var words: [Word] = []

    init(_ text: String) {
        var scanner = Scanner(input: Array(text.utf8))
        scanner.scanCode(untilClosingParenthesis: false)
        bytes = scanner.output
        words = Self.words(of: bytes)
    }

    /// Lines on which a value is unwrapped, cast or tried by force.
    var forcedLines: [Int] {
        var line = 1
        var found: [Int] = []
        for index in bytes.indices {
            if bytes[index] == UInt8(ascii: "\n") { line += 1 }
            guard bytes[index] == UInt8(ascii: "!"), index > 0 else { continue }
            let before = bytes[index - 1]
            let after = index + 1 < bytes.count ? bytes[index + 1] : 0
            let closes = [UInt8(ascii: ")"), UInt8(ascii: "]"), UInt8(ascii: "}"), UInt8(ascii: ">")]
            if after != UInt8(ascii: "="), Self.isWord(before) || closes.contains(before) {
                found.append(line)
            }
        }
        return found
    }

    /// Every function, initialiser and deinitialiser with a body, and how many lines it takes.
    var functions: [Function] {
        words.compactMap { word in
            let isFunction =
                switch word.text {
                case "func": true
                case "init": word.before != UInt8(ascii: ".")
                case "deinit": true
                default: false
                }
            guard isFunction, let end = endOfBody(after: word.end) else { return nil }
            let lineCount = bytes[word.end..<end].count { $0 == UInt8(ascii: "\n") } + 1
            return Function(line: word.line, lineCount: lineCount)
        }
    }

    /// Where the body that starts after a signature ends, or `nil` when a requirement has none.
    private func endOfBody(after start: Int) -> Int? {
        let continuations: Set = ["throws", "rethrows", "async", "where"]
        var depth = 0
        var index = start
        while index < bytes.count {
            switch bytes[index] {
            case UInt8(ascii: "("), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: ")"), UInt8(ascii: "]"): depth -= 1
            case UInt8(ascii: "{") where depth == 0: return matchingBrace(from: index)
            case UInt8(ascii: "}") where depth == 0: return nil
            case UInt8(ascii: "\n") where depth == 0:
                let rest = bytes[index...].drop { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\n") }
                let next = rest.prefix { Self.isWord($0) }
                let goesOn =
                    rest.first == UInt8(ascii: "{") || rest.starts(with: "->".utf8)
                    || continuations.contains(String(decoding: next, as: UTF8.self))
                if !goesOn { return nil }
            default: break
            }
            if depth < 0 { return nil }
            index += 1
        }
        return nil
    }

    private func matchingBrace(from start: Int) -> Int? {
        var depth = 0
        for index in start..<bytes.count {
            if bytes[index] == UInt8(ascii: "{") { depth += 1 }
            if bytes[index] == UInt8(ascii: "}") { depth -= 1 }
            if depth == 0 { return index }
        }
        return nil
    }

    static func isWord(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"): true
        default: byte >= 0x80
        }
    }

    private static func words(of bytes: [UInt8]) -> [Word] {
        var words: [Word] = []
        var line = 1
        var index = 0
        while index < bytes.count {
            guard isWord(bytes[index]) else {
                if bytes[index] == UInt8(ascii: "\n") { line += 1 }
                index += 1
                continue
            }
            let start = index
            while index < bytes.count, isWord(bytes[index]) { index += 1 }
            words.append(
                Word(
                    text: String(decoding: bytes[start..<index], as: UTF8.self), line: line,
                    before: start > 0 ? bytes[start - 1] : 0, after: index < bytes.count ? bytes[index] : 0,
                    end: index))
        }
        return words
    }
}

/// Walks the text once; what it blanks becomes spaces, so that lines and columns stay.
private struct Scanner {
    let input: [UInt8]
    var output: [UInt8] = []
    var index = 0

    private func starts(with text: String) -> Bool { input[index...].starts(with: text.utf8) }

    private mutating func keep() {
        output.append(input[index])
        index += 1
    }

    private mutating func blank(_ count: Int = 1) {
        for _ in 0..<count where index < input.count {
            output.append(input[index] == UInt8(ascii: "\n") ? UInt8(ascii: "\n") : UInt8(ascii: " "))
            index += 1
        }
    }

    mutating func scanCode(untilClosingParenthesis: Bool) {
        var depth = 0
        while index < input.count {
            switch input[index] {
            case UInt8(ascii: "/") where starts(with: "//"):
                while index < input.count, input[index] != UInt8(ascii: "\n") { blank() }
            case UInt8(ascii: "/") where starts(with: "/*"): scanBlockComment()
            case UInt8(ascii: "\""): scanString(pounds: 0)
            case UInt8(ascii: "#"):
                let pounds = input[index...].prefix { $0 == UInt8(ascii: "#") }.count
                let isRaw = index + pounds < input.count && input[index + pounds] == UInt8(ascii: "\"")
                if isRaw { scanString(pounds: pounds) } else { keep() }
            case UInt8(ascii: "("):
                depth += 1
                keep()
            case UInt8(ascii: ")"):
                if untilClosingParenthesis, depth == 0 { return }
                depth -= 1
                keep()
            default: keep()
            }
        }
    }

    private mutating func scanBlockComment() {
        var depth = 0
        repeat {
            if starts(with: "/*") {
                depth += 1
                blank(2)
            } else if starts(with: "*/") {
                depth -= 1
                blank(2)
            } else {
                blank()
            }
        } while depth > 0 && index < input.count
    }

    private mutating func scanString(pounds: Int) {
        let hashes = String(repeating: "#", count: pounds)
        blank(pounds)
        let quotes = starts(with: "\"\"\"") ? "\"\"\"" : "\""
        blank(quotes.utf8.count)
        while index < input.count, !starts(with: quotes + hashes) {
            if starts(with: "\\" + hashes + "(") {
                blank(2 + pounds)
                scanCode(untilClosingParenthesis: true)
                blank()
            } else if starts(with: "\\" + hashes) {
                blank(2 + pounds)
            } else {
                blank()
            }
        }
        blank(quotes.utf8.count + pounds)
    }
}

/// One pass over a JSON text; see `JSONValue.init(parsing:limits:)`.
struct JSONParser {
    private let bytes: [UInt8]
    private let limits: JSONLimits
    private var offset = 0

    init(_ bytes: [UInt8], limits: JSONLimits) {
        self.bytes = bytes
        self.limits = limits
    }

    /// Parses the one value that the text must hold.
    mutating func parse() throws(JSONError) -> JSONValue {
        guard bytes.count <= limits.byteCountMax else {
            throw fault(.tooLong(byteCount: bytes.count, limit: limits.byteCountMax), at: 0)
        }
        let value = try parseValue(depth: 1)
        skipWhitespace()
        if let byte = peek() { throw fault(.unexpected(byte: byte, wanted: "the end of the text")) }
        return value
    }

    private mutating func parseValue(depth: Int) throws(JSONError) -> JSONValue {
        skipWhitespace()
        guard let byte = peek() else { throw fault(.unexpectedEnd) }
        switch byte {
        case UInt8(ascii: "{"): return .object(try parseObject(depth: depth))
        case UInt8(ascii: "["): return .array(try parseArray(depth: depth))
        case UInt8(ascii: "\""): return .string(try parseString())
        case UInt8(ascii: "t"): return try parseWord("true", .bool(true))
        case UInt8(ascii: "f"): return try parseWord("false", .bool(false))
        case UInt8(ascii: "n"): return try parseWord("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try parseNumber()
        default: throw fault(.unexpected(byte: byte, wanted: "a value"))
        }
    }

    private mutating func parseObject(depth: Int) throws(JSONError) -> JSONObject {
        guard depth <= limits.depthMax else { throw fault(.tooDeep(limit: limits.depthMax)) }
        offset += 1
        var object = JSONObject()
        skipWhitespace()
        if take(UInt8(ascii: "}")) { return object }
        while true {
            skipWhitespace()
            let start = offset
            guard peek() == UInt8(ascii: "\"") else { throw unexpected("a key in quotes") }
            let key = try parseString()
            skipWhitespace()
            guard take(UInt8(ascii: ":")) else { throw unexpected("\":\"") }
            let value = try parseValue(depth: depth + 1)
            guard object.insert(key, value) else { throw fault(.duplicateKey(key), at: start) }
            skipWhitespace()
            if take(UInt8(ascii: "}")) { return object }
            guard take(UInt8(ascii: ",")) else { throw unexpected("\",\" or \"}\"") }
        }
    }

    private mutating func parseArray(depth: Int) throws(JSONError) -> [JSONValue] {
        guard depth <= limits.depthMax else { throw fault(.tooDeep(limit: limits.depthMax)) }
        offset += 1
        var elements: [JSONValue] = []
        skipWhitespace()
        if take(UInt8(ascii: "]")) { return elements }
        while true {
            elements.append(try parseValue(depth: depth + 1))
            skipWhitespace()
            if take(UInt8(ascii: "]")) { return elements }
            guard take(UInt8(ascii: ",")) else { throw unexpected("\",\" or \"]\"") }
        }
    }

    private mutating func parseWord(_ word: StaticString, _ value: JSONValue) throws(JSONError) -> JSONValue {
        for expected in "\(word)".utf8 {
            guard take(expected) else { throw unexpected("\(word)") }
        }
        return value
    }

    private mutating func parseString() throws(JSONError) -> String {
        offset += 1
        var text = ""
        var start = offset
        while let byte = peek() {
            switch byte {
            case UInt8(ascii: "\""):
                let rest = try utf8Text(from: start)
                offset += 1
                return text.isEmpty ? rest : text + rest
            case UInt8(ascii: "\\"):
                text += try utf8Text(from: start)
                text.unicodeScalars.append(try parseEscape())
                start = offset
            case 0..<0x20: throw fault(.controlCharacter)
            default: offset += 1
            }
        }
        throw fault(.unexpectedEnd)
    }

    private func utf8Text(from start: Int) throws(JSONError) -> String {
        guard let text = String(validating: bytes[start..<offset], as: UTF8.self) else {
            throw fault(.invalidUTF8, at: start)
        }
        return text
    }

    private mutating func parseEscape() throws(JSONError) -> UnicodeScalar {
        let start = offset
        offset += 1
        guard let byte = peek() else { throw fault(.unexpectedEnd) }
        offset += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return UnicodeScalar(byte)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{C}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): return try parseUnicodeEscape(from: start)
        default: throw fault(.invalidEscape, at: start)
        }
    }

    private mutating func parseUnicodeEscape(from start: Int) throws(JSONError) -> UnicodeScalar {
        let first = try parseHexadecimal(from: start)
        if let scalar = UnicodeScalar(first) { return scalar }
        // A surrogate: 0xD800-0xDBFF must be followed by 0xDC00-0xDFFF.
        guard first < 0xDC00, take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) else {
            throw fault(.loneSurrogate, at: start)
        }
        let second = try parseHexadecimal(from: start)
        guard (0xDC00..<0xE000).contains(second),
            let scalar = UnicodeScalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
        else { throw fault(.loneSurrogate, at: start) }
        return scalar
    }

    private mutating func parseHexadecimal(from start: Int) throws(JSONError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = peek() else { throw fault(.unexpectedEnd) }
            guard let digit = Character(UnicodeScalar(byte)).hexDigitValue, byte < 0x80 else {
                throw fault(.invalidEscape, at: start)
            }
            value = value << 4 | UInt32(digit)
            offset += 1
        }
        return value
    }

    private mutating func parseNumber() throws(JSONError) -> JSONValue {
        let start = offset
        let isNegative = take(UInt8(ascii: "-"))
        let hasLeadingZero = peek() == UInt8(ascii: "0")
        let digitCount = skipDigits()
        var isIntegral = true
        var isWellFormed = digitCount > 0 && !(hasLeadingZero && digitCount > 1)
        if take(UInt8(ascii: ".")) {
            isIntegral = false
            isWellFormed = skipDigits() > 0 && isWellFormed
        }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            isIntegral = false
            _ = take(UInt8(ascii: "+")) || take(UInt8(ascii: "-"))
            isWellFormed = skipDigits() > 0 && isWellFormed
        }
        // No double needs more than 800 digits; longer ones only cost time.
        guard isWellFormed, offset - start <= 1000 else { throw fault(.invalidNumber, at: start) }
        let text = String(decoding: bytes[start..<offset], as: UTF8.self)
        if isIntegral, let value = Int64(text), !(isNegative && value == 0) { return .integer(value) }
        guard let value = Double(text) else { throw fault(.invalidNumber, at: start) }
        guard value.isFinite else { throw fault(.numberOutOfRange, at: start) }
        return .number(value)
    }

    private mutating func skipDigits() -> Int {
        let start = offset
        while let byte = peek(), (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { offset += 1 }
        return offset - start
    }

    private func peek() -> UInt8? { offset < bytes.count ? bytes[offset] : nil }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard peek() == byte else { return false }
        offset += 1
        return true
    }

    private mutating func skipWhitespace() {
        while let byte = peek(), byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { offset += 1 }
    }

    private func unexpected(_ wanted: String) -> JSONError {
        peek().map { fault(.unexpected(byte: $0, wanted: wanted)) } ?? fault(.unexpectedEnd)
    }

    private func fault(_ reason: JSONError.Reason, at position: Int? = nil) -> JSONError {
        let position = min(position ?? offset, bytes.count)
        let before = bytes[..<position]
        let lineStart = before.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0
        let line = before.count { $0 == 0x0A } + 1
        return JSONError(reason: reason, offset: position, line: line, column: position - lineStart + 1)
    }
}

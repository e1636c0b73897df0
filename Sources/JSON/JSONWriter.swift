/// Writes JSON piece by piece, so that a long curve never exists as a tree of values.
///
/// Commas, colons and indentation are placed by the writer; the caller must only close what it
/// opened. With `flush` the text leaves in chunks; without, `finish()` returns all of it.
public struct JSONWriter {
    private var bytes: [UInt8] = []
    /// One flag per open container: whether it has a member already.
    private var hasMember: [Bool] = []
    private var isAfterKey = false
    private let pretty: Bool
    private let chunkByteCount: Int
    private let flush: (([UInt8]) -> Void)?

    /// Makes a writer.
    ///
    /// - Parameters:
    ///   - pretty: Whether to indent by two spaces and break lines.
    ///   - chunkByteCount: How much to gather before `flush` is called.
    ///   - flush: Takes the text chunk by chunk.
    public init(pretty: Bool = false, chunkByteCount: Int = 32_768, flush: (([UInt8]) -> Void)? = nil) {
        self.pretty = pretty
        self.chunkByteCount = chunkByteCount
        self.flush = flush
    }

    /// Opens an object.
    public mutating func beginObject() { open(UInt8(ascii: "{")) }
    /// Closes the innermost object.
    public mutating func endObject() { close(UInt8(ascii: "}")) }
    /// Opens an array.
    public mutating func beginArray() { open(UInt8(ascii: "[")) }
    /// Closes the innermost array.
    public mutating func endArray() { close(UInt8(ascii: "]")) }

    /// Names the member whose value follows.
    public mutating func key(_ key: String) {
        separate()
        writeQuoted(key)
        bytes.append(UInt8(ascii: ":"))
        if pretty { bytes.append(0x20) }
        isAfterKey = true
    }

    /// Writes any value.
    public mutating func value(_ value: JSONValue) {
        switch value {
        case .null: null()
        case .bool(let value): bool(value)
        case .integer(let value): integer(value)
        case .number(let value): number(value)
        case .string(let value): string(value)
        case .array(let elements):
            beginArray()
            for element in elements { self.value(element) }
            endArray()
        case .object(let object):
            beginObject()
            for (key, value) in object.members { member(key, value) }
            endObject()
        }
    }

    /// Writes a member: its key and its value.
    public mutating func member(_ key: String, _ value: JSONValue) {
        self.key(key)
        self.value(value)
    }

    /// Writes `null`.
    public mutating func null() { scalar("null") }
    /// Writes `true` or `false`.
    public mutating func bool(_ value: Bool) { scalar(value ? "true" : "false") }
    /// Writes an integer.
    public mutating func integer(_ value: Int64) { scalar(value.description) }
    /// Writes the shortest text that reads back as `value`; `null` for NaN and infinities.
    public mutating func number(_ value: Double) { scalar(value.isFinite ? value.description : "null") }

    /// Writes a string.
    public mutating func string(_ value: String) {
        separate()
        writeQuoted(value)
        flushIfFull()
    }

    /// Hands out what is left.
    ///
    /// - Returns: The text since the last flush; with `flush` set it has gone there and this is empty.
    public mutating func finish() -> [UInt8] {
        precondition(hasMember.isEmpty, "a JSON container was left open")
        let rest = bytes
        bytes = []
        guard let flush else { return rest }
        if !rest.isEmpty { flush(rest) }
        return []
    }

    private mutating func scalar(_ text: String) {
        separate()
        bytes.append(contentsOf: text.utf8)
        flushIfFull()
    }

    private mutating func open(_ bracket: UInt8) {
        separate()
        bytes.append(bracket)
        hasMember.append(false)
    }

    private mutating func close(_ bracket: UInt8) {
        precondition(!hasMember.isEmpty && !isAfterKey, "no JSON container to close here")
        if hasMember.removeLast() { breakLine() }
        bytes.append(bracket)
        flushIfFull()
    }

    private mutating func separate() {
        if isAfterKey {
            isAfterKey = false
            return
        }
        guard let last = hasMember.indices.last else { return }
        if hasMember[last] { bytes.append(UInt8(ascii: ",")) }
        hasMember[last] = true
        breakLine()
    }

    private mutating func breakLine() {
        guard pretty else { return }
        bytes.append(0x0A)
        bytes.append(contentsOf: repeatElement(0x20, count: 2 * hasMember.count))
    }

    private mutating func flushIfFull() {
        guard let flush, bytes.count >= chunkByteCount else { return }
        flush(bytes)
        bytes.removeAll(keepingCapacity: true)
    }

    private mutating func writeQuoted(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        defer { bytes.append(UInt8(ascii: "\"")) }
        // Nearly all texts are copied as they are.
        let isPlain = text.utf8.allSatisfy {
            $0 >= 0x20 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\")
        }
        if isPlain { return bytes.append(contentsOf: text.utf8) }
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                bytes.append(UInt8(ascii: "\\"))
                bytes.append(byte)
            case 0x0A: bytes.append(contentsOf: "\\n".utf8)
            case 0x0D: bytes.append(contentsOf: "\\r".utf8)
            case 0x09: bytes.append(contentsOf: "\\t".utf8)
            case 0..<0x20:
                bytes.append(contentsOf: "\\u00".utf8)
                bytes.append(contentsOf: (byte < 16 ? "0" : "").utf8)
                bytes.append(contentsOf: String(byte, radix: 16).utf8)
            default: bytes.append(byte)
            }
        }
    }
}

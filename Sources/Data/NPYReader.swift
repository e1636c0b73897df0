import CData
import Files

/// Reads one array of NumPy (`.npy`, versions 1 to 3) from start to end.
///
/// Sizes are checked against the bytes that there are before anything is allocated; objects, records and
/// Fortran's order are refused. Belongs to the thread that made it.
final class NPYReader {
    /// What an array's elements are, and how they are stored.
    struct Element: Equatable {
        let kind: cdata_number
        let byteCount: Int
        let isSwapped: Bool

        static func == (left: Self, right: Self) -> Bool {
            left.kind.rawValue == right.kind.rawValue && left.byteCount == right.byteCount
                && left.isSwapped == right.isSwapped
        }
    }

    /// How values become bytes.
    enum Scale: Double {
        /// They are bytes already.
        case whole = 1
        /// Bytes divided by 255.
        case fraction = 255
    }

    /// As NumPy itself reads no longer one from strangers.
    static let headerByteCountMax = 10_000
    private static let rankMax = 8
    private static let chunkCount = 1 << 16

    let path: String
    /// Extents, outermost first.
    let shape: [Int]
    /// The product of the extents.
    let count: Int
    let element: Element
    private let source: any ByteSource
    private var consumed = 0

    /// Reads the header.
    ///
    /// - Parameters:
    ///   - source: The array from its first byte on.
    ///   - byteCount: How many bytes it has.
    /// - Throws: `DataError` when the header is none, or does not fit the size.
    init(_ source: any ByteSource, byteCount: Int) throws(DataError) {
        (self.source, path) = (source, source.path)
        let start = try source.readFully(8)
        guard start.count == 8, Array(start[..<6]) == [0x93] + Array("NUMPY".utf8) else {
            throw .malformed(
                file: path, expected: "an array of NumPy (the bytes 93 4e 55 4d 50 59 first)",
                found: start.isEmpty ? "an empty file" : "the bytes \(SHA256.Digest.hex(start))")
        }
        guard (1...3).contains(start[6]), start[7] == 0 else {
            throw .malformed(
                file: path, expected: "version 1.0, 2.0 or 3.0 of the format",
                found: "\(start[6]).\(start[7])")
        }
        let fieldCount = start[6] == 1 ? 2 : 4
        let field = try source.readFully(fieldCount)
        let length = field.reversed().reduce(0) { $0 << 8 | Int($1) }
        guard field.count == fieldCount, length <= Self.headerByteCountMax else {
            throw .malformed(
                file: path, expected: "a header of at most \(Self.headerByteCountMax) bytes",
                found: field.count == fieldCount ? "\(length)" : "the end of the file")
        }
        let bytes = try source.readFully(length)
        guard bytes.count == length, let text = String(validating: bytes, as: UTF8.self) else {
            throw .malformed(file: path, expected: "a header of \(length) bytes of text", found: "none")
        }
        let header = try NPYHeader(text, of: path)
        (shape, element) = (header.shape, try Self.element(header.descriptor, path))
        count = try Self.product(shape, path)
        let content = count.multipliedReportingOverflow(by: element.byteCount)
        let rest = byteCount - 8 - fieldCount - length
        guard !content.overflow, content.partialValue == rest else {
            throw .malformed(
                file: path,
                expected: "\(content.overflow ? "more" : "\(content.partialValue)") bytes for \(shape)",
                found: "\(rest)")
        }
    }

    /// The next elements as bytes; none at the end.
    ///
    /// - Parameter scale: What a value of 255 is stored as.
    /// - Returns: At most 65,536 bytes; `nil` where a value is no byte at this scale.
    /// - Throws: `DataError.malformed` where there are fewer elements than announced, or more.
    func readBytes(_ scale: Scale) throws(DataError) -> [UInt8]? {
        let wanted = min(Self.chunkCount, count - consumed)
        let raw = try source.readFully(wanted * element.byteCount)
        guard raw.count == wanted * element.byteCount else {
            throw .malformed(file: path, expected: "\(count) elements", found: "the end of the file")
        }
        var bytes = [UInt8](repeating: 0, count: wanted)
        let fit = unsafe cdata_to_bytes(
            raw, element.kind, element.byteCount, element.isSwapped ? 1 : 0, scale.rawValue, wanted, &bytes)
        guard fit == wanted else { return nil }
        consumed += wanted
        if consumed == count, !(try source.read(upTo: 1)).isEmpty {
            throw .malformed(file: path, expected: "\(count) elements", found: "more")
        }
        return bytes
    }

    private static func element(_ text: String, _ path: String) throws(DataError) -> Element {
        let letters = Array(text)
        guard letters.count >= 3, "<>|=".contains(letters[0]), let size = Int(String(letters[2...])) else {
            throw unknown(text, path)
        }
        let isLittle = letters[0] != ">"
        let kind: cdata_number =
            switch (letters[1], size) {
            case ("u", 1), ("u", 2), ("u", 4), ("u", 8), ("b", 1): CDATA_UNSIGNED
            case ("i", 1), ("i", 2), ("i", 4), ("i", 8): CDATA_SIGNED
            case ("f", 4), ("f", 8): CDATA_FLOAT
            default: throw unknown(text, path)
            }
        return Element(kind: kind, byteCount: size, isSwapped: !isLittle && size > 1)
    }

    private static func unknown(_ text: String, _ path: String) -> DataError {
        .malformed(
            file: path, expected: "elements of bool, an integer type, float32 or float64",
            found: "\"\(text.prefix(64))\"")
    }

    private static func product(_ shape: [Int], _ path: String) throws(DataError) -> Int {
        guard shape.count <= rankMax else {
            throw .malformed(file: path, expected: "at most \(rankMax) dimensions", found: "\(shape.count)")
        }
        var product = 1
        for extent in shape {
            let (next, overflow) = product.multipliedReportingOverflow(by: extent)
            guard (1...Int(Int32.max)).contains(extent), !overflow else {
                throw .malformed(
                    file: path, expected: "extents from 1 to \(Int32.max) with a product that can be counted",
                    found: "\(shape)")
            }
            product = next
        }
        return product
    }
}

import JSON

/// The first part of a safetensors file: a length, then JSON that says which tensor lies where.
///
/// The rules are those of the reference implementation (huggingface/safetensors): the offsets cover the
/// rest of the file without holes or overlaps, keys are unique, shapes are multiplied with overflow
/// checks. Ours are stricter in size: at most 1 MiB of header and 8 dimensions.
struct SafetensorsHeader: Equatable {
    /// Bytes of the length in front of the JSON.
    static let prefixByteCount = 8
    /// The longest JSON accepted; the reference allows 100 MB, which no honest model needs.
    static let byteCountMax = 1 << 20
    private static let metadataKey = "__metadata__"

    var metadata: [String: String]
    /// In the order of their bytes.
    var entries: [TensorEntry]

    /// What is known to be right.
    init(metadata: [String: String], entries: [TensorEntry]) {
        (self.metadata, self.entries) = (metadata, entries)
    }

    /// Checks the JSON of a file.
    ///
    /// - Parameters:
    ///   - bytes: The JSON, without the length in front.
    ///   - dataByteCount: What follows it in the file.
    ///   - path: For messages.
    /// - Throws: `FormatError.malformed` naming the first rule that is broken.
    init(parsing bytes: [UInt8], dataByteCount: Int, path: String) throws(FormatError) {
        guard bytes.first == UInt8(ascii: "{") else {
            throw .malformed(path: path, reason: "the header does not start with '{'")
        }
        let json: JSONValue
        do { json = try JSONValue(parsing: bytes) } catch {
            throw .malformed(path: path, reason: "the header is not JSON (\(error))")
        }
        metadata = [:]
        entries = []
        for (name, value) in json.objectValue?.members ?? [] {
            if name == Self.metadataKey {
                metadata = try Self.strings(value, path)
            } else {
                entries.append(try Self.entry(name, value, path))
            }
        }
        entries.sort {
            ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
        }
        var end = 0
        for entry in entries {
            guard entry.range.lowerBound == end else {
                throw .malformed(
                    path: path,
                    reason: "\"\(entry.name)\" starts at \(entry.range.lowerBound) where \(end) was expected")
            }
            end = entry.range.upperBound
        }
        guard end == dataByteCount else {
            throw .malformed(
                path: path, reason: "its tensors end at byte \(end) of \(dataByteCount) bytes of data")
        }
    }

    /// Lays tensors out for writing: wider elements first, so that all are aligned; else as given.
    init(
        _ tensors: [(name: String, element: StoredElement, shape: [Int])], metadata: [String: String],
        path: String
    ) throws(FormatError) {
        self.metadata = metadata
        entries = []
        var names: Set<String> = [Self.metadataKey]
        let widths = Set(tensors.map(\.element.byteCount)).sorted(by: >)
        var end = 0
        for tensor in widths.flatMap({ width in tensors.filter { $0.element.byteCount == width } }) {
            let next = TensorEntry.byteCount(tensor.element, tensor.shape)?.addingReportingOverflow(end)
            guard let next, !next.overflow, names.insert(tensor.name).inserted else {
                throw .malformed(
                    path: path, reason: "\"\(tensor.name)\" \(tensor.shape) is too large or named twice")
            }
            entries.append(
                TensorEntry(
                    name: tensor.name, element: tensor.element, shape: tensor.shape,
                    range: end..<next.partialValue))
            end = next.partialValue
        }
    }

    /// Length and JSON as they stand in the file, padded with spaces so that the data is aligned to 8.
    func encoded() -> [UInt8] {
        var object = JSONObject()
        if !metadata.isEmpty {
            object[Self.metadataKey] = .object(
                JSONObject(metadata.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) }))
        }
        for entry in entries {
            object[entry.name] = [
                "dtype": .string(entry.element.rawValue),
                "shape": .array(entry.shape.map { JSONValue($0) }),
                "data_offsets": [JSONValue(entry.range.lowerBound), JSONValue(entry.range.upperBound)],
            ]
        }
        var json = JSONValue.object(object).encodedBytes()
        while json.count % 8 != 0 { json.append(UInt8(ascii: " ")) }
        return (0..<8).map { UInt8(truncatingIfNeeded: json.count >> (8 * $0)) } + json
    }

    /// The same for a file that is to be read again.
    ///
    /// - Throws: `FormatError.malformed` where it is longer than readers take.
    func encoded(for path: String) throws(FormatError) -> [UInt8] {
        let bytes = encoded()
        guard bytes.count - Self.prefixByteCount <= Self.byteCountMax else {
            throw .malformed(
                path: path, reason: "its header of \(bytes.count) bytes would exceed \(Self.byteCountMax)")
        }
        return bytes
    }

    private static func strings(_ value: JSONValue, _ path: String) throws(FormatError) -> [String: String] {
        guard let object = value.objectValue else {
            throw .malformed(path: path, reason: "__metadata__ is \(value.summary), not an object")
        }
        var strings: [String: String] = [:]
        for (key, value) in object.members {
            guard let text = value.stringValue else {
                throw .malformed(
                    path: path, reason: "\"\(key)\" in __metadata__ is \(value.summary), not a string")
            }
            strings[key] = text
        }
        return strings
    }

    private static func entry(
        _ name: String, _ value: JSONValue, _ path: String
    ) throws(FormatError) -> TensorEntry {
        func malformed(_ reason: String) -> FormatError {
            .malformed(path: path, reason: "\"\(name)\" \(reason)")
        }
        guard let object = value.objectValue, object.count == 3, let type = object["dtype"]?.stringValue,
            let shape = integers(object["shape"]), let offsets = integers(object["data_offsets"]),
            offsets.count == 2
        else { throw malformed("needs exactly dtype, shape and two data_offsets") }
        guard let element = StoredElement(rawValue: type) else {
            let known = StoredElement.allCases.map(\.rawValue).joined(separator: ", ")
            throw malformed("has the type \"\(type.prefix(40))\"; known are \(known)")
        }
        guard let byteCount = TensorEntry.byteCount(element, shape) else {
            throw malformed("has an impossible shape of \(shape.count) dimensions: \(shape.prefix(9))")
        }
        guard offsets[0] >= 0, offsets[1] >= offsets[0], offsets[1] - offsets[0] == byteCount else {
            throw malformed("needs \(byteCount) bytes for \(type) \(shape), its offsets are \(offsets)")
        }
        return TensorEntry(name: name, element: element, shape: shape, range: offsets[0]..<offsets[1])
    }

    /// An array of plain integers, or `nil`; 3.0 is not one.
    private static func integers(_ value: JSONValue?) -> [Int]? {
        guard let values = value?.arrayValue else { return nil }
        var integers: [Int] = []
        for case .integer(let integer) in values { integers.append(Int(integer)) }
        return integers.count == values.count ? integers : nil
    }
}

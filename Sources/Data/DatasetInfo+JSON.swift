import Files
public import JSON

extension DatasetInfo {
    /// The description as it is stored in `dataset.json` and shown to clients.
    public var json: JSONValue {
        [
            "id": .string(id), "object": "dataset", "name": .string(name), "format": "idx",
            "created_at": .number(createdAt),
            "shape": .array([shape.channels, shape.height, shape.width].map { JSONValue($0) }),
            "class_names": .array(classNames.map { .string($0) }),
            "train_count": JSONValue(trainCount), "validation_count": JSONValue(validationCount),
            "test_count": JSONValue(testCount),
            "mean": .array(mean.map { .number($0) }),
            "standard_deviation": .array(standardDeviation.map { .number($0) }),
            "sha256": .string(sha256), "bytes": JSONValue(byteCount),
        ]
    }

    /// Reads what `json` wrote; `nil` when a member is missing or of another type.
    init?(_ json: JSONValue) {
        func text(_ key: String) -> String? { json[key]?.stringValue }
        func integer(_ key: String) -> Int? { json[key]?.intValue }
        func numbers(_ key: String) -> [Double]? {
            guard let values = json[key]?.arrayValue else { return nil }
            let numbers = values.compactMap(\.doubleValue)
            return numbers.count == values.count ? numbers : nil
        }
        guard let id = text("id"), let name = text("name"), let sha256 = text("sha256"),
            let createdAt = json["created_at"]?.doubleValue,
            let extents = numbers("shape"), extents.count == 3,
            let channels = Int(exactly: extents[0]), let height = Int(exactly: extents[1]),
            let width = Int(exactly: extents[2]), channels > 0,
            let classNames = json["class_names"]?.arrayValue?.compactMap(\.stringValue),
            let mean = numbers("mean"), mean.count == channels,
            let deviation = numbers("standard_deviation"), deviation.count == channels,
            let trainCount = integer("train_count"), let testCount = integer("test_count"),
            let validationCount = integer("validation_count"), let byteCount = integer("bytes")
        else { return nil }
        self.init(
            id: id, name: name, shape: ImageShape(height: height, width: width, channels: channels),
            classNames: classNames, trainCount: trainCount, validationCount: validationCount,
            testCount: testCount, mean: mean, standardDeviation: deviation, sha256: sha256,
            byteCount: byteCount, createdAt: createdAt)
    }

    /// Describes decoded content.
    init(_ content: DatasetDecoder.Content, id: String, name: String, classNames: [String], createdAt: Double)
    {
        let known = classNames.count == content.classCount
        self.init(
            id: id, name: name, shape: content.shape,
            classNames: known ? classNames : (0..<content.classCount).map(String.init),
            trainCount: content.counts.train, validationCount: content.counts.validation,
            testCount: content.counts.test, mean: content.mean,
            standardDeviation: content.standardDeviation, sha256: content.sha256,
            byteCount: content.byteCount, createdAt: createdAt)
    }

    /// Largest description accepted: 256 classes need a few kilobytes.
    private static let fileByteCountMax = 1 << 18

    /// Reads a stored description; `nil` when there is none.
    static func read(_ path: String) throws(DataError) -> (info: DatasetInfo, stamp: String)? {
        let bytes: [UInt8]
        do { bytes = try readFile(path, limit: fileByteCountMax) } catch {
            if error.isMissing { return nil }
            throw .file(error)
        }
        let json: JSONValue
        do { json = try JSONValue(parsing: bytes) } catch {
            throw .malformed(file: path, expected: "JSON", found: error.description)
        }
        guard let info = DatasetInfo(json) else {
            throw .malformed(file: path, expected: "a dataset's description", found: "another JSON value")
        }
        return (info, json["stamp"]?.stringValue ?? "")
    }

    /// Stores the description atomically, with the state of the files it was made from.
    func write(to path: String, stamp: String) throws(DataError) {
        var object = json.objectValue ?? JSONObject()
        object["stamp"] = .string(stamp)
        let bytes = JSONValue.object(object).encodedBytes(pretty: true)
        try DataError.translating { () throws(FileError) in
            _ = try AtomicFile.write(bytes, to: path)
        }
    }
}

import Files
public import JSON

extension DatasetInfo {
    /// The description as it is stored in `dataset.json` and shown to clients.
    public var json: JSONValue {
        var object: JSONObject = [
            "id": .string(id), "object": "dataset", "name": .string(name), "format": .string(format),
            "kind": .string(kindName), "created_at": .number(createdAt),
            "train_count": JSONValue(trainCount), "validation_count": JSONValue(validationCount),
            "test_count": JSONValue(testCount), "sha256": .string(sha256), "bytes": JSONValue(byteCount),
        ]
        switch kind {
        case .images(let info): info.add(to: &object)
        case .text(let info):
            object["tokens"] = tokens(info.settings, info.vocabularySize, counts)
            object["preview"] = .array(info.preview.map(\.json))
        case .sequences(let info):
            object["class_names"] = .array(info.classNames.map { .string($0) })
            object["tokens"] = tokens(info.settings, info.vocabularySize, info.tokenCounts)
            object["longest"] = JSONValue(info.longest)
            object["preview"] = .array(info.preview.map(\.json))
        }
        return .object(object)
    }

    /// What its samples are, as clients read it.
    public var kindName: String {
        switch kind {
        case .images: "images"
        case .text: "text"
        case .sequences(let info):
            switch info.labelling {
            case .sequences: "text_classification"
            case .tokens: "token_classification"
            }
        }
    }

    private func tokens(_ settings: TextSettings, _ vocabularySize: Int, _ counts: SplitCounts) -> JSONValue {
        [
            "unit": .string(settings.unit.rawValue), "vocabulary_size": JSONValue(vocabularySize),
            "vocabulary_limit": JSONValue(settings.vocabularyLimit),
            "validation_fraction": .number(settings.validationFraction),
            "train": JSONValue(counts.train), "validation": JSONValue(counts.validation),
            "test": JSONValue(counts.test),
        ]
    }

    /// Reads what `json` wrote; `nil` when a member is missing or of another type.
    ///
    /// Descriptions written before there was text name no kind: they are of images.
    init?(_ json: JSONValue) {
        guard let id = json["id"]?.stringValue, let name = json["name"]?.stringValue,
            let sha256 = json["sha256"]?.stringValue, let createdAt = json["created_at"]?.doubleValue,
            let train = json["train_count"]?.intValue, let test = json["test_count"]?.intValue,
            let validation = json["validation_count"]?.intValue, let byteCount = json["bytes"]?.intValue,
            let kind = Self.kind(json)
        else { return nil }
        let format: DatasetFormat.Name =
            switch kind {
            case .images: .idx
            case .text: .text
            case .sequences: .csv
            }
        self.init(
            id: id, name: name, format: json["format"]?.stringValue ?? format.rawValue, kind: kind,
            counts: SplitCounts(train: train, validation: validation, test: test), sha256: sha256,
            byteCount: byteCount, createdAt: createdAt)
    }

    private static func kind(_ json: JSONValue) -> Kind? {
        guard let name = json["kind"]?.stringValue, name != "images" else {
            return ImageInfo(json).map { .images($0) }
        }
        let previews = json["preview"]?.arrayValue?.compactMap(SamplePreview.init) ?? []
        guard let tokens = json["tokens"], let settings = TextSettings(tokens),
            let size = tokens["vocabulary_size"]?.intValue
        else { return nil }
        if name == "text" {
            return .text(TextInfo(settings: settings, vocabularySize: size, preview: previews))
        }
        guard name == "text_classification" || name == "token_classification",
            let classNames = json["class_names"]?.arrayValue?.compactMap(\.stringValue),
            let train = tokens["train"]?.intValue, let validation = tokens["validation"]?.intValue,
            let test = tokens["test"]?.intValue, let longest = json["longest"]?.intValue
        else { return nil }
        return .sequences(
            SequenceInfo(
                labelling: name == "text_classification" ? .sequences : .tokens, settings: settings,
                vocabularySize: size, classNames: classNames,
                tokenCounts: SplitCounts(train: train, validation: validation, test: test),
                longest: longest, preview: previews))
    }

    /// Largest description accepted: that of 65,536 classes with the longest names.
    private static let fileByteCountMax = 1 << 25

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

extension ImageInfo {
    fileprivate func add(to object: inout JSONObject) {
        object["shape"] = .array([shape.channels, shape.height, shape.width].map { JSONValue($0) })
        object["class_names"] = .array(classNames.map { .string($0) })
        object["mean"] = .array(mean.map { .number($0) })
        object["standard_deviation"] = .array(standardDeviation.map { .number($0) })
    }

    fileprivate init?(_ json: JSONValue) {
        func numbers(_ key: String) -> [Double]? {
            guard let values = json[key]?.arrayValue else { return nil }
            let numbers = values.compactMap(\.doubleValue)
            return numbers.count == values.count ? numbers : nil
        }
        guard let extents = numbers("shape"), extents.count == 3,
            let channels = Int(exactly: extents[0]), let height = Int(exactly: extents[1]),
            let width = Int(exactly: extents[2]), channels > 0,
            let classNames = json["class_names"]?.arrayValue?.compactMap(\.stringValue),
            let mean = numbers("mean"), mean.count == channels,
            let deviation = numbers("standard_deviation"), deviation.count == channels
        else { return nil }
        self.init(
            shape: ImageShape(height: height, width: width, channels: channels), classNames: classNames,
            mean: mean, standardDeviation: deviation)
    }
}

extension TextSettings {
    fileprivate init?(_ json: JSONValue) {
        guard let unit = json["unit"]?.stringValue.flatMap(TokenUnit.init),
            let fraction = json["validation_fraction"]?.doubleValue,
            let limit = json["vocabulary_limit"]?.intValue
        else { return nil }
        self.init(unit: unit, validationFraction: fraction, vocabularyLimit: limit)
    }
}

extension SamplePreview {
    fileprivate var json: JSONValue {
        var object: JSONObject = ["text": .string(text)]
        if let label { object["label"] = .string(label) }
        return .object(object)
    }

    fileprivate init?(_ json: JSONValue) {
        guard let text = json["text"]?.stringValue else { return nil }
        self.init(text: text, storedLabel: json["label"]?.stringValue)
    }
}

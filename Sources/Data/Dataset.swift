public import JSON

/// A decoded dataset: immutable, shared by all jobs that read it.
public final class Dataset: Sendable {
    /// Its description.
    public let info: DatasetInfo
    /// What networks are trained on.
    public let train: Split
    /// What training is watched on, if the dataset brings such a split.
    public let validation: Split?
    /// What the final report is measured on.
    public let test: Split
    /// What the tokens mean; `nil` where samples are not tokens.
    public let vocabulary: Vocabulary?

    /// The samples of one split.
    public enum Split: Sendable {
        /// Labelled images.
        case images(ImageSplit)
        /// Running text.
        case text(TextSplit)
        /// Labelled sequences.
        case sequences(SequenceSplit)

        /// The images; `nil` for the other kinds.
        public var images: ImageSplit? {
            if case .images(let split) = self { split } else { nil }
        }
    }

    init(info: DatasetInfo, _ content: DecodedDataset) {
        self.info = info
        (train, validation, test) = (content.train, content.validation, content.test)
        vocabulary = content.vocabulary
    }

    /// What has to be kept with a model to use it: classes and normalisation, or classes and vocabulary.
    public var modelDescription: JSONObject {
        var object: JSONObject = ["dataset": .string(info.name)]
        if case .text = info.kind {
        } else {
            object["classes"] = .array(info.classNames.map { .string($0) })
        }
        if let images = info.images {
            object["mean"] = .array(images.mean.map { .number($0) })
            object["std"] = .array(images.standardDeviation.map { .number($0) })
        }
        if let vocabulary { object["vocabulary"] = vocabulary.json }
        return object
    }
}

/// What one pass over a dataset's files tells.
struct DecodedDataset {
    var kind: DatasetInfo.Kind
    let counts: SplitCounts
    let train: Dataset.Split
    let validation: Dataset.Split?
    let test: Dataset.Split
    let vocabulary: Vocabulary?
    let sha256: String
    let byteCount: Int

    /// The same with names for the classes of its images, if there is one for each.
    func naming(_ classNames: [String]) -> DecodedDataset {
        guard case .images(let info) = kind, info.classNames.count == classNames.count else { return self }
        var named = self
        named.kind = .images(
            ImageInfo(
                shape: info.shape, classNames: classNames, mean: info.mean,
                standardDeviation: info.standardDeviation))
        return named
    }
}

extension DatasetInfo {
    /// Describes decoded content.
    init(
        _ content: DecodedDataset, id: String, name: String, format: DatasetFormat.Name, createdAt: Double
    ) {
        self.init(
            id: id, name: name, format: format.rawValue, kind: content.kind, counts: content.counts,
            sha256: content.sha256,
            byteCount: content.byteCount, createdAt: createdAt)
    }
}

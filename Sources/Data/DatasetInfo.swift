/// What is known about a dataset without decoding it.
public struct DatasetInfo: Sendable, Equatable {
    /// What its samples are.
    public enum Kind: Sendable, Equatable {
        /// Labelled images.
        case images(ImageInfo)
        /// Running text, of which a model predicts the next token.
        case text(TextInfo)
        /// Sequences of tokens with one label each, or one label per token.
        case sequences(SequenceInfo)
    }

    /// `dst_...`.
    public let id: String
    /// Unique, as people write it in a job.
    public let name: String
    /// How the files were written that it was made from: the raw value of a `DatasetFormat.Name`.
    public let format: String
    /// What its samples are, and what is particular to them.
    public let kind: Kind
    /// Samples of each split; of a text its tokens, because a sample's length is the model's choice.
    public let counts: SplitCounts
    /// Hex SHA-256 of the decoded content, the same for plain and compressed files.
    public let sha256: String
    /// Decoded size in bytes.
    public let byteCount: Int
    /// When it was registered, in Unix seconds.
    public let createdAt: Double

    /// Samples, or tokens of a text, of the training split.
    public var trainCount: Int { counts.train }
    /// The same of the validation split; 0 when there is none.
    public var validationCount: Int { counts.validation }
    /// The same of the test split.
    public var testCount: Int { counts.test }

    /// What is particular to images; `nil` for the other kinds.
    public var images: ImageInfo? {
        if case .images(let info) = kind { info } else { nil }
    }

    /// One name per class, in the order of the labels; none for a text, whose classes are its vocabulary.
    public var classNames: [String] {
        switch kind {
        case .images(let info): info.classNames
        case .text: []
        case .sequences(let info): info.classNames
        }
    }

    /// Number of classes that a model tells apart; for a text, its vocabulary.
    public var classCount: Int {
        switch kind {
        case .images(let info): info.classNames.count
        case .text(let info): info.vocabularySize
        case .sequences(let info): info.classNames.count
        }
    }

    /// Number of different tokens; `nil` where samples are not tokens.
    public var vocabularySize: Int? {
        switch kind {
        case .images: nil
        case .text(let info): info.vocabularySize
        case .sequences(let info): info.vocabularySize
        }
    }

    /// Whether there is one target for each token of a sample.
    public var hasTargetPerToken: Bool {
        switch kind {
        case .images: false
        case .text: true
        case .sequences(let info): info.labelling == .tokens
        }
    }
}

/// Samples, or tokens, of the three splits.
public struct SplitCounts: Sendable, Hashable {
    /// Of the training split.
    public let train: Int
    /// Of the validation split; 0 when there is none.
    public let validation: Int
    /// Of the test split.
    public let test: Int
}

/// What is particular to a dataset of images.
public struct ImageInfo: Sendable, Equatable {
    /// Extents of every image.
    public let shape: ImageShape
    /// One name per class, in the order of the labels.
    public let classNames: [String]
    /// Per channel, of the training split's values divided by 255.
    public let mean: [Double]
    /// Per channel, of the training split's values divided by 255 (of the population; 1 where it is 0).
    public let standardDeviation: [Double]

    /// Both together.
    public var normalization: PixelNormalization {
        PixelNormalization(mean: mean, standardDeviation: standardDeviation)
    }
}

/// What is particular to running text.
public struct TextInfo: Sendable, Equatable {
    /// How it was cut into tokens and splits.
    public let settings: TextSettings
    /// Different tokens of all splits.
    public let vocabularySize: Int
    /// How it begins.
    public let preview: [SamplePreview]
}

/// What is particular to labelled sequences.
public struct SequenceInfo: Sendable, Equatable {
    /// What has a label.
    public enum Labelling: String, Sendable, CaseIterable {
        /// Each sequence: classification of texts.
        case sequences
        /// Each token: tagging.
        case tokens
    }

    /// What has a label.
    public let labelling: Labelling
    /// How it was cut into tokens and splits.
    public let settings: TextSettings
    /// Different tokens, with padding and the unknown one.
    public let vocabularySize: Int
    /// One name per class, in the order of the labels.
    public let classNames: [String]
    /// Tokens of each split.
    public let tokenCounts: SplitCounts
    /// Tokens of the longest sequence of all splits.
    public let longest: Int
    /// The first training samples.
    public let preview: [SamplePreview]
}

/// The beginning of a sample, for people.
public struct SamplePreview: Sendable, Hashable {
    /// Its text, cut short.
    public let text: String
    /// Its label, or its tokens' labels; `nil` for running text.
    public let label: String?

    /// Longest text, in Unicode scalars.
    private static let lengthMax = 160

    init(_ text: String, label: String?) {
        func shortened(_ text: String) -> String {
            let start = text.unicodeScalars.prefix(Self.lengthMax)
            return start.endIndex == text.endIndex ? text : String(start) + "…"
        }
        self.text = shortened(text)
        self.label = label.map { shortened($0) }
    }

    init(text: String, storedLabel label: String?) { (self.text, self.label) = (text, label) }
}

/// What a token is.
public enum TokenUnit: String, Sendable, CaseIterable {
    /// A byte of UTF-8.
    case byte
    /// A Unicode scalar.
    case char
    /// A word, a number or a mark.
    case word
}

/// How text is cut into tokens and splits.
public struct TextSettings: Sendable, Hashable {
    /// What a token is.
    public var unit: TokenUnit
    /// Part of the training file that becomes the validation split unless that has a file of its own.
    public var validationFraction: Double
    /// The most tokens that a vocabulary of words may have.
    public var vocabularyLimit: Int

    /// What token numbers are stored in allows no more.
    public static let vocabularyMax = 1 << 16

    /// Characters, a tenth for validation, and the 30,000 most frequent words where it is words.
    public init(
        unit: TokenUnit = .char, validationFraction: Double = 0.1, vocabularyLimit: Int = 30_000
    ) {
        (self.unit, self.validationFraction, self.vocabularyLimit) = (
            unit, validationFraction, vocabularyLimit
        )
    }

    /// - Throws: `DataError.badSetting` naming what is out of range.
    func check() throws(DataError) {
        guard validationFraction > 0, validationFraction <= 0.5 else {
            throw .badSetting("a validation fraction above 0 and up to 0.5", found: "\(validationFraction)")
        }
        guard (3...Self.vocabularyMax).contains(vocabularyLimit) else {
            throw .badSetting("a vocabulary of 3 to \(Self.vocabularyMax)", found: "\(vocabularyLimit)")
        }
    }
}

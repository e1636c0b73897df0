import Data
import JSON
import Jobs

/// The body that opens an upload: a name, and how its files are to be read.
struct UploadRequest {
    let name: String
    let format: DatasetFormat

    private static let nameField = Field.string(
        "name", lengthMax: 64, pattern: "^[a-z0-9][a-z0-9_.-]*$", "How jobs will call it; unique.")
    private static let formatField = Field.choice(
        "format", of: DatasetFormat.Name.self, "What its files are; docs/datasets.md says how they are named."
    )
    private static let classNames = Field.strings(
        "class_names", default: [], count: 0...256, lengthMax: 100,
        "A name for each class, in the order of the labels: of idx, npy and npz.")
    private static let tokens = Field.raw(
        "tokens", schema: ["enum": .array(TokenUnit.allCases.map { .string($0.rawValue) } + [.null])],
        "What a token is, of text and csv; char for text and word for csv by default.")
    private static let validationFraction = Field.number(
        "validation_fraction", default: TextSettings().validationFraction, in: 0.0001...0.5,
        "Part of the training file that validates, of text and csv without a file for that.")
    private static let vocabulary = Field.integer(
        "vocabulary_limit", default: TextSettings().vocabularyLimit, in: 3...TextSettings.vocabularyMax,
        "The most tokens that a vocabulary of words may have.")

    static let schema = ObjectSchema(
        "DatasetUpload", "A dataset whose files are to follow.",
        fields: [nameField, formatField, classNames, tokens, validationFraction, vocabulary])

    /// Reads a body.
    ///
    /// - Throws: `InvalidInput` with every violation.
    init(_ body: JSONValue) throws(InvalidInput) {
        let log = ViolationLog()
        var reader = ObjectReader(body, as: Self.schema, at: "", log: log)
        name = reader.read(Self.nameField)
        let kind = reader.read(Self.formatField)
        let names = reader.read(Self.classNames)
        let unit = Self.unit(reader.read(Self.tokens), log)
        let fraction = reader.read(Self.validationFraction)
        let limit = reader.read(Self.vocabulary)
        reader.finish()
        if log.isEmpty, DatasetID(name) != nil || DatasetCatalogue.isOfSystem(name) {
            log.add("/name", "invalid_name", "a dataset cannot be called as another one's id is")
        } else if log.isEmpty, !DatasetCatalogue.isName(name) {
            log.add("/name", "invalid_name", DataError.badName(name).description)
        }
        func settings(_ usual: TokenUnit) -> TextSettings {
            TextSettings(unit: unit ?? usual, validationFraction: fraction, vocabularyLimit: limit)
        }
        switch kind {
        case .idx: format = .idx(classNames: names)
        case .npy: format = .npy(classNames: names)
        case .npz: format = .npz(classNames: names)
        case .images: format = .images
        case .text: format = .text(settings(.char))
        case .csv: format = .csv(settings(.word))
        }
        if case .text(let settings) = format, settings.unit == .word {
            log.add("/tokens", "invalid_value", "running text is cut into byte or char, not word")
        }
        try log.throwIfAny()
    }

    private static func unit(_ value: JSONValue, _ log: ViolationLog) -> TokenUnit? {
        if value == .null { return nil }
        if let unit = value.stringValue.flatMap(TokenUnit.init) { return unit }
        let words = TokenUnit.allCases.map(\.rawValue).joined(separator: ", ")
        log.add("/tokens", "invalid_value", "expected one of \(words), found \(value.summary)")
        return nil
    }
}

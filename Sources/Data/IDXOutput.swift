import Files

/// Writes the IDX files that images of other formats are kept in.
struct IDXOutput {
    /// Where the file appears; called as MNIST's, by its rank.
    let path: String
    private let writer: AtomicFile.Writer
    private var missing: Int

    /// What a file holds.
    enum Kind: String {
        case images, labels
    }

    /// Begins a file.
    ///
    /// - Parameters:
    ///   - folder: Where it is to lie.
    ///   - split: Whose it is.
    ///   - kind: What it holds.
    ///   - dimensions: Extents, outermost first.
    ///   - origin: What errors name.
    /// - Throws: `DataError.malformed` where it would be larger than an IDX file may be.
    init(
        in folder: String, _ split: ImportedSplit, _ kind: Kind, _ dimensions: [Int], of origin: String
    ) throws(DataError) {
        missing = try Self.product(dimensions, origin)
        var header: [UInt8] = [0, 0, 8, UInt8(dimensions.count)]
        for extent in dimensions {
            header += [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: extent >> $0) }
        }
        do {
            path = "\(folder)/\(split.prefix)-\(kind.rawValue)-idx\(dimensions.count)-ubyte"
            writer = try AtomicFile.Writer(path)
            try writer.write(header)
        } catch { throw .file(error) }
    }

    /// Appends content.
    mutating func write(_ bytes: [UInt8]) throws(DataError) {
        missing -= bytes.count
        precondition(missing >= 0, "more than was announced")
        try DataError.translating { () throws(FileError) in try writer.write(bytes) }
    }

    /// Publishes the file.
    func finish() throws(DataError) {
        precondition(missing == 0, "less than was announced")
        _ = try DataError.translating { () throws(FileError) in try writer.commit() }
    }

    /// Bytes of a file with these extents; throws as the initializer does.
    static func byteCount(of dimensions: [Int], _ origin: String) throws(DataError) -> Int {
        4 + 4 * dimensions.count + (try product(dimensions, origin))
    }

    private static func product(_ dimensions: [Int], _ origin: String) throws(DataError) -> Int {
        var product = 1
        for extent in dimensions {
            let (next, overflow) = product.multipliedReportingOverflow(by: extent)
            guard extent > 0, !overflow, next <= IDXReader.byteCountMax else {
                throw .malformed(
                    file: origin,
                    expected: "extents of 1 and more with a product of at most \(IDXReader.byteCountMax)",
                    found: "\(dimensions)")
            }
            product = next
        }
        return product
    }
}

/// The splits that an import may bring.
enum ImportedSplit: CaseIterable {
    case train, validation, test

    /// What the names of its IDX files begin with.
    var prefix: String {
        switch self {
        case .train: "train"
        case .validation: "validation"
        case .test: "t10k"
        }
    }
}

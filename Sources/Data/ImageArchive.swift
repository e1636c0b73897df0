import Files

/// Labelled images as PNG or JPEG files in a tar archive: `train/CLASS/NAME.png`, or `CLASS/NAME.png` alone.
///
/// Splits are `train`, `val` or `validation`, and `test`; without `test` every tenth image of a class, in
/// the archive's order, becomes the test split. The archive is read twice, so that no image is held: once to
/// learn the classes and the extents, once for the pixels.
struct ImageArchive {
    /// What the first reading found.
    private struct Survey {
        /// For each image, in the archive's order.
        var splits: [ImportedSplit] = []
        var classes: [UInt16] = []
        /// In the order of their first image.
        var classNames: [String] = []
        var extents: (height: Int, width: Int)?
        var isColored = false
        /// Whether names say which split is which.
        var hasSplits: Bool?
        /// The first half of a digest of each name.
        var names: Set<UInt64> = []
        var errors: [DataError] = []

        /// Of a file of so many images.
        func dimensions(_ count: Int) -> [Int]? {
            extents.map { [count, $0.height, $0.width] + (isColored ? [3] : []) }
        }
    }

    static let imageCountMax = 200_000
    /// Labels are bytes.
    private static let classCountMax = 256
    private static let imageByteCountMax = 32 << 20
    private static let errorCountMax = 20
    private static let testShare = 10

    private let path: String
    private let name: String

    /// Finds the archive, plain or gzip.
    init(_ source: SourceFiles) throws(DataError) {
        let file = try source.only(endingIn: [".tar", ".tar.gz", ".tgz"])
        (path, name) = (file.path, file.name)
    }

    /// Writes the images as IDX files.
    ///
    /// - Parameters:
    ///   - folder: Where they are to lie.
    ///   - claim: Asked for their room before the first of them is begun.
    /// - Returns: The names of the classes, sorted, which is the order of the labels.
    /// - Throws: `DataError` naming the first twenty files that are not as they must be, and what `claim`
    ///   throws.
    func writeIDX(into folder: String, _ claim: RoomClaim) throws(DataError) -> [String] {
        var survey = try look()
        let sorted = survey.classNames.enumerated().sorted {
            $0.element.utf8.lexicographicallyPrecedes($1.element.utf8)
        }
        var labels = [UInt8](repeating: 0, count: sorted.count)
        for (label, item) in sorted.enumerated() { labels[item.offset] = UInt8(label) }
        if !survey.splits.contains(.test) { Self.holdOut(&survey) }
        try check(survey)
        try claim(try byteCount(of: survey))
        try write(survey, labels, into: folder)
        return sorted.map(\.element)
    }

    // MARK: The first reading

    private func look() throws(DataError) -> Survey {
        var survey = Survey()
        var reader = TarReader(try FileSource(path))
        while survey.errors.count < Self.errorCountMax {
            let next: TarReader.Entry?
            do throws(DataError) { next = try reader.next() } catch {
                // Nothing can be found behind it.
                survey.errors.append(error)
                break
            }
            guard let entry = next else { break }
            guard let place = Self.place(of: entry.name) else { continue }
            do throws(DataError) { try examine(entry, place, &reader, &survey) } catch {
                survey.errors.append(error)
            }
        }
        guard survey.errors.isEmpty else { throw .of(survey.errors) }
        return survey
    }

    private func examine(
        _ entry: TarReader.Entry, _ place: [Substring], _ reader: inout TarReader, _ survey: inout Survey
    ) throws(DataError) {
        guard survey.splits.count < Self.imageCountMax else {
            throw .malformed(file: name, expected: "at most \(Self.imageCountMax) images", found: "more")
        }
        let digest = SHA256.digest(of: Array(entry.name.utf8)).bytes.prefix(8)
        guard survey.names.insert(digest.reduce(0) { $0 << 8 | UInt64($1) }).inserted else {
            throw .malformed(file: entry.name, expected: "each name once", found: "it twice")
        }
        let (split, className) = try Self.meaning(of: place, entry.name, &survey.hasSplits)
        let image = try Self.image(entry, &reader)
        if let extents = survey.extents {
            guard extents == (image.height, image.width) else {
                throw .malformed(
                    file: entry.name,
                    expected: "\(extents.height)x\(extents.width) pixels as the first image",
                    found: "\(image.height)x\(image.width)")
            }
        } else {
            survey.extents = (image.height, image.width)
        }
        survey.isColored = survey.isColored || image.isColored
        let number = survey.classNames.firstIndex(of: className) ?? survey.classNames.count
        if number == survey.classNames.count {
            guard number < Self.classCountMax else {
                throw .malformed(
                    file: entry.name, expected: "at most \(Self.classCountMax) classes", found: "more")
            }
            survey.classNames.append(className)
        }
        survey.splits.append(split)
        survey.classes.append(UInt16(number))
    }

    /// The folders and the name of a file; `nil` for hidden files, which some systems add.
    private static func place(of name: String) -> [Substring]? {
        let parts = name.split(separator: "/").filter { $0 != "." }
        guard let last = parts.last, !last.hasPrefix(".") else { return nil }
        return parts
    }

    private static func meaning(
        of place: [Substring], _ name: String, _ hasSplits: inout Bool?
    ) throws(DataError) -> (split: ImportedSplit, className: String) {
        let words: [Substring: ImportedSplit] = [
            "train": .train, "val": .validation, "validation": .validation, "test": .test,
        ]
        let index = place.dropLast().firstIndex { words[$0] != nil }
        let isNamed = index != nil
        guard hasSplits ?? isNamed == isNamed else {
            throw .malformed(
                file: name, expected: "all images below train, validation and test, or none", found: "both")
        }
        hasSplits = isNamed
        guard let index, let split = words[place[index]] else {
            guard place.count >= 2 else {
                throw .malformed(file: name, expected: "CLASS/NAME.png", found: "no class")
            }
            return (.train, String(place[place.count - 2]))
        }
        guard place.count == index + 3 else {
            throw .malformed(
                file: name, expected: "\(place[index])/CLASS/NAME.png", found: "another place")
        }
        return (split, String(place[index + 1]))
    }

    private static func image(
        _ entry: TarReader.Entry, _ reader: inout TarReader
    ) throws(DataError) -> any StillImage {
        let name = entry.name.lowercased()
        guard [".png", ".jpg", ".jpeg"].contains(where: name.hasSuffix) else {
            throw .malformed(
                file: entry.name, expected: "PNG and JPEG images (.png, .jpg, .jpeg)", found: "another ending"
            )
        }
        guard entry.byteCount <= imageByteCountMax else {
            throw .file(.tooLarge(path: entry.name, limit: imageByteCountMax))
        }
        let bytes = try reader.readContent()
        if bytes.starts(with: JPEGReader.signature) { return try JPEGReader(bytes, of: entry.name) }
        return try PNGReader(bytes, of: entry.name)
    }

    /// Makes every tenth training image of a class one for testing.
    private static func holdOut(_ survey: inout Survey) {
        var counts = [Int](repeating: 0, count: survey.classNames.count)
        for (index, split) in survey.splits.enumerated() where split == .train {
            counts[Int(survey.classes[index])] += 1
            if counts[Int(survey.classes[index])] % testShare == 0 { survey.splits[index] = .test }
        }
    }

    private func check(_ survey: Survey) throws(DataError) {
        for (split, word) in [(ImportedSplit.train, "training"), (.test, "testing")]
        where !survey.splits.contains(split) {
            throw .malformed(
                file: name, expected: "images for \(word) (ten of a class, or a folder test)", found: "none")
        }
    }

    /// Bytes of all files to be written.
    ///
    /// Images of one colour pack a thousandfold, each for itself rightly so; it is all of them together that
    /// must stand in proportion to the archive.
    private func byteCount(of survey: Survey) throws(DataError) -> Int {
        var sum = 0
        for split in ImportedSplit.allCases {
            let count = survey.splits.count { $0 == split }
            guard count > 0, let dimensions = survey.dimensions(count) else { continue }
            sum += try IDXOutput.byteCount(of: dimensions, name)
            sum += try IDXOutput.byteCount(of: [count], name)
        }
        let stored = try FileSource(path).byteCount
        let limit = stored.multipliedReportingOverflow(by: FileSource.ratioMax)
        guard limit.overflow || sum <= limit.partialValue else {
            throw .malformed(
                file: name,
                expected: "images of at most \(FileSource.ratioMax) times the archive's size together",
                found: "\(sum) bytes of them in an archive of \(stored)")
        }
        return sum
    }

    // MARK: The second reading

    private func write(_ survey: Survey, _ labels: [UInt8], into folder: String) throws(DataError) {
        guard let extents = survey.extents else { return }
        let channels = survey.isColored ? 3 : 1
        var outputs: [ImportedSplit: IDXOutput] = [:]
        for split in ImportedSplit.allCases {
            let classes = zip(survey.splits, survey.classes).filter { $0.0 == split }.map(\.1)
            guard !classes.isEmpty, let dimensions = survey.dimensions(classes.count) else { continue }
            outputs[split] = try IDXOutput(in: folder, split, .images, dimensions, of: name)
            var output = try IDXOutput(in: folder, split, .labels, [classes.count], of: name)
            try output.write(classes.map { labels[Int($0)] })
            try output.finish()
        }
        var reader = TarReader(try FileSource(path))
        var index = 0
        while let entry = try reader.next() {
            guard Self.place(of: entry.name) != nil else { continue }
            guard index < survey.splits.count else { throw changed }
            let image = try Self.image(entry, &reader)
            guard (image.height, image.width) == extents, survey.isColored || !image.isColored else {
                throw changed
            }
            try outputs[survey.splits[index]]?.write(image.decode(channels: channels))
            index += 1
        }
        guard index == survey.splits.count else { throw changed }
        for output in outputs.values { try output.finish() }
    }

    private var changed: DataError {
        .malformed(file: name, expected: "the same archive as a moment ago", found: "another one")
    }
}

import Files

/// Images and labels as arrays of NumPy: one file for each array, or one archive for all.
///
/// Images are `[count, height, width]` or `[count, height, width, channels]`, labels `[count]` or
/// `[count, 1]`. They are named as Keras does, `x_train` and `y_train`, or as MedMNIST does, `train_images`
/// and `train_labels`.
struct ArrayFiles {
    /// Where arrays are found by their names.
    private enum Place {
        case files(SourceFiles)
        case archive(ZipArchive)

        func has(_ name: String) -> Bool {
            switch self {
            case .files(let files): files["\(name).npy"] != nil
            case .archive(let archive): archive["\(name).npy"] != nil
            }
        }

        func open(_ name: String) throws(DataError) -> NPYReader {
            switch self {
            case .files(let files):
                let source = try FileSource(files["\(name).npy"] ?? name)
                return try NPYReader(source, byteCount: source.byteCount)
            case .archive(let archive):
                guard let entry = archive["\(name).npy"] else {
                    throw .missingFile(folder: archive.path, tried: [name])
                }
                return try NPYReader(try archive.open(entry), byteCount: entry.byteCount)
            }
        }
    }

    /// The arrays of a split, by the names they have.
    private struct Pair {
        let split: ImportedSplit
        let images: String
        let labels: String
    }

    private let place: Place
    private let pairs: [Pair]

    /// Finds the arrays; those of validation may lack.
    ///
    /// - Throws: `DataError` naming every array that is missing.
    init(_ source: SourceFiles, as format: DatasetFormat.Name) throws(DataError) {
        let place: Place =
            format == .npz
            ? .archive(try ZipArchive(try source.only(endingIn: [".npz"]).path)) : .files(source)
        self.place = place
        let folder =
            if case .archive(let archive) = place { archive.path } else { source.place }
        var missing: [DataError] = []
        func find(_ names: [String]) -> String? {
            if let name = names.first(where: place.has) { return name }
            missing.append(.missingFile(folder: folder, tried: names.map { "\($0).npy" }))
            return nil
        }
        var pairs: [Pair] = []
        for split in ImportedSplit.allCases {
            let names = Self.names(of: split)
            let isThere = (names.images + names.labels).contains(where: place.has)
            guard isThere || split != .validation else { continue }
            let (images, labels) = (find(names.images), find(names.labels))
            if let images, let labels {
                pairs.append(Pair(split: split, images: images, labels: labels))
            }
        }
        guard missing.isEmpty else { throw .of(missing) }
        self.pairs = pairs
    }

    /// Writes the arrays as IDX files.
    ///
    /// - Parameters:
    ///   - folder: Where they are to lie.
    ///   - claim: Asked for their room before the first of them is begun.
    /// - Returns: By the path of each what it was made from.
    /// - Throws: `DataError` with every array that is not as it must be, and what `claim` throws.
    func writeIDX(into folder: String, _ claim: RoomClaim) throws(DataError) -> [String: String] {
        var origins: [String: String] = [:]
        var errors: [DataError] = []
        var byteCount = 0
        // All headers before any content: what is wrong is told at once, and all sizes are known.
        for pair in pairs {
            for (name, kind) in [(pair.images, IDXOutput.Kind.images), (pair.labels, .labels)] {
                do throws(DataError) {
                    let reader = try place.open(name)
                    byteCount += try IDXOutput.byteCount(of: Self.extents(of: kind, reader), reader.path)
                } catch { errors.append(error) }
            }
        }
        guard errors.isEmpty else { throw .of(errors) }
        try claim(byteCount)
        for pair in pairs {
            let images = try write(pair.images, into: folder, pair.split, .images)
            let labels = try write(pair.labels, into: folder, pair.split, .labels)
            origins[images] = "\(pair.images).npy"
            origins[labels] = "\(pair.labels).npy"
        }
        return origins
    }

    private static func names(of split: ImportedSplit) -> (images: [String], labels: [String]) {
        switch split {
        case .train: (["x_train", "train_images"], ["y_train", "train_labels"])
        case .validation:
            (["x_validation", "x_val", "val_images"], ["y_validation", "y_val", "val_labels"])
        case .test: (["x_test", "test_images"], ["y_test", "test_labels"])
        }
    }

    private static func extents(of kind: IDXOutput.Kind, _ reader: NPYReader) throws(DataError) -> [Int] {
        kind == .images ? try extents(ofImages: reader) : try extents(ofLabels: reader)
    }

    private static func extents(ofImages reader: NPYReader) throws(DataError) -> [Int] {
        guard (3...4).contains(reader.shape.count) else {
            throw .malformed(
                file: reader.path, expected: "images of [count, height, width] or with channels behind",
                found: "\(reader.shape)")
        }
        return reader.shape
    }

    private static func extents(ofLabels reader: NPYReader) throws(DataError) -> [Int] {
        guard reader.shape.count == 1 || reader.shape.count == 2 && reader.shape[1] == 1 else {
            throw .malformed(file: reader.path, expected: "labels of [count]", found: "\(reader.shape)")
        }
        return [reader.shape[0]]
    }

    private func write(
        _ name: String, into folder: String, _ split: ImportedSplit, _ kind: IDXOutput.Kind
    ) throws(DataError) -> String {
        if let path = try write(name, into: folder, split, kind, .whole) { return path }
        // Images that were divided by 255 already; labels never are.
        if kind == .images, let path = try write(name, into: folder, split, kind, .fraction) { return path }
        throw .malformed(
            file: try place.open(name).path,
            expected: kind == .labels
                ? "whole numbers from 0 to 255" : "whole numbers from 0 to 255, or such divided by 255",
            found: "others")
    }

    /// Writes an array; `nil` where a value is no byte at the scale.
    private func write(
        _ name: String, into folder: String, _ split: ImportedSplit, _ kind: IDXOutput.Kind,
        _ scale: NPYReader.Scale
    ) throws(DataError) -> String? {
        let reader = try place.open(name)
        let dimensions = try Self.extents(of: kind, reader)
        var output = try IDXOutput(in: folder, split, kind, dimensions, of: reader.path)
        while true {
            guard let bytes = try reader.readBytes(scale) else { return nil }
            if bytes.isEmpty { break }
            try output.write(bytes)
        }
        try output.finish()
        return output.path
    }
}

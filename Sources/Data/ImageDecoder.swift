import Files

/// Reads all files of an image dataset once, checks them against each other and measures them.
struct ImageDecoder {
    /// What was read of a split; how many samples it has is known without them, too.
    private struct Part {
        let split: ImageSplit
        let count: Int
    }

    private static let chunkByteCount = 1 << 20
    private static let channelCountMax = 16
    private let files: IDXFiles
    private let keepsImages: Bool
    private var hash = SHA256()
    private var shape: ImageShape?
    private var byteCount = 0
    private var largestLabel: UInt8 = 0

    /// Decodes `files`.
    ///
    /// - Parameters:
    ///   - files: Where the splits are.
    ///   - keepingImages: Whether the samples are wanted; without them memory stays below a few MiB.
    /// - Returns: Splits (empty unless wanted) and what was measured on the way.
    /// - Throws: `DataError` naming the first file that does not fit.
    static func decode(_ files: IDXFiles, keepingImages: Bool) throws(DataError) -> DecodedDataset {
        var decoder = ImageDecoder(files, keepingImages)
        return try decoder.decode()
    }

    private init(_ files: IDXFiles, _ keepsImages: Bool) {
        self.files = files
        self.keepsImages = keepsImages
        hash.update(Array("vintner-images-1\n".utf8))
    }

    private mutating func decode() throws(DataError) -> DecodedDataset {
        var histogram: ValueHistogram?
        let train = try decode(files.train) { bytes, channels in
            if histogram == nil { histogram = ValueHistogram(channels: channels) }
            histogram?.add(bytes)
        }
        let classCount = Int(largestLabel) + 1
        var validation: Part?
        if let pair = files.validation { validation = try decode(pair) { _, _ in } }
        let test = try decode(files.test) { _, _ in }
        guard Int(largestLabel) < classCount else {
            throw .malformed(
                file: files.test.labels, expected: "labels below \(classCount), as in the training split",
                found: "\(largestLabel)")
        }
        guard let shape, let moments = histogram?.moments() else {
            throw .malformed(file: files.train.images, expected: "images", found: "none")
        }
        let info = ImageInfo(
            shape: shape, classNames: (0..<classCount).map(String.init), mean: moments.mean,
            standardDeviation: moments.standardDeviation)
        return DecodedDataset(
            kind: .images(info),
            counts: SplitCounts(
                train: train.count, validation: validation?.count ?? 0, test: test.count),
            train: .images(train.split), validation: validation.map { .images($0.split) },
            test: .images(test.split),
            vocabulary: nil, sha256: hash.digest().hex, byteCount: byteCount)
    }

    private mutating func decode(
        _ pair: IDXFiles.Pair, _ visit: ([UInt8], Int) -> Void
    ) throws(DataError) -> Part {
        let reader = try IDXReader(pair.images, rank: 3...4)
        let labels = try IDXReader(pair.labels, rank: 1...1)
        guard labels.dimensions[0] == reader.dimensions[0] else {
            throw .malformed(
                file: pair.labels, expected: "\(reader.dimensions[0]) labels, one for each image",
                found: "\(labels.dimensions[0])")
        }
        let shape = try checkedShape(of: reader)
        addToHash(reader.dimensions)
        var images: [UInt8] = []
        if keepsImages { images.reserveCapacity(reader.byteCount) }
        while true {
            let chunk = try reader.read(upTo: Self.chunkByteCount)
            if chunk.isEmpty { break }
            hash.update(chunk)
            visit(chunk, shape.channels)
            if keepsImages { images.append(contentsOf: chunk) }
        }
        let values = try readLabels(labels)
        byteCount += reader.byteCount + labels.byteCount
        return Part(split: ImageSplit(images: images, labels: values), count: labels.byteCount)
    }

    /// The labels of a split; none unless they are wanted: of images of one pixel they are as many bytes.
    private mutating func readLabels(_ reader: IDXReader) throws(DataError) -> [UInt8] {
        var values: [UInt8] = []
        if keepsImages { values.reserveCapacity(reader.byteCount) }
        while true {
            let chunk = try reader.read(upTo: Self.chunkByteCount)
            if chunk.isEmpty { return values }
            hash.update(chunk)
            largestLabel = max(largestLabel, largest(chunk))
            if keepsImages { values.append(contentsOf: chunk) }
        }
    }

    /// The shape of a file's images, which must be that of the files before it.
    private mutating func checkedShape(of reader: IDXReader) throws(DataError) -> ImageShape {
        let extents = reader.dimensions
        let found = ImageShape(
            height: extents[1], width: extents[2], channels: extents.count == 4 ? extents[3] : 1)
        guard found.channels <= Self.channelCountMax else {
            throw .malformed(
                file: reader.path, expected: "at most \(Self.channelCountMax) channels",
                found: "\(found.channels)")
        }
        guard shape == nil || shape == found else {
            throw .malformed(
                file: reader.path, expected: "images of the training split's size",
                found: "\(found.height)x\(found.width)x\(found.channels)")
        }
        shape = found
        return found
    }

    private mutating func addToHash(_ dimensions: [Int]) {
        for extent in [dimensions.count] + dimensions {
            hash.update((0..<8).map { UInt8(truncatingIfNeeded: extent >> (8 * $0)) })
        }
    }
}

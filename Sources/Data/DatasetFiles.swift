import Files

/// The files of one dataset, found and ready to be decoded.
enum DatasetFiles {
    case idx(IDXFiles)
    case text(TokenFiles, TextSettings)
    case csv(TokenFiles, TextSettings)

    /// Finds the files of a format that is kept as it comes; arrays and archives of images become IDX.
    init(_ source: SourceFiles, as format: DatasetFormat) throws(DataError) {
        switch format {
        case .idx, .npy, .npz, .images: self = .idx(try IDXFiles(source))
        case .text(let settings): self = .text(try TokenFiles(source, suffix: "txt"), settings)
        case .csv(let settings): self = .csv(try TokenFiles(source, suffix: "csv"), settings)
        }
    }

    /// Finds the files of a registered dataset.
    init(in folder: String, of kind: DatasetInfo.Kind) throws(DataError) {
        let source = try SourceFiles(at: folder)
        switch kind {
        case .images: try self.init(source, as: .idx())
        case .text(let info): try self.init(source, as: .text(info.settings))
        case .sequences(let info): try self.init(source, as: .csv(info.settings))
        }
    }

    /// Each file, and what a copy of it is called.
    var paths: [(path: String, copy: String)] {
        switch self {
        case .idx(let files):
            files.paths.map { path in (path, files.names[path] ?? path) }
        case .text(let files, _), .csv(let files, _): files.paths
        }
    }

    /// Puts the files into `folder`.
    ///
    /// - Parameters:
    ///   - folder: Where copies of them are to lie.
    ///   - sharing: Whether a second name will do, where the disk gives one.
    ///   - claim: Asked for the room of those that have to be copied.
    /// - Throws: `DataError`, and what `claim` throws.
    func take(into folder: String, sharing: Bool, _ claim: RoomClaim) throws(DataError) {
        var copies: [(path: String, copy: String)] = []
        var byteCount = 0
        for (path, name) in paths {
            let copy = "\(folder)/\(name)"
            let isShared = try DataError.translating { () throws(FileError) in
                sharing ? try AtomicFile.link(path, as: copy) : false
            }
            guard !isShared else { continue }
            copies.append((path, copy))
            byteCount += Folder.status(of: path, followingLinks: true)?.byteCount ?? 0
        }
        guard !copies.isEmpty else { return }
        try claim(byteCount)
        for (path, copy) in copies {
            _ = try DataError.translating { () throws(FileError) in try AtomicFile.copy(path, to: copy) }
        }
    }

    /// Bytes that decoding takes while it lasts, beside what stays of the dataset; an upper bound.
    func decodingByteCount(_ info: DatasetInfo) -> Int {
        // The files are read whole, and what is cut out of them lies beside them until it has become numbers.
        let files = paths.reduce(0) {
            $0 + Int(Folder.status(of: $1.path, followingLinks: true)?.byteCount ?? 0)
        }
        switch info.kind {
        case .images: return 0
        case .text: return 2 * files
        case .sequences(let sequences): return 2 * files + sequences.decodingByteCount(info.counts)
        }
    }

    /// The first file, whose age is the dataset's.
    var first: String? { paths.first?.path }

    /// Sizes and ages of all files: changes when one of them does.
    func stamp() -> String {
        paths.map { path, _ in
            // The files may be links, as some packages install them; `stat` would follow, so do we.
            let status = Folder.status(of: path, followingLinks: true)
            return "\(status?.byteCount ?? -1)@\(status?.modifiedNanoseconds ?? -1)"
        }.joined(separator: " ")
    }

    /// Reads the files through; throws `DataError` naming the first fault.
    ///
    /// `keepingContent` says whether the samples are wanted; without images memory stays below a few MiB.
    func decode(keepingContent: Bool) throws(DataError) -> DecodedDataset {
        switch self {
        case .idx(let files): try ImageDecoder.decode(files, keepingImages: keepingContent)
        case .text(let files, let settings): try TextDecoder.decode(files, settings)
        case .csv(let files, let settings): try SequenceDecoder.decode(files, settings)
        }
    }
}

/// The text files of one dataset.
struct TokenFiles {
    let train: String
    let validation: String?
    let test: String?
    private let suffix: String

    /// One file alone is the training split; else there are up to three.
    init(_ source: SourceFiles, suffix: String) throws(DataError) {
        self.suffix = suffix
        func find(_ name: String) -> String? { source["\(name).\(suffix)"] }
        if let found = find("train") {
            (train, validation, test) = (found, find("validation"), find("test"))
        } else if source.files.count == 1, let only = source.files.first {
            (train, validation, test) = (only.path, nil, nil)
        } else {
            throw .missingFile(folder: source.place, tried: ["train.\(suffix)"])
        }
        for path in [train, validation, test].compactMap(\.self) { try Self.check(path) }
    }

    /// Refuses what is too large, or without an end, before it is copied.
    private static func check(_ path: String) throws(DataError) {
        guard let status = Folder.status(of: path, followingLinks: true) else { return }
        guard status.isRegularFile else {
            throw .malformed(file: path, expected: "a file", found: "something else")
        }
        guard status.byteCount <= TextDecoder.byteCountMax else {
            throw .file(.tooLarge(path: path, limit: TextDecoder.byteCountMax))
        }
    }

    /// Each file, and what a copy of it is called.
    var paths: [(path: String, copy: String)] {
        let named = [(train as String?, "train"), (validation, "validation"), (test, "test")]
        return named.compactMap { path, name in path.map { ($0, "\(name).\(suffix)") } }
    }
}

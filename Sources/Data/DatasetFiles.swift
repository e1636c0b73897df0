import Files

/// How the files of a new dataset are to be read.
public enum DatasetFormat: Sendable, Hashable {
    /// A folder of images and labels as MNIST's; class names are used when there is one per class.
    case idx(classNames: [String] = [])
    /// A text file, or a folder with `train.txt` and perhaps `validation.txt` and `test.txt`.
    case text(TextSettings)
    /// A CSV file of labelled texts or tokens, or a folder with `train.csv` and perhaps the other two.
    case csv(TextSettings)

    /// The formats, as people write them.
    public enum Name: String, Sendable, CaseIterable {
        /// Images.
        case idx
        /// Running text.
        case text
        /// Labelled texts or tokens.
        case csv

        /// By the name of a file, or what a folder holds: `train.csv`, `train.txt`, else images.
        public init(guessedFrom path: String) {
            let isFolder = Folder.status(of: path, followingLinks: true)?.isFolder == true
            let names = isFolder ? (try? Folder.names(in: path)) ?? [] : []
            if isFolder {
                self = names.contains("train.csv") ? .csv : names.contains("train.txt") ? .text : .idx
            } else {
                self = path.lowercased().hasSuffix(".csv") ? .csv : .text
            }
        }
    }
}

/// The files of one dataset, found and ready to be decoded.
enum DatasetFiles {
    case idx(IDXFiles)
    case text(TokenFiles, TextSettings)
    case csv(TokenFiles, TextSettings)

    /// Finds the files at `path`.
    init(at path: String, as format: DatasetFormat) throws(DataError) {
        switch format {
        case .idx: self = .idx(try IDXFiles(in: path))
        case .text(let settings): self = .text(try TokenFiles(at: path, suffix: "txt"), settings)
        case .csv(let settings): self = .csv(try TokenFiles(at: path, suffix: "csv"), settings)
        }
    }

    /// Finds the files of a registered dataset.
    init(in folder: String, of kind: DatasetInfo.Kind) throws(DataError) {
        switch kind {
        case .images: try self.init(at: folder, as: .idx())
        case .text(let info): try self.init(at: folder, as: .text(info.settings))
        case .sequences(let info): try self.init(at: folder, as: .csv(info.settings))
        }
    }

    /// Each file, and what a copy of it is called.
    var paths: [(path: String, copy: String)] {
        switch self {
        case .idx(let files):
            files.paths.map { path in (path, path.split(separator: "/").last.map(String.init) ?? path) }
        case .text(let files, _), .csv(let files, _): files.paths
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

    /// A file is the training split; a folder holds up to three files.
    init(at path: String, suffix: String) throws(DataError) {
        self.suffix = suffix
        guard Folder.status(of: path, followingLinks: true)?.isFolder == true else {
            (train, validation, test) = (path, nil, nil)
            try Self.check(path)
            return
        }
        let names = Set(try DataError.translating { () throws(FileError) in try Folder.names(in: path) })
        func find(_ name: String) -> String? {
            names.contains("\(name).\(suffix)") ? "\(path)/\(name).\(suffix)" : nil
        }
        guard let found = find("train") else {
            throw .missingFile(folder: path, tried: ["train.\(suffix)"])
        }
        (train, validation, test) = (found, find("validation"), find("test"))
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

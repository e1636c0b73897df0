import Files

/// The datasets of a catalogue as they were read last; files are read again only where something changed.
///
/// A look-up asks the disk for the stamps of the folder and of what it answers, so that it sees what another
/// process has added or taken away, and reads nothing.
struct KnownDatasets {
    /// A dataset and where its files lie.
    struct Entry {
        let info: DatasetInfo
        let folder: String
        /// What its description was read from, and the stamps then; empty where it has to be read anew.
        fileprivate var sources: [(path: String, stamp: Folder.Stamp)] = []

        /// Whether nothing it was read from has changed.
        fileprivate var isCurrent: Bool {
            !sources.isEmpty && sources.allSatisfy { Folder.stamp(of: $0.path) == $0.stamp }
        }

        /// The same, to be believed while files of these stamps lie there.
        fileprivate func read(from stamps: [(path: String, stamp: Folder.Stamp, isSettled: Bool)]) -> Entry {
            var entry = self
            if stamps.allSatisfy({ $0.isSettled }) { entry.sources = stamps.map { ($0.path, $0.stamp) } }
            return entry
        }
    }

    static let descriptionName = "dataset.json"

    private let folder: String
    /// Where each dataset of the system would lie.
    private let systemPaths: [(SystemDataset, path: String)]
    private var entries: [Entry] = []
    private var places: [String: Int] = [:]
    /// The stamps of the folders in which names come and go, when the entries were read; nil where those
    /// cannot be believed a second time.
    private var folderStamps: [Folder.Stamp?]?
    /// How many descriptions were read so far.
    private(set) var readCount = 0

    init(folder: String, systemFolder: String?) {
        self.folder = folder
        systemPaths = systemFolder.map { root in SystemDataset.all.map { ($0, "\(root)/\($0.name)") } } ?? []
    }

    /// The dataset with this id or name, those of the system first.
    mutating func entry(_ nameOrID: String) throws(DataError) -> Entry? {
        if let folderStamps, let place = places[nameOrID], folderStamps == stamps(),
            entries[place].isCurrent
        {
            return entries[place]
        }
        _ = try all()
        return places[nameOrID].map { entries[$0] }
    }

    /// All datasets, those of the system first, then by id.
    mutating func all() throws(DataError) -> [Entry] {
        let known = Dictionary(entries.map { ($0.folder, $0) }) { first, _ in first }
        let before = stamps()
        var canKeep = before.allSatisfy { $0?.isSettled ?? true }
        folderStamps = nil
        var found: [Entry] = []
        for (dataset, path) in systemPaths where Folder.status(of: path) != nil {
            if let entry = Self.current(known[path]) {
                found.append(entry)
            } else {
                found.append(try describe(dataset, in: path))
            }
        }
        for name in try names() where !name.hasPrefix(".") {
            let path = "\(folder)/\(name)"
            if let entry = Self.current(known[path]) {
                found.append(entry)
            } else if let entry = try read(path) {
                found.append(entry)
            } else {
                // A description may appear in it without a change of the folder above.
                canKeep = false
            }
        }
        entries = found
        places = [:]
        for (index, entry) in entries.enumerated() {
            for key in [entry.info.name, entry.info.id] where places[key] == nil { places[key] = index }
        }
        folderStamps = canKeep ? before : nil
        return entries
    }

    private func stamps() -> [Folder.Stamp?] {
        [Folder.stamp(of: folder)] + systemPaths.map { Folder.stamp(of: $0.path) }
    }

    private func names() throws(DataError) -> [String] {
        guard Folder.status(of: folder) != nil else { return [] }
        return try DataError.translating { () throws(FileError) in try Folder.names(in: folder) }
    }

    private static func current(_ entry: Entry?) -> Entry? { entry.flatMap { $0.isCurrent ? $0 : nil } }

    private mutating func read(_ path: String) throws(DataError) -> Entry? {
        let description = "\(path)/\(Self.descriptionName)"
        guard let stamp = Folder.stamp(of: description) else { return nil }
        let isSettled = stamp.isSettled
        readCount += 1
        guard let stored = try DatasetInfo.read(description) else { return nil }
        return Entry(info: stored.info, folder: path).read(from: [(description, stamp, isSettled)])
    }

    private mutating func describe(_ dataset: SystemDataset, in path: String) throws(DataError) -> Entry {
        let files = DatasetFiles.idx(try IDXFiles(in: path))
        let stamps = ([path] + files.paths.map { $0.path }).compactMap { file in
            Folder.stamp(of: file).map { (path: file, stamp: $0, isSettled: $0.isSettled) }
        }
        let entry = Entry(info: try dataset.describe(files, rememberedIn: folder), folder: path)
        readCount += 1
        return stamps.count == files.paths.count + 1 ? entry.read(from: stamps) : entry
    }
}

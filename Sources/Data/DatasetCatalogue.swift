import Files
import Synchronization

/// The datasets of one server: those imported under its data folder and those the system has installed.
///
/// Decoded datasets are shared: while one job holds a dataset, others get the same object; when the last
/// one lets go its memory is freed.
public final class DatasetCatalogue: Sendable {
    private let folder: String
    private let systemFolder: String?
    /// Held while decoding, so that two jobs that start together decode once.
    private let decoded = Mutex<[String: Shared]>([:])
    private let registering = Mutex<Void>(())
    private static let descriptionName = "dataset.json"

    private struct Shared {
        weak var dataset: Dataset?
    }

    /// Reads datasets below two folders.
    ///
    /// - Parameters:
    ///   - folder: `DATA/datasets`; made when something is written to it.
    ///   - systemFolder: Where packages put datasets, as a rule `/usr/share/datasets`; without it those are
    ///     not looked for.
    public init(folder: String, systemFolder: String? = nil) {
        self.folder = folder
        self.systemFolder = systemFolder
    }

    /// All datasets, those of the system first, then by age.
    ///
    /// The first call after a system dataset was installed reads that dataset through once.
    public func list() throws(DataError) -> [DatasetInfo] { try entries().map(\.info) }

    /// The dataset with this id or name.
    ///
    /// - Throws: `DataError.unknownDataset` listing those that are there.
    public func info(_ nameOrID: String) throws(DataError) -> DatasetInfo { try entry(nameOrID).info }

    /// Decodes a dataset, or hands out the one that is in memory.
    ///
    /// Takes about half a second for 70,000 small images; see `startLoading(_:)`.
    ///
    /// - Throws: `DataError.changed` when the files are no longer those that were registered.
    public func load(_ nameOrID: String) throws(DataError) -> Dataset {
        let entry = try entry(nameOrID)
        return try decoded.withLock { (cache) throws(DataError) in
            if let dataset = cache[entry.info.id]?.dataset, dataset.info == entry.info { return dataset }
            let files = try DatasetFiles(in: entry.folder, of: entry.info.kind)
            let content = try files.decode(keepingContent: true)
            guard content.sha256 == entry.info.sha256 else {
                throw .changed(name: entry.info.name, expected: entry.info.sha256, found: content.sha256)
            }
            let dataset = Dataset(info: entry.info, content)
            cache[entry.info.id] = Shared(dataset: dataset)
            return dataset
        }
    }

    /// Bytes that `load` takes while it decodes, beside what stays of the dataset; an upper bound.
    public func decodingByteCount(_ nameOrID: String) throws(DataError) -> Int {
        let entry = try entry(nameOrID)
        return try DatasetFiles(in: entry.folder, of: entry.info.kind).decodingByteCount(entry.info)
    }

    /// Decodes a dataset on a thread of its own, so that the caller can plan meanwhile.
    public func startLoading(_ nameOrID: String) throws(DataError) -> PendingDataset {
        let pending = PendingDataset()
        try BackgroundThread.start {
            do throws(DataError) {
                pending.finish(.success(try self.load(nameOrID)))
            } catch { pending.finish(.failure(error)) }
        }
        return pending
    }

    /// Copies files into the catalogue, checks and measures them, and publishes the dataset at once.
    ///
    /// - Parameters:
    ///   - name: How jobs will call it; unique.
    ///   - source: Where the files are.
    ///   - format: How they are read.
    ///   - id: A new `dst_...` id.
    ///   - now: Unix seconds.
    /// - Returns: The new dataset.
    /// - Throws: `DataError`; then the catalogue is as before.
    public func add(
        _ name: String, from source: String, as format: DatasetFormat, id: String, now: Double
    ) throws(DataError) -> DatasetInfo {
        guard Self.isName(name) else { throw .badName(name) }
        guard Self.isName(id) else { throw .badName(id) }
        return try registering.withLock { (_) throws(DataError) in
            if try entries().contains(where: { $0.info.name == name || $0.info.id == id }) {
                throw .nameTaken(name)
            }
            let staging = "\(folder)/\(Self.stagingPrefix)\(id)"
            let files = try DatasetFiles(at: source, as: format)
            do throws(DataError) {
                let info = try Self.stage(files, as: format, in: staging) { content in
                    DatasetInfo(content, id: id, name: name, createdAt: now)
                }
                try DataError.translating { () throws(FileError) in
                    try Folder.synchronize(staging)
                    try Folder.move(staging, to: "\(folder)/\(id)")
                }
                return info
            } catch {
                try DataError.translating { () throws(FileError) in try Folder.removeTree(staging) }
                throw error
            }
        }
    }

    /// Compares the files of a dataset that was added here with what was registered of them.
    ///
    /// - Parameters:
    ///   - id: The dataset's id.
    ///   - readsContent: Whether the files are read through; otherwise it is enough that they are there.
    /// - Throws: `DataError` naming the first fault.
    public func verify(_ id: String, readsContent: Bool) throws(DataError) {
        guard let stored = try DatasetInfo.read("\(folder)/\(id)/\(Self.descriptionName)") else {
            throw .missingFile(folder: "\(folder)/\(id)", tried: [Self.descriptionName])
        }
        let files = try DatasetFiles(in: "\(folder)/\(id)", of: stored.info.kind)
        guard readsContent else { return }
        let found = try files.decode(keepingContent: false).sha256
        guard found == stored.info.sha256 else {
            throw .changed(name: stored.info.name, expected: stored.info.sha256, found: found)
        }
    }

    /// Whether an id is that of a dataset which a package of the system brings.
    public static func isOfSystem(_ id: String) -> Bool { SystemDataset.all.contains { $0.id == id } }

    /// Whether a name in the catalogue's folder is that of an import that did not end.
    public static func isLeftover(_ name: String) -> Bool {
        name.hasPrefix(stagingPrefix) || AtomicFile.isLeftover(name)
    }

    /// Deletes what interrupted imports left behind; for the start of the server.
    public func removeLeftovers() throws(DataError) {
        guard Folder.status(of: folder) != nil else { return }
        try DataError.translating { () throws(FileError) in
            try AtomicFile.removeLeftovers(in: folder)
            for name in try Folder.names(in: folder) where name.hasPrefix(Self.stagingPrefix) {
                try Folder.removeTree("\(folder)/\(name)")
            }
        }
    }

    private static let stagingPrefix = ".import-"

    private static func stage(
        _ files: DatasetFiles, as format: DatasetFormat, in staging: String,
        _ describe: (DecodedDataset) -> DatasetInfo
    ) throws(DataError) -> DatasetInfo {
        try DataError.translating { () throws(FileError) in
            try Folder.make(staging)
            for (path, copy) in files.paths { try AtomicFile.copy(path, to: "\(staging)/\(copy)") }
        }
        let copies = try DatasetFiles(at: staging, as: format)
        var content = try copies.decode(keepingContent: false)
        if case .idx(let classNames) = format { content = content.naming(classNames) }
        let info = describe(content)
        try info.write(to: "\(staging)/\(descriptionName)", stamp: copies.stamp())
        return info
    }

    private struct Entry {
        let info: DatasetInfo
        let folder: String
    }

    private func entry(_ nameOrID: String) throws(DataError) -> Entry {
        let entries = try entries()
        if let found = entries.first(where: { $0.info.name == nameOrID || $0.info.id == nameOrID }) {
            return found
        }
        throw .unknownDataset(nameOrID, known: entries.map(\.info.name))
    }

    private func entries() throws(DataError) -> [Entry] {
        var entries: [Entry] = []
        let system = systemFolder.map { folder in SystemDataset.all.map { ($0, "\(folder)/\($0.name)") } }
        for (known, path) in system ?? [] {
            guard Folder.status(of: path) != nil else { continue }
            entries.append(Entry(info: try known.describe(in: path, rememberedIn: folder), folder: path))
        }
        guard Folder.status(of: folder) != nil else { return entries }
        let names = try DataError.translating { () throws(FileError) in try Folder.names(in: folder) }
        for name in names where !name.hasPrefix(".") {
            let path = "\(folder)/\(name)"
            if let stored = try DatasetInfo.read("\(path)/\(Self.descriptionName)") {
                entries.append(Entry(info: stored.info, folder: path))
            }
        }
        return entries
    }

    /// Names become parts of paths and of commands, so they are plain.
    static func isName(_ name: String) -> Bool {
        let bytes = Array(name.utf8)
        func isPlain(_ byte: UInt8) -> Bool {
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        }
        let marks = Array("-_.".utf8)
        guard let first = bytes.first, isPlain(first), bytes.count <= 64 else { return false }
        return bytes.allSatisfy { isPlain($0) || marks.contains($0) }
    }
}

public import Files
import Synchronization
import Threads

/// The datasets of one server: those imported under its data folder and those the system has installed.
///
/// Decoded datasets are shared: while one job holds a dataset, others get the same object; when the last
/// one lets go its memory is freed.
public final class DatasetCatalogue: Sendable {
    private let folder: String
    private let known: Mutex<KnownDatasets>
    /// Held while decoding, so that two jobs that start together decode once.
    private let decoded = Mutex<[String: Shared]>([:])
    private let registering = Mutex<Void>(())
    private static let descriptionName = KnownDatasets.descriptionName

    /// What is in memory of a dataset: whoever uses it keeps it there.
    private struct Shared {
        weak var dataset: Dataset?
        /// While it is being decoded, and as what.
        var pending: (dataset: PendingDataset, info: DatasetInfo)?
    }

    /// Reads datasets below two folders.
    ///
    /// - Parameters:
    ///   - folder: `DATA/datasets`; made when something is written to it.
    ///   - systemFolder: Where packages put datasets, as a rule `/usr/share/datasets`; without it those are
    ///     not looked for.
    public init(folder: String, systemFolder: String? = nil) {
        self.folder = folder
        known = Mutex(KnownDatasets(folder: folder, systemFolder: systemFolder))
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
        let (pending, part) = claim(entry)
        if part == .decode { load(entry, into: pending) }
        return try pending.wait()
    }

    private func decode(_ entry: KnownDatasets.Entry) throws(DataError) -> Dataset {
        let files = try DatasetFiles(in: entry.folder, of: entry.info.kind)
        let content = try files.decode(keepingContent: true)
        guard content.sha256 == entry.info.sha256 else {
            throw .changed(name: entry.info.name, expected: entry.info.sha256, found: content.sha256)
        }
        return Dataset(info: entry.info, content)
    }

    /// Bytes that `load` takes while it decodes, beside what stays of the dataset; an upper bound.
    public func decodingByteCount(_ nameOrID: String) throws(DataError) -> Int {
        let entry = try entry(nameOrID)
        return try DatasetFiles(in: entry.folder, of: entry.info.kind).decodingByteCount(entry.info)
    }

    /// Decodes a dataset on a thread of its own, so that the caller can plan meanwhile.
    ///
    /// Nobody waits for the decoding of another one.
    ///
    /// - Returns: The dataset, and whether somebody else decodes it already.
    public func startLoading(
        _ nameOrID: String
    ) throws(DataError) -> (dataset: PendingDataset, isShared: Bool) {
        let entry = try entry(nameOrID)
        let (pending, part) = claim(entry)
        guard part == .decode else { return (pending, part == .wait) }
        do {
            try BackgroundThread.start { self.load(entry, into: pending) }
        } catch {
            let failure = Result<Dataset, DataError> { () throws(DataError) in
                try DataError.translating { () throws(NoThread) in throw error }
            }
            end(entry, pending, failure)
        }
        return (pending, false)
    }

    /// What is left to do for who wants a dataset.
    private enum Part { case nothing, wait, decode }

    private func claim(_ entry: KnownDatasets.Entry) -> (PendingDataset, Part) {
        decoded.withLock { cache in
            let known = cache[entry.info.id]
            if let pending = known?.pending, pending.info == entry.info { return (pending.dataset, .wait) }
            let pending = PendingDataset()
            if let dataset = known?.dataset, dataset.info == entry.info {
                pending.finish(.success(dataset))
                return (pending, .nothing)
            }
            cache[entry.info.id] = Shared(pending: (pending, entry.info))
            return (pending, .decode)
        }
    }

    private func load(_ entry: KnownDatasets.Entry, into pending: PendingDataset) {
        end(entry, pending, Result { () throws(DataError) in try decode(entry) })
    }

    private func end(
        _ entry: KnownDatasets.Entry, _ pending: PendingDataset, _ result: Result<Dataset, DataError>
    ) {
        decoded.withLock { cache in
            // Another thread may decode what the files have become meanwhile.
            guard cache[entry.info.id]?.pending?.dataset === pending else { return }
            cache[entry.info.id] = Shared(dataset: try? result.get())
        }
        pending.finish(result)
    }

    /// Copies files into the catalogue, checks and measures them, and publishes the dataset at once.
    ///
    /// - Parameters:
    ///   - name: How jobs will call it; unique.
    ///   - path: The file, or the folder with the files.
    ///   - format: How they are read.
    ///   - id: A new `dst_...` id.
    ///   - now: Unix seconds.
    ///   - claim: Asked for the room of what is written.
    /// - Returns: The new dataset.
    /// - Throws: `DataError`; then the catalogue is as before.
    public func add(
        _ name: String, from path: String, as format: DatasetFormat, id: String, now: Double,
        claim: RoomClaim = { _ in }
    ) throws(DataError) -> DatasetInfo {
        try add(name, from: SourceFiles(at: path), as: format, id: id, now: now, claim: claim)
    }

    /// Makes a dataset of files, which are taken over where they are for it alone.
    ///
    /// Errors call the files as `source` does. Others wait for it only while it gets its name.
    public func add(
        _ name: String, from source: SourceFiles, as format: DatasetFormat, id: String, now: Double,
        claim: RoomClaim = { _ in }
    ) throws(DataError) -> DatasetInfo {
        guard Self.isName(name) else { throw .badName(name) }
        guard Self.isName(id) else { throw .badName(id) }
        try refuseTaken(name, id)
        let staging = staging(of: id)
        do throws(DataError) {
            let info = try Self.stage(source, as: format, in: staging, claim) { content in
                DatasetInfo(content, id: id, name: name, format: format.name, createdAt: now)
            }
            try DataError.translating { () throws(FileError) in try Folder.synchronize(staging) }
            try registering.withLock { (_) throws(DataError) in
                // Another one may have got the name meanwhile.
                try refuseTaken(name, id)
                try DataError.translating { () throws(FileError) in
                    try Folder.move(staging, to: "\(folder)/\(id)")
                }
            }
            return info
        } catch {
            try DataError.translating { () throws(FileError) in try Folder.removeTree(staging) }
            throw error
        }
    }

    private func refuseTaken(_ name: String, _ id: String) throws(DataError) {
        guard try !entries().contains(where: { $0.info.name == name || $0.info.id == id }) else {
            throw .nameTaken(name)
        }
    }

    /// Bytes that are written so far of a dataset which is being added.
    public func stagedByteCount(of id: String) throws(FileError) -> Int {
        try Folder.byteCount(of: staging(of: id))
    }

    private func staging(of id: String) -> String { "\(folder)/\(Self.stagingPrefix)\(id)" }

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

    /// Whether a dataset that was added here has this id.
    public func has(_ id: String) -> Bool {
        Folder.status(of: "\(folder)/\(id)/\(Self.descriptionName)") != nil
    }

    /// Takes away a dataset that was added here, at once as others see it; one that is gone is no error.
    ///
    /// Its grave stays until `removeGrave`: whoever finds one knows that the dataset was to be deleted. Jobs
    /// that hold it keep what they have decoded.
    public func bury(_ id: String) throws(DataError) {
        guard Self.isName(id) else { throw .badName(id) }
        guard Folder.status(of: "\(folder)/\(id)") != nil else { return }
        try DataError.translating { () throws(FileError) in
            try Folder.removeTree(grave(of: id))
            try Folder.move("\(folder)/\(id)", to: grave(of: id))
        }
    }

    /// Whether there is a grave of a dataset.
    public func isBuried(_ id: String) -> Bool { Folder.status(of: grave(of: id)) != nil }

    /// Puts a dataset that was buried back in its place, unless there is one again.
    public func exhume(_ id: String) throws(DataError) {
        guard Self.isName(id) else { throw .badName(id) }
        guard !has(id) else { return try removeGrave(of: id) }
        try DataError.translating { () throws(FileError) in
            // What lies there without a description is the rest of a write that never ended.
            if isBuried(id) { try Folder.removeTree("\(folder)/\(id)") }
            try Folder.move(grave(of: id), to: "\(folder)/\(id)")
        }
    }

    /// The name of a dataset's grave in the catalogue's folder.
    public static func graveName(of id: String) -> String { gravePrefix + id }

    private func grave(of id: String) -> String { "\(folder)/\(Self.graveName(of: id))" }

    /// What clients are told of an error: files are named by their place in the catalogue, not by that on the
    /// machine.
    public func describe(_ error: DataError) -> String { Folder.naming(error.description, within: folder) }

    /// Deletes the files of a dataset that was buried.
    public func removeGrave(of id: String) throws(DataError) {
        try DataError.translating { () throws(FileError) in
            try Folder.removeTree(grave(of: id))
        }
    }

    /// The ids of the datasets that are buried.
    public func buried() throws(DataError) -> [String] {
        guard Folder.status(of: folder) != nil else { return [] }
        return try DataError.translating { () throws(FileError) in
            try Folder.names(in: folder).compactMap(Self.buriedID)
        }
    }

    /// The id of the dataset whose grave has this name in the catalogue's folder.
    public static func buriedID(_ name: String) -> String? {
        name.hasPrefix(gravePrefix) ? String(name.dropFirst(gravePrefix.count)) : nil
    }

    /// Whether an id is that of a dataset which a package of the system brings.
    public static func isOfSystem(_ id: String) -> Bool { SystemDataset.all.contains { $0.id == id } }

    /// Whether a name in the catalogue's folder is that of an import or a deletion that did not end.
    public static func isLeftover(_ name: String) -> Bool {
        name.hasPrefix(stagingPrefix) || name.hasPrefix(gravePrefix) || AtomicFile.isLeftover(name)
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
    private static let gravePrefix = ".deleted-"

    private static func stage(
        _ source: SourceFiles, as format: DatasetFormat, in staging: String, _ claim: RoomClaim,
        _ describe: (DecodedDataset) -> DatasetInfo
    ) throws(DataError) -> DatasetInfo {
        var names = Dictionary(source.files.map { ($0.path, $0.name) }) { first, _ in first }
        do throws(DataError) {
            let kept = try bring(source, as: format, into: staging, &names, claim)
            let copies = try DatasetFiles(try SourceFiles(at: staging), as: format)
            let content = try copies.decode(keepingContent: false).naming(kept)
            let info = describe(content)
            try info.write(to: "\(staging)/\(descriptionName)", stamp: copies.stamp())
            return info
        } catch { throw source.areOurs ? error.naming(names) : error }
    }

    /// Puts the files into the folder, as they come or as the IDX files that they become.
    ///
    /// - Returns: The names of the classes, where they are known.
    private static func bring(
        _ source: SourceFiles, as format: DatasetFormat, into staging: String,
        _ names: inout [String: String], _ claim: RoomClaim
    ) throws(DataError) -> [String] {
        func make() throws(DataError) {
            try DataError.translating { () throws(FileError) in try Folder.make(staging) }
        }
        switch format {
        case .npy(let classNames), .npz(let classNames):
            let arrays = try ArrayFiles(source, as: format.name)
            try make()
            names.merge(try arrays.writeIDX(into: staging, claim)) { _, new in new }
            return classNames
        case .images:
            let archive = try ImageArchive(source)
            try make()
            return try archive.writeIDX(into: staging, claim)
        case .idx, .text, .csv:
            let files = try DatasetFiles(source, as: format)
            try make()
            for (path, copy) in files.paths { names["\(staging)/\(copy)"] = names[path] }
            try files.take(into: staging, sharing: source.areOurs, claim)
            if case .idx(let classNames) = format { return classNames }
            return []
        }
    }

    func entry(_ nameOrID: String) throws(DataError) -> KnownDatasets.Entry {
        try known.withLock { (known) throws(DataError) in
            if let found = try known.entry(nameOrID) { return found }
            throw .unknownDataset(nameOrID, known: try known.all().map(\.info.name))
        }
    }

    private func entries() throws(DataError) -> [KnownDatasets.Entry] {
        try known.withLock { (known) throws(DataError) in try known.all() }
    }

    /// Whether a dataset may be called so: names become parts of paths and of commands, so they are plain.
    public static func isName(_ name: String) -> Bool {
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

import Data
import Files
import Foundation
import JSON
import Jobs
import Kernels
import Store
import Synchronization
import Threads

/// Datasets that clients upload: opened, filled with files, checked and published, or swept when they are
/// left.
///
/// The database knows the files; what lies in `uploads` and has no row is deleted at the next start. Names
/// that clients give are texts in the database only.
final class UploadService: DatasetIntake {
    private struct State {
        /// Files on their way.
        var receiving: [DatasetID: Int] = [:]
        var receivingCount = 0
        var commits: [DatasetID: Pending<DatasetRecord, JobError>] = [:]
        var deleting: Set<DatasetID> = []
        var isStopped = false
    }

    let folder: DataFolder
    let limits: UploadLimits
    let time: any TimeSource
    let repository: SQLiteDatasetRepository
    let catalogue: DatasetCatalogue
    let room: DatasetRoom
    private let burial: DatasetBurial
    private let identifiers: IdentifierGenerator
    private let report: @Sendable (_ message: String, _ cause: String) -> Void
    /// Puts a dataset that was published into its row.
    private let register: @Sendable (DatasetInfo) throws(JobError) -> Void
    private let state = Mutex(State())
    private let stopping = Monitor(false)
    /// What the commits that are being checked take.
    private let checking = Monitor((count: 0, byteCount: 0))

    /// How often what was left is looked for.
    private static let sweepSeconds = 600.0

    init(
        folder: DataFolder, limits: UploadLimits, repository: SQLiteDatasetRepository,
        catalogue: DatasetCatalogue, identifiers: IdentifierGenerator, time: any TimeSource,
        register: @escaping @Sendable (DatasetInfo) throws(JobError) -> Void,
        report: @escaping @Sendable (_ message: String, _ cause: String) -> Void
    ) {
        (self.folder, self.limits, self.repository) = (folder, limits, repository)
        (self.catalogue, self.identifiers, self.time) = (catalogue, identifiers, time)
        (self.register, self.report) = (register, report)
        room = DatasetRoom(folder, limits, catalogue)
        burial = DatasetBurial(catalogue, repository)
    }

    var schema: ObjectSchema { UploadRequest.schema }
    var fileByteCountMax: Int { limits.fileByteCountMax }
    var openSeconds: Double { limits.openSeconds }

    func open(_ body: JSONValue) throws(JobError) -> DatasetRecord {
        let request: UploadRequest
        do { request = try UploadRequest(body) } catch { throw .invalid(error.violations) }
        let now = time.now()
        let id: DatasetID = identifiers.next(at: now)
        let record = DatasetRecord(
            id: id, name: request.name, format: request.format.name.rawValue, isReady: false,
            path: "datasets/\(id)", sha256: "", createdAt: now, details: ["options": body])
        // A dataset that a command added has perhaps no row yet.
        let known: [DatasetInfo]
        do { known = try catalogue.list() } catch { throw .storeUnavailable(cause: "\(error)") }
        guard !known.contains(where: { $0.name == request.name }) else { throw .nameTaken(request.name) }
        try repository.open(record, openMax: limits.openMax)
        return record
    }

    func isCommitting(_ id: DatasetID) -> Bool { state.withLock { $0.commits[id] != nil } }

    // MARK: Files

    func receive(_ name: String, for dataset: String, byteCount: Int?) throws(JobError) -> any FileIntake {
        let record = try repository.dataset(dataset)
        guard !record.isReady else { throw .datasetReady(record.id) }
        guard (1...255).contains(name.utf8.count), name.unicodeScalars.count <= 255 else {
            throw .invalid([
                Violation(pointer: "/name", code: "too_long", detail: "expected a name of 1 to 255 bytes")
            ])
        }
        let announced = try limits.announced(byteCount)
        try room.announce(announced)
        do throws(JobError) { try begin(record.id) } catch {
            room.withdraw(announced)
            throw error
        }
        do throws(JobError) {
            let place = DataFolder.uploads(of: record.id)
            let path = try JobError.translating { () throws(FileError) in
                "\(place)/\(SHA256.Digest.hex(try secureRandomBytes(8)))"
            }
            return UploadedFile(name, of: record.id, at: path, announced: announced, self)
        } catch {
            ended(announced, of: record.id)
            throw error
        }
    }

    /// Counts a file that is to come.
    private func begin(_ id: DatasetID) throws(JobError) {
        try state.withLock { (state) throws(JobError) in
            guard !state.isStopped else { throw .draining }
            guard state.commits[id] == nil else { throw .datasetBusy(id, reason: "it is being checked") }
            guard !state.deleting.contains(id) else { throw .datasetBusy(id, reason: "it is being deleted") }
            guard state.receivingCount < limits.receivingMax else {
                throw .uploadsBusy(limit: limits.receivingMax)
            }
            state.receiving[id, default: 0] += 1
            state.receivingCount += 1
        }
    }

    /// A file came or will not come any more.
    func ended(_ announced: Int, of id: DatasetID) {
        room.withdraw(announced)
        state.withLock { state in
            state.receivingCount -= 1
            let rest = (state.receiving[id] ?? 1) - 1
            state.receiving[id] = rest > 0 ? rest : nil
        }
    }

    /// Stores a file that came whole; whether there was none of its name.
    func store(_ file: DatasetFile, of id: DatasetID) throws(JobError) -> Bool {
        let before = try repository.put(file, of: id, filesMax: limits.filesMax)
        if let before { remove(before) }
        return before == nil
    }

    /// Deletes a file or folder of ours.
    func remove(_ path: String) {
        do { try Folder.removeTree(folder.absolute(path)) } catch {
            report("an uploaded file could not be deleted", "\(error)")
        }
    }

    // MARK: Publishing

    func commit(_ dataset: String) throws(JobError) -> Pending<DatasetRecord, JobError> {
        let record = try repository.dataset(dataset)
        let pending = Pending<DatasetRecord, JobError>()
        if record.isReady {
            pending.finish(.success(record))
            return pending
        }
        let running = try state.withLock {
            (state) throws(JobError) -> Pending<DatasetRecord, JobError>? in
            if let running = state.commits[record.id] { return running }
            guard !state.isStopped else { throw .draining }
            guard state.receiving[record.id] == nil else {
                throw .datasetBusy(record.id, reason: "a file of it is on its way")
            }
            guard !state.deleting.contains(record.id) else {
                throw .datasetBusy(record.id, reason: "it is being deleted")
            }
            state.commits[record.id] = pending
            return nil
        }
        if let running { return running }
        Thread.detachNewThread { [self] in
            let outcome: Result<DatasetRecord, JobError>
            do throws(JobError) { outcome = .success(try publish(record.id)) } catch {
                outcome = .failure(error)
            }
            state.withLock { $0.commits[record.id] = nil }
            pending.finish(outcome)
        }
        return pending
    }

    /// Checks and publishes; from now on until it ends no file comes or goes.
    private func publish(_ id: DatasetID) throws(JobError) -> DatasetRecord {
        let record = try repository.dataset(id.rawValue)
        // Another commit may have ended just before this one began.
        guard !record.isReady else { return record }
        let files = try repository.files(of: id)
        let format: DatasetFormat
        do { format = try UploadRequest(record.details["options"] ?? [:]).format } catch {
            throw .invalid(error.violations)
        }
        let needed = try memoryByteCount(for: files, as: format)
        startChecking(needed)
        defer { endChecking(needed) }
        let source = SourceFiles(files.map { .init(name: $0.name, path: folder.absolute($0.path)) })
        try register(try make(record, from: source, as: format))
        remove(DataFolder.uploads(of: record.id))
        return try repository.dataset(record.id.rawValue)
    }

    private func make(
        _ record: DatasetRecord, from source: SourceFiles, as format: DatasetFormat
    ) throws(JobError) -> DatasetInfo {
        let (id, room) = (record.id.rawValue, room)
        defer { room.release(id) }
        do {
            return try catalogue.add(
                record.name, from: source, as: format, id: id, now: record.createdAt.seconds
            ) { byteCount throws(DataError) in try room.claim(byteCount, for: id) }
        } catch { throw JobError(error) }
    }

    /// What reading the files takes; one that needs more than half of this machine is none for it.
    private func memoryByteCount(
        for files: [DatasetFile], as format: DatasetFormat
    ) throws(JobError) -> Int {
        let needed = format.checkingByteCount(ofFiles: files.map { Int($0.byteCount) })
        guard needed <= limits.memoryByteCount else {
            throw .invalid([
                Violation(
                    pointer: "/files", code: "insufficient_memory",
                    detail: "reading these files needs \(needed) bytes of memory, and there are "
                        + "\(limits.memoryByteCount) for it")
            ])
        }
        return needed
    }

    /// Waits until this commit may be checked beside those that are.
    private func startChecking(_ byteCount: Int) {
        _ = checking.wait { (checking: inout (count: Int, byteCount: Int)) -> Bool? in
            let rest = limits.memoryByteCount - checking.byteCount
            guard checking.count < limits.commitsMax, byteCount <= rest else { return nil }
            checking.count += 1
            checking.byteCount += byteCount
            return true
        }
    }

    private func endChecking(_ byteCount: Int) {
        // Others may need what this one took.
        Heap.trim()
        checking.update { checking in
            checking.count -= 1
            checking.byteCount -= byteCount
        }
    }

    // MARK: Deleting

    func delete(_ dataset: String, mayDeleteReady: Bool) throws(JobError) {
        let record = try repository.dataset(dataset)
        if record.isReady { return try deleteReady(record, mayDeleteReady) }
        try state.withLock { (state) throws(JobError) in
            guard state.commits[record.id] == nil, state.receiving[record.id] == nil else {
                throw .datasetBusy(record.id, reason: "files of it are on their way or being checked")
            }
            guard state.deleting.insert(record.id).inserted else {
                throw .datasetBusy(record.id, reason: "it is being deleted")
            }
        }
        // No file of it begins to come meanwhile.
        defer { state.withLock { _ = $0.deleting.remove(record.id) } }
        _ = try repository.deleteDataset(record.id)
        remove(DataFolder.uploads(of: record.id))
    }

    private func deleteReady(_ record: DatasetRecord, _ mayDeleteReady: Bool) throws(JobError) {
        guard mayDeleteReady else {
            throw .forbidden("Deleting a dataset that is ready needs the scope admin.")
        }
        guard !DatasetCatalogue.isOfSystem(record.id.rawValue) else {
            throw .inUse("\(record.name) belongs to a package of the system, and")
        }
        try burial.delete(record)
        do { try catalogue.removeGrave(of: record.id.rawValue) } catch {
            report("a dataset's files could not be deleted", "\(error)")
        }
    }

    /// Ends the deletions that an earlier process began.
    ///
    /// What keeps one from its end waits for the next start.
    private func finishDeletions() throws {
        for id in try catalogue.buried() {
            do throws(JobError) { _ = try burial.end(id) } catch {
                report("the deletion of the dataset \(id) could not be ended", "\(error)")
            }
        }
    }

    // MARK: Sweeping

    /// Deletes what an earlier process left: files without a row, rows without their file, what was buried.
    func recover() throws {
        try finishDeletions()
        try Folder.make(folder.uploads)
        let open = Set(try repository.openUploads().map(\.dataset.id))
        for name in try Folder.names(in: folder.uploads) {
            let place = folder.uploads + "/\(name)"
            // What was published just before the process ended gets its row at the first look.
            guard let id = DatasetID(name), open.contains(id), !catalogue.has(id.rawValue) else {
                try Folder.removeTree(place)
                continue
            }
            let files = try repository.files(of: id)
            let known = Set(files.map(\.path))
            for file in try Folder.names(in: place) where !known.contains("uploads/\(name)/\(file)") {
                try Folder.removeTree("\(place)/\(file)")
            }
            for file in files {
                let size = Folder.status(of: folder.absolute(file.path))?.byteCount
                if size != Int(file.byteCount) { try repository.removeFile(file.name, of: id) }
            }
        }
    }

    /// Deletes uploads for which nothing came for a long time, now and every ten minutes.
    func startSweeping() {
        Thread.detachNewThread { [self] in
            repeat { sweep() } while !stopping.wait(seconds: Self.sweepSeconds) { $0 }
        }
    }

    /// Deletes uploads for which nothing came for a long time.
    func sweep() {
        do {
            let limit = time.now().seconds - limits.openSeconds
            for (dataset, lastAt) in try repository.openUploads() where lastAt.seconds < limit {
                do throws(JobError) { try delete(dataset.id.rawValue, mayDeleteReady: false) } catch {
                    if case .datasetBusy = error { continue }
                    throw error
                }
            }
        } catch { report("uploads that were left could not be deleted", "\(error)") }
    }

    /// Takes nothing any more.
    func stop() {
        state.withLock { $0.isStopped = true }
        stopping.update { $0 = true }
    }
}

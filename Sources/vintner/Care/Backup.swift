import Data
import Files
import Foundation
import JSON
import Jobs
import Store

/// Why no backup was made.
enum BackupError: Error, Equatable, CustomStringConvertible {
    /// There is something at the target already.
    case targetInUse(String)
    /// The target lies in the folder that is to be saved.
    case targetInside(String)

    var description: String {
        switch self {
        case .targetInUse(let path): "\(path) is there already and is no empty folder; name another target."
        case .targetInside(let path): "\(path) lies in the data folder; name a target outside."
        }
    }
}

/// Copies a data folder into another one, also while a server runs on it.
///
/// The database is copied at one moment. Of the files that it names many are deleted by running jobs soon
/// after; so these are given second names before, and where one is gone all the same the database is copied
/// anew. The target appears whole or not at all.
struct Backup {
    /// A file that could not be copied as the database describes it.
    struct Problem: Hashable {
        let path: String
        let cause: String
    }

    private let source: DataFolder
    private let target: String
    /// What becomes the target.
    private let staging: DataFolder
    private let time: any TimeSource
    private(set) var problems: [Problem] = []
    private(set) var linkedCount = 0
    private(set) var copiedCount = 0
    private(set) var byteCount: Int64 = 0
    private(set) var jobCount = 0
    private(set) var modelCount = 0
    /// Jobs that ran at that moment.
    private(set) var releasedCount = 0
    /// Files in the copy that are as the database describes them.
    private var verified: Set<String> = []

    /// How often the database is copied while files keep vanishing.
    private static let roundsMax = 6

    /// Prepares a backup of `source` at `target`.
    init(of source: DataFolder, to target: String, time: any TimeSource) throws {
        let url = URL(filePath: target).absoluteURL.standardizedFileURL
        let path = url.path(percentEncoded: false)
        let trimmed = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
        (self.source, self.target, self.time) = (source, trimmed, time)
        let home = Self.components(of: URL(filePath: source.path))
        let place = Self.components(of: url.deletingLastPathComponent()) + [url.lastPathComponent]
        guard !place.starts(with: home) else { throw BackupError.targetInside(trimmed) }
        if let status = Folder.status(of: trimmed) {
            guard status.isFolder, try Folder.names(in: trimmed).isEmpty else {
                throw BackupError.targetInUse(trimmed)
            }
        }
        staging = DataFolder(path: try AtomicFile.temporaryPath(for: trimmed))
    }

    private static func components(of url: URL) -> [String] {
        url.absoluteURL.standardizedFileURL.resolvingSymlinksInPath().pathComponents
    }

    /// Makes the backup.
    ///
    /// - Parameter includesFiles: Whether models, checkpoints and datasets are copied too.
    /// - Throws: `StoreError`, `FileError`; then there is nothing at the target.
    mutating func make(includesFiles: Bool) throws {
        // Before anything is made: whether this is a data folder that can be read.
        _ = try SQLiteInspection(path: source.database, newestSchema: Examination.newestSchema)
        do {
            try staging.make()
            if includesFiles { try stageAhead() }
            try copyDatabase(includesFiles)
            if includesFiles { try stageDatasets() }
            for name in DataFolder.secrets where Folder.status(of: source.absolute(name)) != nil {
                _ = try AtomicFile.copy(source.absolute(name), to: staging.absolute(name))
            }
            try settle()
            try synchronize(staging.path)
            try Folder.move(staging.path, to: target)
        } catch {
            try Folder.removeTree(staging.path)
            guard case StoreError.damaged(staging.database, let finding) = error else { throw error }
            throw StoreError.damaged(path: source.database, finding: finding)
        }
    }

    // MARK: The database

    private mutating func copyDatabase(_ includesFiles: Bool) throws {
        for _ in 0..<Self.roundsMax {
            // A look at the last copy left an empty log.
            for name in DataFolder.databaseFiles { try Folder.removeFile(staging.absolute(name)) }
            try SQLiteInspection(path: source.database, newestSchema: Examination.newestSchema)
                .copy(to: staging.database)
            guard includesFiles else { return }
            let copy = try SQLiteInspection(
                path: staging.database, newestSchema: Examination.newestSchema)
            let before = Set(problems)
            problems = []
            for file in try copy.namedFiles() { stage(file) }
            for (id, state) in try copy.states() where state != .succeeded { stageNotes(of: id) }
            // What is missing twice is not being deleted just now: it was lost before.
            if problems.isEmpty || Set(problems) == before { return }
        }
    }

    /// Puts back what ran, and leaves a database without a log.
    private mutating func settle() throws {
        let schema = try measureCopy()
        // The copy keeps its schema: a start brings it up to date, as it would the original.
        let migrations = Array(DataFolder.migrations.prefix(schema))
        let database = try SQLiteDatabase(path: staging.database, migrations: migrations)
        let jobs = SQLiteJobRepository(database)
        releasedCount = try jobs.release(at: time.now()).count
        // Their files are on their way still; whoever sends them begins anew.
        try SQLiteDatasetRepository(database).forgetUploads()
        try staging.clean(keeping: jobs.namedPaths(), notesOf: jobs.resumableJobs())
        try database.close()
        // The log is empty now; readers that closed last have left its files.
        for name in DataFolder.databaseFiles.dropFirst() { try Folder.removeFile(staging.absolute(name)) }
    }

    /// Counts what the copy holds.
    ///
    /// - Returns: Its schema.
    private mutating func measureCopy() throws(StoreError) -> Int {
        let inspection = try SQLiteInspection(
            path: staging.database, newestSchema: Examination.newestSchema)
        jobCount = try inspection.states().count
        modelCount = try inspection.models().count
        return inspection.schema
    }

    // MARK: Files

    /// Gives what jobs wrote a second name before the database is copied; where there are no second names,
    /// copying everything twice would take too long.
    private mutating func stageAhead() throws(FileError) {
        for name in try Folder.names(in: source.jobs) where JobID(name) != nil {
            let place = "jobs/\(name)"
            try Folder.make(staging.absolute(place))
            do throws(FileError) {
                for file in try Folder.names(in: source.absolute(place)) where !AtomicFile.isLeftover(file) {
                    let path = "\(place)/\(file)"
                    try Folder.link(source.absolute(path), as: staging.absolute(path))
                }
            } catch {
                // Tried again when it is known which files are wanted.
                continue
            }
        }
    }

    /// Copies a file and what belongs to it, and compares it with its row.
    private mutating func stage(_ file: NamedFile) {
        guard DataFolder.isOwn(file.path), !verified.contains(file.path) else { return }
        do {
            let folder = file.path.split(separator: "/").prefix(2).joined(separator: "/")
            try Folder.make(staging.absolute(folder))
            var found = try hash(staging.absolute(file.path))
            if found == file.sha256 {
                linkedCount += 1
                byteCount += file.byteCount
            } else {
                try Folder.removeFile(staging.absolute(file.path))
                try share(file.path)
                found = try hash(staging.absolute(file.path))
            }
            if case .model = file.role { try stageRest(of: folder) }
            guard found == file.sha256 else {
                let cause = "its SHA-256 is not the one that was stored"
                return problems.append(Problem(path: file.path, cause: cause))
            }
            verified.insert(file.path)
        } catch {
            let isMissing = (error as? FileError)?.isMissing == true
            problems.append(Problem(path: file.path, cause: isMissing ? "it is not there" : "\(error)"))
        }
    }

    /// A model's description lies beside its weights.
    private mutating func stageRest(of folder: String) throws {
        for name in try Folder.names(in: source.absolute(folder)) where !AtomicFile.isLeftover(name) {
            let path = "\(folder)/\(name)"
            guard Folder.status(of: staging.absolute(path)) == nil else { continue }
            try share(path)
        }
    }

    /// What a job that may go on keeps for itself, best as it was before the database was copied.
    private mutating func stageNotes(of job: JobID) {
        for path in DataFolder.notes(of: job) where Folder.status(of: staging.absolute(path)) == nil {
            guard Folder.status(of: source.absolute(path)) != nil else { continue }
            do {
                try Folder.make(staging.absolute(DataFolder.folder(of: job)))
                try share(path)
            } catch {
                // It went with its job just now, or the job writes it anew.
                continue
            }
        }
    }

    private mutating func stageDatasets() throws(FileError) {
        guard Folder.status(of: source.datasets) != nil else { return }
        let catalogue = DatasetCatalogue(folder: staging.datasets)
        for name in try Folder.names(in: source.datasets) where DatasetID(name) != nil {
            let place = "datasets/\(name)"
            do {
                try Folder.make(staging.absolute(place))
                for file in try Folder.names(in: source.absolute(place)) where !file.hasPrefix(".") {
                    try share("\(place)/\(file)")
                }
                try catalogue.verify(name, readsContent: true)
            } catch {
                // One that was deleted meanwhile is no loss.
                if Folder.status(of: source.absolute(place)) == nil {
                    try Folder.removeTree(staging.absolute(place))
                } else {
                    problems.append(Problem(path: place, cause: "\(error)"))
                }
            }
        }
    }

    private mutating func share(_ path: String) throws(FileError) {
        let isLinked = try AtomicFile.share(source.absolute(path), as: staging.absolute(path))
        if isLinked { linkedCount += 1 } else { copiedCount += 1 }
        byteCount += Int64(Folder.status(of: staging.absolute(path))?.byteCount ?? 0)
    }

    /// nil where there is no file.
    private func hash(_ path: String) throws(FileError) -> String? {
        guard Folder.status(of: path) != nil else { return nil }
        return try SHA256.digest(ofFile: path).hex
    }

    /// Makes the names in a folder, and in those below, survive a power cut.
    private func synchronize(_ path: String) throws(FileError) {
        for name in try Folder.names(in: path)
        where Folder.status(of: "\(path)/\(name)")?.isFolder == true {
            try synchronize("\(path)/\(name)")
        }
        try Folder.synchronize(path)
    }
}

import Data
import Files
import Jobs
import Store

/// Looks a data folder over that no server uses; changes nothing in it.
struct Examination {
    let folder: DataFolder
    /// Whether sums and indexes are left out.
    let isFast: Bool
    var findings: [Finding] = []
    /// What was looked at.
    private(set) var schema = 0
    private(set) var jobCount = 0
    var fileCount = 0
    var byteCount: Int64 = 0

    static var newestSchema: Int { DataFolder.migrations.count }

    init(_ folder: DataFolder, isFast: Bool) { (self.folder, self.isFast) = (folder, isFast) }

    /// Looks everything over.
    ///
    /// - Throws: `StoreError` where the database cannot be opened, is newer than this program or damaged;
    ///   `FileError` where a folder cannot be read.
    mutating func run() throws {
        examinePermissions()
        examineTokens()
        let inspection = try SQLiteInspection(path: folder.database, newestSchema: Self.newestSchema)
        schema = inspection.schema
        try examineDatabase(inspection)
        let states = try inspection.states()
        jobCount = states.count
        examineJobs(states)
        let named = try inspection.namedFiles()
        for file in named { examine(file) }
        try examineTop()
        try examineJobFolders(states, named)
        try examineModelFolders(try inspection.models())
        try examineDatasets(try inspection.datasets())
        try examineUploads(try inspection.uploads())
    }

    mutating func find(
        _ severity: Finding.Severity, _ code: Finding.Code, _ place: String, _ message: String,
        _ remedy: String, _ repair: Finding.Repair? = nil
    ) {
        findings.append(
            Finding(
                severity: severity, code: code, place: place, message: message, remedy: remedy,
                repair: repair))
    }

    /// Who may write into the folder, and who may read what is secret.
    private mutating func examinePermissions() {
        for (place, mode) in folder.exposures {
            let isFolder = Folder.status(of: folder.absolute(place), followingLinks: true)?.isFolder == true
            let isSecret = DataFolder.secrets.contains(place)
            find(
                isSecret ? .error : .warning, .permissions, place,
                isFolder ? "Others may write into the folder." : "Others may read or write it.",
                "chmod \(String(mode, radix: 8)), or --repair."
                    + (isSecret ? " Who saw it may call all the same: give out new tokens." : ""),
                .setPermissions(mode))
        }
    }

    /// Who may call.
    private mutating func examineTokens() {
        if Folder.status(of: folder.token) != nil {
            do throws(FileError) { _ = try folder.readToken() } catch {
                find(
                    .error, .damaged, "token", "\(error)", "delete it: the next start makes a new one.")
            }
        }
        do { try TokenFile(folder).check() } catch {
            find(
                .error, .damaged, "tokens.json", "\(error)",
                "restore it from a backup, or delete it and give out tokens anew.")
        }
    }

    private mutating func examineDatabase(_ inspection: SQLiteInspection) throws(StoreError) {
        let quick = try inspection.damage(isThorough: false)
        if let first = quick.first { throw .damaged(path: folder.database, finding: first) }
        if !isFast {
            for line in try inspection.damage(isThorough: true) {
                find(
                    .error, .damagedIndex, DataFolder.databaseName, "SQLite finds: \(line).",
                    "restore a backup.")
            }
        }
        guard schema == Self.newestSchema else {
            return find(
                .note, .schema, DataFolder.databaseName,
                "It has schema \(schema), this program's is \(Self.newestSchema): its rows are checked once "
                    + "a start has brought it up to date, which leaves a copy.", "")
        }
        for violation in try inspection.violations() {
            let isMendable = violation.invariant == "I5" && violation.detail.hasPrefix("waits for ")
            find(
                .error, .brokenInvariant, violation.subject,
                "It \(violation.detail) (\(violation.invariant)).",
                isMendable
                    ? "--repair counts anew, or cancels what would wait for ever." : "restore a backup.",
                isMendable ? .settleDependencies : nil)
        }
    }

    /// The lock on the folder proves that nobody runs them.
    private mutating func examineJobs(_ states: [JobID: JobState]) {
        for (id, state) in states.sorted(by: { $0.key < $1.key }) where state.isHeld {
            find(
                .warning, .leftRunning, id.rawValue, "It is \(state.rawValue), and nobody runs it.",
                "--repair takes it back, as the next start does.", .takeBack(id))
        }
    }
}

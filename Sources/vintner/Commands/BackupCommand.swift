import ArgumentParser
import Files
import Foundation
import JSON
import Jobs
import Store

/// `vintner backup`.
struct BackupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Copy a data folder, also while a server runs on it.",
        discussion: """
            The copy is a data folder itself: vintner serve --data TARGET goes on from it, and jobs that ran \
            go on from their checkpoints. On the same disk both share the files of models, checkpoints and \
            datasets, which are never written into: they take no further space, and are as safe as the disk. \
            Each is compared with its SHA-256. TARGET holds the token and the data of every job.

            Exit codes: 0 the copy is whole; 1 none was made, or files are missing or damaged that were so \
            before (they are named, and the copy is there); 5 usage.
            """)

    @Argument(help: "Where the copy appears, whole or not at all: nothing, or an empty folder.")
    var target: String
    @OptionGroup var place: FolderOption
    @Flag(help: "Copy the database and the token alone: no models, checkpoints or datasets.")
    var withoutFiles = false
    @Flag(help: "Print what was copied as JSON.")
    var json = false

    func run() throws {
        umask(0o077)
        let time = SystemTime()
        let start = time.monotonicNanoseconds()
        var backup: Backup
        do {
            backup = try Backup(of: place.folder, to: target, time: time)
            try backup.make(includesFiles: !withoutFiles)
        } catch {
            Terminal.complain("vintner: \((error as? JobError)?.cause ?? "\(error)")")
            throw Ending.failed.error
        }
        let seconds = Double(time.monotonicNanoseconds() - start) * 1e-9
        say(backup, seconds: seconds)
        for problem in backup.problems { Terminal.complain("vintner: \(problem.path): \(problem.cause)") }
        guard backup.problems.isEmpty else { throw Ending.failed.error }
    }

    private func say(_ backup: Backup, seconds: Double) {
        let database = Folder.status(of: DataFolder(path: target).database)?.byteCount ?? 0
        if json {
            let report: JSONValue = [
                "object": "backup", "path": .string(target), "includes_files": .bool(!withoutFiles),
                "jobs": JSONValue(backup.jobCount), "jobs_that_ran": JSONValue(backup.releasedCount),
                "models": JSONValue(backup.modelCount), "database_bytes": JSONValue(database),
                "files": JSONValue(backup.linkedCount + backup.copiedCount),
                "files_linked": JSONValue(backup.linkedCount), "file_bytes": .integer(backup.byteCount),
                "seconds": .number(seconds),
                "problems": .array(
                    backup.problems.map { ["path": .string($0.path), "cause": .string($0.cause)] }),
            ]
            return Terminal.say(report.encoded(pretty: true))
        }
        let files = backup.linkedCount + backup.copiedCount
        Terminal.say(
            "\(target): \(backup.jobCount) jobs (\(backup.releasedCount) ran), \(backup.modelCount) models, "
                + "database \(readableBytes(database)), \(files) files of "
                + "\(readableBytes(Int(clamping: backup.byteCount))) (\(backup.linkedCount) shared), "
                + "\(rounded(seconds, digits: 2)) s")
    }
}

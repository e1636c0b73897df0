import ArgumentParser
import Files
import Foundation
import JSON
import Jobs
import Store

/// `vintner doctor`.
struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Check a data folder that no server uses, and mend it if asked.",
        discussion: """
            Checks permissions, the database and what must hold of its rows, every file that it names with \
            its size and SHA-256, and what nobody names. Without --repair nothing is changed. --repair \
            never touches what this program did not make, and sets damaged models aside instead of deleting \
            them.

            Exit codes: 0 healthy, or all is mended; 1 findings are left; 2 the folder cannot be opened: it \
            is in use, or a backup has to be restored; 5 usage.
            """)

    @OptionGroup var place: FolderOption
    @Flag(help: "Mend what can be mended, and say what was done.")
    var repair = false
    @Flag(help: "Leave out what reads every file and index through: look for names and sizes alone.")
    var fast = false
    @Flag(help: "Print what was found as JSON.")
    var json = false

    /// What it exits with besides success.
    private enum Diagnosis: Int32 {
        case findingsLeft = 1
        case unopenable = 2

        var error: ExitCode { ExitCode(rawValue) }
    }

    func run() throws {
        umask(0o077)
        let folder = place.folder
        guard Folder.status(of: folder.database) != nil else {
            throw refuse("\(data) has no \(DataFolder.databaseName): it is no data folder, or lost it.")
        }
        let lock: FolderLock
        do { lock = try FolderLock(folder: data) } catch {
            if case .locked = error {
                throw refuse("\(data) is in use: stop the server that runs on it first.", mayRestore: false)
            }
            throw refuse("\(error)", mayRestore: false)
        }
        defer { withExtendedLifetime(lock) {} }
        var examination = Examination(folder, isFast: fast)
        do {
            try examination.run()
            if repair, examination.findings.contains(where: { $0.repair != nil }) {
                try Treatment(folder, time: SystemTime()).apply(to: &examination.findings)
            }
        } catch {
            let isNewer = if case StoreError.newerSchema = error { true } else { false }
            throw refuse((error as? JobError)?.cause ?? "\(error)", mayRestore: !isNewer)
        }
        say(examination)
        guard !examination.findings.contains(where: \.isOpen) else { throw Diagnosis.findingsLeft.error }
    }

    private var data: String { place.data }

    private func refuse(_ message: String, mayRestore: Bool = true) -> ExitCode {
        Terminal.complain("vintner: \(message)")
        if mayRestore {
            Terminal.complain(
                "vintner: to restore a backup, move \(data) away and put a copy of the backup in its place.")
        }
        return Diagnosis.unopenable.error
    }

    private func say(_ examination: Examination) {
        let findings = examination.findings
        let open = findings.count(where: \.isOpen)
        if json {
            let report: JSONValue = [
                "object": "examination", "path": .string(data), "schema": JSONValue(examination.schema),
                "is_fast": .bool(fast), "jobs": JSONValue(examination.jobCount),
                "files": JSONValue(examination.fileCount), "file_bytes": .integer(examination.byteCount),
                "is_healthy": .bool(open == 0), "findings": .array(findings.map(\.json)),
            ]
            return Terminal.say(report.encoded(pretty: true))
        }
        for finding in findings { Terminal.say(finding.line) }
        let looked =
            "\(examination.jobCount) jobs, \(examination.fileCount) files of "
            + readableBytes(Int(clamping: examination.byteCount))
        let mended = findings.count { if case .mended = $0.outcome { true } else { false } }
        Terminal.say(
            open == 0
                ? "\(data): healthy; \(looked)\(mended > 0 ? "; \(mended) mended" : "")."
                : "\(data): \(open) findings left, \(mended) mended; \(looked).")
    }
}

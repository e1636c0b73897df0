import Data
import Files
import Foundation
import JSON
import Jobs
import Store
import Testing

@testable import vintner

@Suite("The doctor") struct DoctorTests {
    /// A way to harm a data folder, and what should be said of it.
    struct Fault: CustomTestStringConvertible {
        let name: String
        let code: Finding.Code
        let severity: Finding.Severity
        let place: @Sendable (Patient) -> String
        let harm: @Sendable (Patient) throws -> Void
        var testDescription: String { name }
    }

    static let faults: [Fault] = [
        Fault(name: "a model's file is gone", code: .missing, severity: .error, place: { $0.weights }) {
            try Folder.removeFile($0.folder.absolute($0.weights))
        },
        Fault(name: "a byte of a model flipped", code: .damaged, severity: .error, place: { $0.weights }) {
            try $0.write("weighty", to: $0.weights)
        },
        Fault(name: "a checkpoint is cut", code: .damaged, severity: .error, place: { $0.checkpoint }) {
            try $0.write("check", to: $0.checkpoint)
        },
        Fault(name: "a checkpoint is gone", code: .missing, severity: .error, place: { $0.checkpoint }) {
            try Folder.removeFile($0.folder.absolute($0.checkpoint))
        },
        Fault(
            name: "a job's folder is left", code: .orphan, severity: .warning,
            place: { _ in "jobs/job_01arz3ndektsv4rrffq69g5fav" }
        ) { try $0.write("x", to: "jobs/job_01arz3ndektsv4rrffq69g5fav/last-1.1.safetensors") },
        Fault(
            name: "a checkpoint without a row", code: .orphan, severity: .warning,
            place: { "\(DataFolder.folder(of: $0.under))/last-5.1.safetensors" }
        ) { try $0.write("x", to: "\(DataFolder.folder(of: $0.under))/last-5.1.safetensors") },
        Fault(
            name: "a note of a job that succeeded", code: .orphan, severity: .warning,
            place: { DataFolder.ledger(of: $0.done) }
        ) { try $0.write("{}", to: DataFolder.ledger(of: $0.done)) },
        Fault(
            name: "a model without a row", code: .orphan, severity: .warning,
            place: { _ in "models/mdl_01arz3ndektsv4rrffq69g5fav" }
        ) { try $0.write("x", to: "models/mdl_01arz3ndektsv4rrffq69g5fav/model.safetensors") },
        Fault(
            name: "a file that was not finished", code: .leftover, severity: .warning,
            place: { "\(DataFolder.folder(of: $0.model))/.model.safetensors.00.tmp" }
        ) { try $0.write("x", to: "\(DataFolder.folder(of: $0.model))/.model.safetensors.00.tmp") },
        Fault(
            name: "an import that was not finished", code: .leftover, severity: .warning,
            place: { _ in "datasets/.import-dst_x" }
        ) { try $0.write("x", to: "datasets/.import-dst_x/train.txt") },
        Fault(
            name: "a dataset whose deletion was interrupted", code: .leftover, severity: .warning,
            place: { "datasets/.deleted-\($0.dataset)" }
        ) { try DatasetCatalogue(folder: $0.folder.datasets).bury($0.dataset.rawValue) },
        Fault(name: "a token that others read", code: .permissions, severity: .error, place: { _ in "token" })
        { try Folder.setPermissions(of: $0.folder.token, to: 0o644) },
        Fault(
            name: "a database that others read", code: .permissions, severity: .warning,
            place: { _ in "vintner.sqlite" }
        ) { try Folder.setPermissions(of: $0.folder.database, to: 0o640) },
        Fault(name: "a folder that others write", code: .permissions, severity: .warning, place: { _ in "." })
        { try Folder.setPermissions(of: $0.folder.path, to: 0o777) },
        Fault(
            name: "a dataset's files are gone", code: .missing, severity: .error,
            place: { "datasets/\($0.dataset)" }
        ) { try Folder.removeTree($0.folder.absolute("datasets/\($0.dataset)")) },
    ]

    @Test("finds nothing wrong with a folder as the service leaves it")
    func healthy() throws {
        let patient = try Patient()
        #expect(try patient.findings().map(\.line) == [])
        var examination = Examination(patient.folder, isFast: false)
        try examination.run()
        // Two checkpoints, the weights, the adapters and the dataset.
        #expect(examination.fileCount == 5 && examination.jobCount == 2)
    }

    @Test("finds one fault and nothing else, and mends it", arguments: faults)
    func mends(fault: Fault) throws {
        let patient = try Patient()
        try fault.harm(patient)
        let found = try patient.findings()
        #expect(found.map(\.code) == [fault.code], "\(found.map(\.line))")
        #expect(found.map(\.severity) == [fault.severity])
        #expect(found.map(\.place) == [fault.place(patient)])
        #expect(try patient.findings().map(\.line) == found.map(\.line), "looking changes nothing")
        let treated = try patient.treat().filter { $0.severity != .note }
        #expect(treated.count == 1 && treated.allSatisfy { !$0.isOpen }, "\(treated.map(\.line))")
        #expect(try patient.findings().map(\.line) == [])
    }

    @Test("sets a damaged model aside, keeps its job's report and forgets the model")
    func damagedModel() throws {
        let patient = try Patient()
        try patient.write("weighty", to: patient.weights)
        #expect(try patient.findings(isFast: true).isEmpty, "the size is right: only the sum tells")
        #expect(
            try patient.treat().map(\.outcome) == [
                .mended("the model is forgotten; what was left of it is in damaged/\(patient.model).")
            ])
        let rest = patient.folder.absolute("\(DataFolder.damaged(patient.model))/model.safetensors")
        #expect(try readFile(rest, limit: 99) == Array("weighty".utf8))
        try patient.withDatabase { database in
            #expect(throws: JobError.modelNotFound(patient.model)) {
                try SQLiteModelRepository(database).model(patient.model)
            }
            let job = try SQLiteJobRepository(database).job(patient.done)
            #expect(job.state == .succeeded && job.result?.report == ["kept": true])
        }
    }

    @Test("lets a job go on from the checkpoint before a damaged one")
    func damagedCheckpoint() throws {
        let patient = try Patient()
        try patient.write("check", to: patient.checkpoint)
        _ = try patient.treat()
        try patient.withDatabase { database in
            let left = try SQLiteJobRepository(database).checkpoints(of: patient.under)
            #expect(left.map(\.step) == [10])
        }
        #expect(!patient.exists(patient.checkpoint))
    }

    @Test("takes back a job that was left running, as a start does")
    func leftRunning() throws {
        let patient = try Patient(wasKilled: true)
        let found = try patient.findings()
        #expect(found.map(\.code) == [.leftRunning] && found.map(\.place) == [patient.under.rawValue])
        #expect(try patient.treat().map(\.outcome) == [.mended("it is queued now.")])
        try patient.withDatabase { database in
            let job = try SQLiteJobRepository(database).job(patient.under)
            #expect(job.state == .queued && job.reason?.code == "worker_lost" && job.crashes == 1)
        }
        #expect(try patient.findings().isEmpty)
    }

    @Test("leaves alone what it did not make, and says so")
    func unfamiliar() throws {
        let patient = try Patient()
        let strange = ["notes.txt", "models/mine/weights.bin", "jobs/README", "datasets/raw/a.csv"]
        for path in strange { try patient.write("mine", to: path) }
        let treated = try patient.treat()
        #expect(Set(treated.map(\.place)) == ["notes.txt", "models/mine", "jobs/README", "datasets/raw"])
        #expect(treated.allSatisfy { $0.code == .unfamiliar && $0.severity == .note && !$0.isOpen })
        for path in strange { #expect(patient.exists(path)) }
    }

    @Test("leaves what only a backup can mend")
    func unmendable() throws {
        let patient = try Patient()
        try Folder.removeFile(patient.folder.absolute(DataFolder.adapters(of: patient.model)))
        try patient.write("Something else.\n", to: "datasets/\(patient.dataset)/train.txt")
        let treated = try patient.treat()
        #expect(treated.map(\.code) == [.missing, .damaged])
        #expect(treated.allSatisfy { $0.isOpen && $0.outcome == .left && $0.remedy.contains("backup") })
    }

    @Test("refuses a database that is newer, damaged or not there")
    func refuses() throws {
        let patient = try Patient()
        let bytes = try readFile(patient.folder.database, limit: 1 << 24)
        // The schema's number is a big-endian word at byte 60 of the file (SQLite's file format, 1.3).
        var newer = bytes
        newer[62] = 1
        try AtomicFile.write(newer, to: patient.folder.database)
        let found = 256 + Examination.newestSchema
        let expected = StoreError.newerSchema(
            path: patient.folder.database, found: found, newest: Examination.newestSchema)
        #expect(throws: expected) { try patient.findings() }
        var damaged = bytes
        for index in 4096..<bytes.count where index % 4096 < 64 { damaged[index] = 0xA5 }
        try AtomicFile.write(damaged, to: patient.folder.database)
        let error = #expect(throws: StoreError.self) { try patient.findings() }
        #expect(error?.description.hasSuffix("restore a backup.") == true)
        try Folder.removeFile(patient.folder.database)
        #expect(throws: StoreError.self) { try patient.findings() }
    }

    @Test(
        "follows no stored path out of the folder",
        arguments: [
            "../../etc/passwd", "/etc/passwd", "jobs/../token", "token", "models/x/y", "jobs/a/b/c", "",
            "models/mdl_01arz3ndektsv4rrffq69g5fav/..", "models/mdl_01arz3ndektsv4rrffq69g5fav/",
        ])
    func foreignPaths(path: String) {
        #expect(!DataFolder.isOwn(path))
    }

    @Test("knows the folder's own paths")
    func ownPaths() {
        #expect(DataFolder.isOwn("models/mdl_01arz3ndektsv4rrffq69g5fav/model.safetensors"))
        #expect(DataFolder.isOwn("jobs/job_01arz3ndektsv4rrffq69g5fav/last-1.1.safetensors"))
    }
}

import Files
import Foundation
import Jobs
import Store
import Testing

@testable import vintner

@Suite("A backup") struct BackupTests {
    private func backUp(_ patient: Patient, to name: String = "copy", includesFiles: Bool = true) throws
        -> (made: Backup, folder: DataFolder)
    {
        let target = "\(patient.home)/\(name)"
        var backup = try Backup(of: patient.folder, to: target, time: StoppedTime())
        try backup.make(includesFiles: includesFiles)
        return (backup, DataFolder(path: target))
    }

    private func findings(in folder: DataFolder) throws -> [Finding] {
        var examination = Examination(folder, isFast: false)
        try examination.run()
        return examination.findings
    }

    @Test("of a folder in use is healthy, and what ran waits in it, charged with nothing")
    func whole() throws {
        let patient = try Patient(wasKilled: true)
        let database = try SQLiteDatabase(
            path: patient.folder.database, migrations: DataFolder.migrations)
        let (made, copy) = try backUp(patient)
        #expect(made.problems == [])
        #expect((made.jobCount, made.modelCount, made.releasedCount) == (2, 1, 1))
        // The weights with their description and adapters, two checkpoints, the dataset and its description.
        #expect(made.linkedCount + made.copiedCount == 7)
        let names = try Folder.names(in: copy.path).filter { $0.hasPrefix("vintner.sqlite") }
        #expect(names == ["vintner.sqlite"], "without a log, one file is the database")
        try Folder.setPermissions(of: copy.database, to: 0o600)
        #expect(try findings(in: copy).map(\.line) == [])
        #expect(try readFile(copy.token, limit: 99) == readFile(patient.folder.token, limit: 99))
        let restored = try SQLiteDatabase(path: copy.database, migrations: DataFolder.migrations)
        let job = try SQLiteJobRepository(restored).job(patient.under)
        #expect(job.state == .queued && job.reason?.code == "restored" && job.crashes == 0)
        #expect(try SQLiteJobRepository(database).job(patient.under).state == .running)
        let kept = try SQLiteJobRepository(restored).job(patient.done)
        #expect(try SQLiteJobRepository(database).job(patient.done) == kept)
        try restored.close()
        try database.close()
        #expect(try Folder.names(in: patient.home).filter { $0.hasPrefix(".") } == [], "nothing is left over")
    }

    @Test("keeps its models when the folder loses them")
    func independent() throws {
        let patient = try Patient()
        let (_, copy) = try backUp(patient)
        try patient.write("later weights", to: patient.weights)
        try Folder.removeTree(patient.folder.path)
        #expect(try readFile(copy.absolute(patient.weights), limit: 99) == Array("weights".utf8))
    }

    @Test("says which files were lost or damaged before, and holds everything else")
    func problems() throws {
        let patient = try Patient()
        try patient.write("weighty", to: patient.weights)
        try Folder.removeFile(patient.folder.absolute(patient.checkpoint))
        let (made, copy) = try backUp(patient)
        #expect(Set(made.problems.map(\.path)) == [patient.weights, patient.checkpoint])
        #expect(
            Set(made.problems.map(\.cause)) == [
                "it is not there", "its SHA-256 is not the one that was stored",
            ])
        try Folder.setPermissions(of: copy.database, to: 0o600)
        #expect(try Set(findings(in: copy).map(\.code)) == [.missing, .damaged])
    }

    @Test("leaves out what no row names, and what was not finished")
    func orphans() throws {
        let patient = try Patient()
        let folder = DataFolder.folder(of: patient.under)
        for path in [
            "\(folder)/last-5.1.safetensors", "\(folder)/.last-30.tmp",
            "models/mdl_01arz3ndektsv4rrffq69g5fav/model.safetensors", "notes.txt",
        ] {
            try patient.write("x", to: path)
        }
        // What a job keeps for itself is named by no row either, but it goes on from it.
        try patient.write("{}", to: DataFolder.ledger(of: patient.under))
        let (_, copy) = try backUp(patient)
        #expect(
            try Folder.names(in: copy.absolute(folder)) == [
                "last-10.1.safetensors", "last-20.1.safetensors", "trainings.json",
            ])
        #expect(try Folder.names(in: copy.models) == [patient.model.rawValue])
        #expect(try Folder.names(in: copy.path).contains("notes.txt") == false)
    }

    @Test("without files is the database and the token")
    func withoutFiles() throws {
        let patient = try Patient()
        let (made, copy) = try backUp(patient, includesFiles: false)
        #expect(made.problems == [] && made.linkedCount + made.copiedCount == 0 && made.jobCount == 2)
        for folder in [copy.jobs, copy.models, copy.datasets] { #expect(try Folder.names(in: folder) == []) }
        #expect(Folder.status(of: copy.token)?.isRegularFile == true)
    }

    @Test("appears at nothing or an empty folder, outside of what it saves")
    func targets() throws {
        let patient = try Patient()
        try Folder.make("\(patient.home)/empty")
        _ = try backUp(patient, to: "empty/")
        #expect(throws: BackupError.targetInUse("\(patient.home)/empty")) { try backUp(patient, to: "empty") }
        try AtomicFile.write("x", to: "\(patient.home)/file")
        #expect(throws: BackupError.targetInUse("\(patient.home)/file")) { try backUp(patient, to: "file") }
        for inside in ["data", "data/copy", "other/../data/models/copy"] {
            #expect(throws: BackupError.self) { try backUp(patient, to: inside) }
        }
        _ = try backUp(patient, to: "data2")
    }

    @Test("that cannot be made leaves nothing")
    func nothing() throws {
        let patient = try Patient()
        let bytes = try readFile(patient.folder.database, limit: 1 << 24)
        var damaged = bytes
        for index in 4096..<bytes.count where index % 4096 < 64 { damaged[index] = 0xA5 }
        try AtomicFile.write(damaged, to: patient.folder.database)
        let error = #expect(throws: StoreError.self) { try backUp(patient) }
        #expect(error?.description.contains(patient.folder.database) == true)
        try Folder.removeFile(patient.folder.database)
        #expect(throws: StoreError.self) { try backUp(patient) }
        #expect(try Folder.names(in: patient.home) == ["data"])
    }
}

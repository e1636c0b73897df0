import Data
import Files
import JSON
import Jobs
import Store
import Testing

@testable import vintner

@Suite("What jobs keep for themselves") struct NotesTests {
    /// The parts of a runner that clear up, over a patient's folder.
    private func runner(_ patient: Patient, _ database: SQLiteDatabase) -> JobRunner {
        let time = StoppedTime()
        return JobRunner(
            catalogue: DatasetCatalogue(folder: patient.folder.datasets),
            models: SQLiteModelRepository(database), jobs: SQLiteJobRepository(database),
            folder: patient.folder, cores: 1, identifiers: database.identifiers, time: time,
            limits: MachineLimits(time: time), report: { Issue.record("\($0): \($1)") })
    }

    private func claim(_ patient: Patient, _ database: SQLiteDatabase) throws -> ClaimedJob {
        let job = try SQLiteJobRepository(database).job(patient.under)
        return ClaimedJob(
            job: job, lease: Lease(jobID: job.id, fence: 1),
            checkpoints: try SQLiteJobRepository(database).checkpoints(of: job.id))
    }

    private func notes(_ patient: Patient) -> [Bool] {
        DataFolder.notes(of: patient.under).map(patient.exists)
    }

    private static let cancelled: @Sendable (ModelRecord) -> JobOutcome = { _ in .cancelled }
    private static let succeeded: @Sendable (ModelRecord) -> JobOutcome = {
        .succeeded(JobResult(models: [$0], report: .null))
    }
    private static let failed: @Sendable (ModelRecord) -> JobOutcome = { _ in
        .failed(JobFailure(code: "gate_failed", message: "It lost too much."))
    }

    /// An outcome and its end; whether the teachers' cache, the other notes and the model's folder stay.
    struct Case: Sendable {
        let outcome: @Sendable (ModelRecord) -> JobOutcome
        let end: AttemptEnd
        let stays: [Bool]
    }

    static let cases: [Case] = [
        Case(outcome: succeeded, end: .stored(.succeeded), stays: [false, false, true]),
        Case(outcome: succeeded, end: .stored(.cancelled), stays: [false, true, false]),
        Case(outcome: succeeded, end: .stored(.failed), stays: [false, true, false]),
        Case(outcome: succeeded, end: .void, stays: [true, true, false]),
        Case(outcome: succeeded, end: .unknown, stays: [true, true, true]),
        Case(outcome: cancelled, end: .stored(.cancelled), stays: [false, true, true]),
        Case(outcome: cancelled, end: .void, stays: [true, true, true]),
        Case(outcome: cancelled, end: .unknown, stays: [true, true, true]),
        Case(outcome: failed, end: .stored(.failed), stays: [false, true, true]),
        Case(outcome: failed, end: .stored(.queued), stays: [true, true, true]),
    ]

    @Test("go when the job has succeeded, and a model where surely none came of it", arguments: cases)
    func settles(one: Case) throws {
        let patient = try Patient()
        for path in DataFolder.notes(of: patient.under) { try patient.write("x", to: path) }
        try patient.withDatabase { database in
            let model = try SQLiteModelRepository(database).model(patient.model)
            runner(patient, database).settle(try claim(patient, database), one.outcome(model), one.end)
        }
        #expect(notes(patient) == [one.stays[0], one.stays[1], one.stays[1]])
        #expect(patient.exists(DataFolder.folder(of: patient.model)) == one.stays[2])
        #expect(patient.exists(patient.checkpoint))
    }

    @Test("are forgotten by an attempt that has no checkpoint to go on from, and by no other")
    func forgets() throws {
        let patient = try Patient()
        for path in DataFolder.notes(of: patient.under) { try patient.write("x", to: path) }
        try patient.withDatabase { database in
            let claim = try claim(patient, database)
            try runner(patient, database).forgetNotes(of: claim)
            #expect(notes(patient) == [true, true, true])
            let fresh = ClaimedJob(job: claim.job, lease: claim.lease, checkpoints: [])
            try runner(patient, database).forgetNotes(of: fresh)
            #expect(notes(patient) == [false, false, false])
        }
    }

    @Test("of a cancelled job stay with its checkpoints, which neither a start nor the doctor minds")
    func cancelled() throws {
        let patient = try Patient()
        for path in DataFolder.notes(of: patient.under) { try patient.write("x", to: path) }
        for path in DataFolder.notes(of: patient.done) { try patient.write("x", to: path) }
        try patient.withDatabase { database in
            let reason = JobReason(code: "c", message: "m")
            _ = try SQLiteJobRepository(database).cancel(patient.under, reason: reason, at: StoppedTime.start)
        }
        #expect(try Set(patient.findings().map(\.place)) == Set(DataFolder.notes(of: patient.done)))
        try patient.withDatabase { database in
            let jobs = SQLiteJobRepository(database)
            try patient.folder.clean(keeping: jobs.namedPaths(), notesOf: jobs.resumableJobs())
        }
        #expect(notes(patient) == [false, true, true], "teachers are asked again")
        #expect(DataFolder.notes(of: patient.done).allSatisfy { !patient.exists($0) })
        #expect(patient.exists(patient.checkpoint) && patient.exists(patient.weights))
        #expect(try patient.findings().map(\.line) == [])
    }

    @Test("are part of a backup, whether the job is over or not")
    func backup() throws {
        let patient = try Patient()
        try patient.write("{}", to: DataFolder.ledger(of: patient.under))
        try patient.withDatabase { database in
            let reason = JobReason(code: "c", message: "m")
            _ = try SQLiteJobRepository(database).cancel(patient.under, reason: reason, at: StoppedTime.start)
        }
        var backup = try Backup(of: patient.folder, to: "\(patient.home)/copy", time: StoppedTime())
        try backup.make(includesFiles: true)
        let copy = DataFolder(path: "\(patient.home)/copy")
        #expect(Folder.status(of: copy.absolute(DataFolder.ledger(of: patient.under))) != nil)
    }
}

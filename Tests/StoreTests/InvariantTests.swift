import GRDB
import JSON
import Jobs
import Testing

@testable import Store

/// Three jobs: one that succeeded, one that needs it, and one that needs that.
private struct Chain {
    let store: TemporaryStore
    let first: JobID, second: JobID, third: JobID

    init() throws {
        store = try TemporaryStore()
        first = try store.submit().id
        let lease = try #require(try store.claim()).lease
        var report = RunReport()
        report.points = [MetricPoint(series: "train_loss", step: 1, value: 1, at: .start)]
        #expect(try store.jobs.record(report, for: lease, at: .start))
        _ = try store.jobs.checkpoint(.sample(step: 1, path: "c/1"), for: lease, at: .start)
        let result = JobResult(models: [.sample(store, job: first)], report: .null)
        _ = try store.jobs.finish(lease, .succeeded(result), at: .start)
        second = try store.submit(.sample(dependencies: [first])).id
        third = try store.submit(.sample(dependencies: [second])).id
    }

    /// What does not hold after statements that no code of ours would run.
    func violations(after statements: String...) throws -> [Invariant.Violation] {
        try store.database.close()
        var configuration = Configuration()
        configuration.foreignKeysEnabled = false
        let queue = try DatabaseQueue(path: store.path, configuration: configuration)
        for statement in statements {
            try queue.write { db in
                try db.execute(sql: statement)
                #expect(!statement.hasPrefix("UPDATE") || db.changesCount > 0, "\(statement)")
            }
        }
        try queue.close()
        return try violations()
    }

    func violations() throws -> [Invariant.Violation] {
        try SQLiteInspection(path: store.path, newestSchema: .max).violations()
    }
}

@Suite("What must hold of the rows") struct InvariantTests {
    @Test("holds of a database that only we wrote")
    func holds() throws {
        let chain = try Chain()
        #expect(try chain.violations() == [])
        // And everything is asked of it.
        #expect(Set(Invariant.all.map(\.name)) == ["I2", "I3", "I4", "I5", "I7", "I8", "JSON"])
    }

    @Test("keys name jobs that exist (I2)")
    func keys() throws {
        let found = try Chain().violations(
            after: """
                INSERT INTO idempotency(principal, key, body_sha256, job_id, created_at)
                VALUES ('owner', 'k', '\(String(repeating: "0", count: 64))', 'job_gone', 1)
                """)
        #expect(found.map(\.invariant) == ["I2"])
        #expect(found.first?.detail == "names job_gone, which does not exist")
    }

    @Test("transitions are legal, without gaps, and lead to the state that events tell of (I3)")
    func transitions() throws {
        let illegal = try Chain()
        let found = try illegal.violations(
            after: """
                UPDATE job_transition SET state = 'paused' WHERE job_id = '\(illegal.first)' AND position = 1
                """)
        #expect(
            found == [
                Invariant.Violation(
                    invariant: "I3", subject: illegal.first.rawValue,
                    detail: "goes from paused to succeeded in transition 2")
            ])
        let lost = try Chain()
        #expect(
            try lost.violations(
                after: "DELETE FROM job_transition WHERE job_id = '\(lost.first)' AND position = 2"
            ).map(\.detail) == ["is succeeded, its last transition says running"])
        let gap = try Chain()
        #expect(
            try gap.violations(
                after:
                    "UPDATE job_transition SET position = 5 WHERE job_id = '\(gap.first)' AND position = 2"
            ).map(\.detail) == ["goes from running to succeeded in transition 5"])
        let told = try Chain()
        #expect(
            try told.violations(
                after: """
                    UPDATE event SET data = '{"state": "failed"}'
                    WHERE job_id = '\(told.first)' AND data LIKE '%succeeded%'
                    """
            ).map(\.detail) == ["is succeeded, its last event says failed"])
    }

    @Test("nobody writes under an older claim after a newer one (I4)")
    func fences() throws {
        let older = try Chain()
        let found = try older.violations(
            after: """
                UPDATE event SET fence = 0 WHERE id = (SELECT max(id) FROM event
                    WHERE job_id = '\(older.first)')
                """)
        #expect(found.map(\.invariant) == ["I4"])
        #expect(found.first?.detail.hasSuffix("of claim 0 after one of claim 1") == true)
        let unclaimed = try Chain()
        #expect(
            try unclaimed.violations(after: "UPDATE checkpoint SET fence = 9").map(\.detail)
                == ["has a checkpoint of claim 9 and was claimed 1 times"])
    }

    @Test("no job starts before what it needs, or waits for ever, and a repair sees to it (I5)")
    func dependencies() throws {
        let ran = try Chain()
        #expect(
            try ran.violations(
                after: """
                    INSERT INTO job_dependency(job_id, dependency_id) VALUES ('\(ran.first)', '\(ran.third)')
                    """
            ).map(\.detail) == ["ran although \(ran.third) is queued"])

        let counted = try Chain()
        #expect(
            try counted.violations(
                after: "UPDATE job SET unfinished_dependencies = 3 WHERE id = '\(counted.second)'"
            ).map(\.detail) == ["waits for 3 jobs, and 0 have not ended"])
        try counted.store.reopen()
        try counted.store.jobs.settleDependencies(at: .start)
        #expect(try counted.violations() == [])

        let blocked = try Chain()
        let found = try blocked.violations(
            after: """
                UPDATE job SET state = 'cancelled', finished_at = 1 WHERE id = '\(blocked.second)'
                """,
            """
            INSERT INTO job_transition(job_id, position, state, at)
            VALUES ('\(blocked.second)', 1, 'cancelled', 1)
            """, "DELETE FROM event WHERE job_id = '\(blocked.second)'")
        #expect(found.map(\.detail) == ["waits for \(blocked.second), which is cancelled"])
        try blocked.store.reopen()
        try blocked.store.jobs.settleDependencies(at: .start)
        #expect(try blocked.store.jobs.job(blocked.third).state == .cancelled)
        #expect(try blocked.store.jobs.job(blocked.third).reason?.code == "dependency_failed")
        #expect(try blocked.violations() == [])
    }

    @Test("a curve has one value at a step (I7)")
    func steps() throws {
        let chain = try Chain()
        let found = try chain.violations(
            after: "CREATE TABLE kept AS SELECT * FROM point", "DROP TABLE point",
            "CREATE TABLE point AS SELECT * FROM kept UNION ALL SELECT * FROM kept")
        #expect(found.map(\.detail) == ["has step 1 of train_loss twice"])
    }

    @Test("rows belong to something that exists, or are being cleared away (I8)")
    func owners() throws {
        let nobody = "job_00000000000000000000000001"
        let chain = try Chain()
        let found = try chain.violations(after: "UPDATE series SET job_id = '\(nobody)'")
        #expect(found.map(\.subject) == [nobody])
        #expect(found.map(\.detail) == ["does not exist, and has a row of series"])
        #expect(try chain.violations(after: "INSERT INTO discarded(id) VALUES ('\(nobody)')") == [])
    }

    @Test("stored documents can be read")
    func documents() throws {
        let found = try Chain().violations(after: "UPDATE model SET metrics = '{'")
        #expect(found.map(\.detail) == ["has a metrics that is no JSON"])
    }
}

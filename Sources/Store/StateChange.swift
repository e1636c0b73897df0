import FailPoints
import GRDB
import JSON
import Jobs
import Synchronization

/// A job on its way to another state: the one place where a stored state changes.
struct StateChange {
    let id: JobID
    let from: JobState
    let to: JobState
    let reason: JobReason?
    let at: Timestamp
    /// Further columns that change with the state.
    var columns: [(name: StaticString, value: (any DatabaseValueConvertible)?)] = []

    /// Writes the state, a transition, an event and what webhooks are told.
    func apply(_ db: Database, _ database: SQLiteDatabase) throws {
        precondition(from.successors.contains(to), "a job cannot go from \(from.rawValue) to \(to.rawValue)")
        var assignments = [
            "state = ?", "reason_code = ?", "reason_message = ?", "version = version + 1",
            "finished_at = max(?, (SELECT max(at) FROM job_transition WHERE job_id = job.id))",
        ]
        var arguments: [(any DatabaseValueConvertible)?] = [
            to.rawValue, reason?.code, reason?.message, to.isTerminal ? at.milliseconds : nil,
        ]
        if !to.isHeld { assignments.append("lease_until = NULL, boot_id = NULL, worker = NULL") }
        if to != .failed { assignments.append("error = NULL") }
        if to != .succeeded { assignments.append("report = NULL") }
        for column in columns {
            assignments.append("\(column.name) = ?")
            arguments.append(column.value)
        }
        arguments += [id.rawValue, from.rawValue]
        try db.execute(
            sql: "UPDATE job SET \(assignments.joined(separator: ", ")) WHERE id = ? AND state = ?",
            arguments: StatementArguments(arguments))
        guard db.changesCount == 1 else {
            throw JobError.storeUnavailable(
                cause: "\(id) was not \(from.rawValue) within its own transaction")
        }
        try Self.append(db, database, id, to, reason, at)
    }

    /// Records that a job entered `state`; where the clock was set back, at the time of the state before.
    static func append(
        _ db: Database, _ database: SQLiteDatabase, _ id: JobID, _ state: JobState, _ reason: JobReason?,
        _ at: Timestamp
    ) throws {
        // Who is paused waits, too, and may have run before.
        if state == .queued || state == .paused { database.tally.withLock { $0.join() } }
        try db.cachedStatement(
            sql: """
                INSERT INTO job_transition(job_id, position, state, at, reason_code, reason_message)
                SELECT ?1, coalesce(max(position) + 1, 0), ?2, max(?3, coalesce(max(at), ?3)), ?4, ?5
                FROM job_transition WHERE job_id = ?1
                """
        ).execute(arguments: [id.rawValue, state.rawValue, at.milliseconds, reason?.code, reason?.message])
        var data: JSONObject = ["state": .string(state.rawValue)]
        if let reason { data["reason"] = ["code": .string(reason.code), "message": .string(reason.message)] }
        let message =
            reason.map { "The job is \(state.rawValue): \($0.message)" } ?? "The job is \(state.rawValue)."
        let draft = EventDraft(
            at: at, level: state == .failed ? .error : .info, type: "state", message: message,
            data: .object(data))
        try EventRows.append(db, database.identifiers, id, draft)
        try WebhookOutbox.add(db, database, id, at)
    }
}

/// Writing events.
enum EventRows {
    /// Adds an event under the job's present fence.
    static func append(
        _ db: Database, _ identifiers: IdentifierGenerator, _ job: JobID, _ event: EventDraft
    ) throws {
        // Made inside the writer's transaction: identifiers become visible in the order they are made.
        let id: EventID = identifiers.next(at: event.at)
        try db.cachedStatement(
            sql: """
                INSERT INTO event(job_id, id, at, fence, level, type, message, data)
                VALUES (?1, ?2, ?3, (SELECT fence FROM job WHERE id = ?1), ?4, ?5, ?6, ?7)
                """
        ).execute(arguments: [
            job.rawValue, id.rawValue, event.at.milliseconds, event.level.rawValue,
            String(event.type.prefix(64)), event.message, event.data.encoded(),
        ])
        FailPoint.eventAppend.pass()
    }
}

import GRDB
import Jobs

/// The SQL of a list of jobs; asks for one job more than the page holds.
struct JobFilter {
    /// When a cursor's job ended, where the cursor itself, of a list by ids, does not tell.
    private static let end = "coalesce(?, (SELECT finished_at FROM job WHERE id = ?))"

    private(set) var sql: String
    private(set) var arguments = StatementArguments()

    init(_ query: JobQuery) throws(JobError) {
        var conditions: [String] = []
        if !query.states.isEmpty {
            conditions.append("state IN (\(databaseQuestionMarks(count: query.states.count)))")
            arguments += StatementArguments(query.states.map(\.rawValue))
        }
        if !query.types.isEmpty {
            conditions.append("type IN (\(databaseQuestionMarks(count: query.types.count)))")
            arguments += StatementArguments(query.types.map(\.rawValue))
        }
        for (key, value) in query.labels {
            conditions.append(
                "EXISTS (SELECT 1 FROM json_each(job.labels) AS l WHERE l.key = ? AND l.value = ?)")
            arguments += [key, value]
        }
        if let text = query.nameContains {
            conditions.append("instr(lower(name), lower(?)) > 0")
            arguments += [text]
        }
        if let time = query.createdAfter {
            conditions.append("created_at > ?")
            arguments += [time.milliseconds]
        }
        let (order, sign) = (query.order, query.order.isDescending ? "<" : ">")
        let direction = order.isDescending ? "DESC" : "ASC"
        if order.isByEnd { conditions.append("finished_at IS NOT NULL") }
        if let text = query.page.after {
            guard let cursor = JobCursor(text) else { throw .invalidCursor }
            conditions.append(order.isByEnd ? "(finished_at, id) \(sign) (\(Self.end), ?)" : "id \(sign) ?")
            if order.isByEnd { arguments += [cursor.endedAt?.milliseconds, cursor.id.rawValue] }
            arguments += [cursor.id.rawValue]
        }
        let filter = conditions.isEmpty ? "" : " WHERE " + conditions.joined(separator: " AND ")
        let key = order.isByEnd ? "finished_at \(direction), id" : "id"
        sql = "SELECT * FROM job\(filter) ORDER BY \(key) \(direction) LIMIT ?"
        arguments += [query.page.limit + 1]
    }
}

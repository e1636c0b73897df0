import GRDB
import Jobs

/// The SQL of a list of jobs; asks for one job more than the page holds.
struct JobFilter {
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
        let isNewestFirst = query.order == .newestFirst
        if let cursor = query.page.after {
            guard let id = JobID(cursor) else { throw .invalidCursor }
            conditions.append(isNewestFirst ? "id < ?" : "id > ?")
            arguments += [id.rawValue]
        }
        let filter = conditions.isEmpty ? "" : " WHERE " + conditions.joined(separator: " AND ")
        sql = "SELECT * FROM job\(filter) ORDER BY id \(isNewestFirst ? "DESC" : "ASC") LIMIT ?"
        arguments += [query.page.limit + 1]
    }
}

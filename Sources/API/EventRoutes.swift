import HTTP
import JSON
import Jobs

/// What happens to a job: as a list, and as a live stream.
struct EventRoutes: Sendable {
    let jobs: JobService

    var routes: [Route] {
        [Route(.get, "/v1/jobs/{id}/events", access: .requires(.read), handler: events)]
    }

    /// The events after `after`, oldest first; a stream for `Accept: text/event-stream`.
    ///
    /// 204 when a client comes back to the stream of a job that is over and has missed nothing: that is
    /// how a browser is told to stop reconnecting.
    private func events(_ request: Request) throws -> Response {
        var reader = QueryReader(request.query)
        let after = reader.text("after")
        let limit = reader.integer("limit", in: 1...1000) ?? 50
        let cursor = EventCursor(after ?? "")
        if after != nil, cursor == nil {
            reader.add("after", "invalid_cursor", "expected the id of an event")
        }
        try reader.finish()
        let id = try request.jobID()
        guard request.accepts("text/event-stream") else {
            let found = try Problem.translating { () throws(JobError) in
                try jobs.events(of: id, after: cursor?.event, limit: limit + 1)
            }
            let shown = found.prefix(limit)
            let page = Page(
                items: Array(shown), nextCursor: found.count > limit ? shown.last?.id.rawValue : nil)
            return .json(page.json { $0.json })
        }
        let last = request.headers["Last-Event-ID"]
        let feed = JobFeed(id, jobs, from: last.flatMap(EventCursor.init) ?? cursor ?? EventCursor())
        if last != nil, try feed.isOver() { return Response(.noContent) }
        _ = try Problem.translating { () throws(JobError) in try jobs.job(id) }
        return .events(
            EventSource(
                subscribe: { [hub = jobs.hub] wake in hub.onChange(of: .job(id), wake) }, pull: feed.pull))
    }
}

extension EventRecord {
    /// The event as clients see it.
    var json: JSONValue {
        [
            "id": .string(id.rawValue), "object": "event", "at": .number(at.seconds),
            "level": .string(level.rawValue), "type": .string(type), "message": .string(message),
            "data": data,
        ]
    }
}

import HTTP
import JSON
import Jobs

/// What happens to a job: as a list, and as a live stream.
struct EventRoutes: Sendable {
    let jobs: JobService
    private let steps = JobFeed.Steps(countMax: 64)

    init(jobs: JobService) { self.jobs = jobs }

    private static let after = QueryField<EventCursor?>(
        "after", "The id of the last event that the client has.",
        schema: [
            "type": "string", "maxLength": JSONValue(EventCursor.lengthMax),
            "pattern": .string(EventCursor.pattern),
        ]
    ) { reader in
        let text = reader.text("after", lengthMax: EventCursor.lengthMax)
        let cursor = EventCursor(text ?? "")
        if text != nil, cursor == nil {
            reader.add("after", "invalid_cursor", "expected the id of an event")
        }
        return cursor
    }

    var operations: [Operation] {
        [
            Operation(
                "listEvents", "What happened to a job, oldest first; live where a stream is accepted.", .jobs,
                Route(
                    .get, "/v1/jobs/{id}/events", access: .requires(.read),
                    query: [Self.after, PageField.limit], handler: events),
                path: [.job], headers: [.lastEventID],
                answers: [
                    Answer(
                        .ok,
                        "A page; or for `Accept: text/event-stream` the events `state`, `log`, `progress` "
                            + "and `metric` as they come.",
                        content: [
                            ("application/json", .resource(.eventPage)), ("text/event-stream", .text),
                        ]),
                    Answer(.noContent, "The job of the stream is over, and the client has all of it."),
                ])
        ]
    }

    /// The events after `after`, oldest first; a stream for `Accept: text/event-stream`.
    ///
    /// 204 when a client comes back to the stream of a job that is over and has missed nothing: that is
    /// how a browser is told to stop reconnecting.
    private func events(_ request: Request) throws -> Response {
        let (cursor, limit) = (request.query[Self.after], request.query[PageField.limit])
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
        let feed = JobFeed(
            id, jobs, from: last.flatMap(EventCursor.init) ?? cursor ?? EventCursor(), sharing: steps)
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

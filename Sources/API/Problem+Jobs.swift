import HTTP
import JSON
import Jobs

extension Problem {
    /// What a client is told of an error of the jobs; the one place where the two meet.
    init(_ error: JobError) {
        switch error {
        case .invalid(let violations): self.init(InvalidInput(violations))
        case .jobNotFound, .modelNotFound, .datasetNotFound, .webhookNotFound, .deliveryNotFound:
            self.init(.notFound, error.code, error.description)
        case .stateConflict(_, let state, _):
            self.init(.conflict, error.code, error.description)
            more = ["state": .string(state.rawValue)]
        case .versionConflict: self.init(.preconditionFailed, error.code, error.description)
        case .idempotencyConflict, .jobDeleted, .nameTaken, .inUse, .datasetReady, .datasetBusy,
            .tooManyUploads, .webhooksFull, .webhookDisabled, .deliveryForgotten:
            self.init(.conflict, error.code, error.description)
        case .fileTooLarge: self.init(.contentTooLarge, error.code, error.description)
        case .noRoom:
            self.init(.insufficientStorage, error.code, error.description, headers: ["Retry-After": "60"])
        case .digestMismatch: self.init(.unprocessableContent, error.code, error.description)
        case .forbidden: self.init(.forbidden, error.code, error.description)
        case .webhooksDisabled: self.init(.forbidden, error.code, error.description)
        case .queueFull, .draining, .uploadsBusy:
            self.init(.serviceUnavailable, error.code, error.description, headers: ["Retry-After": "5"])
        case .tokenQueueFull, .messagesWaiting:
            self.init(.tooManyRequests, error.code, error.description, headers: ["Retry-After": "5"])
        case .invalidCursor:
            self.init(InvalidInput(pointer: "?after", code: error.code, detail: error.description))
        case .storeUnavailable(let cause):
            self.init(.serviceUnavailable, error.code, error.description, headers: ["Retry-After": "1"])
            self.cause = cause
        case .storeFull(let cause):
            self.init(.insufficientStorage, error.code, error.description, headers: ["Retry-After": "60"])
            self.cause = cause
        case .storeRefused(let cause):
            self.init(.internalServerError, "internal_error", error.description)
            self.cause = cause
        case .storeBroken(let cause):
            self.init(.serviceUnavailable, error.code, error.description, headers: ["Retry-After": "30"])
            self.cause = cause
        }
    }

    /// Runs `body`, turning an error of the jobs into a problem.
    static func translating<Result>(_ body: () throws(JobError) -> Result) throws(Problem) -> Result {
        do { return try body() } catch { throw Problem(error) }
    }
}

extension Request {
    /// The version of a job that `If-Match` names; nil where any will do.
    ///
    /// - Throws: 412 `precondition_failed` where it names none that the job could have.
    func wantedVersion(of id: JobID) throws(Problem) -> Int64? {
        guard let text = headers["If-Match"], text != "*" else { return nil }
        let digits = text.hasPrefix("\"") && text.hasSuffix("\"") ? text.dropFirst().dropLast() : ""
        guard let version = Int64(digits) else {
            throw Problem(
                .preconditionFailed, "precondition_failed", "If-Match is no ETag of \(id).")
        }
        return version
    }

    /// The job that the path names; an id that cannot be one is not found either.
    func jobID() throws(Problem) -> JobID {
        guard let id = JobID(parameter("id")) else { throw notFound("job") }
        return id
    }

    /// The model that the path names.
    func modelID() throws(Problem) -> ModelID {
        guard let id = ModelID(parameter("id")) else { throw notFound("model") }
        return id
    }

    /// The webhook that the path names.
    func webhookID() throws(Problem) -> WebhookID {
        guard let id = WebhookID(parameter("id")) else { throw notFound("webhook") }
        return id
    }

    /// The message to a webhook that the path names.
    func deliveryID() throws(Problem) -> DeliveryID {
        guard let id = DeliveryID(parameter("delivery")) else { throw notFound("delivery", in: "delivery") }
        return id
    }

    private func notFound(_ kind: String, in place: String = "id") -> Problem {
        let name = JSONValue.string(parameter(place)).summary
        return Problem(.notFound, "\(kind)_not_found", "There is no \(kind) \(name).")
    }
}

/// The query fields of every list.
enum PageField {
    static let limit = QueryField.integer(
        "limit", default: 50, in: 1...PageRequest.limitMax, "The most that a page holds.")
    private static let after = after("")

    /// Where a page of things with such ids begins.
    static func after(_ prefix: String) -> QueryField<String?> {
        .text(
            "after", pattern: Shape.identifierPattern(prefix), "The `next_cursor` of the page before.")
    }

    /// The same of a list of jobs, which may be sorted by a time.
    static let afterJob = QueryField<String?>.text(
        "after",
        pattern: "^([0-9]{1,\(JobCursor.digitsMax)}\\.)?" + Shape.identifierPattern("job").dropFirst(),
        "The `next_cursor` of the page before.")

    /// Which part of a list is wanted.
    static func page(of query: Query) -> PageRequest { PageRequest(limit: query[limit], after: query[after]) }
}

extension Query {
    /// Which part of a list is wanted, by the two fields of `PageField`.
    var page: PageRequest { PageField.page(of: self) }
}

extension Page {
    /// The list as clients see it.
    func json(_ element: (Element) -> JSONValue) -> JSONValue {
        [
            "object": "list", "data": .array(items.map(element)), "has_more": .bool(hasMore),
            "next_cursor": JSONValue(nextCursor),
        ]
    }
}

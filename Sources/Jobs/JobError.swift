public import JSON

/// What can go wrong between a request and the jobs; every text is safe to show to a client.
public enum JobError: Error, Equatable, CustomStringConvertible {
    /// The request breaks the rules; each violation says where and how.
    case invalid([Violation])
    /// There is no such job.
    case jobNotFound(JobID)
    /// There is no such model.
    case modelNotFound(ModelID)
    /// There is no such dataset; the text is the identifier or name that was asked for.
    case datasetNotFound(String)
    /// There is no such webhook.
    case webhookNotFound(WebhookID)
    /// The webhook has no such message.
    case deliveryNotFound(DeliveryID)
    /// The bytes of a message are not kept any more.
    case deliveryForgotten(DeliveryID)
    /// Nothing but tests is sent to the webhook.
    case webhookDisabled(WebhookID)
    /// There are as many webhooks as there may be.
    case webhooksFull(limit: Int)
    /// The operator allowed no hosts to be told of jobs.
    case webhooksDisabled
    /// The state of the job forbids the action.
    case stateConflict(JobID, state: JobState, action: String)
    /// The job is not of the version that the client has seen.
    case versionConflict(JobID, version: Int64)
    /// The idempotency key was used before with another body.
    case idempotencyConflict(key: String)
    /// The idempotency key made a job that was deleted.
    case jobDeleted(JobID, key: String)
    /// A name is taken.
    case nameTaken(String)
    /// Another job or model still needs it.
    case inUse(String)
    /// The dataset is ready: no file of it can change any more.
    case datasetReady(DatasetID)
    /// A dataset is being checked, or a file of it is on its way.
    case datasetBusy(DatasetID, reason: String)
    /// As many uploads are open as may be.
    case tooManyUploads(limit: Int)
    /// As many messages that a client asked for wait for a webhook as may.
    case messagesWaiting(WebhookID, limit: Int)
    /// As many files are on their way as may be.
    case uploadsBusy(limit: Int)
    /// A file is larger than files may be.
    case fileTooLarge(limit: Int)
    /// There would be too little room left; the text says how much there is.
    case noRoom(String)
    /// A file is not what its sender said it would be.
    case digestMismatch(expected: String, found: String)
    /// What is asked for needs a scope that the caller lacks.
    case forbidden(String)
    /// The queue holds as many jobs as it may.
    case queueFull(limit: Int)
    /// One token has as many jobs in the queue as it may.
    case tokenQueueFull(limit: Int)
    /// The service is shutting down and takes no new work.
    case draining
    /// A list cursor that this service did not make.
    case invalidCursor
    /// The store could not answer just now; trying again may help. The cause is for the log.
    case storeUnavailable(cause: String)
    /// There is too little room left on the disk. The cause is for the log.
    case storeFull(cause: String)
    /// The store refuses what it is given, now and always: a fault of ours. The cause is for the log.
    case storeRefused(cause: String)
    /// The store is damaged or the disk fails: the process must stop. The cause is for the log.
    case storeBroken(cause: String)

    /// The stable code of the API.
    public var code: String {
        switch self {
        case .invalid: "invalid_request"
        case .jobNotFound: "job_not_found"
        case .modelNotFound: "model_not_found"
        case .datasetNotFound: "dataset_not_found"
        case .webhookNotFound: "webhook_not_found"
        case .deliveryNotFound: "delivery_not_found"
        case .deliveryForgotten: "delivery_forgotten"
        case .webhookDisabled: "webhook_disabled"
        case .webhooksFull: "webhook_limit"
        case .webhooksDisabled: "webhooks_disabled"
        case .stateConflict: "job_state_conflict"
        case .versionConflict: "precondition_failed"
        case .idempotencyConflict: "idempotency_conflict"
        case .jobDeleted: "job_deleted"
        case .nameTaken: "name_taken"
        case .inUse: "in_use"
        case .datasetReady: "dataset_ready"
        case .datasetBusy: "dataset_busy"
        case .tooManyUploads: "too_many_uploads"
        case .messagesWaiting: "messages_waiting"
        case .uploadsBusy: "uploads_busy"
        case .fileTooLarge: "content_too_large"
        case .digestMismatch: "digest_mismatch"
        case .forbidden: "insufficient_scope"
        case .queueFull: "queue_full"
        case .tokenQueueFull: "token_queue_full"
        case .draining: "draining"
        case .invalidCursor: "invalid_cursor"
        case .storeUnavailable, .storeBroken: "store_unavailable"
        case .storeFull, .noRoom: "insufficient_storage"
        case .storeRefused: "internal"
        }
    }

    /// Says what was refused and why, never how we store it.
    public var description: String {
        switch self {
        case .invalid(let violations):
            "The request has \(violations.count) violation(s): "
                + violations.map { "\($0.pointer): \($0.detail)" }.joined(separator: "; ")
        case .jobNotFound(let id): "There is no job \(id)."
        case .modelNotFound(let id): "There is no model \(id)."
        case .datasetNotFound(let name): "There is no dataset \(name)."
        case .webhookNotFound(let id): "There is no webhook \(id)."
        case .deliveryNotFound(let id): "The webhook has no message \(id)."
        case .deliveryForgotten(let id): "What \(id) said is not kept any more."
        case .webhookDisabled(let id): "\(id) is disabled; enable it first."
        case .webhooksFull(let limit):
            "There are \(limit) webhooks already, which is as many as there may be."
        case .webhooksDisabled:
            "Webhooks are off: the operator names the hosts that may be told of jobs by --webhook-host."
        case .stateConflict(let id, let state, let action): "\(id) is \(state.rawValue): it cannot \(action)."
        case .versionConflict(let id, let version):
            "\(id) has changed since: its ETag is \"\(version)\" now."
        case .idempotencyConflict(let key):
            "The idempotency key \(key) was used before with another body; use a new key."
        case .jobDeleted(let id, let key):
            "The idempotency key \(key) made \(id), which was deleted; use a new key for another job."
        case .nameTaken(let name): "The name \(name) is taken."
        case .inUse(let what): "\(what) is still needed."
        case .datasetReady(let id): "\(id) is ready: its files cannot change any more."
        case .datasetBusy(let id, let reason): "\(id) is busy: \(reason); try again."
        case .tooManyUploads(let limit): "\(limit) uploads are open already; commit or delete one."
        case .messagesWaiting(let id, let limit): "\(limit) test messages wait for \(id) already."
        case .uploadsBusy(let limit): "\(limit) files are on their way already; send this one later."
        case .fileTooLarge(let limit): "A file may have at most \(limit) bytes."
        case .noRoom(let text): text
        case .digestMismatch(let expected, let found):
            "The bytes hash to \(found), not to \(expected); send them again."
        case .forbidden(let text): text
        case .queueFull(let limit): "The queue is full: \(limit) jobs wait already."
        case .tokenQueueFull(let limit):
            "\(limit) jobs of this token wait already; submit again when some have begun."
        case .draining: "The service is shutting down; submit again when it is back."
        case .invalidCursor: "The cursor was not made by this list."
        case .storeUnavailable, .storeBroken: "The job store is unavailable; try again."
        case .storeFull: "The disk has too little room; try again when there is more."
        case .storeRefused: "The job store does not take this; the log of the service says why."
        }
    }

    /// What went wrong inside, for the log alone.
    public var cause: String? {
        switch self {
        case .storeUnavailable(let cause), .storeFull(let cause), .storeRefused(let cause),
            .storeBroken(let cause):
            cause
        default: nil
        }
    }
}

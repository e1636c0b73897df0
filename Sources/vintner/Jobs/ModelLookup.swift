import Compression
import Graph
import JSON
import Jobs

/// Where the models that a request names are looked up.
struct ModelLookup: Sendable {
    var models: (any ModelSource)?
    var jobs: (any JobSource)?

    /// A model that is stored, or that a job is going to make.
    struct Reference: Equatable {
        /// nil until the job has made it.
        let record: ModelRecord?
        /// What it computes; of one that is still to be made the largest that can come.
        let architecture: JSONValue
        /// The job that makes it.
        let job: JobID?
        /// Whether weights of it are held at zero, one by one or in tiles.
        var isMasked = false
        /// Where the request names it.
        var pointer = ""
    }

    /// Whether a value names a model instead of describing one.
    static func isReference(_ value: JSONValue) -> Bool { value["id"] != nil || value["job"] != nil }

    /// Reads `{"id"}` or `{"job"}`; nil after a violation.
    func find(_ value: JSONValue, at pointer: String, _ log: ViolationLog) -> Reference? {
        let isJob = value["job"] != nil
        let schema = isJob ? JobFields.madeModelSchema : JobFields.storedModelSchema
        let field = isJob ? JobFields.modelJob : JobFields.modelID
        var reader = ObjectReader(value, as: schema, at: pointer, log: log)
        let text = reader.read(field)
        reader.finish()
        guard reader.raw(field.name) == .string(text) else { return nil }
        return isJob
            ? made(by: text, at: reader.pointer(to: "job"), log)
            : stored(text, at: reader.pointer(to: "id"), log)
    }

    private func stored(_ text: String, at pointer: String, _ log: ViolationLog) -> Reference? {
        guard let id = ModelID(text) else {
            log.add(pointer, "invalid_value", "expected a model id (mdl_...), found \"\(text)\"")
            return nil
        }
        do throws(JobError) {
            guard let models else { throw .modelNotFound(id) }
            let record = try models.model(id)
            return Reference(
                record: record, architecture: record.architecture, job: nil, isMasked: record.isMasked,
                pointer: pointer)
        } catch {
            log.add(pointer, "unknown_model", error.description)
            return nil
        }
    }

    private func made(by text: String, at pointer: String, _ log: ViolationLog) -> Reference? {
        guard let id = JobID(text) else {
            log.add(pointer, "invalid_value", "expected a job id (job_...), found \"\(text)\"")
            return nil
        }
        do throws(JobError) {
            guard let jobs else { throw .jobNotFound(id) }
            let job = try jobs.job(id)
            if let made = job.result?.modelID, let models {
                let record = try models.model(made)
                return Reference(
                    record: record, architecture: record.architecture, job: id, isMasked: record.isMasked,
                    pointer: pointer)
            }
            guard !job.state.isTerminal else {
                log.add(pointer, "no_model", "\(id) is \(job.state.rawValue) and has left no model")
                return nil
            }
            guard let (architecture, isMasked) = try expected(of: job) else {
                log.add(pointer, "no_model", "a job of type \(job.type) makes no model")
                return nil
            }
            return Reference(
                record: nil, architecture: architecture, job: id, isMasked: isMasked, pointer: pointer)
        } catch {
            let isMissing = if case .modelNotFound = error { true } else { false }
            log.add(pointer, isMissing ? "no_model" : "unknown_job", error.description)
            return nil
        }
    }

    /// What a job that has not ended is going to make, and whether with masks.
    private func expected(of job: Job) throws(JobError) -> (JSONValue, isMasked: Bool)? {
        var (job, isMasked) = (job, false)
        // Each job was submitted behind the one it waits for, so that this comes to an end.
        while job.type != .evaluate, let model = job.spec["model"] {
            let structure = job.spec["prune"]?["structure"]?.stringValue
            isMasked = isMasked || structure.map { $0 != PruneOptions.Structure.channel.rawValue } ?? false
            guard Self.isReference(model) else { return (model, isMasked) }
            var made = model["id"]?.stringValue.flatMap { ModelID($0) }
            if made == nil {
                guard let next = model["job"]?.stringValue.flatMap({ JobID($0) }), let jobs else {
                    return nil
                }
                job = try jobs.job(next)
                made = job.result?.modelID
            }
            if let made {
                guard let record = try models?.model(made) else { return nil }
                return (record.architecture, isMasked || record.isMasked)
            }
        }
        return nil
    }
}

extension ModelRecord {
    /// In the lineage of a model that keeps the masks of the one it was made from.
    static let masksKey = "masked"

    /// Whether weights of it are held at zero, one by one or in tiles.
    var isMasked: Bool {
        if lineage[Self.masksKey] == .bool(true) { return true }
        guard let pruning = lineage["pruning"], pruning["kept"] == .string("pruned") else { return false }
        return pruning["structure"] != .string(PruneOptions.Structure.channel.rawValue)
    }
}

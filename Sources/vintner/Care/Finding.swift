import JSON
import Jobs
import Store

/// One thing in a data folder that is not as it should be, and what would mend it.
struct Finding {
    /// How much it matters.
    enum Severity: String {
        /// Something is lost or cannot be trusted.
        case error
        /// Something is left over or exposed; nothing is lost.
        case warning
        /// Worth knowing; the folder is healthy all the same.
        case note
    }

    /// The kinds, by words that scripts may rely on.
    enum Code: String {
        case permissions, schema, copy, unfamiliar, leftover, orphan
        case damagedIndex = "damaged_index"
        case brokenInvariant = "broken_invariant"
        case leftRunning = "left_running"
        case missing, damaged
        case foreignPath = "foreign_path"
    }

    /// What `--repair` does.
    enum Repair: Equatable {
        case setPermissions(UInt32)
        /// Deletes what lies at the finding's place.
        case remove
        /// As the next start would.
        case takeBack(JobID)
        case settleDependencies
        case forgetCheckpoint(JobID, kind: CheckpointRecord.Kind, step: Int)
        case forgetModel(ModelID)
        case forgetDataset(DatasetID)
        case finishDeletion(DatasetID)
    }

    /// What became of it.
    enum Outcome: Equatable {
        case left
        case mended(String)
        case failed(String)
    }

    let severity: Severity
    let code: Code
    /// A path relative to the data folder, or an identifier.
    let place: String
    let message: String
    /// What a person can do.
    let remedy: String
    var repair: Repair?
    var outcome = Outcome.left

    /// Whether the folder is not healthy for it.
    var isOpen: Bool {
        if case .mended = outcome { return false }
        return severity != .note
    }

    var line: String {
        let start = "\(severity.rawValue): \(place): \(message)"
        return switch outcome {
        case .left: start + (remedy.isEmpty ? "" : " To mend: \(remedy)")
        case .mended(let what): start + " Mended: \(what)"
        case .failed(let cause): start + " Could not be mended: \(cause)"
        }
    }

    var json: JSONValue {
        var object: JSONObject = [
            "severity": .string(severity.rawValue), "code": .string(code.rawValue), "place": .string(place),
            "message": .string(message), "remedy": .string(remedy), "is_repairable": .bool(repair != nil),
        ]
        switch outcome {
        case .left: object["outcome"] = "left"
        case .mended(let what): (object["outcome"], object["detail"]) = ("mended", .string(what))
        case .failed(let cause): (object["outcome"], object["detail"]) = ("failed", .string(cause))
        }
        return .object(object)
    }
}

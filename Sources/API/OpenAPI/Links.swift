import HTTP
import JSON

/// What may be done next with what an answer describes: the links of OpenAPI, all of them.
///
/// Generated clients and tools that try sequences of requests follow them.
struct Links: Sendable {
    /// Where a link's parameters come from.
    private typealias Values = [(name: String, expression: String)]

    /// The operation whose answer leads on.
    private let source: String
    private let statuses: [Status]
    /// The operations that it leads to.
    private let targets: [String]
    private let values: Values

    private static let itself: Values = [("id", "$response.body#/id")]
    private static let first: Values = [("id", "$response.body#/data/0/id")]
    private static let same: Values = [("id", "$request.path.id")]

    private static let ofJobs = [
        "getJob", "listEvents", "getJobMetrics", "getJobResources", "listCheckpoints", "listArtifacts",
        "getVerdict", "getJobProfile", "updateJob", "cancelJob", "pauseJob", "resumeJob", "retryJob",
        "deleteJob",
    ]
    private static let ofModels = [
        "getModel", "downloadModel", "downloadAdapters", "predict", "deleteModel",
    ]
    private static let ofDatasets = ["getDataset", "putDatasetFile", "commitDataset", "deleteDataset"]
    private static let ofWebhooks = [
        "getWebhook", "updateWebhook", "deleteWebhook", "testWebhook", "listDeliveries",
    ]
    private static let ofDeliveries = ["getDelivery", "redeliver"]

    private static let all: [Links] = [
        Links("submitJob", [.created], ofJobs, itself),
        Links("listJobs", [.ok], ofJobs, first),
        Links("getJob", [.ok], ofModels, [("id", "$response.body#/result/model_id")]),
        Links(
            "listArtifacts", [.ok], ["downloadArtifact"],
            same + [("name", "$response.body#/data/0/name")]),
        Links("listModels", [.ok], ofModels, first),
        Links("importModel", [.created], ofModels, itself),
        Links("openDataset", [.created], ofDatasets, itself),
        Links("putDatasetFile", [.ok, .created], ofDatasets, same),
        Links("listDatasets", [.ok], ofDatasets, first),
        Links("createWebhook", [.created], ofWebhooks, itself),
        Links("listWebhooks", [.ok], ofWebhooks, first),
        Links(
            "testWebhook", [.ok, .accepted], ofDeliveries,
            same + [("delivery", "$response.body#/id")]),
        Links(
            "listDeliveries", [.ok], ofDeliveries,
            same + [("delivery", "$response.body#/data/0/id")]),
    ]

    private init(_ source: String, _ statuses: [Status], _ targets: [String], _ values: Values) {
        (self.source, self.statuses, self.targets, self.values) = (source, statuses, targets, values)
    }

    /// The link objects of an answer, by the operation that each leads to; nil where there are none.
    static func json(from operation: String, _ status: Status) -> JSONValue? {
        let found = all.filter { $0.source == operation && $0.statuses.contains(status) }
        let links = found.flatMap { links in
            links.targets.map { target -> (String, JSONValue) in
                let parameters = JSONObject(links.values.map { ($0.name, .string($0.expression)) })
                return (target, ["operationId": .string(target), "parameters": .object(parameters)])
            }
        }
        return links.isEmpty ? nil : .object(JSONObject(links))
    }
}

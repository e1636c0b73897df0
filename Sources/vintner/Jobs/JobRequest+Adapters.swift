import Graph
import JSON
import Jobs
import Training

extension JobRequest {
    /// What a file of adapters says of itself: what they are multiplied by, and what they stand beside.
    var adapterDescription: JSONObject {
        guard let adapters = settings.options.adapters else { return [:] }
        var description: JSONObject = [
            "lora": [
                "rank": JSONValue(adapters.rank), "alpha": .number(adapters.alpha),
                "layers": .array(graph.adapters.map { .string($0.layer) }),
            ],
            "model": model.json,
        ]
        if let base {
            description["base"] = ["id": .string(base.id.rawValue), "sha256": .string(base.sha256)]
        }
        return description
    }
}

import Files
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

    /// What a model's lineage says of the adapters that were merged into it; `file` is where they lie alone.
    func adapterLineage(_ file: AtomicFile.Receipt) -> JSONValue? {
        guard let adapters = settings.options.adapters else { return nil }
        return [
            "bytes": JSONValue(file.byteCount), "sha256": .string(file.sha256.hex),
            "peft": peftConfiguration(of: adapters),
        ]
    }

    /// The fields of PEFT's `adapter_config.json`.
    private func peftConfiguration(of adapters: LowRankAdapters) -> JSONValue {
        [
            "peft_type": "LORA", "r": JSONValue(adapters.rank), "lora_alpha": .number(adapters.alpha),
            "lora_dropout": 0, "bias": adapters.trainsBias ? "all" : "none",
            "target_modules": .array(graph.adapters.map { .string($0.layer) }),
            "base_model_name_or_path": JSONValue(base?.id.rawValue), "inference_mode": true,
        ]
    }
}

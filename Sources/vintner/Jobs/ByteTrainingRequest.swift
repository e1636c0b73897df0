import Compression
import Data
import Graph
import JSON
import Jobs
import Training

/// The `quantize` object of a job that trains for layers in bytes, and the accuracy that it may cost.
struct ByteTrainingRequest {
    let options: QuantizeOptions
    let gate: PruneRequest.DropGate?

    /// Whether a quantize job's body asks for a training.
    static func isAsked(_ body: JSONValue) -> Bool { body["quantize"]?["method"] == "qat" }

    /// Reads the members of a job; nil after a violation.
    ///
    /// The training lasts as long as `qat` says, at its part of the learning rate that `train` has.
    static func read(
        _ reader: inout ObjectReader, _ settings: inout JobSettings, _ log: ViolationLog
    ) -> ByteTrainingRequest? {
        let gate = PruneRequest.readGate(&reader)
        let options = reader.readObject(QuantizeRequest.object) { QuantizeOptions.read(&$0) }
        QuantizeRequest.checkProcessor(log)
        let train = reader.raw("train")
        for name in ["epochs", "steps"] where train?[name]?.isNull == false {
            log.add(
                "/train/\(name)", "invalid_value",
                "\"quantize\": {\"qat\": {\"epochs\"}} says how long it lasts")
        }
        var resolved = reader.resolved["train"]?.objectValue ?? [:]
        (resolved["epochs"], resolved["steps"]) = (nil, nil)
        // Numbers that still move at the end fall to other codes: without a curve the rate ends at 0.
        if train?["lr_schedule"]?.isNull != false {
            settings.options.schedule = .cosine
            resolved["lr_schedule"] = ["name": "cosine", "warmup_steps": 0, "min_lr_ratio": 0.0]
        }
        reader.resolve("train", as: .object(resolved))
        guard let options, let training = options.training else { return nil }
        settings.options.check(log)
        settings.options.epochs = training.epochs
        settings.options.steps = nil
        settings.options.learningRate *= training.rateFactor
        return ByteTrainingRequest(options: options, gate: gate)
    }

    /// How a model is trained; nil after a violation.
    func training(of model: ModelSpec, _ log: ViolationLog) -> ByteTraining? {
        options.layers(of: model, log).map { ByteTraining(options, layers: $0, of: model.graph) }
    }
}

extension TrainOptions {
    /// Logs what a training with rounded numbers cannot be combined with.
    fileprivate func check(_ log: ViolationLog) {
        if precision != .fp32 {
            log.add(
                "/train/precision", "invalid_value",
                "numbers are rounded to those of codes in float32: \"fp32\"")
        }
        if adapters != nil {
            log.add(
                "/train/lora", "invalid_value", "adapters are no bytes; train and merge them before")
        }
        if findsLearningRate {
            log.add(
                "/train/optimizer/lr", "invalid_value",
                "the rate is a part of the one that the model was trained with, and is not searched for")
        }
    }
}

extension JobRequest {
    /// The job as one that quantizes; nil for any other.
    var quantization: QuantizeRequest? {
        guard let bytes, let byteTraining, let origin else { return nil }
        return QuantizeRequest(
            common: SubjectRequest(
                settings: settings, dataset: dataset, model: model, subject: origin, resolved: resolved),
            options: bytes.options, layers: bytes.layers, gate: byteTraining.gate)
    }
}

import Data
import JSON
import Plan
import Testing

@testable import Training

@Suite("The fields of train") struct TrainFieldsTests {
    private func read(
        _ text: String
    ) throws -> (options: TrainOptions, choosesBatchSize: Bool, resolved: JSONObject, violations: [Violation])
    {
        let log = ViolationLog()
        var reader = ObjectReader(
            try JSONValue(parsing: Array(text.utf8)), as: TrainFields.schema, at: "/train", log: log)
        let (options, choosesBatchSize) = TrainOptions.read(&reader)
        reader.finish()
        return (options, choosesBatchSize, reader.resolved, log.violations)
    }

    @Test("have defaults, which the resolved document spells out")
    func defaults() throws {
        let (options, choosesBatchSize, resolved, violations) = try read("{}")
        #expect(violations.isEmpty && !choosesBatchSize)
        #expect(String(describing: options) == String(describing: TrainOptions()))
        #expect(resolved["epochs"] == 10 && resolved["batch_size"] == 64)
        #expect(resolved["optimizer"]?["lr"]?.doubleValue == 0.1)
        #expect(resolved["lr_schedule"]?["name"] == "constant")
        #expect(resolved["augment"]?["horizontal_flip"] == false)
        let again = try read(JSONValue.object(resolved).encoded())
        #expect(again.violations.isEmpty && again.resolved == resolved)
    }

    @Test("are read, each into its option")
    func everything() throws {
        let (options, choosesBatchSize, _, violations) = try read(
            #"""
            {"epochs": 5, "batch_size": "auto", "precision": "fp32", "loss": "cross_entropy",
             "label_smoothing": 0.125, "validation_fraction": 0.25, "checkpoint_every_seconds": 7,
             "keep": "best",
             "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": true, "weight_decay": 0.5,
                           "decay_bias_and_norm": true},
             "lr_schedule": {"name": "step", "warmup_steps": 3, "min_lr_ratio": 0.5, "step_size": 2,
                             "gamma": 0.25},
             "augment": {"random_crop": 4, "horizontal_flip": true}}
            """#)
        #expect(violations.isEmpty && choosesBatchSize)
        #expect(options.epochs == 5 && options.batchSize == 64 && options.keep == .best)
        #expect(options.loss == .crossEntropy(labelSmoothing: 0.125))
        #expect(options.validationFraction == 0.25 && options.checkpointSeconds == 7)
        #expect(options.learningRate == 0.05)
        #expect(
            options.optimizer
                == .sgd(momentum: 0.9, nesterov: true, weightDecay: 0.5, decaysBiasAndNorm: true))
        #expect(options.augmentation == Augmentation(cropPadding: 4, flipsHorizontally: true))
        let rates = options.learningRates(stepsPerEpoch: 10)
        #expect(rates.curve == .step(stepSize: 20, gamma: 0.25))
        #expect(rates.warmupSteps == 3 && rates.totalSteps == 50 && rates.base == 0.05)
        #expect(try read(#"{"loss": "mse"}"#).options.loss == .meanSquaredError(oneHot: true))
    }

    static let faults: [(text: String, pointer: String, code: String)] = [
        (#"{"epochs": 0}"#, "/train/epochs", "out_of_range"),
        (#"{"epochs": 1.5}"#, "/train/epochs", "wrong_type"),
        (#"{"batch_size": 65537}"#, "/train/batch_size", "out_of_range"),
        (#"{"batch_size": "big"}"#, "/train/batch_size", "wrong_type"),
        (#"{"precision": "fp64"}"#, "/train/precision", "invalid_value"),
        (#"{"loss": "hinge"}"#, "/train/loss", "invalid_value"),
        (#"{"loss": "mse", "label_smoothing": 0.1}"#, "/train/label_smoothing", "invalid_value"),
        (#"{"label_smoothing": 1}"#, "/train/label_smoothing", "out_of_range"),
        (#"{"validation_fraction": 0.95}"#, "/train/validation_fraction", "out_of_range"),
        (#"{"checkpoint_every_seconds": -1}"#, "/train/checkpoint_every_seconds", "out_of_range"),
        (#"{"keep": "first"}"#, "/train/keep", "invalid_value"),
        (#"{"optimizer": {"name": "adamw"}}"#, "/train/optimizer/name", "invalid_value"),
        (#"{"optimizer": {"lr": "fast"}}"#, "/train/optimizer/lr", "wrong_type"),
        (#"{"optimizer": {"momentum": 1}}"#, "/train/optimizer/momentum", "out_of_range"),
        (#"{"optimizer": {"nesterov": true}}"#, "/train/optimizer/nesterov", "invalid_value"),
        (#"{"optimizer": {"momentun": 0.9}}"#, "/train/optimizer/momentun", "unknown_field"),
        (#"{"optimizer": 5}"#, "/train/optimizer", "wrong_type"),
        (#"{"lr_schedule": {"gamma": 2}}"#, "/train/lr_schedule/gamma", "out_of_range"),
        (#"{"lr_schedule": {"step_size": 0}}"#, "/train/lr_schedule/step_size", "out_of_range"),
        (#"{"augment": {"random_crop": 65}}"#, "/train/augment/random_crop", "out_of_range"),
        (#"{"epoch": 5}"#, "/train/epoch", "unknown_field"),
    ]

    @Test("are refused with place and kind", arguments: faults)
    func refusals(text: String, pointer: String, code: String) throws {
        let violations = try read(text).violations
        #expect(violations.map(\.pointer) == [pointer])
        #expect(violations.map(\.code) == [code])
    }

    @Test("say what was expected and found")
    func details() throws {
        let violations = try read(#"{"epoch": 5, "epochs": 0, "optimizer": {"nesterov": true}}"#).violations
        #expect(
            violations.map(\.detail) == [
                "expected an integer from 1 to 100000, found 0", "Nesterov momentum needs a momentum above 0",
                #"unknown field "epoch"; did you mean "epochs"?"#,
            ])
    }

    @Test("are described by a schema")
    func schema() {
        let schema = TrainFields.schema.jsonSchema()
        #expect(schema["additionalProperties"] == false)
        #expect(schema["properties"]?["epochs"]?["maximum"] == 100_000)
        #expect(schema["properties"]?["optimizer"]?["properties"]?["lr"]?["default"]?.doubleValue == 0.1)
    }
}

import Data
import JSON
import Kernels
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
        #expect(resolved["optimizer"]?["betas"] == nil, "sgd has none")
        #expect(resolved["early_stopping"]?.isNull == true && resolved["steps"]?.isNull == true)
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
             "lr_schedule": {"name": "step", "warmup_steps": 3, "step_size": 2, "gamma": 0.25},
             "augment": {"random_crop": 4, "horizontal_flip": true}}
            """#)
        #expect(violations.isEmpty && choosesBatchSize)
        #expect(options.epochs == 5 && options.batchSize == 64 && options.keep == .best)
        #expect(options.loss == .crossEntropy(labelSmoothing: 0.125))
        #expect(options.validationFraction == 0.25 && options.checkpointSeconds == .value(7))
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

    static let optimizers: [(text: String, options: OptimizerOptions, rate: Double)] = [
        ("sgd", OptimizerOptions(), 0.1),
        ("adam", OptimizerOptions(.adam(beta1: 0.9, beta2: 0.999, epsilon: 1e-8)), 0.001),
        (
            "adamw", OptimizerOptions(.adamW(beta1: 0.9, beta2: 0.999, epsilon: 1e-8), weightDecay: 0.01),
            0.001
        ),
        ("lion", OptimizerOptions(.lion(beta1: 0.9, beta2: 0.99)), 0.0001),
        ("rmsprop", OptimizerOptions(.rmsProp(alpha: 0.99, epsilon: 1e-8, momentum: 0)), 0.01),
    ]

    @Test("name an optimiser with defaults of its own, which survive being read again", arguments: optimizers)
    func optimizer(text: String, expected: OptimizerOptions, rate: Double) throws {
        let read = try read("{\"optimizer\": {\"name\": \"\(text)\"}}")
        #expect(read.violations.isEmpty)
        #expect(read.options.optimizer == expected && read.options.learningRate == rate)
        #expect(read.resolved["optimizer"]?["lr"]?.doubleValue == rate)
        let again = try self.read(JSONValue.object(read.resolved).encoded())
        #expect(again.violations.isEmpty && again.resolved == read.resolved)
        #expect(again.options.optimizer == expected && again.options.learningRate == rate)
    }

    @Test("say how gradients are made, clipped, averaged and judged")
    func methods() throws {
        let (options, _, resolved, violations) = try read(
            #"""
            {"steps": 500, "eval_every_steps": 50, "batch_size": 32, "micro_batch_size": 12,
             "precision": "bf16", "loss": "huber", "huber_delta": 0.5, "clip_grad_norm": 1.5,
             "ema_decay": 0.99,
             "optimizer": {"name": "adamw", "lr": "auto", "betas": [0.8, 0.9], "eps": 1e-6},
             "lr_schedule": {
                "name": "one_cycle", "pct_start": 0.25, "div_factor": 10, "final_div_factor": 100
             },
             "augment": {"cutout": 3, "mixup": 0.2},
             "early_stopping": {"patience": 5, "min_delta": 0.125, "metric": "val_accuracy"}}
            """#)
        #expect(violations.isEmpty)
        #expect(options.steps == 500 && options.evaluationSteps == 50 && options.precision == .bf16)
        #expect(options.parts(of: 32) == [12, 12, 8] && options.parts(of: 7) == [7])
        #expect(options.loss == .huber(delta: 0.5, oneHot: true) && options.findsLearningRate)
        #expect(options.optimizer.clipNorm == 1.5 && options.optimizer.averageDecay == 0.99)
        #expect(options.optimizer.rule == .adamW(beta1: 0.8, beta2: 0.9, epsilon: 1e-6))
        #expect(options.augmentation == Augmentation(cutoutSide: 3, mixupAlpha: 0.2))
        #expect(options.earlyStopping == .init(patience: 5, minDelta: 0.125, metric: .accuracy))
        #expect(options.keep == .best, "early stopping restores the best")
        let rates = options.learningRates(stepsPerEpoch: 7, base: 0.5)
        #expect(rates.curve == .oneCycle(rise: 0.25, startDivisor: 10, endDivisor: 100))
        #expect(rates.totalSteps == 500 && rates.base == 0.5)
        let again = try read(JSONValue.object(resolved).encoded())
        #expect(again.violations.isEmpty && again.resolved == resolved)
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
        (#"{"optimizer": {"name": "adagrad"}}"#, "/train/optimizer/name", "invalid_value"),
        (#"{"optimizer": {"betas": [0.9, 0.99]}}"#, "/train/optimizer/betas", "invalid_value"),
        (#"{"optimizer": {"name": "lion", "eps": 1}}"#, "/train/optimizer/eps", "invalid_value"),
        (#"{"optimizer": {"name": "adam", "betas": [0.9]}}"#, "/train/optimizer/betas", "out_of_range"),
        (#"{"optimizer": {"name": "adam", "betas": [0.9, 1]}}"#, "/train/optimizer/betas/1", "out_of_range"),
        (#"{"clip_grad_norm": 0}"#, "/train/clip_grad_norm", "out_of_range"),
        (#"{"ema_decay": 1}"#, "/train/ema_decay", "out_of_range"),
        (#"{"micro_batch_size": 0}"#, "/train/micro_batch_size", "out_of_range"),
        (#"{"steps": 0}"#, "/train/steps", "out_of_range"),
        (#"{"early_stopping": {"metric": "loss"}}"#, "/train/early_stopping/metric", "invalid_value"),
        (#"{"augment": {"mixup": -1}}"#, "/train/augment/mixup", "out_of_range"),
        (#"{"optimizer": {"lr": "fast"}}"#, "/train/optimizer/lr", "wrong_type"),
        (#"{"optimizer": {"momentum": 1}}"#, "/train/optimizer/momentum", "out_of_range"),
        (#"{"optimizer": {"nesterov": true}}"#, "/train/optimizer/nesterov", "invalid_value"),
        (#"{"optimizer": {"momentun": 0.9}}"#, "/train/optimizer/momentun", "unknown_field"),
        (#"{"optimizer": 5}"#, "/train/optimizer", "wrong_type"),
        (#"{"lr_schedule": {"name": "step", "gamma": 2}}"#, "/train/lr_schedule/gamma", "out_of_range"),
        (
            #"{"lr_schedule": {"name": "step", "step_size": 0}}"#, "/train/lr_schedule/step_size",
            "out_of_range"
        ),
        (#"{"lr_schedule": {"name": "cosine", "gamma": 0.5}}"#, "/train/lr_schedule/gamma", "invalid_value"),
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

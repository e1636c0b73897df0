import Data
import Files
import Foundation
import Graph
import JSON
import Jobs
import Tensor
import Testing
import Training

@testable import vintner

/// Fashion-MNIST from Debian's package, as `make deps` installs it.
let catalogue = DatasetCatalogue(folder: "/nowhere", systemFolder: Service.systemDatasets)

@Suite("A job's body") struct JobRequestTests {
    static let minimal: JSONValue = [
        "type": "train", "dataset": "fashion-mnist", "model": ["preset": "lenet5_caffe"],
    ]

    private func read(_ body: JSONValue) throws -> JobRequest {
        try JobRequest.read(body, catalogue: catalogue, cores: 2)
    }

    private func violations(_ body: JSONValue) -> [Violation] {
        do {
            _ = try read(body)
            return []
        } catch let error as InvalidInput {
            return error.violations
        } catch { return [] }
    }

    @Test("is completed by every default, and reading the completed body changes nothing")
    func resolvedIsAFixedPoint() throws {
        let request = try read(Self.minimal)
        #expect(request.threads == 2)
        #expect(request.options.epochs == 10)
        #expect(request.resolved["train"]?["optimizer"]?["lr"] == .number(0.1))
        #expect(request.resolved["limits"]?["max_seconds"] == .null)
        #expect(request.model.graph.outputShape.dimensions == [10])
        let again = try read(.object(request.resolved))
        #expect(again.resolved == request.resolved)
        #expect(again.model == request.model)
    }

    @Test("is refused with every violation at once, each with its place")
    func allViolations() {
        let found = violations([
            "type": "train", "dataset": "fashion-mnist", "threads": 3, "seed": -1, "nmae": "x",
            "model": [
                "layers": [
                    ["type": "conv2d", "out_channels": 4, "kernel_size": 29],
                    ["type": "rely"],
                ]
            ],
            "train": ["epochs": 0, "optimizer": ["name": "sgd", "lr": "big"]],
            "gate": [["metric": "val_accuracy"]], "depends_on": ["job_1"],
        ])
        let places = Dictionary(grouping: found, by: \.pointer).mapValues { $0.map(\.detail) }
        #expect(
            Set(places.keys) == [
                "/threads", "/seed", "/nmae", "/model/layers/0/kernel_size", "/model/layers/1/type",
                "/train/epochs", "/train/optimizer/lr", "/gate/0", "/depends_on/0",
            ])
        #expect(places["/model/layers/0/kernel_size"] == ["kernel 29 does not fit the 28x28 input"])
        #expect(places["/threads"] == ["the core budget is 2, found 3"])
        #expect(places["/nmae"]?.first?.contains("\"name\"") == true)
    }

    @Test("is refused when a gate can never hold, before anything is trained")
    func impossibleGates() {
        let found = violations([
            "type": "train", "dataset": "fashion-mnist", "model": ["preset": "lenet5_caffe"],
            "gate": [
                ["metric": "val_acuracy", "min": 0.9], ["metric": "joules", "min": 2, "max": 1],
                ["metric": "", "min": 0], ["metric": "val_loss", "min": 1, "max": 1],
            ],
        ])
        #expect(found.map(\.pointer) == ["/gate/0/metric", "/gate/1", "/gate/2/metric"])
        #expect(found.map(\.code) == ["unknown_metric", "invalid_value", "unknown_metric"])
        #expect(found.first?.detail == "unknown metric \"val_acuracy\"; did you mean \"val_accuracy\"?")
        #expect(found.dropFirst().first?.detail == "no value is at least 2.0 and at most 1.0")
    }

    @Test("takes a gate on every series and on every figure of the report")
    func possibleGates() throws {
        for metric in [
            "train_accuracy", "val_accuracy", "learning_rate", "test_accuracy", "best_val_accuracy",
            "joules", "peak_memory_bytes", "file_bytes",
        ] {
            let gate: JSONValue = [["metric": .string(metric), "max": 1]]
            let body: JSONValue = [
                "type": "train", "dataset": "fashion-mnist", "model": ["preset": "lenet5_caffe"],
                "gate": gate,
            ]
            #expect(try read(body).resolved["gate"]?.arrayValue?.count == 1, "\(metric)")
        }
    }

    @Test("names the datasets that there are when its own is unknown")
    func unknownDataset() {
        let found = violations([
            "type": "train", "dataset": "fashion",
            "model": ["preset": "linear", "classes": 10, "input": [4]],
        ])
        #expect(found.map(\.pointer) == ["/dataset"])
        #expect(found.first?.detail.contains("fashion-mnist") == true)
    }

    @Test("is not blamed for what its unknown dataset would have told")
    func unknownDatasetTellsNothing() {
        for (model, places) in [
            (["preset": "lenet5_caffe"], []), (["preset": "gpt"], []),
            (["preset": "mlp", "hidden": [0]], ["/model/hidden/0"]),
            (["layers": [["type": "linear", "out_features": 0]]], ["/model/layers/0/out_features"]),
        ] as [(JSONValue, [String])] {
            let found = violations(["type": "train", "dataset": "no-such", "model": model, "seed": -1])
            #expect(found.map(\.pointer).sorted() == (["/dataset", "/seed"] + places).sorted(), "\(model)")
        }
    }

    @Test("is refused when no checkpoint would stay, or too many, with the least that is possible")
    func keptCheckpoints() throws {
        func body(_ steps: Int, _ every: Int) -> JSONValue {
            [
                "type": "train", "dataset": "fashion-mnist", "model": ["preset": "lenet5_caffe"],
                "train": ["steps": JSONValue(steps), "keep_checkpoint_every_steps": JSONValue(every)],
            ]
        }
        #expect(try read(body(1000, 10)).keptCheckpointCount == 100)
        #expect(try read(body(50, 50)).keptCheckpointCount == 1)
        for (steps, every, code) in [(50, 51, "invalid_value"), (1010, 10, "out_of_range")] {
            let found = violations(body(steps, every))
            #expect(found.map(\.pointer) == ["/train/keep_checkpoint_every_steps"])
            #expect(found.map(\.code) == [code])
        }
        let detail = try #require(violations(body(1010, 1)).first?.detail)
        let every = try #require(detail.split(separator: " ").dropLast(3).last.flatMap { Int($0) })
        #expect(violations(body(1010, every)).isEmpty && every <= 11)
    }

    @Test("is refused when the model's output is not the dataset's classes")
    func wrongOutput() {
        let found = violations([
            "type": "train", "dataset": "fashion-mnist", "model": ["preset": "mlp", "classes": 7],
        ])
        #expect(found.map(\.detail) == ["the dataset has 10 classes, the model's output is 7"])
    }
}

@Suite("SpecResolver") struct SpecResolverTests {
    private func resolver(memory: Int) -> SpecResolver {
        SpecResolver(
            catalogue: catalogue, budget: Budget(threads: 2, memoryBytes: memory), limits: MachineLimits())
    }

    @Test("counts what a job will hold before it runs")
    func estimates() throws {
        let job = try resolver(memory: 8 << 30).resolve(JobRequestTests.minimal)
        #expect(job.estimate["parameters"] == 431_080)
        #expect(job.estimate["macs_per_sample"] == 2_293_000)
        // The decoded dataset alone is 70,000 images of 784 bytes and a label.
        #expect(job.memoryBytes > 70_000 * 785)
        // No machine runs a step in less than its arithmetic takes at 100 TFLOP/s, three products a layer.
        let seconds = try #require(job.estimate["seconds"]?.doubleValue)
        #expect(seconds > 600_000 * 2 * 2_293_000 / 1e14 && seconds < 1e5)
        // Both threads are busy all the time, at 3.5 W each.
        let joules = try #require(job.estimate["joules"]?.doubleValue)
        #expect(abs(joules - 7 * seconds) <= 1e-9 * joules)
        #expect(job.estimate["method"]?.stringValue?.hasPrefix("model") == true)
        #expect(job.memoryBytes < 150 << 20)
        #expect(job.threads == 2)
    }

    @Test("refuses what can never fit, with the numbers")
    func neverFits() throws {
        let error = #expect(throws: InvalidInput.self) {
            try resolver(memory: 60 << 20).resolve(JobRequestTests.minimal)
        }
        #expect(error?.violations.first?.code == "insufficient_memory")
        #expect(error?.violations.first?.detail.contains("\(60 << 20)") == true)
    }

    @Test("counts what a job keeps on disk, and refuses what is beyond its limit")
    func countsDisk() throws {
        func body(_ limit: JSONValue, _ train: JSONValue = [:]) -> JSONValue {
            [
                "type": "train", "dataset": "fashion-mnist", "model": ["preset": "lenet5_caffe"],
                "train": train, "limits": ["max_disk_bytes": limit],
            ]
        }
        let service = resolver(memory: 8 << 30)
        let plain = try #require(try service.resolve(body(.null)).estimate["disk_bytes"]?.intValue)
        // Three checkpoints and the model, of 431,080 numbers each.
        #expect(plain >= 4 * 431_080 * 4 && plain < 5 * 431_080 * 4)
        let kept: JSONValue = [
            "steps": 100, "keep_checkpoint_every_steps": 10, "optimizer": ["name": "adam"],
        ]
        let much = try #require(try service.resolve(body(.null, kept)).estimate["disk_bytes"]?.intValue)
        #expect(much >= (13 * 3 + 1) * 431_080 * 4 && much < (14 * 3 + 1) * 431_080 * 4)
        _ = try service.resolve(body(JSONValue(plain)))
        let error = #expect(throws: InvalidInput.self) { try service.resolve(body(JSONValue(plain - 1))) }
        #expect(error?.violations.map(\.pointer) == ["/limits/max_disk_bytes"])
        #expect(error?.violations.first?.code == "insufficient_disk")
        #expect(error?.violations.first?.detail.contains("\(plain)") == true)
    }

    @Test("ends an attempt that keeps more on disk than its job may")
    func limitsDisk() throws {
        let path = NSTemporaryDirectory() + "vintner-limit-" + UUID().uuidString
        let folder = DataFolder(path: path)
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Folder.make(folder.absolute("jobs/a"))
        try AtomicFile.write([UInt8](repeating: 1, count: 600), to: folder.absolute("jobs/a/last-1"))
        try AtomicFile.write([UInt8](repeating: 1, count: 600), to: folder.absolute("jobs/a/kept-1"))
        var limits = JobSettings.Limits()
        try limits.checkDisk(["jobs/a"], in: folder)
        limits.diskBytes = 1200
        try limits.checkDisk(["jobs/a", "models/none"], in: folder)
        limits.diskBytes = 1199
        let failure = #expect(throws: JobFailure.self) { try limits.checkDisk(["jobs/a"], in: folder) }
        #expect(failure?.code == "limit_exceeded" && failure?.pointer == "/limits/max_disk_bytes")
        #expect(failure?.isRetryable == false && failure?.message.contains("1200") == true)
    }

    @Test("refuses models of absurd size without planning them")
    func absurdSize() {
        let layers: [JSONValue] = [
            ["type": "flatten"], ["type": "linear", "out_features": 1_000_000],
            ["type": "linear", "out_features": 1_000_000], ["type": "linear", "out_features": 10],
        ]
        let error = #expect(throws: InvalidInput.self) {
            try resolver(memory: 8 << 30).resolve([
                "type": "train", "dataset": "fashion-mnist", "model": ["layers": .array(layers)],
            ])
        }
        #expect(error?.violations.first?.code == "insufficient_memory")
    }

    @Test("halves an automatic batch until the job fits its limit")
    func automaticBatch() throws {
        func body(_ limit: JSONValue) -> JSONValue {
            [
                "type": "train", "dataset": "fashion-mnist", "model": ["preset": "lenet5_caffe"],
                "train": [
                    "batch_size": "auto", "micro_batch_size": nil, "checkpoint_segments": 1,
                    "optimizer": ["name": "sgd", "lr": 0.03],
                ],
                "limits": ["max_memory_bytes": limit],
            ]
        }
        let roomy = try resolver(memory: 8 << 30).resolve(body(.null))
        #expect(roomy.spec["train"]?["batch_size"] == 64)
        let limit = roomy.memoryBytes - 1
        let tight = try resolver(memory: 8 << 30).resolve(body(JSONValue(limit)))
        #expect(tight.memoryBytes <= limit)
        #expect(tight.spec["train"]?["batch_size"] == 32)
        // The rate is the request's, whatever the batch.
        #expect(tight.spec["train"]?["optimizer"]?["lr"] == 0.03)
    }

    @Test("runs a batch in smaller parts where memory is short, but not one whose samples see each other")
    func automaticParts() throws {
        func body(_ preset: JSONValue, _ limit: JSONValue) -> JSONValue {
            [
                "type": "train", "dataset": "fashion-mnist", "model": ["preset": preset],
                "train": ["batch_size": 256, "checkpoint_segments": 1], "limits": ["max_memory_bytes": limit],
            ]
        }
        let service = resolver(memory: 8 << 30)
        let roomy = try service.resolve(body("lenet5_caffe", nil))
        #expect(roomy.spec["train"]?["micro_batch_size"] == 256)
        let limit = roomy.memoryBytes - 1
        let tight = try service.resolve(body("lenet5_caffe", JSONValue(limit)))
        #expect(tight.memoryBytes <= limit)
        #expect(tight.spec["train"]?["batch_size"] == 256)
        #expect(tight.spec["train"]?["micro_batch_size"] == 128)
        #expect(tight.estimate["micro_batch_size"] == 128)
        // What was resolved stays, with more memory too.
        var again = try #require(tight.spec.objectValue)
        again["limits"] = ["max_memory_bytes": nil]
        #expect(try service.resolve(.object(again)).spec["train"]?["micro_batch_size"] == 128)
        let mixing = try service.resolve(body("resnet20", nil))
        #expect(throws: InvalidInput.self) {
            try service.resolve(body("resnet20", JSONValue(mixing.memoryBytes - 1)))
        }
    }

    @Test("computes activations again before it refuses a job or takes smaller batches")
    func automaticSegments() throws {
        func body(_ limit: JSONValue, _ segments: JSONValue) -> JSONValue {
            [
                "type": "train", "dataset": "fashion-mnist", "model": ["preset": "resnet20"],
                "train": ["batch_size": 256, "checkpoint_segments": segments],
                "limits": ["max_memory_bytes": limit],
            ]
        }
        let service = resolver(memory: 8 << 30)
        let roomy = try service.resolve(body(.null, "auto"))
        #expect(roomy.spec["train"]?["checkpoint_segments"] == 1)
        let limit = roomy.memoryBytes * 3 / 4
        let tight = try service.resolve(body(JSONValue(limit), "auto"))
        #expect(tight.memoryBytes <= limit)
        #expect((tight.spec["train"]?["checkpoint_segments"]?.intValue ?? 0) > 1)
        #expect(tight.estimate["checkpoint_segments"] == tight.spec["train"]?["checkpoint_segments"])
        #expect(throws: InvalidInput.self) { try service.resolve(body(JSONValue(limit), 1)) }
    }

    @Test("publishes the schema of what it accepts")
    func schema() throws {
        let schema = try #require(resolver(memory: 1).schema(for: .train))
        #expect(schema["properties"]?["train"]?["properties"]?["epochs"]?["default"] == 10)
        #expect(schema["additionalProperties"] == false)
        // Layers, a stored model, one of a job, or one of the presets with its own fields.
        let models = try #require(schema["properties"]?["model"]?["oneOf"]?.arrayValue)
        #expect(models.count == Preset.allCases.count + 3)
    }
}

import Data
import Graph
import JSON
import Jobs
import Tensor
import Testing
import Training

@testable import vintner

@Suite("A job that distils") struct DistillRequestTests {
    /// Stored models by the last letter of their names.
    private struct Shelf: ModelSource {
        var records: [ModelID: ModelRecord] = [:]

        mutating func add(_ letter: Character, _ layers: [JSONValue]) throws -> JSONValue {
            let id = try #require(ModelID("mdl_01arz3ndektsv4rrffq69g5fa\(letter)"))
            records[id] = ModelRecord(
                id: id, name: "kept", jobID: nil, createdAt: Timestamp(milliseconds: 0),
                architecture: ["input": [1, 28, 28], "layers": .array([["type": "flatten"]] + layers)],
                parameters: 0, macs: 0, path: "models/x/model.safetensors", byteCount: 1, sha256: "00")
            return ["id": .string(id.rawValue)]
        }

        func model(_ id: ModelID) throws(JobError) -> ModelRecord {
            guard let record = records[id] else { throw .modelNotFound(id) }
            return record
        }
    }

    private static let ten: JSONValue = ["type": "linear", "out_features": 10]

    private static func body(_ distill: JSONValue, train: JSONValue = [:]) -> JSONValue {
        [
            "type": "distill", "dataset": "fashion-mnist", "model": ["preset": "mlp", "hidden": [20]],
            "distill": distill, "train": train,
        ]
    }

    private static func resolver(_ shelf: Shelf, memory: Int = 8 << 30) -> SpecResolver {
        SpecResolver(
            catalogue: catalogue, budget: Budget(threads: 2, memoryBytes: memory), limits: MachineLimits(),
            models: shelf)
    }

    @Test("has every default filled in, holds its teachers, and reads the same when it is read again")
    func resolves() throws {
        var shelf = Shelf()
        let hidden: JSONValue = ["type": "linear", "out_features": 1000]
        let wide = try shelf.add("a", [hidden, ["type": "relu"], Self.ten])
        let narrow = try shelf.add("b", [Self.ten])
        let resolver = Self.resolver(shelf)
        let job = try resolver.resolve(Self.body(["teacher": wide]))
        #expect(job.type == .distill)
        #expect(job.spec["distill"]?["temperature"]?.doubleValue == 4)
        #expect(job.spec["distill"]?["alpha"]?.doubleValue == 0.1)
        #expect(job.spec["distill"]?["loss"] == "kl")
        #expect(try resolver.resolve(job.spec).spec == job.spec)
        let two = try resolver.resolve(Self.body(["teacher": [wide, narrow]]))
        let one = try resolver.resolve(Self.body(["teacher": narrow]))
        // A thousand by 784 weights.
        #expect(job.memoryBytes - one.memoryBytes > 3_000_000 && two.memoryBytes > job.memoryBytes)
        #expect(resolver.schema(for: .distill)?["properties"]?["distill"]?["properties"]?["dkd"] != nil)
        #expect(resolver.schema(for: .train)?["properties"]?["distill"] == nil)
    }

    private static let map: [JSONValue] = [
        ["type": "reshape", "shape": [1, 28, 28]],
        ["type": "conv2d", "name": "wide", "out_channels": 64, "kernel_size": 3, "padding": 1],
        ["type": "flatten"], ten,
    ]

    private static func body(
        _ features: [JSONValue], teacher: JSONValue, batchSize: Int64 = 512
    ) -> JSONValue {
        [
            "type": "distill", "dataset": "fashion-mnist", "train": ["batch_size": .integer(batchSize)],
            "model": [
                "layers": [
                    ["type": "conv2d", "name": "narrow", "out_channels": 4, "kernel_size": 3, "padding": 1],
                    ["type": "flatten"], ten,
                ]
            ],
            "distill": ["teacher": teacher, "features": .array(features)],
        ]
    }

    @Test("compares layers of both, in memory that is told")
    func features() throws {
        var shelf = Shelf()
        let teacher = try shelf.add("a", Self.map)
        let resolver = Self.resolver(shelf)
        let feature: JSONValue = ["student": "narrow", "teacher": "wide"]
        let job = try resolver.resolve(Self.body([feature], teacher: teacher))
        #expect(
            job.spec["distill"]?["features"] == [
                [
                    "student": "narrow", "teacher": "wide", "loss": "mse", "adapter": "linear",
                    "weight": .number(100),
                ]
            ])
        #expect(try resolver.resolve(job.spec).spec == job.spec)
        var plain = Self.body([], teacher: teacher).objectValue ?? [:]
        plain["distill"] = ["teacher": teacher]
        // What is adapted has 512 samples of 64 channels of 28 by 28 floats.
        let alone = try resolver.resolve(.object(plain)).memoryBytes
        #expect(job.memoryBytes - alone > 512 * 64 * 28 * 28 * 4)
        let schema = resolver.schema(for: .distill)?["properties"]?["distill"]?["properties"]?["features"]
        #expect(schema?["items"]?["properties"]?["adapter"] != nil)
    }

    @Test("counts what its models take when they are measured")
    func measures() throws {
        var shelf = Shelf()
        let teacher = try shelf.add("a", Self.map)
        let feature: JSONValue = ["student": "narrow", "teacher": "wide"]
        let body = Self.body([feature], teacher: teacher, batchSize: 1)
        let job = try Self.resolver(shelf).resolve(body)
        // The teacher answers batches of 256, and of 1 and 64 besides; the dataset is shared with others.
        let dataset = 70_000 * 28 * 28
        #expect(job.memoryBytes - dataset > (256 + 64) * 64 * 28 * 28 * 4)
    }

    @Test("is refused, at the place, where layers cannot be compared")
    func badFeatures() throws {
        var shelf = Shelf()
        let teacher = try shelf.add("a", Self.map)
        func pointers(_ features: [JSONValue], _ teacher: JSONValue) -> [String] {
            let error = #expect(throws: InvalidInput.self) {
                try Self.resolver(shelf).resolve(Self.body(features, teacher: teacher))
            }
            return error?.violations.map(\.pointer) ?? []
        }
        let good: JSONValue = ["student": "narrow", "teacher": "wide"]
        #expect(
            pointers(
                [
                    good, ["student": "slim", "teacher": "wide"], ["student": "narrow", "teacher": "slim"],
                    ["student": "narrow", "teacher": "wide", "adapter": "none"],
                    ["student": "narrow", "teacher": "wide", "loss": "attention", "adapter": "linear"],
                ], teacher) == [
                    "/distill/features/1/student", "/distill/features/2/teacher",
                    "/distill/features/3/adapter", "/distill/features/4/adapter",
                ])
        #expect(pointers([good], [teacher, teacher]) == ["/distill/features"])
        #expect(pointers([], teacher) == ["/distill/features"])
        var pruned = Self.body([good], teacher: teacher).objectValue ?? [:]
        (pruned["type"], pruned["prune"]) = ("prune", ["structure": "channel"])
        let error = #expect(throws: InvalidInput.self) { try Self.resolver(shelf).resolve(.object(pruned)) }
        #expect(error?.violations.map(\.pointer) == ["/distill/features"])
        pruned["prune"] = ["structure": "unstructured"]
        #expect(try Self.resolver(shelf).resolve(.object(pruned)).type == .prune)
    }

    @Test("is refused, at the place, where the teacher or the loss does not fit")
    func refused() throws {
        var shelf = Shelf()
        let good = try shelf.add("a", [Self.ten])
        let seven = try shelf.add("b", [["type": "linear", "out_features": 7]])
        let soft = try shelf.add("c", [Self.ten, ["type": "softmax"]])
        let shares: JSONValue = ["loss": "mse"]
        for (distill, train, pointer) in [
            (["teacher": seven], [:], "/distill/teacher/id"), (["teacher": soft], [:], "/distill/teacher"),
            (["teacher": [good, soft]], [:], "/distill/teacher/1"),
            (["teacher": []], [:], "/distill/teacher"), (["temperature": 2], [:], "/distill/teacher"),
            (["teacher": good, "temperature": 0], [:], "/distill/temperature"),
            (["teacher": good, "alpha": 2], [:], "/distill/alpha"),
            (["teacher": good, "tau": 2], [:], "/distill/tau"),
            (["teacher": good, "dkd": ["beta": 2]], [:], "/distill/dkd"),
            (["teacher": good], shares, "/train/loss"),
            (["teacher": ["id": "mdl_01arz3ndektsv4rrffq69g5faz"]], [:], "/distill/teacher/id"),
        ] as [(JSONValue, JSONValue, String)] {
            let error = #expect(throws: InvalidInput.self) {
                try Self.resolver(shelf).resolve(Self.body(distill, train: train))
            }
            #expect(error?.violations.map(\.pointer) == [pointer], "\(distill) \(train)")
        }
        let missing = #expect(throws: InvalidInput.self) {
            try Self.resolver(shelf).resolve([
                "type": "distill", "dataset": "fashion-mnist", "model": ["preset": "mlp"],
            ])
        }
        #expect(missing?.violations.map(\.pointer) == ["/distill"])
        let train = #expect(throws: InvalidInput.self) {
            try Self.resolver(shelf).resolve([
                "type": "train", "dataset": "fashion-mnist", "model": ["preset": "mlp"],
                "distill": ["teacher": good],
            ])
        }
        #expect(train?.violations.map(\.pointer) == ["/distill"])
    }

    @Test("of mutual students has the published weights, memory for both, and reads the same again")
    func mutual() throws {
        let resolver = Self.resolver(Shelf())
        let job = try resolver.resolve(Self.body(["mutual": true]))
        #expect(job.type == .distill && job.dependencies.isEmpty)
        #expect(job.spec["distill"]?["alpha"] == .number(0.5))
        #expect(job.spec["distill"]?["temperature"] == .number(1))
        #expect(try resolver.resolve(job.spec).spec == job.spec)
        let own: JSONValue = ["mutual": true, "alpha": 0.2, "temperature": 3, "loss": "jsd"]
        let chosen = try resolver.resolve(Self.body(own))
        #expect(chosen.spec["distill"]?["alpha"] == 0.2)
        #expect(chosen.spec["distill"]?["temperature"] == .number(3))
        let logits = try resolver.resolve(Self.body(["mutual": true, "loss": "mse_logits"]))
        #expect(logits.spec["distill"]?["temperature"] == nil)
        let peer: JSONValue = ["preset": "mlp", "hidden": [1000]]
        let wide = try resolver.resolve(Self.body(["mutual": true, "peer": peer]))
        #expect(try resolver.resolve(wide.spec).spec == wide.spec)
        // A thousand by 784 weights, and their momentum or gradients.
        #expect(wide.memoryBytes - job.memoryBytes > 3_000_000)
    }

    @Test("of mutual students is refused, at the place, where something does not go with them")
    func badMutual() throws {
        var shelf = Shelf()
        let teacher = try shelf.add("a", [Self.ten])
        let seven: JSONValue = ["layers": [["type": "flatten"], ["type": "linear", "out_features": 7]]]
        let feature: JSONValue = ["student": "fc1", "teacher": "fc1"]
        for (distill, train, pointer) in [
            (["mutual": true, "teacher": teacher], [:], "/distill/teacher"),
            (["mutual": true, "features": [feature]], [:], "/distill/features"),
            (["mutual": true, "teacher_cache": "memory"], [:], "/distill/teacher_cache"),
            (["mutual": true, "peer": teacher], [:], "/distill/peer"),
            (["mutual": true, "peer": seven], [:], "/distill/peer"),
            (["mutual": true], ["lora": ["rank": 2]], "/train/lora"),
            (["mutual": true], ["loss": "mse"], "/train/loss"),
            (["teacher": teacher, "peer": ["preset": "mlp"]], [:], "/distill/peer"),
            (["mutual": false], [:], "/distill/teacher"),
        ] as [(JSONValue, JSONValue, String)] {
            let error = #expect(throws: InvalidInput.self) {
                try Self.resolver(shelf).resolve(Self.body(distill, train: train))
            }
            #expect(error?.violations.map(\.pointer) == [pointer], "\(distill) \(train)")
        }
        let pruned = #expect(throws: InvalidInput.self) {
            try Self.resolver(shelf).resolve([
                "type": "prune", "dataset": "fashion-mnist", "model": ["preset": "mlp"], "prune": [:],
                "distill": ["teacher": teacher, "mutual": true],
            ])
        }
        #expect(pruned?.violations.map(\.pointer) == ["/distill/mutual"])
    }

    @Test("of mutual students cuts no batch that the second student looks at as a whole")
    func mutualParts() throws {
        let peer: JSONValue = [
            "layers": [
                ["type": "flatten"], ["type": "linear", "out_features": 20], ["type": "batch_norm"], Self.ten,
            ]
        ]
        let graph = try #require(
            ModelSpec.read(
                peer, at: "", data: .images(try Shape([1, 28, 28]), classes: 10), log: ViolationLog())
        ).graph
        let plain = try #require(
            ModelSpec.read(
                ["preset": "vit_tiny"], at: "", data: .images(try Shape([3, 32, 32]), classes: 10),
                log: ViolationLog())
        ).graph
        var options = TrainOptions()
        options.batchSize = 64
        options.cutBatch(for: [plain])
        #expect(options.microBatchSize != nil, "it is cut where only itself is trained")
        options.cutBatch(for: [plain, graph])
        #expect(options.microBatchSize == nil)
        let isCut = options.cutBatchFurther(for: [plain, graph])
        #expect(!isCut)
    }
}

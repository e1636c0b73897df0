import Data
import JSON
import Jobs
import Testing
import Training

@testable import vintner

@Suite("A job that quantizes") struct QuantizeRequestTests {
    /// A stored LeNet, and one in bytes.
    private struct Shelf: ModelSource {
        static let id = "mdl_01arz3ndektsv4rrffq69g5faa"
        static let bytes = "mdl_01arz3ndektsv4rrffq69g5fab"

        func model(_ id: ModelID) throws(JobError) -> ModelRecord {
            guard [Self.id, Self.bytes].contains(id.rawValue) else { throw .modelNotFound(id) }
            let isInBytes = id.rawValue == Self.bytes
            return ModelRecord(
                id: id, name: "kept", jobID: nil, createdAt: Timestamp(milliseconds: 0),
                architecture: ["preset": "lenet5_caffe", "input": [1, 28, 28], "classes": 10],
                parameters: 0, macs: 0, path: "models/x/model.safetensors", byteCount: 1, sha256: "00",
                lineage: isInBytes ? ["parent": .string(Self.id), "quantization": ["scheme": "int8"]] : [:])
        }
    }

    private static func body(_ members: JSONObject) -> JSONValue {
        var body: JSONObject = [
            "type": "quantize", "dataset": "fashion-mnist", "model": ["id": .string(Shelf.id)],
        ]
        for (key, value) in members.members { body[key] = value }
        return .object(body)
    }

    static var resolver: SpecResolver {
        SpecResolver(
            catalogue: catalogue, budget: Budget(threads: 2, memoryBytes: 8 << 30), limits: MachineLimits(),
            models: Shelf())
    }

    private static func violations(_ body: JSONValue) -> [Violation] {
        do {
            _ = try resolver.resolve(body)
            return []
        } catch { return error.violations }
    }

    static let requests: [JSONObject] = [
        [:], ["quantize": ["exclude": ["conv1", "output"], "calibration_samples": 64], "seed": 7],
        ["quantize": ["activation": ["observer": "kl", "symmetric": true, "reduce_range": true]]],
        ["quantize": ["activation": ["observer": "percentile", "percentile": 99.9]]],
        ["quantize": ["activation": ["observer": "moving_average", "averaging_constant": 0.1]]],
        ["quantize": ["weight": ["granularity": "per_tensor"], "fold_batchnorm": false]],
        ["gate": ["max_drop": 0.005, "on_fail": "fail"]],
        ["gate": [["metric": "test_accuracy", "min": 0.5]]],
    ]

    @Test("has every default filled in, and reads the same when it is read again", arguments: requests)
    func resolves(members: JSONObject) throws {
        let job = try Self.resolver.resolve(Self.body(members))
        #expect(job.type == .quantize && job.memoryBytes > 0)
        #expect(job.spec["quantize"]?["method"] == "ptq_static")
        #expect(job.spec["quantize"]?["weight"]?["dtype"] == "int8")
        let again = try Self.resolver.resolve(job.spec)
        #expect(again.spec == job.spec && again.memoryBytes == job.memoryBytes)
        let excluded = members["quantize"]?["exclude"]?.arrayValue?.count ?? 0
        #expect(job.estimate["layers"]?.arrayValue?.count == 4 - excluded)
    }

    static let trainings: [JSONObject] = [
        ["quantize": ["method": "qat"]],
        [
            "quantize": [
                "method": "qat", "exclude": ["output"],
                "qat": ["epochs": 2, "lr_factor": 0.5, "freeze_observers_after": 0],
            ],
            "train": ["batch_size": 32, "optimizer": ["name": "adamw", "lr": 0.002], "keep": "best"],
            "gate": ["max_drop": 0.005],
        ],
        [
            "quantize": [
                "method": "qat", "weight": ["granularity": "per_tensor"], "fold_batchnorm": false,
                "activation": ["observer": "moving_average", "averaging_constant": 0.1, "symmetric": true],
            ],
            "train": [
                "checkpoint_segments": 2, "micro_batch_size": 16, "lr_schedule": ["name": "constant"],
            ],
        ],
    ]

    @Test("that trains has its defaults too, and its memory and time are told before", arguments: trainings)
    func trains(members: JSONObject) throws {
        let job = try Self.resolver.resolve(Self.body(members))
        let (qat, train) = (job.spec["quantize"]?["qat"], job.spec["train"])
        #expect(job.type == .quantize && job.memoryBytes > 0)
        #expect(qat?["epochs"]?.intValue == members["quantize"]?["qat"]?["epochs"]?.intValue ?? 1)
        #expect(job.spec["quantize"]?["activation"]?["observer"] == "moving_average")
        #expect(train?["epochs"] == nil && train?["optimizer"]?["lr"] != nil)
        #expect(train?["lr_schedule"]?["name"] == members["train"]?["lr_schedule"]?["name"] ?? "cosine")
        #expect(job.spec["quantize"]?["calibration_samples"] == nil)
        let again = try Self.resolver.resolve(job.spec)
        #expect(again.spec == job.spec && again.memoryBytes == job.memoryBytes)
        let excluded = members["quantize"]?["exclude"]?.arrayValue?.count ?? 0
        #expect(job.estimate["layers"]?.arrayValue?.count == 4 - excluded)
        #expect(job.estimate["parameters"] == 431_080)
        let request = try JobRequest.read(
            job.spec, catalogue: catalogue, models: Shelf(), cores: 2)
        let factor = qat?["lr_factor"]?.doubleValue ?? 0
        let rate = train?["optimizer"]?["lr"]?.doubleValue ?? 0
        #expect(request.options.learningRate == factor * rate && rate > 0)
        #expect(request.options.epochs == qat?["epochs"]?.intValue)
        #expect(request.quantization?.layers.count == 4 - excluded)
    }

    /// What is wrong with a training, and where.
    static let trainingFaults: [(JSONObject, JSONObject, String)] = [
        (["calibration_samples": 64], [:], "/quantize/calibration_samples"),
        (["activation": ["observer": "minmax"]], [:], "/quantize/activation/observer"),
        (["activation": ["percentile": 99]], [:], "/quantize/activation/percentile"),
        (["qat": ["freeze_bn_after": 0.5]], [:], "/quantize/qat/freeze_bn_after"),
        (["qat": ["epochs": 0]], [:], "/quantize/qat/epochs"),
        (["qat": ["lr_factor": 0]], [:], "/quantize/qat/lr_factor"),
        (["exclude": ["conv3"]], [:], "/quantize/exclude/0"),
        (["keep_masks": false], [:], "/quantize/keep_masks"),
        ([:], ["train": ["epochs": 3]], "/train/epochs"), ([:], ["train": ["steps": 3]], "/train/steps"),
        ([:], ["train": ["precision": "bf16"]], "/train/precision"),
        ([:], ["train": ["optimizer": ["lr": "auto"]]], "/train/optimizer/lr"),
        ([:], ["train": ["lora": [:]]], "/train/lora"),
        ([:], ["model": ["preset": "lenet5_caffe"]], "/model"),
        ([:], ["model": ["id": .string(Shelf.bytes)]], "/model/id"),
        ([:], ["prune": [:]], "/prune"),
    ]

    @Test("that trains is refused where something is wrong with it", arguments: trainingFaults.indices)
    func refusesTraining(index: Int) {
        let (quantize, members, pointer) = Self.trainingFaults[index]
        var (body, asked): (JSONObject, JSONObject) = (members, ["method": "qat"])
        for (key, value) in quantize.members { asked[key] = value }
        body["quantize"] = .object(asked)
        let found = Self.violations(Self.body(body))
        #expect(found.contains { $0.pointer == pointer }, "\(found)")
    }

    /// What is wrong, and where.
    static let faults: [(JSONObject, String)] = [
        (["quantize": ["method": "ptq_dynamic"]], "/quantize/method"),
        (["quantize": ["qat": [:]]], "/quantize/qat"),
        (["quantize": ["exclude": ["conv3"]]], "/quantize/exclude/0"),
        (["quantize": ["exclude": ["*"]]], "/quantize"),
        (["quantize": ["keep_masks": false]], "/quantize/keep_masks"),
        (["quantize": ["weight": ["symmetric": false]]], "/quantize/weight/symmetric"),
        (["quantize": ["weight": ["dtype": "int4"]]], "/quantize/weight/dtype"),
        (["quantize": ["activation": ["percentile": 99]]], "/quantize/activation/percentile"),
        (["quantize": ["activation": ["averaging_constant": 1]]], "/quantize/activation/averaging_constant"),
        (["quantize": ["activation": ["reduce_range": "yes"]]], "/quantize/activation/reduce_range"),
        (["quantize": ["calibration_samples": 0]], "/quantize/calibration_samples"),
        (["gate": ["max_drop": 2]], "/gate/max_drop"), (["train": [:]], "/train"),
        (["model": ["preset": "lenet5_caffe"]], "/model/id"), (["dataset": "none"], "/dataset"),
        (["model": ["id": .string(Shelf.bytes)]], "/model/id"),
        (["limits": ["max_memory_bytes": 1000]], "/limits/max_memory_bytes"),
    ]

    @Test("is refused where something is wrong with it", arguments: faults.indices)
    func refuses(index: Int) {
        let (members, pointer) = Self.faults[index]
        let found = Self.violations(Self.body(members))
        #expect(found.contains { $0.pointer == pointer }, "\(found)")
    }

    @Test("a method that is not offered is told what is, and everything wrong is told at once")
    func messages() {
        let found = Self.violations(
            Self.body(["quantize": ["method": "weight_only", "exclude": ["conv3"]], "seed": -1]))
        #expect(found.contains { $0.detail.contains("\"ptq_static\"") })
        #expect(Set(found.map(\.pointer)) == ["/quantize/method", "/quantize/exclude/0", "/seed"])
    }

    @Test("a model in bytes is not trained, pruned or taught by, and the complaint names its parent")
    func nothingElse() {
        let reference: JSONValue = ["id": .string(Shelf.bytes)]
        let bodies: [(JSONValue, String)] = [
            (["type": "train", "dataset": "fashion-mnist", "model": reference], "/model/id"),
            (["type": "prune", "dataset": "fashion-mnist", "model": reference, "prune": [:]], "/model/id"),
            (
                [
                    "type": "distill", "dataset": "fashion-mnist", "model": ["preset": "lenet5_caffe"],
                    "distill": ["teacher": reference],
                ], "/distill/teacher/id"
            ),
        ]
        for (body, pointer) in bodies {
            let found = Self.violations(body)
            #expect(found.contains { $0.pointer == pointer && $0.code == "quantized_model" }, "\(found)")
            #expect(found.contains { $0.detail.contains(Shelf.id) }, "\(found)")
        }
        #expect(
            Self.violations(["type": "evaluate", "dataset": "fashion-mnist", "model": reference]).isEmpty)
    }

    @Test("its schema has every field")
    func schema() throws {
        let schema = try #require(Self.resolver.schema(for: .quantize))
        let fields = schema["properties"]?["quantize"]?["properties"]
        #expect(fields?["activation"]?["properties"]?["observer"]?["enum"]?.arrayValue?.count == 4)
        #expect(schema["properties"]?["gate"] != nil && fields?["calibration_samples"]?["default"] == 512)
    }
}

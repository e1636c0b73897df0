import Data
import Graph
import JSON
import Jobs
import Testing
import Training

@testable import vintner

@Suite("A job that prunes") struct PruneRequestTests {
    /// A stored LeNet.
    private struct Shelf: ModelSource {
        static let id = "mdl_01arz3ndektsv4rrffq69g5faa"

        func model(_ id: ModelID) throws(JobError) -> ModelRecord {
            guard id.rawValue == Self.id else { throw .modelNotFound(id) }
            return ModelRecord(
                id: id, name: "kept", jobID: nil, createdAt: Timestamp(milliseconds: 0),
                architecture: ["preset": "lenet5_caffe", "input": [1, 28, 28], "classes": 10],
                parameters: 0, macs: 0, path: "models/x/model.safetensors", byteCount: 1, sha256: "00")
        }
    }

    private static let stored: JSONValue = ["id": .string(Shelf.id)]
    private static let new: JSONValue = ["preset": "lenet5_caffe"]

    private static func body(
        _ prune: JSONValue, model: JSONValue = stored, train: JSONValue = [:], gate: JSONValue? = nil
    ) -> JSONValue {
        var body: JSONObject = [
            "type": "prune", "dataset": "fashion-mnist", "model": model, "prune": prune, "train": train,
        ]
        body["gate"] = gate
        return .object(body)
    }

    private static var resolver: SpecResolver {
        SpecResolver(
            catalogue: catalogue, budget: Budget(threads: 2, memoryBytes: 8 << 30), limits: MachineLimits(),
            models: Shelf())
    }

    private static func request(_ body: JSONValue) throws -> JobRequest {
        try JobRequest.read(body, catalogue: catalogue, models: Shelf(), cores: 2)
    }

    private static func violations(_ body: JSONValue) -> [String] {
        do {
            _ = try request(body)
            return []
        } catch let error as InvalidInput { return error.violations.map(\.pointer) } catch {
            return ["\(error)"]
        }
    }

    /// Every structure and schedule: what is idle must not come back as a fault.
    static let prunes: [JSONValue] = [
        [:], ["structure": "block"], ["structure": "n:m", "exclude": ["conv1", "output"], "m": 5],
        ["structure": "channel", "constraint": ["macs": "50%"], "round_to": 2],
        ["schedule": "cubic", "end_step": 500], ["schedule": "iterative", "rounds": 3],
        ["criterion": "snip", "target_sparsity": 0.9, "max_per_layer": 0.99],
    ]

    @Test("has every default filled in, and reads the same when it is read again", arguments: prunes)
    func resolves(prune: JSONValue) throws {
        for model in [Self.stored, Self.new] {
            let job = try Self.resolver.resolve(Self.body(prune, model: model))
            #expect(job.type == .prune)
            #expect(job.spec["prune"]?["max_per_layer"] != nil || prune["structure"] == "n:m")
            let again = try Self.resolver.resolve(job.spec)
            #expect(again.spec == job.spec && again.memoryBytes == job.memoryBytes)
        }
    }

    /// 60,000 samples in batches of 64 are 938 steps.
    @Test("a stored model is not trained before it is pruned, unless that is asked for")
    func lengths() throws {
        let cases: [(JSONValue, JSONValue, JSONValue, Int)] = [
            (Self.stored, [:], [:], 3 * 938), (Self.new, [:], [:], 13 * 938),
            (Self.stored, [:], ["epochs": 2], 5 * 938), (Self.stored, ["schedule": "linear"], [:], 13 * 938),
            (Self.stored, ["schedule": "iterative", "rounds": 4], [:], 12 * 938),
            (Self.new, ["rewind": "init"], ["steps": 100], 200),
        ]
        for (model, prune, train, steps) in cases {
            let body = Self.body(prune, model: model, train: train)
            #expect(try Self.request(body).stepCount == steps, "\(prune) \(train)")
            let spec = try Self.resolver.resolve(body).spec
            #expect(try Self.request(spec).stepCount == steps, "\(prune) \(train), again")
        }
    }

    @Test("takes a gate on the drop, or conditions for the verdict")
    func gates() throws {
        let drop = try Self.request(Self.body([:], gate: ["max_drop": 0.005, "on_fail": "fail"]))
        #expect(drop.prune?.gate?.maxDrop == 0.005 && drop.prune?.gate?.onFail == .fail)
        #expect(drop.resolved["gate"]?["metric"] == "accuracy")
        let conditions = try Self.request(Self.body([:], gate: [["metric": "sparsity", "min": 0.5]]))
        #expect(conditions.prune?.gate == nil && conditions.resolved["gate"]?.arrayValue?.count == 1)
        #expect(Self.violations(Self.body([:], gate: ["max_drop": 2])) == ["/gate/max_drop"])
        #expect(Self.violations(Self.body([:], gate: ["drop": 2])) == ["/gate/drop"])
    }

    /// Requests that cannot be done, and where the fault is.
    static let faults: [(prune: JSONValue, train: JSONValue, pointers: [String])] = [
        (["criterion": "taylor"], [:], ["/prune/criterion"]),
        (["rewind": "init"], [:], ["/prune/rewind"]),
        (["begin_step": 5], [:], ["/prune/begin_step"]),
        (["per_layer": ["fc2": 0.5]], [:], ["/prune/per_layer/fc2"]),
        (
            ["structure": "channel", "constraint": ["macs": 1000, "params": "90%"]], [:],
            ["/prune/constraint/macs"]
        ),
        ([:], ["early_stopping": [:], "epochs": 2], ["/train/early_stopping"]),
        ([:], ["lora": [:]], ["/train/lora"]),
        (["sparsity": 0.4, "structure": "rows"], [:], ["/prune/structure", "/prune/sparsity"]),
    ]

    @Test("what cannot be done is refused at its place", arguments: faults.indices)
    func refuses(index: Int) {
        let fault = Self.faults[index]
        let found = Self.violations(Self.body(fault.prune, train: fault.train))
        #expect(found.sorted() == fault.pointers.sorted())
    }

    @Test("what is pruned learns from what it was, or from whom it is told")
    func teachers() throws {
        func body(_ distill: JSONValue, model: JSONValue = Self.stored) -> JSONValue {
            var body = Self.body(["schedule": "cubic"], model: model, train: ["epochs": 2]).objectValue ?? [:]
            body["distill"] = distill
            return .object(body)
        }
        for distill in [[:], ["teacher": Self.stored], ["teacher": [Self.stored], "alpha": 0.5]]
            as [JSONValue]
        {
            let request = try Self.request(body(distill))
            #expect(request.type == .prune && request.distill?.teachers.count == 1)
            #expect(request.distill?.teachers.first?.record?.id.rawValue == Shelf.id)
            #expect(request.trainings.count == 1)
            let job = try Self.resolver.resolve(body(distill))
            #expect(
                job.type == .prune && job.spec["distill"]?["teacher"] == distill["teacher"] ?? Self.stored)
            #expect(try Self.resolver.resolve(job.spec).spec == job.spec)
            // The teacher's own plans and those that measure it.
            let alone = try Self.resolver.resolve(
                Self.body(["schedule": "cubic"], model: Self.stored, train: ["epochs": 2]))
            #expect(job.memoryBytes > alone.memoryBytes)
        }
        #expect(try Self.request(body(.null)).distill == nil)
        #expect(Self.violations(body([:], model: Self.new)) == ["/distill/teacher"])
        #expect(Self.violations(body(["control": true])) == ["/distill/control"])
        #expect(Self.violations(body(["teacher": ["id": "mdl_x"]])) == ["/distill/teacher/id"])
    }

    @Test("without a model that was trained there is no drop to judge")
    func dropOfNothing() {
        let body = Self.body(
            ["criterion": "snip"], model: Self.new, gate: ["max_drop": 0.01])
        #expect(Self.violations(body) == ["/gate"])
        #expect(
            Self.violations(["type": "prune", "dataset": "fashion-mnist", "model": Self.stored]) == ["/prune"]
        )
    }
}

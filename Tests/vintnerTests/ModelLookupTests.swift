import Data
import JSON
import Jobs
import Testing
import Training

@testable import vintner

@Suite("Models are named by id, or by the job that makes them") struct ModelLookupTests {
    private static let model: JSONValue = [
        "input": [1, 28, 28],
        "layers": [["type": "flatten"], ["type": "linear", "out_features": 10, "name": "fc"]],
    ]

    /// A stored model, and jobs by id.
    private struct Shelf: ModelSource, JobSource {
        var records: [ModelID: ModelRecord] = [:]
        var jobs: [JobID: Job] = [:]

        func model(_ id: ModelID) throws(JobError) -> ModelRecord {
            guard let record = records[id] else { throw .modelNotFound(id) }
            return record
        }
        func job(_ id: JobID) throws(JobError) -> Job {
            guard let job = jobs[id] else { throw .jobNotFound(id) }
            return job
        }

        mutating func add(
            _ letter: Character, _ type: JobType, _ state: JobState, model: JSONValue, made: ModelID? = nil,
            prune: JSONValue? = nil
        ) throws -> JobID {
            let id = try #require(JobID("job_01arz3ndektsv4rrffq69g5fa\(letter)"))
            let start = Timestamp(milliseconds: 0)
            var spec: JSONObject = ["model": model]
            spec["prune"] = prune
            jobs[id] = Job(
                id: id, type: type, name: "", labels: [:], priority: 0, state: state, reason: nil,
                times: JobTimes(
                    createdAt: start, queuedAt: start, runAt: start, startedAt: nil, finishedAt: nil),
                counts: JobCounts(
                    attempt: 0, maxAttempts: 3, failures: 0, crashes: 0, unfinishedDependencies: 0, fence: 0,
                    version: 1),
                isSuspect: false, threads: 1, memoryBytes: 1, progress: JobProgress(),
                resources: JobResources(), spec: .object(spec), estimate: .null,
                result: made.map { StoredResult(modelID: $0, report: .null) }, error: nil, dependencies: [])
            return id
        }

        mutating func addModel(
            lineage: JSONValue = .null, _ model: JSONValue = ModelLookupTests.model
        ) throws -> ModelID {
            let id = try #require(ModelID("mdl_01arz3ndektsv4rrffq69g5fav"))
            records[id] = ModelRecord(
                id: id, name: "kept", jobID: nil, createdAt: Timestamp(milliseconds: 0),
                architecture: model, parameters: 0, macs: 0,
                path: "models/x/model.safetensors",
                byteCount: 1, sha256: "00", lineage: lineage)
            return id
        }

        func find(_ value: JSONValue) -> (found: ModelLookup.Reference?, complaint: Violation?) {
            let log = ViolationLog()
            let found = ModelLookup(models: self, jobs: self).find(value, at: "/model", log)
            return (found, log.violations.first)
        }
    }

    @Test("a job that has ended gives its model, one that has not what it is going to make")
    func jobs() throws {
        var shelf = Shelf()
        let kept = try shelf.addModel()
        let done = try shelf.add("a", .train, .succeeded, model: Self.model, made: kept)
        let found = shelf.find(["job": .string(done.rawValue)]).found
        #expect(found?.record?.id == kept && found?.job == done)

        let running = try shelf.add("b", .train, .running, model: Self.model)
        let chained = try shelf.add("c", .train, .queued, model: ["job": .string(running.rawValue)])
        let tuned = try shelf.add("d", .train, .queued, model: ["id": .string(kept.rawValue)])
        for id in [running, chained, tuned] {
            let found = shelf.find(["job": .string(id.rawValue)]).found
            #expect(
                found == .init(record: nil, architecture: Self.model, job: id, pointer: "/model/job"))
        }
    }

    @Test("a chain of jobs behind one that prunes weights keeps masks; channels leave none")
    func masks() throws {
        var shelf = Shelf()
        let dense = try shelf.add("a", .train, .queued, model: Self.model)
        func from(_ job: JobID) -> JSONValue { ["job": .string(job.rawValue)] }
        for (letter, structure, isMasked) in [
            ("b", "unstructured", true), ("c", "block", true), ("d", "channel", false),
        ] as [(Character, JSONValue, Bool)] {
            let pruned = try shelf.add(
                letter, .prune, .queued, model: from(dense), prune: ["structure": structure])
            let taught = try shelf.add("e", .distill, .queued, model: from(pruned))
            #expect(shelf.find(from(pruned)).found?.isMasked == isMasked)
            #expect(shelf.find(from(taught)).found?.isMasked == isMasked)
        }
        #expect(shelf.find(from(dense)).found?.isMasked == false)

        for (lineage, isMasked) in [
            (["masked": true], true), (["parent": "x"], false),
            (["pruning": ["structure": "n:m", "kept": "pruned"]], true),
            (["pruning": ["structure": "n:m", "kept": "dense"]], false),
            (["pruning": ["structure": "channel", "kept": "pruned"]], false),
            (["pruning": ["structure": "channel", "kept": "pruned"], "masked": true], true),
        ] as [(JSONValue, Bool)] {
            let kept = try shelf.addModel(lineage: lineage)
            #expect(shelf.find(["id": .string(kept.rawValue)]).found?.isMasked == isMasked, "\(lineage)")
            let tuned = try shelf.add("f", .train, .queued, model: ["id": .string(kept.rawValue)])
            #expect(shelf.find(from(tuned)).found?.isMasked == isMasked, "\(lineage)")
        }
    }

    @Test("what starts from a model with masks is admitted with what trying its zeros takes")
    func maskMemory() throws {
        var shelf = Shelf()
        // So wide that weights need more than decoding the dataset does.
        let wide: JSONValue = [
            "input": [1, 28, 28],
            "layers": [
                ["type": "flatten"], ["type": "linear", "out_features": 65_536],
                ["type": "linear", "out_features": 10],
            ],
        ]
        let dense = try shelf.addModel(lineage: .null, wide)
        func needed() throws -> Int {
            let resolver = SpecResolver(
                catalogue: catalogue, budget: Budget(threads: 2, memoryBytes: 8 << 30),
                limits: MachineLimits(), models: shelf, jobs: shelf)
            return try resolver.resolve([
                "type": "train", "dataset": "fashion-mnist", "model": ["id": .string(dense.rawValue)],
                "train": ["batch_size": 1, "steps": 1],
            ]).memoryBytes
        }
        let plain = try needed()
        _ = try shelf.addModel(lineage: ["masked": true], wide)
        #expect(try needed() > plain)
    }

    @Test("a job tells what it needs, each once and by its place, to be looked for again when it is stored")
    func needs() throws {
        var shelf = Shelf()
        let kept = try shelf.addModel()
        let running = try shelf.add("b", .train, .running, model: Self.model)
        let resolver = SpecResolver(
            catalogue: catalogue, budget: Budget(threads: 2, memoryBytes: 8 << 30), limits: MachineLimits(),
            models: shelf, jobs: shelf)
        let (id, job): (JSONValue, JSONValue) = (
            ["id": .string(kept.rawValue)], ["job": .string(running.rawValue)]
        )
        let stored = NeededModel(pointer: "/model/id", id: kept, job: nil)
        func needs(_ body: JSONObject) throws -> [NeededModel] {
            var body = body
            body["dataset"] = "fashion-mnist"
            if body["type"] != "evaluate" { body["train"] = ["batch_size": 8, "steps": 1] }
            let resolved = try resolver.resolve(.object(body))
            #expect(try resolved.dataset == catalogue.info("fashion-mnist").id)
            #expect(resolver.hasDataset(of: resolved))
            return resolved.models
        }
        #expect(try needs(["type": "train", "model": Self.model]).isEmpty)
        #expect(try needs(["type": "train", "model": id]) == [stored])
        #expect(
            try needs(["type": "evaluate", "model": job])
                == [NeededModel(pointer: "/model/job", id: nil, job: running)])
        #expect(
            try needs(["type": "distill", "model": Self.model, "distill": ["teacher": [id, job]]]) == [
                NeededModel(pointer: "/distill/teacher/0/id", id: kept, job: nil),
                NeededModel(pointer: "/distill/teacher/1/job", id: nil, job: running),
            ])
        let deep: JSONValue = [
            "input": [1, 28, 28],
            "layers": [
                ["type": "flatten"], ["type": "linear", "out_features": 8],
                ["type": "linear", "out_features": 10],
            ],
        ]
        let own = try shelf.addModel(lineage: .null, deep)
        let pruning = SpecResolver(
            catalogue: catalogue, budget: Budget(threads: 2, memoryBytes: 8 << 30), limits: MachineLimits(),
            models: shelf, jobs: shelf)
        let pruned = try pruning.resolve([
            "type": "prune", "dataset": "fashion-mnist", "model": ["id": .string(own.rawValue)],
            "prune": ["target_sparsity": 0.5], "distill": [:], "train": ["batch_size": 8, "steps": 1],
        ])
        #expect(pruned.models == [NeededModel(pointer: "/model/id", id: own, job: nil)])
        var gone = try resolver.resolve(["type": "evaluate", "dataset": "fashion-mnist", "model": id])
        gone.dataset = "dst_01arz3ndektsv4rrffq69g5fav"
        #expect(!resolver.hasDataset(of: gone))
    }

    @Test("what can never give a model is refused at its place")
    func refused() throws {
        var shelf = Shelf()
        let failed = try shelf.add("a", .train, .failed, model: Self.model)
        let measured = try shelf.add("b", .evaluate, .queued, model: Self.model)
        for (value, pointer, code) in [
            (["job": .string(failed.rawValue)], "/model/job", "no_model"),
            (["job": .string(measured.rawValue)], "/model/job", "no_model"),
            (["job": "job_01arz3ndektsv4rrffq69g5faz"], "/model/job", "unknown_job"),
            (["job": "mine"], "/model/job", "invalid_value"),
            (["id": "mdl_01arz3ndektsv4rrffq69g5faz"], "/model/id", "unknown_model"),
            (["job": .string(failed.rawValue), "id": "x"], "/model/id", "unknown_field"),
        ] as [(JSONValue, String, String)] {
            let (_, complaint) = shelf.find(value)
            #expect(complaint?.pointer == pointer && complaint?.code == code, "\(value)")
        }
    }

    @Test("an evaluate job waits for the job whose model it measures, and is planned before that has ended")
    func evaluation() throws {
        var shelf = Shelf()
        let running = try shelf.add("b", .train, .running, model: Self.model)
        let resolver = SpecResolver(
            catalogue: catalogue, budget: Budget(threads: 2, memoryBytes: 8 << 30), limits: MachineLimits(),
            models: shelf, jobs: shelf)
        let body: JSONValue = [
            "type": "evaluate", "dataset": "fashion-mnist", "model": ["job": .string(running.rawValue)],
        ]
        let job = try resolver.resolve(body)
        #expect(job.type == .evaluate && job.dependencies == [running])
        #expect(job.spec["split"] == "test" && job.estimate["parameters"] == 7850)
        #expect(job.memoryBytes > 70_000 * 785)
        // Read again, it is the same.
        #expect(try resolver.resolve(job.spec).spec == job.spec)
        #expect(resolver.schema(for: .evaluate)?["properties"]?["split"]?["default"] == "test")
    }

    @Test("a bad evaluate job is refused with every place")
    func badEvaluation() throws {
        var shelf = Shelf()
        let kept = try shelf.addModel()
        let resolver = SpecResolver(
            catalogue: catalogue, budget: Budget(threads: 2, memoryBytes: 8 << 30), limits: MachineLimits(),
            models: shelf, jobs: shelf)
        func pointers(_ body: JSONValue) -> [String] {
            do {
                _ = try resolver.resolve(body)
                return []
            } catch { return error.violations.map(\.pointer).sorted() }
        }
        let model: JSONValue = ["id": .string(kept.rawValue)]
        #expect(
            pointers([
                "type": "evaluate", "dataset": "fashion", "model": ["id": "x"], "split": "tset", "train": [:],
            ]) == ["/dataset", "/model/id", "/split", "/train"])
        #expect(
            pointers([
                "type": "evaluate", "dataset": "fashion-mnist", "model": model, "split": "validation",
            ]) == ["/split"])
        #expect(pointers(["type": "evaluate", "dataset": "fashion-mnist"]) == ["/model"])
        #expect(
            pointers([
                "type": "evaluate", "dataset": "fashion-mnist", "model": model,
                "limits": ["max_memory_bytes": 1000],
            ]) == ["/limits/max_memory_bytes"])
        #expect(
            pointers([
                "type": "evaluate", "dataset": "fashion-mnist", "model": ["preset": "lenet5_caffe"],
            ]) == ["/model/id", "/model/preset"])
    }
}
